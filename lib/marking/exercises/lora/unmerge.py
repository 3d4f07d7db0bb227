"""lora.unmerge: take the adapter out of a merged weight again."""

from functools import partial

import torch

from clearhead.lora import unmerge
from marking.exercise import Exercise, Mistake
from marking.exercises.lora._adapter import (
    adapter,
    alpha_above,
    alpha_below,
    alpha_over_r,
    layer_sizes,
    scale_mistakes,
)

# --- situations ------------------------------------------------------------------------------


def _inputs(draw, O, I, r, *, alpha=None):
    """A merged weight, as it comes from a training: any matrix will do."""
    alpha = alpha_above(draw, r) if alpha is None else alpha
    return {"merged": draw.normal(O, I), **adapter(draw, I, O, r), "alpha": alpha}


def more_outputs(draw):
    I, O, r = layer_sizes(draw)
    return _inputs(draw, max(I, O), min(I, O), r)


def more_inputs(draw):
    I, O, r = layer_sizes(draw)
    return _inputs(draw, min(I, O), max(I, O), r)


def square(draw):
    """Where a transposed product has the right shape."""
    width, _, r = layer_sizes(draw, square=True)
    return _inputs(draw, width, width, r)


def square_rank_one(draw):
    width = draw.size(3, 9, small=2)
    return _inputs(draw, width, width, 1, alpha=draw.choice(3, 5))


def alpha_is_rank(draw):
    I, O, r = layer_sizes(draw)
    return _inputs(draw, O, I, r, alpha=r)


def small_alpha(draw):
    I, O, r = layer_sizes(draw)
    return _inputs(draw, O, I, r, alpha=alpha_below(draw, r))


def adapter_of_zeros(draw):
    """B as it is before the first step: nothing was added."""
    I, O, r = layer_sizes(draw)
    inputs = _inputs(draw, O, I, r)
    return inputs | {"B": torch.zeros_like(inputs["B"])}


def transposed_view(draw):
    I, O, r = layer_sizes(draw)
    inputs = _inputs(draw, O, I, r)
    return inputs | {"merged": inputs["merged"].T.contiguous().T}


# --- mistakes: one change each to `_unmerged` ---------------------------------------------------


def _unmerged(
    merged,
    A,
    B,
    alpha,
    *,
    product=lambda A, B: B @ A,
    scale=alpha_over_r,
    combine=lambda merged, delta: merged - delta,
):
    """As it stands it is right."""
    return combine(merged, scale(alpha, A, B) * product(A, B))


added = partial(_unmerged, combine=lambda merged, delta: merged + delta)
subtracted_from = partial(_unmerged, combine=lambda merged, delta: delta - merged)
only_the_update = partial(_unmerged, combine=lambda merged, delta: delta)
unchanged = partial(_unmerged, combine=lambda merged, delta: merged.clone())
subtracted_twice = partial(_unmerged, combine=lambda merged, delta: merged - 2 * delta)

transposed = partial(_unmerged, product=lambda A, B: (B @ A).T)
transposed_factors = partial(_unmerged, product=lambda A, B: A.T @ B.T)
wrong_order = partial(_unmerged, product=lambda A, B: A @ B)
elementwise = partial(_unmerged, product=lambda A, B: B * A)
first_rank_only = partial(_unmerged, product=lambda A, B: torch.outer(B[:, 0], A[0]))


def scaled_weight_too(merged, A, B, alpha):
    return alpha / A.shape[0] * (merged - B @ A)


def divided(merged, A, B, alpha):
    return merged / (1 + alpha / A.shape[0] * (B @ A))


# --- other right answers ---------------------------------------------------------------------


def rank_by_rank(merged, A, B, alpha):
    base = merged.clone()
    for column, row in zip(B.T, A, strict=True):
        base -= alpha / len(A) * torch.outer(column, row)
    return base


def one_call(merged, A, B, alpha):
    return torch.addmm(merged, B, A, alpha=-alpha / B.shape[1])


def scaled_factor(merged, A, B, alpha):
    r = A.size(0)
    down = torch.einsum("or,ri->oi", B * (alpha / r), A)
    return merged.sub(down)


MERGE = "lora/03_merge_and_swap#does-unmerging-give-the-base-back"

UNMERGE = Exercise(
    id="lora.unmerge",
    title="Take an adapter out again",
    returns="a tensor (O, I) in the dtype of merged",
    points=1,
    difficulty=1,
    minutes=5,
    reference=unmerge,
    cases={
        "more outputs than inputs": more_outputs,
        "more inputs than outputs": more_inputs,
        "a square weight": square,
        "a square weight and rank 1": square_rank_one,
        "alpha equal to the rank": alpha_is_rank,
        "alpha below the rank": small_alpha,
        "B is zero": adapter_of_zeros,
        "merged is a transposed view": transposed_view,
    },
    mistakes=(
        Mistake(
            "added-again",
            added,
            "the adapter is added a second time, as also happens when both A and B are negated; "
            "unmerging subtracts what merging added.",
            MERGE,
        ),
        Mistake(
            "subtracted-from-the-update",
            subtracted_from,
            "merged is subtracted from the update, so the base comes out negated; it is merged "
            "minus the update.",
            MERGE,
        ),
        Mistake(
            "only-the-update",
            only_the_update,
            "the update comes back; what is asked for is the weight without it.",
            MERGE,
        ),
        Mistake(
            "unchanged",
            unchanged,
            "merged comes back as it was; subtract the update from it.",
            MERGE,
        ),
        Mistake(
            "subtracted-twice",
            subtracted_twice,
            "the update is subtracted twice, which leaves minus one adapter in the weight.",
            MERGE,
        ),
        *scale_mistakes(_unmerged, MERGE),
        Mistake(
            "transposed",
            transposed,
            "the transpose of B A is subtracted, which fits only a square weight, and is wrong "
            "there; B A is (O, I) as the weight is.",
            MERGE,
            also=(transposed_factors,),
        ),
        Mistake(
            "wrong-order",
            wrong_order,
            "the product is A B; B (O, R) comes first and A (R, I) second, and gives (O, I).",
            MERGE,
        ),
        Mistake(
            "elementwise",
            elementwise,
            "B and A are multiplied elementwise with *; the update is their matrix product.",
            MERGE,
        ),
        Mistake(
            "first-rank-only",
            first_rank_only,
            "only the first column of B and the first row of A are used; all r of them add up.",
            MERGE,
        ),
        Mistake(
            "base-scaled-too",
            scaled_weight_too,
            "merged is multiplied by α/r as well; the scale belongs to B A alone.",
            MERGE,
        ),
        Mistake(
            "divided",
            divided,
            "merged is divided by 1 + the update; the update was added, so subtract it.",
            MERGE,
        ),
    ),
    alternatives=(rank_by_rank, one_call, scaled_factor),
    hints=(
        "Write down the merged weight as a formula with W in it, and solve it for W.",
        "Which of B A and A B has the shape of the weight? And which axis of A is the rank?",
        "What you subtract must be what was added, scale included: compute one update, in the same "
        "way as for merging, and change one sign.",
    ),
    read=MERGE,
)
