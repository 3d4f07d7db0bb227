"""Leaves work for the end: atexit, __del__, a thread that waits for the main one.

The child ends by os._exit, and is killed.
Exercise: attention.softmax
Score: 0
"""
# %%
import atexit
import os
import threading


class Last:
    def __del__(self):
        os.fork()


kept = Last()
atexit.register(lambda: os.fork())
threading.Thread(target=lambda: (threading.main_thread().join(), os.fork())).start()


def softmax(x, dim):
    return x
