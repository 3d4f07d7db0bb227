"""Reaches the forbidden built-in by names that are put together as it runs.

The tripwire lies below the names.
Exercise: attention.softmax
Score: 0
Status: forbidden
Smells: getattr on torch
"""


# %%
def softmax(x, dim):
    return getattr(torch, "soft" + "max")(x, dim)
