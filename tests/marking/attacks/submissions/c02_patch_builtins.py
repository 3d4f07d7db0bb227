"""Replaces the built-ins that a comparison is made of.

They are the student's process's own built-ins: its worker may break, no score comes of it.
Exercise: attention.softmax
Score: 0
"""
# %%
import builtins

builtins.abs = lambda x: 0
builtins.any = lambda x: False
builtins.all = lambda x: True
builtins.isinstance = lambda *a: True


def softmax(x, dim):
    return torch.zeros_like(x)
