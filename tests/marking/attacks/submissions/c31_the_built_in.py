"""Calls the built-in that the exercise asks for, by its plain name: refused before it runs.

Exercise: attention.scaled_dot_product
Score: 0
Status: forbidden
Says: line 5 of its cell
"""
# %%
import torch.nn.functional as F


def scaled_dot_product(q, k, v, mask=None):
    return F.scaled_dot_product_attention(q, k, v, mask), q @ k.mT
