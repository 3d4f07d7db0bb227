"""Returns integers, and a mask of numbers where truth values are asked for.

Exercise: attention.causal_mask
Score: 0
Status: wrong
"""


# %%
def causal_mask(T, S):
    return torch.tril(torch.ones(T, S), S - T)
