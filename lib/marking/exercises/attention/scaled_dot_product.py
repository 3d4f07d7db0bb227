"""attention.scaled_dot_product: scores, mask, softmax, average."""

import math
from functools import partial

import torch

from clearhead.attention import scaled_dot_product as reference
from marking.exercise import Exercise, Mistake, Tolerance
from marking.exercises.attention import _attend as parts
from marking.exercises.attention._attend import attend
from marking.exercises.attention._masks import low_scores, one_unlikely, some_allowed, some_empty
from marking.exercises.attention._shared import BEFORE, EMPTY, FIRST, SCALE, shared

# --- situations ------------------------------------------------------------------------------


def _qkv(draw, *leading: int, scale: float = 1.0):
    """All sizes differ; three keys at least, so that a mask can leave two of them."""
    T, S, D, Dv = draw.sizes(4, 2, 7)
    T, S = (S, T) if S == 2 else (T, S)
    return {
        "q": draw.normal(*leading, T, D, scale=scale),
        "k": draw.normal(*leading, S, D, scale=scale),
        "v": draw.normal(*leading, S, Dv),
        "mask": None,
    }


def _leading(draw) -> tuple[int, int]:
    return draw.size(1, 2), draw.size(2, 3)


def _mask_shape(inputs) -> tuple[int, int]:
    return inputs["q"].shape[-2], inputs["k"].shape[-2]


def no_mask(draw):
    return _qkv(draw, *_leading(draw))


def two_axes(draw):
    inputs = low_scores(draw, _qkv(draw))
    return inputs | {"mask": some_allowed(draw, *_mask_shape(inputs))}


def one_mask_for_all(draw):
    inputs = low_scores(draw, _qkv(draw, *_leading(draw)))
    return inputs | {"mask": some_allowed(draw, *_mask_shape(inputs))}


def padding_mask(draw):
    """(B, 1, 1, S): each sequence has its own keys to leave out."""
    B, H = draw.size(2, 3), draw.size(2, 3)
    inputs = low_scores(draw, _qkv(draw, B, H))
    return inputs | {"mask": some_allowed(draw, B, 1, 1, inputs["k"].shape[-2])}


def empty_row(draw):
    B, H = _leading(draw)
    inputs = low_scores(draw, _qkv(draw, B, H))
    return inputs | {"mask": some_empty(draw, B, H, *_mask_shape(inputs))}


def nothing_allowed(draw):
    inputs = _qkv(draw, draw.size(1, 2))
    return inputs | {"mask": torch.zeros(_mask_shape(inputs), dtype=torch.bool)}


def widely_spread(draw):
    """Most scores within ±50; one query scores 100 and 99, above what exp takes in float32."""
    inputs = _qkv(draw, *_leading(draw), scale=5.0)
    T, S = _mask_shape(inputs)
    query, key = draw.size(0, T - 1), draw.size(0, S - 1)
    q, k = inputs["q"], inputs["k"]
    q[..., query, :] = 5.0 * q[..., query, :].sign()
    k[..., key, :] = q[..., query, :] * 4.0 / math.sqrt(q.shape[-1])
    k[..., key - 1, :] = k[..., key, :] * 0.99
    return inputs


def masked_and_spread(draw):
    """Each query may attend only to a key whose score is about −60."""
    inputs = _qkv(draw, draw.size(2, 3, small=1))
    q, k = inputs["q"], inputs["k"]
    q[..., 0] = 8.0
    k[..., 0] = draw.normal(*k.shape[:-1])
    k[..., draw.size(0, k.shape[-2] - 1), 0] = -7.5 * math.sqrt(q.shape[-1])
    return inputs | {"mask": one_unlikely(draw, q @ k.mT)}


def enormous_scores(draw):
    """Each query's best key is so far ahead that no wrong scale lets another be seen.

    One score is above what exp takes in float64, 709.
    """

    def far_ahead(inputs):
        best = (inputs["q"] @ inputs["k"].mT / math.sqrt(inputs["q"].shape[-1])).topk(2).values
        return bool((best[..., 0] - best[..., 1]).min() > 100 and best.max() > 800)

    return draw.until(lambda: _qkv(draw, draw.size(1, 2), scale=40.0), far_ahead)


def transposed_views(draw):
    """(B, T, H, D) with the axes swapped: the memory is not in the order of the axes."""
    B, H = _leading(draw)
    inputs = low_scores(draw, _qkv(draw, B, H))
    for name in ("q", "k", "v"):
        inputs[name] = inputs[name].transpose(1, 2).contiguous().transpose(1, 2)
    return inputs | {"mask": some_allowed(draw, *_mask_shape(inputs))}


# --- mistakes: one change each to `attend`, or a function of their own -------------------------


def _scaled(factor):
    return partial(attend, scale=factor)


scale_by_keys = _scaled(lambda q, k, v: 1 / math.sqrt(k.shape[-2]))
scale_by_queries = _scaled(lambda q, k, v: 1 / math.sqrt(q.shape[-2]))
scale_by_value_size = _scaled(lambda q, k, v: 1 / math.sqrt(v.shape[-1]))
multiplied_by_root = _scaled(lambda q, k, v: math.sqrt(q.shape[-1]))

softmax_over_axis_one = partial(attend, axis=1)
softmax_over_axis_zero = partial(attend, axis=0)

mask_added = partial(attend, hide=lambda scores, mask: scores + mask)
uniform_on_empty = partial(attend, hide=parts.filled(-1e9))
nan_on_empty = partial(attend, normalise=parts.torch_softmax)


scale_after_softmax = partial(
    attend, scale=parts.no_scale, after=lambda weights, mask, q: weights / math.sqrt(q.shape[-1])
)
swapped = partial(attend, back=lambda output, weights, scores: (weights, output))
output_only = partial(attend, back=lambda output, weights, scores: output)
scores_returned = partial(attend, back=lambda output, weights, scores: (output, scores))
transposed_all_axes = partial(
    attend, product=lambda q, k: q @ k.permute(*range(k.ndim - 1, -1, -1))
)
three_axes_assumed = partial(attend, product=lambda q, k: q @ k.transpose(1, 2))


def _output_put_right(first):
    """The output of an empty row is put right, the weights are returned as they were."""

    def answer(q, k, v, mask):
        output, w = first(q, k, v, mask)
        if mask is not None:
            output = output.masked_fill(~mask.any(-1, keepdim=True), 0.0)
        return output, w

    return answer


weights_left_nonzero = _output_put_right(uniform_on_empty)
weights_left_nan = _output_put_right(nan_on_empty)


def _exponentials(scores, axis):
    e = scores.exp()
    total = e.sum(axis, keepdim=True)
    return e / total.masked_fill(total == 0, 1.0)


naive_exponentials = partial(attend, normalise=_exponentials)


def no_softmax(q, k, v, mask):
    return attend(q, k, v, mask, hide=parts.multiplied, normalise=lambda scores, axis: scores)


# --- other right answers ---------------------------------------------------------------------


def by_einsum(q, k, v, mask):
    scores = torch.einsum("...td,...sd->...ts", q / math.sqrt(q.shape[-1]), k)
    if mask is None:
        weights = torch.softmax(scores, dim=-1)
    else:
        weights = torch.softmax(scores.masked_fill(~mask, -math.inf), dim=-1).nan_to_num(nan=0.0)
    return torch.einsum("...ts,...se->...te", weights, v), weights


def finite_fill_then_zero(q, k, v, mask):
    scores = torch.matmul(q, k.transpose(-2, -1)) * q.size(-1) ** -0.5
    if mask is not None:
        scores = torch.where(mask, scores, -1e9)
    weights = torch.softmax(scores, dim=-1)
    if mask is not None:
        weights = weights * mask
    return torch.matmul(weights, v), weights


def query_by_query(q, k, v, mask):
    if mask is not None:
        mask = mask.expand(*q.shape[:-1], k.shape[-2])
    rows = []
    for t in range(q.shape[-2]):
        score = (q[..., t, None, :] * k).sum(-1) / math.sqrt(q.shape[-1])
        allowed = torch.ones_like(score, dtype=torch.bool) if mask is None else mask[..., t, :]
        top = torch.where(allowed, score, -1e30).amax(-1, keepdim=True)
        e = (score - top).clamp(max=0.0).exp() * allowed
        rows.append(e / e.sum(-1, keepdim=True).clamp(min=1e-30))
    weights = torch.stack(rows, dim=-2)
    return (weights[..., None] * v[..., None, :, :]).sum(-2), weights


OVERFLOW = "attention/02_scale#when-does-the-exponential-overflow"

SCALED_DOT_PRODUCT = Exercise(
    id="attention.scaled_dot_product",
    title="Scaled dot-product attention",
    returns="a tuple: the output (…, T, Dv) and the weights (…, T, S), in the dtype of q",
    outputs=("output", "weights"),
    points=4,
    difficulty=2,
    minutes=20,
    reference=reference,
    cases={
        "no mask, sizes all different": no_mask,
        "no leading axes": two_axes,
        "one mask for every head": one_mask_for_all,
        "a padding mask that broadcasts": padding_mask,
        "a fully masked row": empty_row,
        "nothing may be attended to": nothing_allowed,
        "scores spread over ±50": widely_spread,
        "only a very unlikely key is allowed": masked_and_spread,
        "scores in the thousands": enormous_scores,
        "transposed views": transposed_views,
    },
    # Scores in the thousands are rounded by 3e-5 in float32, and softmax passes that on.
    tolerance=Tolerance(fp32=3e-4),
    forbidden=parts.FUSED,
    mistakes=(
        *shared(attend, "no-scale", "scale-by-d"),
        Mistake(
            "scale-by-keys",
            scale_by_keys,
            "the scores are divided by √S, the number of keys, so a longer text changes every "
            "score; divide by the root of the last axis of q, D.",
            SCALE,
        ),
        Mistake(
            "scale-by-queries",
            scale_by_queries,
            "the scores are divided by √T, the number of queries, so a query's answer depends on "
            "how many others there are; divide by the root of the last axis of q, D.",
            SCALE,
        ),
        Mistake(
            "scale-by-value-size",
            scale_by_value_size,
            "the scores are divided by √Dv, the size of a value, which has no part in the dot "
            "product; take D from q or k.",
            SCALE,
        ),
        Mistake(
            "multiplied-by-root",
            multiplied_by_root,
            "the scores are multiplied by √D, which saturates softmax even more; divide by it.",
            SCALE,
        ),
        Mistake(
            "scale-after-softmax",
            scale_after_softmax,
            "√D divides the weights, so they no longer sum to 1; divide the scores, before the "
            "softmax.",
            SCALE,
        ),
        *shared(attend, "softmax-over-queries"),
        Mistake(
            "softmax-over-axis-one",
            softmax_over_axis_one,
            "softmax runs over axis 1, which is the keys only when there are no leading axes; "
            "count from the end, axis −1.",
            FIRST,
        ),
        Mistake(
            "softmax-over-axis-zero",
            softmax_over_axis_zero,
            "softmax runs over axis 0, the first leading axis; normalise over the keys, axis −1.",
            FIRST,
        ),
        *shared(
            attend, "mask-inverted", "mask-ignored", "mask-after-softmax", "mask-multiplies-scores"
        ),
        Mistake(
            "mask-added",
            mask_added,
            "the mask is added to the scores as 0 and 1, which favours allowed keys but hides "
            "none; a hidden score has to be −∞.",
            BEFORE,
        ),
        *shared(attend, "fill-too-small", "uniform-on-empty", "nan-on-empty"),
        Mistake(
            "weights-left-nonzero",
            weights_left_nonzero,
            "the output of a fully masked row is set to zero, but its weights are returned as they "
            "were; make the weights zero and the output follows.",
            EMPTY,
            also=(weights_left_nan,),
        ),
        Mistake(
            "naive-exponentials",
            naive_exponentials,
            "exp is taken of the scores as they are, and overflows for large ones; subtract each "
            "row's maximum first.",
            OVERFLOW,
        ),
        Mistake(
            "no-softmax",
            no_softmax,
            "the values are summed with the scores themselves, which can be negative and sum to "
            "anything; softmax has to make weights of them first.",
            FIRST,
        ),
        Mistake(
            "swapped-outputs",
            swapped,
            "the weights come back first; return (output, weights).",
            FIRST,
        ),
        Mistake(
            "output-only",
            output_only,
            "only the output comes back; return a tuple, (output, weights).",
            FIRST,
        ),
        Mistake(
            "scores-returned",
            scores_returned,
            "the second value is the scores before the softmax; return the weights.",
            FIRST,
        ),
        Mistake(
            "transposed-all-axes",
            transposed_all_axes,
            "the transpose (.T) turns all axes of k round, the leading ones too; swap the last two "
            "axes only.",
            FIRST,
        ),
        Mistake(
            "axes-counted-from-the-front",
            three_axes_assumed,
            "k's axes 1 and 2 are swapped, which is right only with one leading axis; count from "
            "the end, axes −2 and −1.",
            FIRST,
        ),
    ),
    alternatives=(by_einsum, finite_fill_then_zero, query_by_query),
    hints=(
        "Write the shapes beside each step: which product of q and k has the shape (…, T, S)? "
        "Which of its axes has to sum to 1 in the end?",
        "Four steps: scores, divide, hide, softmax; then average the values. What must a hidden "
        "score be, so that its exponential is exactly 0?",
        "Try a mask whose row is all False: print the weights of that row. Find the step where "
        "they turn into NaN or 1/S, and put that row right with the mask itself.",
    ),
    read=FIRST,
)
