"""Sleeps, which costs no processor time.

Exercise: attention.softmax
Score: 0
Status: timed out
"""
# %%
import time


def softmax(x, dim):
    time.sleep(10_000)
