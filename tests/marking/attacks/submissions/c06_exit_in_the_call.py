"""Ends its process in the middle of a case. No answer is a failed case, not a passed one.

Exercise: attention.softmax
Score: 0
Status: crashed
"""
# %%
import os


def softmax(x, dim):
    os._exit(0)
