"""Calls itself without end, and nests its answer without end.

Exercise: attention.softmax
Score: 0
"""


# %%
def softmax(x, dim):
    if x.dtype == torch.float64:
        return softmax(x, dim)
    nested = []
    nested.append(nested)
    return nested
