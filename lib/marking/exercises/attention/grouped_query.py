"""attention.grouped_query: H query heads share K key/value heads, neighbours together."""

import math
from functools import partial

import torch

from clearhead.attention import grouped_query as reference
from marking.exercise import Exercise, Mistake
from marking.exercises.attention import _attend as parts
from marking.exercises.attention._attend import attend
from marking.exercises.attention._masks import low_scores, one_unlikely, some_allowed, some_empty
from marking.exercises.attention._shared import SCALE, shared

# --- situations ------------------------------------------------------------------------------


def _qkv(draw, K: int, group: int, *, B: int | None = None, scale: float = 1.0):
    B = draw.size(1, 2) if B is None else B
    T, S, D, Dv = draw.sizes(4, 2, 6)
    T, S = (S, T) if S == 2 else (T, S)  # a mask leaves two keys of three
    if draw.level is not None:  # a pencil does not need them all different
        T, D, Dv = (draw.size(2, 6, small=1) for _ in range(3))
        S = draw.size(2, 6)
    return {
        "q": draw.normal(B, K * group, T, D, scale=scale),
        "k": draw.normal(B, K, S, D, scale=scale),
        "v": draw.normal(B, K, S, Dv),
        "mask": None,
    }


def _TS(inputs) -> tuple[int, int]:
    return inputs["q"].shape[2], inputs["k"].shape[2]


def three_a_head(draw):
    return _qkv(draw, 2, 3)


def two_a_head(draw):
    return _qkv(draw, 3, 2)


def as_many_as_each_share(draw):
    """H / K = K: a factor taken for the other shows in the values, not as an error."""
    return _qkv(draw, 2, 2)


def one_kv_head(draw):
    return _qkv(draw, 1, draw.size(2, 4))


def one_each(draw):
    return _qkv(draw, draw.size(2, 3), 1)


def shared_mask(draw):
    inputs = low_scores(draw, _qkv(draw, 2, draw.size(3, 4, small=2)))
    return inputs | {"mask": some_allowed(draw, *_TS(inputs))}


def mask_by_head(draw):
    B = draw.size(2, 3, small=1)
    inputs = low_scores(draw, _qkv(draw, 2, draw.size(3, 4, small=2), B=B))
    return inputs | {"mask": some_allowed(draw, B, inputs["q"].shape[1], *_TS(inputs))}


def empty_row(draw):
    inputs = low_scores(draw, _qkv(draw, 2, draw.size(3, 4, small=2)))
    return inputs | {"mask": some_empty(draw, *_TS(inputs))}


def nothing_allowed(draw):
    inputs = _qkv(draw, 1, 2)
    return inputs | {"mask": torch.zeros(_TS(inputs), dtype=torch.bool)}


def widely_spread(draw):
    """Scores over ±50, and each query may attend only to the key it likes least."""
    inputs = _qkv(draw, 2, 2, scale=2.0)
    q, k = inputs["q"], inputs["k"]
    q[..., 0] = 8.0
    k[:, :, draw.size(0, k.shape[2] - 1), 0] = -7.5 * math.sqrt(q.shape[-1])
    scores = q @ k.repeat_interleave(2, dim=1).mT
    return inputs | {"mask": one_unlikely(draw, scores)}


def transposed_views(draw):
    """(B, T, H, D) with the axes swapped: the memory is not in the order of the axes."""
    inputs = low_scores(draw, _qkv(draw, 2, 3, B=2))
    for name in ("q", "k", "v"):
        inputs[name] = inputs[name].transpose(1, 2).contiguous().transpose(1, 2)
    return inputs | {"mask": some_allowed(draw, *_TS(inputs))}


# --- mistakes: one change each to `_grouped`, or a function of their own ------------------------


def _neighbours(x, H):
    return x.repeat_interleave(H // x.shape[1], dim=1)


def _tiled(x, H):
    return x.repeat(1, H // x.shape[1], 1, 1)


def _output(output, weights, scores):
    return output


def _grouped(q, k, v, mask, *, keys=_neighbours, values=_neighbours, back=_output, **changes):
    """As it stands it is right; `keys` and `values` share the heads, the rest is for `attend`."""
    H = q.shape[1]
    return attend(q, keys(k, H), values(v, H), mask, back=back, **changes)


def _shared(how):
    return partial(_grouped, keys=how, values=how)


heads_tiled = _shared(_tiled)
values_tiled = partial(_grouped, values=_tiled)
keys_tiled = partial(_grouped, keys=_tiled)
first_head_for_all = _shared(lambda x, H: x[:, :1].expand(-1, H, -1, -1))
heads_averaged = _shared(lambda x, H: x.mean(1, keepdim=True).expand(-1, H, -1, -1))
repeated_k_times = _shared(lambda x, H: x.repeat_interleave(x.shape[1], dim=1))
repeated_h_times = _shared(lambda x, H: x.repeat_interleave(H, dim=1))
not_shared = _shared(lambda x, H: x)
not_shared_by_einsum = partial(
    _grouped,
    keys=lambda x, H: x,
    values=lambda x, H: x,
    product=lambda q, k: torch.einsum("bhtd,bhsd->bhts", q, k),
)
heads_backwards = _shared(lambda x, H: _neighbours(x, H).flip(1))

scale_by_width = partial(_grouped, scale=lambda q, k, v: (q.shape[1] * q.shape[-1]) ** -0.5)


def output_regrouped(q, k, v, mask):
    """Computes group by group, and lays the heads down in another order."""
    out = _grouped(q, k, v, mask)
    return out.unflatten(1, (k.shape[1], -1)).transpose(1, 2).flatten(1, 2)


def group_averaged(q, k, v, mask):
    """The queries of a group are averaged into one."""
    one = q.unflatten(1, (k.shape[1], -1)).mean(2)
    return _grouped(_neighbours(one, q.shape[1]), k, v, mask)


weights_too = partial(_grouped, back=lambda output, weights, scores: (output, weights))


# --- other right answers ---------------------------------------------------------------------


def by_expand(q, k, v, mask):
    B, K, S, D = k.shape
    H = q.shape[1]
    k = k[:, :, None].expand(B, K, H // K, S, D).reshape(B, H, S, D)
    v = v[:, :, None].expand(B, K, H // K, S, v.shape[-1]).reshape(B, H, S, v.shape[-1])
    scores = (q / math.sqrt(D)) @ k.transpose(2, 3)
    weights = torch.softmax(scores, -1)
    if mask is not None:
        weights = torch.softmax(torch.where(mask, scores, -1e9), -1) * mask
    return weights @ v


def by_grouped_einsum(q, k, v, mask):
    H, K = q.shape[1], k.shape[1]
    grouped = q.unflatten(1, (K, H // K))
    scores = torch.einsum("bkgtd,bksd->bkgts", grouped, k).flatten(1, 2) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(mask.logical_not(), -math.inf)
    weights = torch.softmax(scores, dim=-1).nan_to_num(nan=0.0)
    return torch.einsum("bkgts,bksd->bkgtd", weights.unflatten(1, (K, H // K)), v).flatten(1, 2)


def head_by_head(q, k, v, mask):
    B, H, T, D = q.shape
    K, S = k.shape[1:3]
    if mask is not None:
        mask = mask.expand(B, H, T, S)
    heads = []
    for h in range(H):
        kv = h * K // H
        scores = torch.baddbmm(q.new_zeros(B, T, S), q[:, h], k[:, kv].mT) / D**0.5
        if mask is not None:
            scores[~mask[:, h]] = -math.inf
        top = scores.max(-1, keepdim=True).values.clamp(min=-1e30)
        e = torch.exp(scores - top)
        heads.append(e @ v[:, kv] / e.sum(-1, keepdim=True).clamp(min=1e-30))
    return torch.stack(heads, dim=1)


SHARED = "attention/03_masks_heads_positions#why-can-heads-share-keys-and-values"

GROUPED_QUERY = Exercise(
    id="attention.grouped_query",
    title="Grouped-query attention",
    returns="a tensor (B, H, T, Dv) in the dtype of q",
    points=3,
    difficulty=2,
    minutes=15,
    reference=reference,
    cases={
        "2 key/value heads, 6 query heads": three_a_head,
        "3 key/value heads, 6 query heads": two_a_head,
        "2 key/value heads, 4 query heads": as_many_as_each_share,
        "one key/value head": one_kv_head,
        "as many key/value heads as query heads": one_each,
        "one mask for every head": shared_mask,
        "a mask for each head": mask_by_head,
        "a fully masked row": empty_row,
        "nothing may be attended to": nothing_allowed,
        "only a very unlikely key is allowed": widely_spread,
        "transposed views": transposed_views,
    },
    forbidden=parts.FUSED,
    mistakes=(
        Mistake(
            "heads-tiled",
            heads_tiled,
            "the key/value heads are laid out 0 1 0 1 (repeat) where neighbours should share one, "
            "0 0 1 1; query head h reads key/value head h // (H // K).",
            SHARED,
        ),
        Mistake(
            "values-tiled",
            values_tiled,
            "keys are shared as 0 0 1 1 and values as 0 1 0 1, so a query reads the values of "
            "another head's keys; share both the same way.",
            SHARED,
        ),
        Mistake(
            "keys-tiled",
            keys_tiled,
            "values are shared as 0 0 1 1 and keys as 0 1 0 1, so a query reads the values of "
            "another head's keys; share both the same way.",
            SHARED,
        ),
        Mistake(
            "first-head-for-all",
            first_head_for_all,
            "every query head reads key/value head 0; that is right only when K = 1.",
            SHARED,
        ),
        Mistake(
            "kv-heads-averaged",
            heads_averaged,
            "the key/value heads are averaged into one; each group of query heads reads its own.",
            SHARED,
        ),
        Mistake(
            "repeated-k-times",
            repeated_k_times,
            "each key/value head is copied K times; it serves H / K query heads, so copy it that "
            "often.",
            SHARED,
        ),
        Mistake(
            "repeated-h-times",
            repeated_h_times,
            "each key/value head is copied H times, which makes K·H heads; it serves H / K query "
            "heads, so copy it that often.",
            SHARED,
        ),
        Mistake(
            "not-shared",
            not_shared,
            "the K key/value heads meet the H query heads as they are, which fits only when K is "
            "1 or H; give each query head the one it shares.",
            SHARED,
            also=(not_shared_by_einsum,),
        ),
        Mistake(
            "heads-out-of-order",
            output_regrouped,
            "the heads are right but come back in another order, group and place in the group "
            "swapped; head h of the output belongs to head h of q.",
            SHARED,
        ),
        Mistake(
            "queries-averaged",
            group_averaged,
            "the queries of a group are averaged into one; they share keys and values, but each "
            "has its own weights.",
            SHARED,
        ),
        Mistake(
            "heads-backwards",
            heads_backwards,
            "the last query heads read the first key/value head; count both in the same direction.",
            SHARED,
        ),
        *shared(_grouped, "no-scale", "scale-by-d"),
        Mistake(
            "scale-by-width",
            scale_by_width,
            "the scores are divided by √(H·D), the width of all heads together; D is the size of "
            "one head.",
            SCALE,
        ),
        *shared(
            _grouped,
            "softmax-over-queries",
            "softmax-over-heads",
            "mask-inverted",
            "mask-ignored",
            "mask-after-softmax",
            "mask-multiplies-scores",
            "fill-too-small",
            "uniform-on-empty",
            "nan-on-empty",
        ),
        Mistake(
            "weights-too",
            weights_too,
            "it returns the weights as well; here only the output is asked for.",
            SHARED,
        ),
    ),
    alternatives=(by_expand, by_grouped_einsum, head_by_head),
    hints=(
        "With H = 6 and K = 2, write down for each query head which key/value head it reads. Which "
        "heads are neighbours in a group?",
        "How often does each key/value head have to appear along the head axis, so that ordinary "
        "attention can follow? And in which order: 0 0 0 1 1 1 or 0 1 0 1 0 1?",
        "Print the head numbers themselves: put torch.arange(K) through your way of copying heads, "
        "and compare it with your list. A function that repeats each element is not the same as "
        "one that repeats the whole.",
    ),
    read=SHARED,
)
