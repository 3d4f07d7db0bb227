"""Honest: helpers, a class, a cache, numpy, a temporary file, magics, and a broken cell of its own.

Exercise: attention.scaled_dot_product
Score: 1
"""
# %%
%matplotlib inline
import functools
import tempfile

import numpy as np


# %%
1 / 0


# %%
class Scale:
    def __init__(self, size):
        self.size = size

    def __call__(self, scores):
        return scores / np.sqrt(self.size)


@functools.cache
def fill():
    with tempfile.TemporaryFile("w+") as file:
        file.write("-inf")
        file.seek(0)
        return float(file.read())


def scaled_dot_product(q, k, v, mask=None):
    scores = Scale(q.shape[-1])(torch.einsum("...td,...sd->...ts", q, k))
    if mask is not None:
        scores = scores.masked_fill(~mask, fill())
    weights = torch.softmax(scores, -1).nan_to_num()
    return weights @ v, weights
