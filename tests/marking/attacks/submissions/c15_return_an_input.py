"""Returns its input itself: an alias, and shared storage in a tuple.

Exercise: attention.scaled_dot_product
Score: 0
Status: wrong
"""


# %%
def scaled_dot_product(q, k, v, mask=None):
    return q, q
