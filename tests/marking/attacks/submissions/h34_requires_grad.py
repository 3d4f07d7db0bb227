"""Honest: returns what still hangs on a graph.

Exercise: attention.softmax
Score: 1
"""


# %%
def softmax(x, dim):
    x = x.clone().requires_grad_()
    top = x.amax(dim, keepdim=True)
    e = (x - torch.where(top.isinf(), 0, top)).exp()
    total = e.sum(dim, keepdim=True)
    return e / torch.where(total == 0, 1, total)
