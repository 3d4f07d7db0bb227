"""Makes its process fall over.

Exercise: attention.softmax
Score: 0
Status: crashed
"""
# %%
import ctypes


def softmax(x, dim):
    ctypes.string_at(1)
