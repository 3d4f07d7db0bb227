"""attention.multi_head: project, cut into heads, attend in each, join, project."""

import math
from functools import partial

import torch

from clearhead.attention import multi_head as reference
from marking.exercise import Exercise, Mistake, Tolerance
from marking.exercises.attention import _attend as parts
from marking.exercises.attention._attend import attend
from marking.exercises.attention._masks import some_allowed, some_empty
from marking.exercises.attention._shared import SCALE, shared

# --- situations ------------------------------------------------------------------------------


def _inputs(draw, *, heads=None, same_size=False, square=False, scale=1.0, B=None):
    """Widths that all differ, unless `square`; with `same_size` a value head is as wide as a key.
    C // H is no head's size unless `square`, and there are never as many tokens as heads.

    The weights are scaled so that scores have a standard deviation near `scale`².
    """
    H = draw.size(2, 3) if heads is None else heads
    B = draw.size(2, 3, small=1) if B is None else B
    T = draw.size(3, 5, small=2)
    T += T == H
    D, Dv = draw.sizes(2, 2, 4, small=1)
    Dv = D if same_size or square else Dv
    C = H * D if square else H * (D + 1) + draw.size(0, 2)
    Cout = C if square else H * Dv + draw.size(1, 3)
    root = math.sqrt(C)
    return {
        "x": draw.normal(B, T, C),
        "w_q": draw.normal(H * D, C, scale=1.5 * scale / root),
        "w_k": draw.normal(H * D, C, scale=1.5 * scale / root),
        "w_v": draw.normal(H * Dv, C, scale=1.0 / root),
        "w_o": draw.normal(Cout, H * Dv, scale=1.0 / math.sqrt(H * Dv)),
        "n_heads": H,
        "mask": None,
    }


def widths_differ(draw):
    return _inputs(draw)


def widths_agree(draw):
    return _inputs(draw, square=True)


def equal_heads(draw):
    return _inputs(draw, same_size=True)


def one_head(draw):
    return _inputs(draw, heads=1)


def causal(draw):
    """One sequence alone, and the mask has no axis for it."""
    inputs = _inputs(draw, same_size=True, B=1)
    T = inputs["x"].shape[1]
    return inputs | {"mask": torch.ones(T, T, dtype=torch.bool).tril()}


def padding_mask(draw):
    """(B, 1, 1, T): each sequence has its own keys to leave out."""
    inputs = _inputs(draw, square=True)
    B, T = inputs["x"].shape[:2]
    return inputs | {"mask": some_allowed(draw, B, 1, 1, T)}


def empty_row(draw):
    inputs = _inputs(draw, square=True)
    B, T = inputs["x"].shape[:2]
    return inputs | {"mask": some_empty(draw, B, 1, T, T)}


def nothing_allowed(draw):
    inputs = _inputs(draw, square=True)
    T = inputs["x"].shape[1]
    return inputs | {"mask": torch.zeros(T, T, dtype=torch.bool)}


def widely_spread(draw):
    return _inputs(draw, square=True, scale=5.0)


def transposed_views(draw):
    """x as (T, B, C) with the axes swapped, the weights as transposes."""
    inputs = _inputs(draw, square=True, B=2)
    inputs["x"] = inputs["x"].transpose(0, 1).contiguous().transpose(0, 1)
    for name in ("w_q", "w_k", "w_v", "w_o"):
        inputs[name] = inputs[name].T.contiguous().T
    return inputs


# --- mistakes: one change each to `_heads`, or a function of their own --------------------------


def _cut(y, H):
    B, T, width = y.shape
    return y.view(B, T, H, width // H).transpose(1, 2)


def _cut_without_transpose(y, H):
    B, T, width = y.shape
    return y.view(B, H, T, width // H)


def _join(y):
    B, H, T, D = y.shape
    return y.transpose(1, 2).reshape(B, T, H * D)


def _join_without_transpose(y):
    B, H, T, D = y.shape
    return y.reshape(B, T, H * D)


def _join_by_view(y):
    B, H, T, D = y.shape
    return y.transpose(1, 2).view(B, T, H * D)


def _linear(x, w):
    return x @ w.T


def _pick(w_q, w_k, w_v):
    return w_q, w_k, w_v


def _heads(
    x,
    w_q,
    w_k,
    w_v,
    w_o,
    n_heads,
    mask,
    *,
    pick=_pick,
    linear=_linear,
    cut=_cut,
    join=_join,
    out=_linear,
    **changes,
):
    """As it stands it is right; `changes` are for `attend`."""
    q, k, v = (cut(linear(x, w), n_heads) for w in pick(w_q, w_k, w_v))
    return out(join(attend(q, k, v, mask, **changes)[0]), w_o)


cut_without_transpose = partial(_heads, cut=_cut_without_transpose)
joined_without_transpose = partial(_heads, join=_join_without_transpose)
view_after_transpose = partial(_heads, join=_join_by_view)
never_transposed = partial(_heads, cut=_cut_without_transpose, join=_join_without_transpose)
features_interleaved = partial(_heads, cut=lambda y, H: y.unflatten(-1, (-1, H)).movedim(-1, 1))
joined_interleaved = partial(_heads, join=lambda y: y.movedim(1, -1).flatten(-2))
heads_attend_to_heads = partial(
    _heads, cut=lambda y, H: y.unflatten(-1, (H, -1)), join=lambda y: y.flatten(-2)
)
heads_averaged = partial(_heads, join=lambda y: y.mean(1).repeat(1, 1, y.shape[1]))
heads_summed = partial(_heads, join=lambda y: y.sum(1))

weights_not_transposed = partial(_heads, linear=torch.matmul, out=torch.matmul)
output_weight_not_transposed = partial(_heads, out=torch.matmul)
no_output_projection = partial(_heads, out=lambda y, w_o: y)
keys_from_queries = partial(_heads, pick=lambda w_q, w_k, w_v: (w_q, w_q, w_v))
values_from_keys = partial(_heads, pick=lambda w_q, w_k, w_v: (w_q, w_k, w_k))
queries_and_keys_swapped = partial(_heads, pick=lambda w_q, w_k, w_v: (w_k, w_q, w_v))

scale_by_all_heads = partial(_heads, scale=lambda q, k, v: (q.shape[1] * q.shape[-1]) ** -0.5)


def scale_by_input(x, w_q, w_k, w_v, w_o, n_heads, mask):
    C = x.shape[-1]
    return _heads(x, w_q, w_k, w_v, w_o, n_heads, mask, scale=lambda q, k, v: 1 / math.sqrt(C))


def one_head_only(x, w_q, w_k, w_v, w_o, n_heads, mask):
    if mask is not None and mask.ndim == 4:
        mask = mask[:, 0]
    return attend(x @ w_q.T, x @ w_k.T, x @ w_v.T, mask)[0] @ w_o.T


def always_causal(x, w_q, w_k, w_v, w_o, n_heads, mask):
    T = x.shape[1]
    return _heads(x, w_q, w_k, w_v, w_o, n_heads, torch.ones(T, T, dtype=torch.bool).tril())


def head_size_from_input(x, w_q, w_k, w_v, w_o, n_heads, mask):
    D = x.shape[-1] // n_heads

    def cut(y, H):
        return y.view(*y.shape[:2], H, D).transpose(1, 2)

    return _heads(x, w_q, w_k, w_v, w_o, n_heads, mask, cut=cut)


def value_size_from_keys(x, w_q, w_k, w_v, w_o, n_heads, mask):
    D = w_q.shape[0] // n_heads

    def cut(y, H):
        return y.view(*y.shape[:2], H, D).transpose(1, 2)

    return _heads(x, w_q, w_k, w_v, w_o, n_heads, mask, cut=cut)


# --- other right answers ---------------------------------------------------------------------


def by_einsum(x, w_q, w_k, w_v, w_o, n_heads, mask):
    q, k, v = (
        torch.einsum("btc,hdc->bhtd", x, w.reshape(n_heads, -1, w.shape[1]))
        for w in (w_q, w_k, w_v)
    )
    scores = torch.einsum("bhtd,bhsd->bhts", q, k) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = torch.softmax(scores, dim=-1).nan_to_num(nan=0.0)
    w_o = w_o.reshape(w_o.shape[0], n_heads, -1)
    return torch.einsum("bhts,bhsd,ohd->bto", weights, v, w_o)


def head_by_head(x, w_q, w_k, w_v, w_o, n_heads, mask):
    B, T, _ = x.shape
    if mask is not None:
        mask = mask.expand(B, n_heads, T, T)
    outputs = []
    pieces = zip(*(w.chunk(n_heads, dim=0) for w in (w_q, w_k, w_v)), strict=True)
    for h, (a, b, c) in enumerate(pieces):
        scores = (x @ a.T) @ (x @ b.T).transpose(1, 2) / math.sqrt(a.shape[0])
        if mask is not None:
            scores = torch.where(mask[:, h], scores, -1e9)
        weights = torch.softmax(scores, dim=-1)
        if mask is not None:
            weights = weights * mask[:, h]
        outputs.append(weights @ (x @ c.T))
    return torch.cat(outputs, dim=-1) @ w_o.T


def output_summed_by_head(x, w_q, w_k, w_v, w_o, n_heads, mask):
    """Each head is multiplied by its own columns of w_o, and the results are added."""
    q, k, v = (torch.nn.functional.linear(x, w).chunk(n_heads, -1) for w in (w_q, w_k, w_v))
    q, k, v = torch.stack(q, 1), torch.stack(k, 1), torch.stack(v, 1)
    scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2))
    allowed = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask
    scores = scores.masked_fill(~allowed, -math.inf)
    top = scores.amax(-1, keepdim=True).clamp(min=-1e30)
    e = (scores - top).exp()
    heads = e @ v / e.sum(-1, keepdim=True).clamp(min=1e-30)
    return sum(heads[:, h] @ w.T for h, w in enumerate(w_o.chunk(n_heads, dim=1)))


HEADS = "attention/03_masks_heads_positions#why-several-heads"
VIEW = "attention/03_masks_heads_positions#what-does-view-do-where-transpose-belongs"
THREE = "attention/01_queries_keys_values#why-three-matrices-and-not-one"

MULTI_HEAD = Exercise(
    id="attention.multi_head",
    title="Multi-head self-attention",
    returns="a tensor (B, T, Cout) in the dtype of x",
    points=4,
    difficulty=3,
    minutes=30,
    reference=reference,
    cases={
        "widths all different": widths_differ,
        "widths all the same": widths_agree,
        "value heads as wide as key heads": equal_heads,
        "one head": one_head,
        "a causal mask": causal,
        "a padding mask that broadcasts": padding_mask,
        "a fully masked row": empty_row,
        "nothing may be attended to": nothing_allowed,
        "scores spread over ±50": widely_spread,
        "transposed views": transposed_views,
    },
    tolerance=Tolerance(fp32=1e-4),
    forbidden=parts.FUSED,
    mistakes=(
        Mistake(
            "cut-without-transpose",
            cut_without_transpose,
            "view(B, H, T, D) cuts the memory of (B, T, H·D) in the wrong places and mixes "
            "positions; cut the last axis into (H, D) first, then swap the axes T and H.",
            VIEW,
        ),
        Mistake(
            "joined-without-transpose",
            joined_without_transpose,
            "the heads are joined straight from (B, H, T, Dv), which mixes positions; swap the "
            "axes H and T back first.",
            VIEW,
        ),
        Mistake(
            "view-after-transpose",
            view_after_transpose,
            "transpose swaps the axes and leaves the memory as it was, and view cannot join axes "
            "that are apart in memory; use reshape, or contiguous() before view.",
            VIEW,
        ),
        Mistake(
            "never-transposed",
            never_transposed,
            "the heads are cut by view(B, H, T, D) and joined again without swapping axes, which "
            "mixes positions; cut the last axis into (H, D), then swap T and H, and back at the "
            "end.",
            VIEW,
        ),
        Mistake(
            "heads-attend-to-heads",
            heads_attend_to_heads,
            "the axes are (B, T, H, D) when attention runs, so the heads of one position attend "
            "to each other; swap T and H before.",
            VIEW,
        ),
        Mistake(
            "features-interleaved",
            features_interleaved,
            "the last axis is cut into (D, H), so a head takes every H-th feature; head h takes "
            "the features h·D to (h+1)·D: cut into (H, D).",
            VIEW,
        ),
        Mistake(
            "joined-interleaved",
            joined_interleaved,
            "the joined features run over the heads fastest; lay whole heads side by side, "
            "(B, T, H, Dv).",
            VIEW,
        ),
        Mistake(
            "weights-not-transposed",
            weights_not_transposed,
            "x is multiplied by the weights as they are; they are stored as (out, in), as "
            "nn.Linear does, so multiply by the transpose.",
            HEADS,
        ),
        Mistake(
            "output-weight-not-transposed",
            output_weight_not_transposed,
            "the last product takes w_o as it is; it is stored as (out, in) like the others, so "
            "multiply by the transpose.",
            HEADS,
        ),
        Mistake(
            "no-output-projection",
            no_output_projection,
            "the joined heads are returned as they are; w_o has to mix them.",
            HEADS,
        ),
        Mistake(
            "heads-averaged",
            heads_averaged,
            "the heads are averaged before the last product, which throws away what sets them "
            "apart; lay them side by side.",
            HEADS,
        ),
        Mistake(
            "heads-summed",
            heads_summed,
            "the heads are added up, so the result is only Dv wide and does not fit w_o; lay them "
            "side by side.",
            HEADS,
        ),
        Mistake(
            "one-head-only",
            one_head_only,
            "n_heads is not used, and one wide head does all the work; cut queries, keys and "
            "values into heads first.",
            HEADS,
        ),
        Mistake(
            "keys-from-queries",
            keys_from_queries,
            "the keys are made with w_q; use w_k.",
            THREE,
        ),
        Mistake(
            "values-from-keys",
            values_from_keys,
            "the values are made with w_k; use w_v.",
            THREE,
        ),
        Mistake(
            "queries-and-keys-swapped",
            queries_and_keys_swapped,
            "the queries are made with w_k and the keys with w_q, which transposes the scores; "
            "use each weight for its own.",
            THREE,
        ),
        Mistake(
            "head-size-from-input",
            head_size_from_input,
            "the head size is taken as C // n_heads, but the width of x need not be H·D; take it "
            "from the projection.",
            HEADS,
        ),
        Mistake(
            "value-size-from-keys",
            value_size_from_keys,
            "value heads are taken to be as wide as key heads; Dv may differ from D, so take it "
            "from w_v.",
            HEADS,
        ),
        *shared(_heads, "no-scale", "scale-by-d"),
        Mistake(
            "scale-by-all-heads",
            scale_by_all_heads,
            "the scores are divided by √(H·D), the width of all heads together; each head's dot "
            "product has D terms.",
            SCALE,
        ),
        Mistake(
            "scale-by-input-width",
            scale_by_input,
            "the scores are divided by √C, the width of x; each head's dot product has D terms.",
            SCALE,
        ),
        *shared(
            _heads, "softmax-over-queries", "softmax-over-heads", "mask-inverted", "mask-ignored"
        ),
        Mistake(
            "always-causal",
            always_causal,
            "a causal mask is applied whatever the argument says; use the mask that is given, and "
            "none when it is None.",
            HEADS,
        ),
        *shared(
            _heads,
            "mask-after-softmax",
            "mask-multiplies-scores",
            "uniform-on-empty",
            "nan-on-empty",
        ),
    ),
    alternatives=(by_einsum, head_by_head, output_summed_by_head),
    hints=(
        "Follow one number: the feature h·D + d of position t. Where is it after the projection, "
        "after the cut into heads, and after you join the heads again?",
        "view and reshape only re-read memory in its order; they never swap axes. Which two axes "
        "have to be swapped so that T and D are the last two, and when do you swap them back?",
        "Check the pieces apart: with one head your function must equal plain attention on the "
        "projections. If it does and two heads fail, print a tensor of numbers 0, 1, 2, … through "
        "your cut and look at what head 0 of position 0 holds.",
    ),
    read=HEADS,
)
