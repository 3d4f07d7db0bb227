"""Writes without end to stdout and stderr. Both lead nowhere, so it only wastes its own time.

Exercise: attention.softmax
Score: 0
Status: timed out
"""
# %%
import os


def softmax(x, dim):
    while True:
        os.write(1, bytes(1 << 20))
        os.write(2, bytes(1 << 20))
