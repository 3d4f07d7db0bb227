"""One attention layer with its places to go wrong: what `prefill` and `decode_step` share.

As it stands `layer` is right. A mistake is one change to it, passed on by the function of an
exercise; `shared(function, …)` makes those that both exercises know, as `functools.partial`, so
that two made at once are recognised too.
"""

import math
from collections.abc import Callable
from functools import partial

import torch

from marking.exercise import Mistake
from marking.exercises.inference._given import rotary

HANDS = "inference/01_prefill_and_decode#two-phases-by-hand"
HOLDS = "inference/01_prefill_and_decode#what-does-the-cache-hold"
STANDS = "inference/01_prefill_and_decode#where-does-the-next-token-stand"

# --- situations ------------------------------------------------------------------------------


def weights(draw, H, K, D, *, square=False, scale=1.5):
    """Matrices of a layer whose scores have a standard deviation near `scale`².

    The width C is less than H·D, so that C // H is no head's size, unless `square`.
    """
    C = H * D if square else H * D - draw.size(1, 3, small=1)
    return {
        "w_q": draw.normal(H * D, C, scale=scale / math.sqrt(C)),
        "w_k": draw.normal(K * D, C, scale=scale / math.sqrt(C)),
        "w_v": draw.normal(K * D, C, scale=1.0 / math.sqrt(C)),
        "w_o": draw.normal(C, H * D, scale=1.0 / math.sqrt(H * D)),
    }


def head_size(draw):
    """Two pairs or more: with one, halves and neighbours are the same."""
    return 2 * draw.size(2, 4, small=1)


def unlike(draw, low, high, *others):
    """A size that is none of the others."""
    if draw.level is not None:
        high = low + 1 + len(others)
    return draw.choice(*[n for n in range(low, high + 1) if n not in others][: 1 + high - low])


def as_transposes(inputs, *names):
    """The same matrices, each stored as the transpose of another."""
    return {name: inputs[name].T.contiguous().T for name in names}


# --- parts -----------------------------------------------------------------------------------


def linear(x, w):
    return x @ w.T


def cut(y, n):
    """(B, T, n·D) → (B, n, T, D)."""
    B, T, width = y.shape
    return y.reshape(B, T, n, width // n).transpose(1, 2)


def cut_without_transpose(y, n):
    B, T, width = y.shape
    return y.reshape(B, n, T, width // n)


def joined(heads):
    """(B, H, T, D) → (B, T, H·D)."""
    B, H, T, D = heads.shape
    return heads.transpose(1, 2).reshape(B, T, H * D)


def joined_without_transpose(heads):
    B, H, T, D = heads.shape
    return heads.reshape(B, T, H * D)


def turned_heads(y, n, at, theta, *, turn, cut):
    """Cut into heads, then turned; and the same heads before they were turned."""
    heads = cut(y, n)
    return turn(heads, at, theta), heads


def turned_then_cut(y, n, at, theta, *, turn, cut):
    return cut(turn(y[:, None], at, theta)[:, 0], n), cut(y, n)


def interleaved(x, positions, theta):
    """Neighbours 2i and 2i + 1 are paired."""
    D = x.shape[-1]
    pair = torch.arange(D // 2, dtype=torch.float64)
    angles = positions[:, None, :, None] * theta ** (-2 * pair / D)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2)


def backwards(x, positions, theta):
    return rotary(x, -positions, theta)


def at_theta_10000(x, positions, theta):
    return rotary(x, positions, 10000.0)


def neighbours(x, H):
    """Each key/value head for H / K neighbouring query heads: 0 0 1 1."""
    return x.repeat_interleave(H // x.shape[1], dim=1)


def tiled(x, H):
    return x.repeat(1, H // x.shape[1], 1, 1)


def as_they_are(x, H):
    return x


def first_head(x, H):
    return x[:, :1].expand(-1, H, -1, -1)


def root_of_d(q, width):
    return 1 / math.sqrt(q.shape[-1])


def no_scale(q, width):
    return 1.0


def by_d(q, width):
    return 1 / q.shape[-1]


def by_all_heads(q, width):
    return 1 / math.sqrt(q.shape[1] * q.shape[-1])


def by_width(q, width):
    return 1 / math.sqrt(width)


def minus_infinity(scores, mask):
    return scores if mask is None else scores.masked_fill(~mask, -math.inf)


def turned(turned, raw):
    return turned


def raw(turned, raw):
    return raw


def layer(
    x,
    w_q,
    w_k,
    w_v,
    w_o,
    n_heads,
    n_kv_heads,
    theta,
    at,
    attended,
    *,
    linear=linear,
    cut=cut,
    kv_heads=lambda H, K: K,
    turn=rotary,
    project=turned_heads,
    queries=turned,
    new_keys=turned,
    new_values=lambda v, at, theta: v,
    value_weight=lambda w_k, w_v: w_v,
    keys=neighbours,
    values=neighbours,
    scale=root_of_d,
    hide=minus_infinity,
    axis=-1,
    after=lambda weights, mask: weights,
    join=joined,
    out=linear,
):
    """y, the new rows of key (turned, and as it was) and of value, and all keys and values.

    `at` (1 or B, T) holds the positions; `attended(k, raw, v)` says what is attended to: keys,
    values and a mask or None.
    """
    how = {"turn": turn, "cut": cut}
    q = queries(*project(linear(x, w_q), n_heads, at, theta, **how))
    both = project(linear(x, w_k), kv_heads(n_heads, n_kv_heads), at, theta, **how)
    k, raw_k = new_keys(*both), both[1]
    v = cut(linear(x, value_weight(w_k, w_v)), kv_heads(n_heads, n_kv_heads))
    v = new_values(v, at, theta)
    all_k, all_v, mask = attended(k, raw_k, v)
    scores = q @ keys(all_k, n_heads).mT * scale(q, x.shape[-1])
    weights = after(torch.softmax(hide(scores, mask), axis), mask)
    return out(join(weights @ values(all_v, n_heads)), w_o), k, raw_k, v, all_k, all_v


# --- mistakes that both exercises know ---------------------------------------------------------

# id → the change, what to say, where to read, the same with other numbers.
MISTAKES = {
    "no-scale": (
        {"scale": no_scale},
        "the scores are not divided by √D, in the cached path as little as elsewhere may that be "
        "left out.",
        HANDS,
    ),
    "scale-by-d": (
        {"scale": by_d},
        "the scores are divided by D, not by √D, which flattens the weights.",
        HANDS,
    ),
    "scale-by-width": (
        {"scale": by_all_heads},
        "the scores are divided by the root of the whole width; a head's dot product has only D "
        "terms.",
        HANDS,
        {"scale": by_width},
    ),
    "heads-tiled": (
        {"keys": tiled, "values": tiled},
        "the key/value heads are laid out 0 1 0 1 (repeat) where neighbours share one: 0 0 1 1.",
        HANDS,
        {"keys": tiled},
        {"values": tiled},
    ),
    "not-shared": (
        {"keys": as_they_are, "values": as_they_are},
        "the K key/value heads meet the H query heads as they are, which fits only when K is 1 or "
        "H.",
        HANDS,
    ),
    "first-head-for-all": (
        {"keys": first_head, "values": first_head},
        "every query head reads key/value head 0, as if K were 1.",
        HANDS,
    ),
    "softmax-over-queries": (
        {"axis": -2},
        "softmax runs over the queries; a query's weights sum to 1 over the keys.",
        HANDS,
    ),
    "queries-not-rotated": (
        {"queries": raw},
        "the queries are not rotated; a score tells distances only if query and key both are.",
        STANDS,
    ),
    "keys-not-rotated": (
        {"new_keys": raw},
        "the new keys are not rotated, neither for the attention nor for the cache, while the "
        "queries are.",
        STANDS,
    ),
    "values-rotated": (
        {"new_values": rotary},
        "the values are rotated too; positions belong into the scores, so queries and keys alone "
        "are turned.",
        HOLDS,
    ),
    "interleaved": (
        {"turn": interleaved},
        "neighbours 2i and 2i + 1 are paired in the rotation; here feature i goes with i + D/2, "
        "as in the given function.",
        STANDS,
    ),
    "backwards": (
        {"turn": backwards},
        "every pair is turned by minus its angle; the scores among new tokens stay the same, but "
        "the keys in the cache do not.",
        STANDS,
    ),
    "theta-ignored": (
        {"turn": at_theta_10000},
        "theta is taken as 10000 whatever is passed.",
        STANDS,
    ),
    "rotated-before-the-cut": (
        {"project": turned_then_cut},
        "the rotation runs over the joined heads, so a feature is paired with one of another "
        "head; the pairs lie inside a head.",
        STANDS,
    ),
    "cut-without-transpose": (
        {"cut": cut_without_transpose},
        "the projections are cut straight into (B, H, T, D), which reads one token's features as "
        "another token's.",
        HANDS,
    ),
    "joined-without-transpose": (
        {"join": joined_without_transpose},
        "the heads are joined straight from (B, H, T, D), which mixes the tokens.",
        HANDS,
    ),
    "kv-cut-into-query-heads": (
        {"kv_heads": lambda H, K: H},
        "keys and values are cut into n_heads pieces; they have n_kv_heads heads.",
        HANDS,
    ),
    "values-from-keys": (
        {"value_weight": lambda w_k, w_v: w_k},
        "the values are made with w_k, the matrix of the keys.",
        HANDS,
    ),
    "weights-not-transposed": (
        {"linear": torch.matmul, "out": torch.matmul},
        "x is multiplied by the weights as they are stored, (out, in).",
        HANDS,
    ),
    "no-output-projection": (
        {"out": lambda y, w_o: y},
        "the joined heads are returned as they are; w_o has to mix them.",
        HANDS,
    ),
}


def alone(function: Callable, **changes) -> Callable:
    """The same as a `partial`, but not tried in pairs: a thousand pairs take seconds."""
    return lambda **inputs: function(**inputs, **changes)


def shared(function: Callable, *names: str) -> tuple[Mistake, ...]:
    """These mistakes, made in `function`, which passes their change on to `layer`."""
    made = []
    for name in names:
        change, says, read, *others = MISTAKES[name]
        also = tuple(alone(function, **other) for other in others)
        made.append(Mistake(name, partial(function, **change), says, read, also=also))
    return tuple(made)
