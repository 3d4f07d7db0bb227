"""Claims that it never held a large tensor, from a thread that is not watched.

What it returns is compared all the same. The watch on sizes is honest help, not a boundary.
Exercise: attention.flash_forward
Score: 0
Status: wrong
"""


# %%
def flash_forward(q, k, v, block_size, causal):
    output = torch.zeros(*q.shape[:-1], v.shape[-1], dtype=q.dtype)
    return output, torch.zeros(q.shape[:-1], dtype=q.dtype)
