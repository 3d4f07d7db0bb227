"""Cells that break a parser: a null byte, ten thousand brackets, half a megabyte of minus signs.

Each cell fails alone; the function in the last cell is asked all the same.
Exercise: attention.softmax
Score: 0
"""
# %%
x = BRACKETS
# %%
y = MINUSES
# %%
z = "NULLBYTE"


# %%
def softmax(x, dim):
    return x
