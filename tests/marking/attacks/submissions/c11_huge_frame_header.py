"""Announces a frame of 4 GB. It is refused before a byte of it is read or room made for it.

Exercise: attention.softmax
Score: 0
Status: crashed
"""
# %%
import os
import struct

for number in range(3, 64):
    try:
        os.write(number, struct.pack(">II", 2**32 - 1, 2**32 - 1))
    except OSError:
        pass


def softmax(x, dim):
    return x
