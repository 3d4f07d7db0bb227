"""lora.merge: the adapter folded into the weight, W + (α/r) B A."""

import math
from functools import partial

import torch

from clearhead import lora as library
from marking.exercise import Exercise, Mistake, Tolerance
from marking.exercises.lora._adapter import (
    adapter,
    alpha_above,
    alpha_below,
    alpha_over_r,
    layer_sizes,
    scale_mistakes,
)


def reference(weight, A, B, alpha):
    return library.merge(weight, A, B, alpha)


# --- situations ------------------------------------------------------------------------------


def _inputs(draw, sizes=None, alpha=alpha_above):
    I, O, R = sizes or layer_sizes(draw)
    weight = draw.normal(O, I, scale=1 / math.sqrt(I))
    return {"weight": weight, **adapter(draw, I, O, R), "alpha": alpha(draw, R)}


def a_layer(draw):
    return _inputs(draw)


def small_alpha(draw):
    return _inputs(draw, alpha=alpha_below)


def as_many_out_as_in(draw):
    return _inputs(draw, layer_sizes(draw, square=True))


def as_large_as_the_layer(draw):
    """R = I = O: every product that could be written has a shape that fits."""
    n = draw.size(3, 5, small=2)
    return _inputs(draw, (n, n, n))


def rank_one(draw):
    I, O = draw.sizes(2, 2, 8)
    return _inputs(draw, (I, O, 1))


def before_training(draw):
    """B is zero: the weight is what it was."""
    inputs = _inputs(draw)
    return inputs | {"B": torch.zeros_like(inputs["B"])}


def transposed_views(draw):
    inputs = _inputs(draw)
    return {k: v.T.contiguous().T if torch.is_tensor(v) else v for k, v in inputs.items()}


# --- mistakes: one change each to `_merged` -----------------------------------------------------


def _merged(
    weight,
    A,
    B,
    alpha,
    *,
    scale=alpha_over_r,
    product=lambda A, B: B @ A,
    join=lambda weight, s, update: weight + s * update,
):
    """As it stands it is right."""
    return join(weight, scale(alpha, A, B), product(A, B))


def _join(join):
    return partial(_merged, join=join)


subtracted = _join(lambda weight, s, update: weight - s * update)
added_twice = _join(lambda weight, s, update: weight + 2 * s * update)
whole_scaled = _join(lambda weight, s, update: s * (weight + update))
shared_out = _join(lambda weight, s, update: (1 - s) * weight + s * update)
averaged = _join(lambda weight, s, update: (weight + s * update) / 2)
only_update = _join(lambda weight, s, update: s * update)
nothing_added = _join(lambda weight, s, update: weight.clone())
weight_transposed = _join(lambda weight, s, update: (weight + s * update).T)
multiplied = _join(lambda weight, s, update: weight * (1 + s * update))
composed = _join(lambda weight, s, update: weight + s * (update @ weight))
update_transposed = partial(_merged, product=lambda A, B: (B @ A).T)
order_swapped = partial(_merged, product=lambda A, B: A @ B)
inner_product = partial(_merged, product=lambda A, B: B.T @ A.T)
summed = partial(_merged, product=lambda A, B: A + B)
elementwise = partial(_merged, product=lambda A, B: B * A)
elementwise_turned = partial(_merged, product=lambda A, B: A * B.T)


def _in_short(weight, s, update, *, dtype, weight_too):
    """The sum in `dtype`, or only the update rounded to it."""
    if weight_too:
        return (weight.to(dtype) + (s * update).to(dtype)).to(weight.dtype)
    return weight + (s * update).to(dtype)


in_bfloat16, update_in_bfloat16, in_float16, update_in_float16 = (
    _join(partial(_in_short, dtype=dtype, weight_too=weight_too))
    for dtype in (torch.bfloat16, torch.float16)
    for weight_too in (True, False)
)


# --- other right answers ---------------------------------------------------------------------


def by_addmm(weight, A, B, alpha):
    return torch.addmm(weight, B, A, alpha=alpha / A.size(0))


def sum_of_outer_products(weight, A, B, alpha):
    merged = weight.clone()
    for k in range(A.shape[0]):
        merged += alpha / A.shape[0] * torch.outer(B[:, k], A[k])
    return merged


def by_einsum(weight, A, B, alpha):
    r = B.shape[-1]
    return weight + torch.einsum("or,ri->oi", alpha * B, A) / r


def from_the_outputs(weight, A, B, alpha):
    """What the layer gives for each unit vector is a column of the merged weight."""
    unit = torch.eye(weight.shape[1], dtype=weight.dtype)
    return (unit @ weight.T + (unit @ A.T) @ B.T * (alpha / len(A))).T


MERGE = "lora/03_merge_and_swap#merging-by-hand"
SCALE = "lora/02_mathematics#what-does-alpha-do"

MERGE_WEIGHT = Exercise(
    id="lora.merge",
    title="The adapter folded into the weight",
    returns="a new tensor (O, I) in the dtype of weight",
    points=2,
    difficulty=1,
    minutes=10,
    reference=reference,
    tolerance=Tolerance(fp32=5e-6),
    cases={
        "a trained adapter": a_layer,
        "alpha below the rank": small_alpha,
        "as many outputs as inputs": as_many_out_as_in,
        "a rank as large as the layer": as_large_as_the_layer,
        "rank one": rank_one,
        "before training": before_training,
        "transposed views": transposed_views,
    },
    mistakes=(
        *scale_mistakes(_merged, SCALE),
        Mistake(
            "update-transposed",
            update_transposed,
            "the transpose of BA is added; BA has the shape (O, I) of the weight already, as both "
            "are stored as nn.Linear stores them.",
            MERGE,
        ),
        Mistake(
            "order-swapped",
            order_swapped,
            "A and B are multiplied in the wrong order, A first; that is an (R, R) matrix where it "
            "exists at all. The update is BA.",
            MERGE,
        ),
        Mistake(
            "both-transposed",
            inner_product,
            "Bᵀ and Aᵀ are multiplied, which is the transpose of AB; the update is BA, with both "
            "as they are stored.",
            MERGE,
        ),
        Mistake(
            "elementwise",
            elementwise,
            "A and B are put together entry by entry; the update is their matrix product, B @ A.",
            MERGE,
            also=(elementwise_turned, summed),
        ),
        Mistake(
            "in-half-precision",
            in_bfloat16,
            "the update is rounded to 16 bits on the way, which loses a small one altogether; "
            "compute it in the dtype of weight.",
            MERGE,
            also=(update_in_bfloat16, in_float16, update_in_float16),
        ),
        Mistake(
            "subtracted",
            subtracted,
            "the update is subtracted, which is how an adapter is taken out again; add it.",
            MERGE,
        ),
        Mistake(
            "added-twice",
            added_twice,
            "the update is added twice, and nothing would tell: the layer still runs. Add it once.",
            MERGE,
        ),
        Mistake(
            "weight-scaled-too",
            whole_scaled,
            "the frozen weight is multiplied by α/r too; only the update is scaled.",
            SCALE,
        ),
        Mistake(
            "shared-out",
            shared_out,
            "weight and update are weighed against each other; the weight stays whole, and the "
            "update is added to it.",
            MERGE,
            also=(averaged,),
        ),
        Mistake(
            "only-the-update",
            only_update,
            "only the update comes back; add it to the weight.",
            MERGE,
        ),
        Mistake(
            "nothing-added",
            nothing_added,
            "the weight comes back as it was; add (α/r)·BA to it.",
            MERGE,
        ),
        Mistake(
            "answer-transposed",
            weight_transposed,
            "the merged weight comes back transposed; keep the axes (O, I).",
            MERGE,
        ),
        Mistake(
            "multiplied-into-the-weight",
            composed,
            "the update is multiplied with the weight; the adapter stands beside the layer, not "
            "behind it, so its update is added.",
            MERGE,
            also=(multiplied,),
        ),
    ),
    alternatives=(by_addmm, sum_of_outer_products, by_einsum, from_the_outputs),
    hints=(
        "The layer gives W x plus the adapter's share. Take x out of the sum: which one matrix "
        "gives the same for every x?",
        "Write down the shapes of W, A and B. Which product of A and B has the shape of W?",
        "The scale that forward gives to the adapter's output is a number, so it can be given to "
        "the matrix instead. Leave weight itself as it is, and return a new tensor.",
    ),
    read=MERGE,
)
