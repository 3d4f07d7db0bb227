"""lora.forward: h = W x + b + (α/r) B A x, for any number of leading axes."""

import math
from functools import partial

import torch
import torch.nn.functional as F

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


def reference(x, weight, bias, A, B, alpha):
    return library.forward(x, weight, A, B, alpha, bias)


# --- situations ------------------------------------------------------------------------------


def _inputs(draw, *lead, sizes=None, alpha=alpha_above):
    """Somewhere A x is negative, so that a function put between A and B shows."""
    I, O, R = sizes or layer_sizes(draw)
    factors = adapter(draw, I, O, R)

    def negative(x):
        return bool((x @ factors["A"].T).min() < -0.1)

    return {
        "x": draw.until(lambda: draw.normal(*lead, I), negative),
        "weight": draw.normal(O, I, scale=1 / math.sqrt(I)),
        "bias": draw.normal(O),
        **factors,
        "alpha": alpha(draw, R),
    }


def rows(draw):
    return _inputs(draw, draw.size(2, 5, small=1))


def sequences(draw):
    return _inputs(draw, *draw.sizes(2, 2, 4, small=1))


def one_vector(draw):
    return _inputs(draw)


def small_alpha(draw):
    return _inputs(draw, draw.size(2, 5, small=1), alpha=alpha_below)


def no_bias(draw):
    return rows(draw) | {"bias": None}


def as_many_out_as_in(draw):
    return _inputs(draw, draw.size(2, 5, small=1), sizes=layer_sizes(draw, square=True))


def as_large_as_the_layer(draw):
    """R = I = O: every product that could be written has a shape that fits."""
    n = draw.size(3, 5, small=2)
    return _inputs(draw, draw.size(2, 5, small=1), sizes=(n, n, n))


def one_row_rank_one(draw):
    """A batch of one is still a batch, and a factor of rank one still a matrix."""
    return _inputs(draw, 1, sizes=layer_sizes(draw, R=1))


def before_training(draw):
    """B is zero: the layer is what it was."""
    inputs = rows(draw)
    return inputs | {"B": torch.zeros_like(inputs["B"])}


def transposed_views(draw):
    """x as (T, B, I) with the axes swapped, the matrices as transposes."""
    inputs = _inputs(draw, *draw.sizes(2, 2, 4, small=1))
    inputs["x"] = inputs["x"].transpose(0, 1)
    for name in ("weight", "A", "B"):
        inputs[name] = inputs[name].T.contiguous().T
    return inputs


# --- mistakes: one change each to `_layer` ------------------------------------------------------


def _layer(
    x,
    weight,
    bias,
    A,
    B,
    alpha,
    *,
    base=lambda x, weight: x @ weight.T,
    add_bias=lambda y, bias, s: y + bias,
    branch=lambda x, y, A, B: x @ A.T @ B.T,
    scale=alpha_over_r,
    join=lambda y, s, update: y + s * update,
):
    """As it stands it is right."""
    s = scale(alpha, A, B)
    y = base(x, weight)
    if bias is not None:
        y = add_bias(y, bias, s)
    return join(y, s, branch(x, y, A, B))


def _branch(branch):
    return partial(_layer, branch=branch)


def _join(join):
    return partial(_layer, join=join)


whole_output_scaled = _join(lambda y, s, update: s * (y + update))
weights_scaled = partial(
    _layer,
    add_bias=lambda y, bias, s: y + bias / s,
    join=lambda y, s, update: s * (y + update),
)
update_twice = _join(lambda y, s, update: y + 2 * s * update)
update_subtracted = _join(lambda y, s, update: y - s * update)
only_update = _join(lambda y, s, update: s * update)
only_update_and_bias = partial(
    _layer, base=lambda x, weight: x.new_zeros(*x.shape[:-1], len(weight))
)
only_base = _join(lambda y, s, update: y)
shared_out = _join(lambda y, s, update: (1 - s) * y + s * update)
averaged = _join(lambda y, s, update: (y + s * update) / 2)
bias_forgotten = partial(_layer, add_bias=lambda y, bias, s: y)
bias_twice = partial(_layer, add_bias=lambda y, bias, s: y + 2 * bias)
bias_in_branch = partial(_layer, add_bias=lambda y, bias, s: y + bias + s * bias)
bias_scaled = partial(_layer, add_bias=lambda y, bias, s: y + s * bias)
weight_not_transposed = partial(_layer, base=lambda x, weight: x @ weight)
factors_not_transposed = _branch(lambda x, y, A, B: x @ A @ B)
b_first = _branch(lambda x, y, A, B: x @ B.T @ A.T)
update_transposed = _branch(lambda x, y, A, B: x @ (B @ A))
joined_first = _branch(lambda x, y, A, B: x @ (A @ B))
joined_before = _branch(lambda x, y, A, B: x @ (A @ B).T)
in_series = _branch(lambda x, y, A, B: y @ A.T @ B.T)
activation = _branch(lambda x, y, A, B: torch.relu(x @ A.T) @ B.T)
gelu = _branch(lambda x, y, A, B: F.gelu(x @ A.T) @ B.T)
silu = _branch(lambda x, y, A, B: F.silu(x @ A.T) @ B.T)
tanh = _branch(lambda x, y, A, B: torch.tanh(x @ A.T) @ B.T)


def bias_taken_for_granted(x, weight, bias, A, B, alpha):
    return x @ weight.T + bias + alpha / len(A) * (x @ A.T @ B.T)


def truth_of_bias(x, weight, bias, A, B, alpha):
    y = x @ weight.T + alpha / len(A) * (x @ A.T @ B.T)
    return y + bias if bias else y


def x_as_a_column(x, weight, bias, A, B, alpha):
    y = weight @ x + alpha / len(A) * (B @ (A @ x))
    return y if bias is None else y + bias


def x_turned(x, weight, bias, A, B, alpha):
    y = (weight @ x.T + alpha / len(A) * (B @ (A @ x.T))).T
    return y if bias is None else y + bias


# --- other right answers ---------------------------------------------------------------------


def merged_first(x, weight, bias, A, B, alpha):
    r = len(A)
    return F.linear(x, weight + B @ A * (alpha / r), bias)


def two_linear_layers(x, weight, bias, A, B, alpha):
    y = F.linear(x, weight, bias)
    return torch.add(y, F.linear(F.linear(x, A), B), alpha=alpha / B.size(1))


def by_einsum(x, weight, bias, A, B, alpha):
    y = torch.einsum("...i,oi->...o", x, weight)
    y = y + torch.einsum("...i,ri,or->...o", x, A * alpha, B / A.shape[0])
    return y if bias is None else bias + y


def rank_by_rank(x, weight, bias, A, B, alpha):
    """One rank after another: a number for each row of x, times a column of B."""
    y = torch.matmul(x, weight.mT)
    for a, b in zip(A, B.T, strict=True):
        y = y + alpha * (x @ a)[..., None] * b / A.shape[0]
    return y + bias if bias is not None else y


FORWARD = "lora/02_mathematics#what-does-the-layer-compute"
SCALE = "lora/02_mathematics#what-does-alpha-do"

FORWARD_PASS = Exercise(
    id="lora.forward",
    title="The layer with its adapter",
    returns="a tensor (…, O) in the dtype of x",
    points=4,
    difficulty=1,
    minutes=15,
    reference=reference,
    cases={
        "rows": rows,
        "a batch of sequences": sequences,
        "a single vector": one_vector,
        "alpha below the rank": small_alpha,
        "no bias": no_bias,
        "as many outputs as inputs": as_many_out_as_in,
        "a rank as large as the layer": as_large_as_the_layer,
        "one row, rank one": one_row_rank_one,
        "before training": before_training,
        "transposed views": transposed_views,
    },
    tolerance=Tolerance(fp32=5e-5),
    mistakes=(
        *scale_mistakes(_layer, SCALE),
        Mistake(
            "whole-output-scaled",
            whole_output_scaled,
            "the base's output is multiplied by α/r too; only the adapter's branch is scaled.",
            SCALE,
            also=(weights_scaled,),
        ),
        Mistake(
            "update-twice",
            update_twice,
            "the adapter's update is added twice, as when a layer that is merged already runs its "
            "branch as well; add it once.",
            FORWARD,
        ),
        Mistake(
            "update-subtracted",
            update_subtracted,
            "the adapter's update is subtracted; it is added.",
            FORWARD,
        ),
        Mistake(
            "shared-out",
            shared_out,
            "base and adapter are weighed against each other; the base stays whole, and the "
            "update is added to it.",
            FORWARD,
            also=(averaged,),
        ),
        Mistake(
            "only-the-update",
            only_update,
            "the frozen weight takes no part; add the adapter's branch to what the frozen layer "
            "gives, bias included.",
            FORWARD,
            also=(only_update_and_bias,),
        ),
        Mistake(
            "only-the-base",
            only_base,
            "the adapter takes no part; add (α/r)·BAx to the base's output.",
            FORWARD,
        ),
        Mistake(
            "bias-forgotten",
            bias_forgotten,
            "the bias is left out; it belongs to the frozen layer and is added once, where there "
            "is one.",
            FORWARD,
        ),
        Mistake(
            "bias-twice",
            bias_twice,
            "the bias is added in both branches; it belongs to the frozen layer alone.",
            FORWARD,
            also=(bias_in_branch,),
        ),
        Mistake(
            "bias-scaled",
            bias_scaled,
            "the bias is multiplied by α/r; it belongs to the frozen layer and is added as it is.",
            FORWARD,
        ),
        Mistake(
            "bias-taken-for-granted",
            bias_taken_for_granted,
            "the bias is added without a look whether there is one; it may be None.",
            FORWARD,
        ),
        Mistake(
            "truth-of-a-tensor",
            truth_of_bias,
            "if asks whether the bias is true, which a tensor of several numbers can't answer; ask "
            "whether it is None.",
            FORWARD,
        ),
        Mistake(
            "x-as-a-column",
            x_as_a_column,
            "the matrices are multiplied with x from the left, as in the formula for one column; "
            "here the features lie along x's last axis, however many come before it: multiply x "
            "by the transposes.",
            FORWARD,
            also=(x_turned,),
        ),
        Mistake(
            "weight-not-transposed",
            weight_not_transposed,
            "x is multiplied by the weight as it is; it is stored as (out, in), as nn.Linear does, "
            "so multiply by the transpose.",
            FORWARD,
        ),
        Mistake(
            "factors-not-transposed",
            factors_not_transposed,
            "x is multiplied by A and B as they are; both are stored as (out, in), so multiply "
            "by their transposes.",
            FORWARD,
            also=(joined_first,),
        ),
        Mistake(
            "b-first",
            b_first,
            "x goes through B first and then through A; A takes the I inputs down to R numbers, "
            "and B takes these up to the O outputs.",
            FORWARD,
            also=(joined_before,),
        ),
        Mistake(
            "update-transposed",
            update_transposed,
            "x is multiplied by BA as it is; BA has the shape (out, in) of the weight, so multiply "
            "by its transpose.",
            FORWARD,
        ),
        Mistake(
            "in-series",
            in_series,
            "the adapter is fed with the base's output; it stands beside the base and reads the "
            "same x.",
            FORWARD,
        ),
        Mistake(
            "activation-between",
            activation,
            "there is a nonlinearity between A and B, as in the older bottleneck adapters; in "
            "LoRA there is none, or the update could not be merged into the weight.",
            FORWARD,
            also=(gelu, silu, tanh),
        ),
    ),
    alternatives=(merged_first, two_linear_layers, by_einsum, rank_by_rank),
    hints=(
        "The layer is a sum of two branches that read the same x. What would the answer be if B "
        "were zero? Get that right first, bias and all.",
        "Follow one vector through the adapter: I numbers go in, how many leave A, how many leave "
        "B? Every matrix here is stored as (out, in), and x lies along the last axis.",
        "The rank stands in the shape of A and of B, on the axis that the two share. What happens "
        "to the update if someone doubles the rank and keeps α?",
    ),
    read=FORWARD,
)
