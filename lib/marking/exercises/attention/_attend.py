"""Attention with its places to go wrong: a mistake is one change to `attend`.

`functools.partial(attend, scale=…)` is such a mistake. Two that change different places can be
made at once, and the diagnosis tries them in pairs.
"""

import math

import torch

from clearhead.attention import softmax

# The torch functions that answer an attention exercise whole.
FUSED = (
    "scaled_dot_product_attention",
    "multi_head_attention_forward",
    "_native_multi_head_attention",
    "_scaled_dot_product_attention_math",
    "_safe_softmax",
)

# Each `scale` is given q, k and v, and says by what the scores are multiplied.


def root_of_d(q, k, v):
    return 1 / math.sqrt(q.shape[-1])


def no_scale(q, k, v):
    return 1.0


def by_d(q, k, v):
    return 1 / q.shape[-1]


# Each `hide` is given the scores and the mask, never None.


def minus_infinity(scores, mask):
    return scores.masked_fill(~mask, -math.inf)


def inverted(scores, mask):
    return scores.masked_fill(mask, -math.inf)


def ignored(scores, mask):
    return scores


def multiplied(scores, mask):
    return scores * mask


def filled(number):
    return lambda scores, mask: scores.masked_fill(~mask, number)


# Each `normalise` is given the scores and the axis.


def torch_softmax(scores, axis):
    return torch.softmax(scores, axis)


def times_mask(weights, mask, q):
    return weights if mask is None else weights * mask


def attend(
    q,
    k,
    v,
    mask,
    *,
    product=lambda q, k: q @ k.mT,
    scale=root_of_d,
    hide=minus_infinity,
    axis=-1,
    normalise=softmax,
    after=lambda weights, mask, q: weights,
    back=lambda output, weights, scores: (output, weights),
):
    """Output and weights. As it stands it is right, fully masked rows included."""
    scores = product(q, k) * scale(q, k, v)
    if mask is not None:
        scores = hide(scores, mask)
    weights = after(normalise(scores, axis), mask, q)
    return back(weights @ v, weights, scores)
