"""Returns a gigabyte, and a trillion elements of one stored number.

Exercise: attention.softmax
Score: 0
"""


# %%
def softmax(x, dim):
    return torch.zeros(1).expand(10**12) if x.dtype == torch.float32 else torch.zeros(1 << 27)
