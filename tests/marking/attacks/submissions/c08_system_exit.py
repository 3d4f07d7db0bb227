"""Raises SystemExit and KeyboardInterrupt, which an `except Exception` does not see.

Exercise: attention.softmax
Score: 0
Status: crashed
"""


# %%
def softmax(x, dim):
    raise SystemExit(0)


# %%
raise KeyboardInterrupt
