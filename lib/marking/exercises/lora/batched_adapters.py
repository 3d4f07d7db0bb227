"""lora.batched_adapters: a batch in which every row has its own adapter, or none."""

from functools import partial

import torch
from torch.nn import functional as F

from clearhead.lora import batched_adapters
from marking.exercise import Exercise, Mistake, Tolerance
from marking.exercises.lora._adapter import (
    adapter,
    alpha_above,
    alpha_below,
    alpha_over_r,
    layer_sizes,
    scale_mistakes,
)

# --- situations ------------------------------------------------------------------------------


def _inputs(draw, which, N, *, T=None, R=None, square=False, small_alpha=False):
    """`which` is a list with the adapter of each row; the rank is never N."""
    I, O, r = draw.until(lambda: layer_sizes(draw, square=square, R=R), lambda size: size[2] != N)
    both = [adapter(draw, I, O, r) for _ in range(N)]
    return {
        "x": draw.normal(len(which), draw.size(2, 4, small=1) if T is None else T, I),
        "weight": draw.normal(O, I),
        "A": torch.stack([one["A"] for one in both]),
        "B": torch.stack([one["B"] for one in both]),
        "alpha": alpha_below(draw, r) if small_alpha else alpha_above(draw, r),
        "which": torch.tensor(which),
    }


def each_its_own(draw):
    """More adapters than rows; no row has the adapter of its own number."""
    which = draw.choice([3, 2], [3, 2, 1]) if draw.level is None else [2, 0]
    return _inputs(draw, which, draw.size(4, 5, small=3))


def shared_out_of_order(draw):
    """More rows than adapters, and the rows of one adapter do not stand together."""
    return _inputs(draw, [1, 0, 1, *draw.choice([], [0], [0, 1])], 2, small_alpha=True)


def some_base_only(draw):
    n = draw.size(2, 4)
    return _inputs(draw, [n - 1, -1, 0, *draw.choice([], [-1])], n)


def first_row_base_only(draw):
    n = draw.size(2, 4)
    return _inputs(draw, [-1, n - 1, 0, *draw.choice([], [-1])], n)


def all_base_only(draw):
    n = draw.size(2, 3, small=1)
    return _inputs(draw, [-1] * (n + 1), n)


def as_many_of_each(draw):
    """As many rows as tokens and adapters, so that a wrong axis has the right size."""
    n = draw.size(2, 4)
    return _inputs(draw, [(i + 1) % n for i in range(n)], n, T=n)


def one_adapter(draw):
    return _inputs(draw, draw.choice([0, -1, 0], [0, 0, -1], [0, -1, 0, -1]), 1)


def one_row(draw):
    n = draw.size(2, 4)
    return _inputs(draw, [n - 1], n, R=1)


def one_token_a_row(draw):
    """Decoding: each row brings one new token."""
    n = draw.size(2, 4)
    return _inputs(draw, draw.choice([n - 1, -1, 0, n - 1], [1, -1, 1, 0]), n, T=1)


def square_weight(draw):
    return _inputs(draw, draw.choice([1, -1, 0], [1, 0, -1]), 2, square=True)


def transposed_view(draw):
    inputs = _inputs(draw, draw.choice([2, -1, 0], [2, 0, -1], [1, -1, 0]), 3)
    return inputs | {"x": inputs["x"].transpose(0, 1).contiguous().transpose(0, 1)}


# --- mistakes: one change each to `_adapted`, or a function of their own ------------------------


def _each_rows_own(stacked, which):
    return stacked[which.clamp(min=0)]


def _switched_off(update, which):
    return update * (which >= 0)[:, None, None]


def _adapted(
    x,
    weight,
    A,
    B,
    alpha,
    which,
    *,
    base=lambda x, weight: x @ weight.T,
    pick=_each_rows_own,
    off=_switched_off,
    product=torch.matmul,
    scale=alpha_over_r,
    add=lambda base, update, which: base + update,
):
    """As it stands it is right."""
    hidden = product(x, pick(A, which).mT)  # B T R
    update = scale(alpha, A, B) * product(hidden, pick(B, which).mT)
    return add(base(x, weight), off(update, which), which)


def _always_on(update, which):
    return update


minus_one_is_last = partial(_adapted, pick=lambda stacked, which: stacked[which], off=_always_on)
minus_one_is_first = partial(_adapted, off=_always_on)
shifted_by_one = partial(
    _adapted,
    pick=lambda stacked, which: torch.cat([torch.zeros_like(stacked[:1]), stacked])[which],
    off=_always_on,
)
counted_from_one = partial(
    _adapted,
    pick=lambda stacked, which: stacked[(which - 1).clamp(min=0)],
    off=lambda update, which: update * (which >= 1)[:, None, None],
)

zero_read_as_none = partial(_adapted, off=lambda update, which: update * (which > 0)[:, None, None])
zero_read_as_none_and_minus_one_as_last = partial(
    _adapted,
    pick=lambda stacked, which: stacked[which],
    off=lambda update, which: update * (which != 0)[:, None, None],
)


def _all(stacked, which):
    return stacked


def _of_row_number(stacked, which):
    return torch.stack([stacked[b] for b in range(len(which))])


def _as_many_as_rows(stacked, which):
    return stacked[: len(which)]


row_by_number = partial(_adapted, pick=_all, off=_always_on)
row_by_number_too = (
    partial(_adapted, pick=_all),
    partial(_adapted, pick=_all, product=torch.bmm),
    partial(_adapted, pick=_all, product=torch.bmm, off=_always_on),
    partial(_adapted, pick=_as_many_as_rows),
    partial(_adapted, pick=_as_many_as_rows, off=_always_on),
    partial(_adapted, pick=_of_row_number),
    partial(_adapted, pick=_of_row_number, off=_always_on),
)


def _first(stacked, which):
    return stacked[:1].expand(len(which), -1, -1)


def _of_first_row(stacked, which):
    return stacked[which[:1]].expand(len(which), -1, -1)


one_for_all = partial(_adapted, pick=_first, off=_always_on)
one_for_all_too = (
    partial(_adapted, pick=_first),
    partial(_adapted, pick=_of_first_row),
    partial(_adapted, pick=_of_first_row, off=_always_on),
    partial(_adapted, pick=_of_first_row, off=lambda update, which: update * (which[0] >= 0)),
)


def _every(x, weight, A, B, alpha, which, *, off=_always_on, share=1.0):
    update = torch.einsum("bti,nri,nor->bto", x, A, B) * alpha / A.shape[1]
    return x @ weight.T + share * off(update, which)


def averaged(x, weight, A, B, alpha, which):
    return _every(x, weight, A, B, alpha, which, share=1 / len(A))


def _every_used(x, weight, A, B, alpha, which, *, used):
    """The adapters that which names, each on every row."""
    return _every(x, weight, A[used(which)], B[used(which)], alpha, which)


every_adapter = partial(_every)
every_adapter_too = (
    partial(_every, off=_switched_off),
    averaged,
    partial(_every_used, used=lambda which: which[which >= 0]),
    partial(_every_used, used=lambda which: which[which >= 0].unique()),
    partial(_every_used, used=lambda which: which),
    partial(_every_used, used=torch.unique),
)

factors_summed = partial(
    _adapted,
    pick=lambda stacked, which: stacked.sum(0, keepdim=True).expand(len(which), -1, -1),
    off=_always_on,
)

no_base = partial(_adapted, base=lambda x, weight: 0.0)
base_rows_zero = partial(
    _adapted, add=lambda base, update, which: _switched_off(base + update, which)
)
base_untransposed = partial(_adapted, base=lambda x, weight: x @ weight)
one_turns_all_off = partial(_adapted, off=lambda update, which: update * bool((which >= 0).all()))
rank_from_first_axis = partial(_adapted, scale=lambda alpha, A, B: alpha / A.shape[0])
rank_from_input_size = partial(_adapted, scale=lambda alpha, A, B: alpha / A.shape[2])
rank_from_output_size = partial(_adapted, scale=lambda alpha, A, B: alpha / B.shape[1])
only_first_token = partial(
    _adapted,
    off=lambda update, which: torch.cat(
        [_switched_off(update, which)[:, :1], torch.zeros_like(update[:, 1:])], dim=1
    ),
)


def in_order_of_adapters(x, weight, A, B, alpha, which):
    """Rows are grouped by adapter, and come back so."""
    order = torch.argsort(which, stable=True)
    return _adapted(x, weight, A, B, alpha, which)[order]


def only_the_last_adapter(x, weight, A, B, alpha, which):
    """A loop over adapters that starts from the base each time."""
    for n in range(len(A)):
        out = F.linear(x, weight)
        mine = which == n
        out[mine] += alpha / A.shape[1] * (x[mine] @ A[n].T @ B[n].T)
    return out


def group_gets_its_first_row(x, weight, A, B, alpha, which):
    """The update of a group's first row is added to the whole group."""
    out = F.linear(x, weight)
    for n in range(len(A)):
        mine = which == n
        if mine.any():
            out[mine] += alpha / A.shape[1] * (x[mine][0] @ A[n].T @ B[n].T)
    return out


# --- other right answers ---------------------------------------------------------------------


def row_by_row(x, weight, A, B, alpha, which):
    rows = []
    for row, n in zip(x, which.tolist(), strict=True):
        delta = alpha / A.size(1) * B[n] @ A[n] if n != -1 else 0
        rows.append(row @ (weight + delta).T)
    return torch.stack(rows)


def adapter_by_adapter(x, weight, A, B, alpha, which):
    out = torch.einsum("bti,oi->bto", x, weight)
    for n, (down, up) in enumerate(zip(A, B, strict=True)):
        rows = (which == n).nonzero().squeeze(1)
        update = x[rows] @ down.T @ up.T * (alpha / down.shape[0])
        out = out.index_add(0, rows, update)
    return out


def a_last_adapter_of_zeros(x, weight, A, B, alpha, which):
    """Then −1 picks the zeros."""
    A = torch.cat([A, torch.zeros_like(A[:1])])[which]
    B = torch.cat([B, torch.zeros_like(B[:1])])[which]
    hidden = torch.einsum("bti,bri->btr", x, A)
    return F.linear(x, weight) + torch.einsum("btr,bor->bto", hidden, B) * alpha / A.shape[1]


def a_scale_for_each_row(x, weight, A, B, alpha, which):
    scale = torch.where(which >= 0, alpha / A.shape[1], 0.0).to(x.dtype)
    own = which.clamp(min=0)
    update = x @ A[own].transpose(1, 2) @ B[own].transpose(1, 2)
    return x @ weight.T + scale[:, None, None] * update


def by_one_hot(x, weight, A, B, alpha, which):
    """Every adapter on every row, then a choice: slow, and right."""
    updates = torch.einsum("bti,nri,nor->bnto", x, A, B)
    chosen = (which[:, None] == torch.arange(len(A))).to(x.dtype)
    return x @ weight.mT + alpha / A.shape[1] * torch.einsum("bnto,bn->bto", updates, chosen)


SWAP = "lora/03_merge_and_swap#a-hundred-adapters-one-base"

BATCHED_ADAPTERS = Exercise(
    id="lora.batched_adapters",
    title="An adapter for each row of a batch",
    returns="a tensor (B, T, O) in the dtype of x",
    points=3,
    difficulty=3,
    minutes=20,
    reference=batched_adapters,
    cases={
        "an adapter of its own for each row": each_its_own,
        "rows share adapters, out of order": shared_out_of_order,
        "some rows without an adapter": some_base_only,
        "the first row without an adapter": first_row_base_only,
        "no row with an adapter": all_base_only,
        "as many rows as tokens and adapters": as_many_of_each,
        "one adapter": one_adapter,
        "one row, rank one": one_row,
        "one token a row": one_token_a_row,
        "a square weight": square_weight,
        "x is a transposed view": transposed_view,
    },
    # A tensor of scales, one a row, is float32 unless one says otherwise: α/r is then off by 1e-8.
    tolerance=Tolerance(fp64=1e-6),
    mistakes=(
        Mistake(
            "minus-one-is-last",
            minus_one_is_last,
            "−1 is used as an index, and picks the last adapter, as in any Python list; such a row "
            "gets the base alone.",
            SWAP,
        ),
        Mistake(
            "minus-one-is-first",
            minus_one_is_first,
            "−1 is raised to 0, so a row without an adapter gets adapter 0; set its update to zero "
            "as well.",
            SWAP,
        ),
        Mistake(
            "shifted-by-one",
            shifted_by_one,
            "a zero adapter is put in front, which moves every adapter up by one; look up which + "
            "1, or put the zeros at the end, where −1 finds them.",
            SWAP,
        ),
        Mistake(
            "counted-from-one",
            counted_from_one,
            "adapters are counted from 1, and 0 is read as none; count from 0, and −1 is none.",
            SWAP,
        ),
        Mistake(
            "zero-read-as-none",
            zero_read_as_none,
            "adapter 0 is skipped, because 0 counts as false or as none; only −1 is none, so ask "
            "whether the index is −1.",
            SWAP,
            also=(zero_read_as_none_and_minus_one_as_last,),
        ),
        Mistake(
            "row-by-number",
            row_by_number,
            "row b gets adapter b, whatever which says; look each row's adapter up in which.",
            SWAP,
            also=row_by_number_too,
        ),
        Mistake(
            "one-for-all",
            one_for_all,
            "every row gets the same adapter; which holds one index for each row.",
            SWAP,
            also=one_for_all_too,
        ),
        Mistake(
            "every-adapter",
            every_adapter,
            "every adapter, or every one in use, is applied to every row, summed or averaged; a "
            "row gets the one that which names.",
            SWAP,
            also=every_adapter_too,
        ),
        Mistake(
            "factors-summed",
            factors_summed,
            "the A's are summed and the B's are summed before they are multiplied, which adds the "
            "products of one adapter's B with another's A; each row has one pair.",
            SWAP,
        ),
        Mistake(
            "no-base",
            no_base,
            "the update comes back without the base; add x times the weight's transpose.",
            SWAP,
        ),
        Mistake(
            "base-rows-zero",
            base_rows_zero,
            "a row without an adapter comes back as zeros; it still goes through the weight.",
            SWAP,
        ),
        Mistake(
            "weight-not-transposed",
            base_untransposed,
            "x is multiplied by the weight as it is stored, (O, I); its transpose is needed, and a "
            "square weight hides it.",
            SWAP,
        ),
        Mistake(
            "one-turns-all-off",
            one_turns_all_off,
            "one row without an adapter takes the adapters away from the whole batch; decide row "
            "by row.",
            SWAP,
        ),
        Mistake(
            "rank-from-first-axis",
            rank_from_first_axis,
            "α is divided by A.shape[0], which is the number of adapters here; the rank is the "
            "second axis of A.",
            SWAP,
        ),
        Mistake(
            "rank-from-input-size",
            rank_from_input_size,
            "α is divided by the number of inputs or of outputs, the last axis of A or the second "
            "of B; the rank is the second axis of A.",
            SWAP,
            also=(rank_from_output_size,),
        ),
        *scale_mistakes(_adapted, SWAP, "rank-from-input-size", "rank-from-output-size"),
        Mistake(
            "rows-out-of-order",
            in_order_of_adapters,
            "the rows come back grouped by adapter; put each where it stood in x.",
            SWAP,
        ),
        Mistake(
            "only-the-last-adapter",
            only_the_last_adapter,
            "the loop starts from the base again for each adapter, so only the last adapter's rows "
            "keep their update; compute the base once, before the loop.",
            SWAP,
        ),
        Mistake(
            "first-row-of-the-group",
            group_gets_its_first_row,
            "rows that share an adapter all get the update of the first of them; each row has its "
            "own x.",
            SWAP,
        ),
        Mistake(
            "only-the-first-token",
            only_first_token,
            "only the first token of a row is adapted; all tokens of a row share its adapter.",
            SWAP,
        ),
    ),
    alternatives=(
        row_by_row,
        adapter_by_adapter,
        a_last_adapter_of_zeros,
        a_scale_for_each_row,
        by_one_hot,
    ),
    hints=(
        "Which part of the answer is the same for every row, adapter or none? Compute that for the "
        "whole batch first.",
        "Indexing A with a tensor of B indices gives a tensor with B adapters, one for each row. "
        "What does the index −1 pick there, and how do you undo it?",
        "Two batched products take x from (B, T, I) to (B, T, R) to (B, T, O). Find the rows whose "
        "index is below zero, and make what they add zero before you add it.",
    ),
    read=SWAP,
)
