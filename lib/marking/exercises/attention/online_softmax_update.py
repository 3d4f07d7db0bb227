"""attention.online_softmax_update: take one more block of keys into a running weighted average."""

import math

import torch

from clearhead.attention import online_softmax_update
from marking.exercise import Exercise, Mistake

# --- situations ------------------------------------------------------------------------------


def _sizes(draw):
    """T, S, Dv, all different, and three keys at least."""
    T, S, Dv = draw.sizes(3, 2, 6, small=1)
    return (S, T, Dv) if S == 2 else (T, S, Dv)


def _rising(draw, m, scores):
    """The scores moved so that in each row the best lies above m, and the next one below it."""
    if draw.level is None:
        scores[..., draw.size(0, scores.shape[-1] - 1)] = scores.amax(-1) + 1.0
        scores = scores + (m - scores.amax(-1) + draw.number(0.5, 2.0))[..., None]
    return scores


def _up_and_down(draw, m, scores):
    """The scores with two of the row that has the largest m raised above it, one apart, and those
    of another row pressed below its m: a block that rescales, and one that does not."""
    if draw.level is None:
        T, S = scores.shape
        up, key = int(m.argmax()), draw.size(0, S - 1)
        scores[up, key] = max(m[up], scores[up].max()) + 1.0
        scores[up, key - 1] = scores[up, key] - 1.0
        down = (up + draw.size(1, T - 1)) % T
        scores[down] = m[down] - 1.0 - scores[down].abs()
    return scores


def _start(draw, T, Dv):
    m = draw.normal(T)
    return torch.full_like(m, -math.inf), torch.zeros_like(m), torch.zeros(T, Dv, dtype=m.dtype)


def _seen(draw, T, Dv, shift=0.0):
    """The state after three keys, whose scores lie around `shift`."""
    scores, values = draw.normal(T, 3) + shift, draw.normal(3, Dv)
    m = scores.amax(-1)
    weights = torch.exp(scores - m[:, None])
    return m, weights.sum(-1), weights @ values


def _inputs(state, scores, values):
    return dict(zip(("m", "l", "acc"), state, strict=True), scores=scores, values=values)


def first_block(draw):
    T, S, Dv = _sizes(draw)
    return _inputs(_start(draw, T, Dv), draw.normal(T, S), draw.normal(S, Dv))


def larger_scores(draw):
    """One query alone, as in a decode step."""
    T, (_, S, Dv) = 1, _sizes(draw)
    state = _seen(draw, T, Dv)
    return _inputs(state, _rising(draw, state[0], draw.normal(T, S) + 3.0), draw.normal(S, Dv))


def smaller_scores(draw):
    """No score reaches the smallest m of all."""
    T, S, Dv = _sizes(draw)
    state, scores = _seen(draw, T, Dv, 2.0), draw.normal(T, S) - 1.0
    scores -= (scores.max() - state[0].min() + 0.5).clamp(min=0.0)
    return _inputs(state, scores, draw.normal(S, Dv))


def some_masked(draw):
    T, S, Dv = draw.sizes(3, 2, 6)
    T, S = (S, T) if S == 2 else (T, S)
    state = _seen(draw, T, Dv)
    scores = _up_and_down(draw, state[0], draw.normal(T, S - 1))
    key = draw.size(0, S - 1)
    hidden = torch.full_like(scores[:, :1], -math.inf)
    scores = torch.cat((scores[:, :key], hidden, scores[:, key:]), dim=1)
    return _inputs(state, scores, draw.normal(S, Dv))


def row_masked(draw):
    """A row that sees no key of this block, and has seen some before; never that of the largest
    m. The others rise."""
    T, S, Dv = _sizes(draw)
    state = _seen(draw, T, Dv)
    scores = _rising(draw, state[0], draw.normal(T, S))
    scores[(int(state[0].argmax()) + draw.size(min(1, T - 1), T - 1)) % T] = -math.inf
    return _inputs(state, scores, draw.normal(S, Dv))


def row_still_empty(draw):
    T, S, Dv = _sizes(draw)
    scores = draw.normal(T, S)
    scores[draw.size(0, T - 1)] = -math.inf
    return _inputs(_start(draw, T, Dv), scores, draw.normal(S, Dv))


def wide_spread(draw):
    T, S, Dv = _sizes(draw)
    state = _seen(draw, T, Dv)
    scores = _up_and_down(draw, state[0], draw.normal(T, S, scale=50.0))
    return _inputs(state, scores, draw.normal(S, Dv))


def rows_far_apart(draw):
    """One row of the block lies around 1,000, the others around −1,000; so do their states."""
    T, S, Dv = _sizes(draw)
    offset = torch.full((T,), -1024.0)
    offset[draw.size(0, T - 1)] = 1024.0
    m, l, acc = _seen(draw, T, Dv)  # noqa: E741
    m, scores = (x + offset.to(m.dtype)[:, None] for x in (m[:, None], draw.normal(T, S)))
    scores = _up_and_down(draw, m[:, 0], scores)
    return _inputs((m[:, 0], l, acc), scores, draw.normal(S, Dv))


def several_heads(draw):
    """A leading axis, and values as a transposed view."""
    H, (T, S, Dv) = draw.size(2, 3), _sizes(draw)
    states = [_seen(draw, T, Dv) for _ in range(H)]
    state = tuple(torch.stack(part) for part in zip(*states, strict=True))
    scores = [_up_and_down(draw, m, draw.normal(T, S) + 1.0) for m, _, _ in states]
    return _inputs(state, torch.stack(scores), draw.normal(H, Dv, S).mT)


# --- mistakes, written as people write them --------------------------------------------------


def _new_max(m, scores):
    return torch.maximum(m, scores.amax(dim=-1))


def _zero_if_empty(m):
    return torch.where(m == -math.inf, torch.zeros_like(m), m)


def _parts(m, scores):
    new_m = _new_max(m, scores)
    shift = _zero_if_empty(new_m)
    return new_m, torch.exp(m - shift), torch.exp(scores - shift[..., None])


def no_rescale(m, l, acc, scores, values):  # noqa: E741
    new_m, _, p = _parts(m, scores)
    return new_m, l + p.sum(-1), acc + p @ values


def output_not_rescaled(m, l, acc, scores, values):  # noqa: E741
    new_m, rescale, p = _parts(m, scores)
    return new_m, rescale * l + p.sum(-1), acc + p @ values


def sum_not_rescaled(m, l, acc, scores, values):  # noqa: E741
    new_m, rescale, p = _parts(m, scores)
    return new_m, l + p.sum(-1), rescale[..., None] * acc + p @ values


def rescale_without_axis(m, l, acc, scores, values):  # noqa: E741
    new_m, rescale, p = _parts(m, scores)
    return new_m, rescale * l + p.sum(-1), rescale * acc + p @ values


def rescale_inverted(m, l, acc, scores, values):  # noqa: E741
    new_m, _, p = _parts(m, scores)
    rescale = torch.exp(new_m - m)
    return new_m, rescale * l + p.sum(-1), rescale[..., None] * acc + p @ values


def block_maximum(m, l, acc, scores, values):  # noqa: E741
    new_m = scores.amax(dim=-1)
    shift = _zero_if_empty(new_m)
    rescale, p = torch.exp(m - shift), torch.exp(scores - shift[..., None])
    return new_m, rescale * l + p.sum(-1), rescale[..., None] * acc + p @ values


def block_shifted_by_itself(m, l, acc, scores, values):  # noqa: E741
    new_m, rescale, _ = _parts(m, scores)
    p = torch.exp(scores - _zero_if_empty(scores.amax(-1))[..., None])
    return new_m, rescale * l + p.sum(-1), rescale[..., None] * acc + p @ values


def block_shifted_by_old_maximum(m, l, acc, scores, values):  # noqa: E741
    new_m, rescale, _ = _parts(m, scores)
    p = torch.exp(scores - _zero_if_empty(m)[..., None])
    return new_m, rescale * l + p.sum(-1), rescale[..., None] * acc + p @ values


def not_shifted(m, l, acc, scores, values):  # noqa: E741
    p = torch.exp(scores)
    return _new_max(m, scores), l + p.sum(-1), acc + p @ values


def one_maximum_for_all(m, l, acc, scores, values):  # noqa: E741
    new_m = torch.maximum(m, scores.max())
    rescale, p = torch.exp(m - new_m), torch.exp(scores - new_m[..., None])
    return new_m, rescale * l + p.sum(-1), rescale[..., None] * acc + p @ values


def nan_on_empty(m, l, acc, scores, values):  # noqa: E741
    new_m = _new_max(m, scores)
    rescale, p = torch.exp(m - new_m), torch.exp(scores - new_m[..., None])
    return new_m, rescale * l + p.sum(-1), rescale[..., None] * acc + p @ values


def large_negative_for_infinity(m, l, acc, scores, values):  # noqa: E741
    scores = scores.masked_fill(scores == -math.inf, -1e9)
    m = m.masked_fill(m == -math.inf, -1e9)
    new_m = _new_max(m, scores)
    rescale, p = torch.exp(m - new_m), torch.exp(scores - new_m[..., None])
    return new_m, rescale * l + p.sum(-1), rescale[..., None] * acc + p @ values


def output_divided(m, l, acc, scores, values):  # noqa: E741
    new_m, rescale, p = _parts(m, scores)
    new_l = rescale * l + p.sum(-1)
    new_acc = rescale[..., None] * acc + p @ values
    return new_m, new_l, new_acc / new_l.masked_fill(new_l == 0, 1.0)[..., None]


def kept_normalised(m, l, acc, scores, values):  # noqa: E741
    new_m, rescale, p = _parts(m, scores)
    new_l = rescale * l + p.sum(-1)
    new_acc = (rescale * l)[..., None] * acc + p @ values
    return new_m, new_l, new_acc / new_l.masked_fill(new_l == 0, 1.0)[..., None]


def block_normalised(m, l, acc, scores, values):  # noqa: E741
    new_m, rescale, p = _parts(m, scores)
    total = p.sum(-1)
    p = p / total.masked_fill(total == 0, 1.0)[..., None]
    return new_m, rescale * l + total, rescale[..., None] * acc + p @ values


# --- other right answers ---------------------------------------------------------------------


def old_state_as_one_more_key(m, l, acc, scores, values):  # noqa: E741
    """The state is one key of score m whose value is acc, with weight l."""
    together = torch.cat((m.unsqueeze(-1), scores), dim=-1)
    new_m = together.max(dim=-1).values
    p = torch.exp(together - new_m.clamp(min=torch.finfo(m.dtype).min).unsqueeze(-1))
    new_l = p[..., 0] * l + p[..., 1:].sum(-1)
    new_acc = p[..., :1] * acc + torch.einsum("...ts,...sd->...td", p[..., 1:], values)
    return new_m, new_l, new_acc


def key_by_key(m, l, acc, scores, values):  # noqa: E741
    for j in range(scores.shape[-1]):
        score = scores[..., j]
        new_m = torch.where(score > m, score, m)
        empty = new_m == -math.inf
        old = torch.where(empty, 0.0, torch.exp(m - new_m))
        new = torch.where(empty, 0.0, torch.exp(score - new_m))
        l = old * l + new  # noqa: E741
        acc = old.unsqueeze(-1) * acc + new.unsqueeze(-1) * values[..., j : j + 1, :]
        m = new_m
    return m, l, acc


def by_nan_to_num(m, l, acc, scores, values):  # noqa: E741
    top = scores.amax(dim=-1, keepdim=True).maximum(m[..., None])
    p = (scores - top).exp().nan_to_num(nan=0.0)
    old = (m[..., None] - top).exp().nan_to_num(nan=0.0)
    return (
        top[..., 0],
        (old * l[..., None] + p.sum(-1, keepdim=True))[..., 0],
        old * acc + p.matmul(values),
    )


THREE_NUMBERS = "attention/04_online_softmax#what-do-three-running-numbers-do-with-four-keys"
TILES = "attention/04_online_softmax#from-numbers-to-tiles"

ONLINE_SOFTMAX_UPDATE = Exercise(
    id="attention.online_softmax_update",
    title="Online softmax: one more block",
    returns="the new (m, l, acc), shaped as they came",
    outputs=("m", "l", "acc"),
    points=5,
    difficulty=3,
    minutes=30,
    reference=online_softmax_update,
    cases={
        "the first block": first_block,
        "the block brings larger scores": larger_scores,
        "the block brings smaller scores": smaller_scores,
        "some scores −∞": some_masked,
        "a row of −∞ in a later block": row_masked,
        "a row of −∞ in the first block": row_still_empty,
        "widely spread scores": wide_spread,
        "rows around ±1,000": rows_far_apart,
        "several heads, values transposed": several_heads,
    },
    forbidden=(
        "softmax",
        "log_softmax",
        "_softmax",
        "_safe_softmax",
        "scaled_dot_product_attention",
    ),
    mistakes=(
        Mistake(
            "no-rescale",
            no_rescale,
            "what was summed before is added as it is, though it was measured against the old "
            "maximum; bring both l and acc to the new maximum first.",
            THREE_NUMBERS,
        ),
        Mistake(
            "output-not-rescaled",
            output_not_rescaled,
            "l is brought to the new maximum and acc is not, so old values weigh too much; "
            "rescale both by the same factor.",
            THREE_NUMBERS,
        ),
        Mistake(
            "sum-not-rescaled",
            sum_not_rescaled,
            "acc is brought to the new maximum and l is not, so the weights no longer sum to 1; "
            "rescale both by the same factor.",
            THREE_NUMBERS,
        ),
        Mistake(
            "rescale-without-axis",
            rescale_without_axis,
            "acc is multiplied by one factor a row without an axis for Dv, so the factors line up "
            "with the columns or do not fit; give them a last axis of size 1.",
            TILES,
        ),
        Mistake(
            "rescale-inverted",
            rescale_inverted,
            "the old sums are multiplied by exp(new − old), which grows them; they shrink when the "
            "maximum grows, so the exponent is old − new.",
            THREE_NUMBERS,
        ),
        Mistake(
            "block-maximum",
            block_maximum,
            "the new m is the maximum of this block alone, and the rescaling overflows when an "
            "earlier score was far larger; keep the larger of m and the block's maximum.",
            THREE_NUMBERS,
        ),
        Mistake(
            "block-shifted-by-itself",
            block_shifted_by_itself,
            "the block's scores are measured against the block's own maximum, the old sums "
            "against the running one; measure both against the new m.",
            THREE_NUMBERS,
        ),
        Mistake(
            "block-shifted-by-old-maximum",
            block_shifted_by_old_maximum,
            "the block's scores are measured against the old m, the old sums against the new one; "
            "measure both against the new m.",
            THREE_NUMBERS,
        ),
        Mistake(
            "not-shifted",
            not_shifted,
            "exp is taken of the scores as they are, which overflows for large ones and does not "
            "fit the m that is returned; subtract the new m first.",
            THREE_NUMBERS,
        ),
        Mistake(
            "one-maximum-for-all",
            one_maximum_for_all,
            "one maximum is taken over the whole block; a row far below it underflows to zero. "
            "Each row has its own.",
            THREE_NUMBERS,
        ),
        Mistake(
            "nan-on-empty",
            nan_on_empty,
            "a row that has seen only −∞ gives −∞ − (−∞) = NaN; such a row keeps m = −∞, l = 0 and "
            "acc = 0.",
            TILES,
        ),
        Mistake(
            "large-negative-for-infinity",
            large_negative_for_infinity,
            "−∞ is replaced by a large negative number, so a row that has seen only −∞ counts its "
            "masked keys; such a row keeps m = −∞, l = 0 and acc = 0.",
            TILES,
        ),
        Mistake(
            "output-divided",
            output_divided,
            "acc comes back divided by l, so the next block would be added to the wrong thing; "
            "divide once, after the last block.",
            THREE_NUMBERS,
        ),
        Mistake(
            "kept-normalised",
            kept_normalised,
            "acc is taken to be divided by l already, and is divided again at the end, as the "
            "first FlashAttention did; here acc stays undivided until the last block is in.",
            THREE_NUMBERS,
        ),
        Mistake(
            "block-normalised",
            block_normalised,
            "the block's weights are divided by their own sum before they meet the values; leave "
            "them undivided, l remembers the sum.",
            THREE_NUMBERS,
        ),
    ),
    alternatives=(old_state_as_one_more_key, key_by_key, by_nan_to_num),
    hints=(
        "Take one query, a first block with the score 0 and a second with the score 2. Write down "
        "the sum of exponentials measured against 0, then against 2. By which factor do they "
        "differ?",
        "l and acc are both sums of terms exp(score − m). If m grows, every old term shrinks by "
        "one and the same factor: which? The new terms are measured against the new m from the "
        "start.",
        "Only a row whose new maximum is still −∞ gives NaN. Look at what you subtract: for that "
        "row any finite number will do in place of −∞, and exp(−∞) then gives the zeros you want. "
        "Return the true maximum all the same.",
    ),
    read=THREE_NUMBERS,
)
