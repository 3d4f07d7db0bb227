"""Honest: returns a transposed view of its own work.

Exercise: attention.softmax
Score: 1
"""


# %%
def softmax(x, dim):
    y = x.transpose(0, -1).contiguous().transpose(0, -1)
    top = y.amax(dim, keepdim=True)
    e = (y - torch.where(top.isinf(), 0, top)).exp()
    total = e.sum(dim, keepdim=True)
    return e / torch.where(total == 0, 1, total)
