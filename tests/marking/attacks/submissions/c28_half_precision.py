"""Computes in half precision, which is fast and not the answer.

Its honest part: where nothing may be attended to, zeros are right in any precision.
Exercise: attention.scaled_dot_product
Score: 0.1
Status: partly right
"""


# %%
def scaled_dot_product(q, k, v, mask=None):
    q, k, half_v = q.half(), k.half(), v.half()
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = scores.softmax(-1).nan_to_num()
    return (weights @ half_v).to(v.dtype), weights.to(v.dtype)
