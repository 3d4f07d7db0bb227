"""lora.dora_forward: the direction of each row from W + (α/r)·B A, its length from a magnitude."""

from functools import partial

import torch
from torch.nn import functional as F

from clearhead import lora as library
from marking.exercise import Exercise, Mistake
from marking.exercises.lora._adapter import (
    adapter,
    alpha_above,
    alpha_below,
    alpha_over_r,
    layer_sizes,
    scale_mistakes,
)


def reference(x, weight, bias, A, B, magnitude, alpha):
    return library.dora_forward(x, weight, A, B, magnitude, alpha, bias)


# --- situations ------------------------------------------------------------------------------


def _inputs(draw, *, leading=1, square=False, bias=True, small_alpha=False, one=False):
    """Magnitudes that are not the lengths of the rows: after some steps of training."""
    I, O, r = layer_sizes(draw, square=square, R=1 if one else None)
    rows = [1] if one else draw.sizes(leading, 2, 4, small=1)
    return {
        "x": draw.normal(*rows, I),
        "weight": draw.normal(O, I),
        "bias": draw.normal(O) if bias else None,
        **adapter(draw, I, O, r),
        "magnitude": draw.normal(O).abs() + 0.5,
        "alpha": alpha_below(draw, r) if small_alpha else alpha_above(draw, r),
    }


def rows_of_a_matrix(draw):
    return _inputs(draw)


def a_batch_of_sequences(draw):
    return _inputs(draw, leading=2)


def one_vector(draw):
    return _inputs(draw, leading=0)


def without_bias(draw):
    return _inputs(draw, bias=False)


def square_weight(draw):
    return _inputs(draw, square=True)


def small_alpha(draw):
    return _inputs(draw, small_alpha=True)


def one_row_rank_one(draw):
    """A batch of one is still a batch, and a factor of rank one still a matrix."""
    return _inputs(draw, one=True)


def before_the_first_step(draw):
    """B is zero and the magnitudes are the lengths of the rows: the base itself."""
    inputs = _inputs(draw)
    lengths = inputs["weight"].double().norm(dim=1).to(draw.dtype)
    return inputs | {"B": torch.zeros_like(inputs["B"]), "magnitude": lengths}


def after_the_magnitude_moved(draw):
    """B is still zero; only the magnitudes have learnt."""
    inputs = _inputs(draw)
    return inputs | {"B": torch.zeros_like(inputs["B"])}


def transposed_view(draw):
    inputs = _inputs(draw, leading=2)
    return inputs | {"x": inputs["x"].transpose(0, 1).contiguous().transpose(0, 1)}


# --- mistakes: one change each to `_adapted`, or a function of their own ------------------------


def _rows(V, W):
    return V.norm(dim=1, keepdim=True)


def _adapted(
    x,
    weight,
    bias,
    A,
    B,
    magnitude,
    alpha,
    *,
    product=lambda A, B: B @ A,
    scale=alpha_over_r,
    length=_rows,
    direction=lambda V, length: V / length,
    stretch=lambda magnitude: magnitude[:, None],
    apply=F.linear,
):
    """As it stands it is right."""
    V = weight + scale(alpha, A, B) * product(A, B)
    return apply(x, stretch(magnitude) * direction(V, length(V, weight)), bias)


columns = partial(_adapted, length=lambda V, W: V.norm(dim=0, keepdim=True))
whole_matrix = partial(_adapted, length=lambda V, W: V.norm())
length_of_base = partial(_adapted, length=lambda V, W: _rows(W, W))
squared_length = partial(_adapted, length=lambda V, W: V.square().sum(1, keepdim=True))
sum_of_absolutes = partial(_adapted, length=lambda V, W: V.abs().sum(1, keepdim=True))
root_mean_square = partial(_adapted, length=lambda V, W: V.square().mean(1, keepdim=True).sqrt())
not_normalised = partial(_adapted, direction=lambda V, length: V)
direction_only = partial(_adapted, stretch=lambda magnitude: 1.0)
no_keepdim = partial(
    _adapted,
    length=lambda V, W: V.norm(dim=1),
)
along_inputs = partial(_adapted, stretch=lambda magnitude: magnitude)
both_along_inputs = partial(
    _adapted, length=lambda V, W: V.norm(dim=1), stretch=lambda magnitude: magnitude
)
transposed = partial(_adapted, product=lambda A, B: (B @ A).T)
bias_dropped = partial(_adapted, apply=lambda x, W, bias: F.linear(x, W))
weight_as_stored = partial(
    _adapted, apply=lambda x, W, bias: x @ W if bias is None else x @ W + bias
)
no_bias_fails = partial(_adapted, apply=lambda x, W, bias: x @ W.T + bias)


def _factor(weight, A, B, magnitude, alpha):
    V = weight + alpha / A.shape[0] * B @ A
    return V, magnitude / V.norm(dim=1)


def bias_stretched(x, weight, bias, A, B, magnitude, alpha):
    V, factor = _factor(weight, A, B, magnitude, alpha)
    return F.linear(x, V, bias) * factor


def base_twice(x, weight, bias, A, B, magnitude, alpha):
    """The base's own output is added, and the factor is not lessened by 1."""
    V, factor = _factor(weight, A, B, magnitude, alpha)
    return F.linear(x, weight, bias) + F.linear(x, V) * factor


def update_stretched(x, weight, bias, A, B, magnitude, alpha):
    _, factor = _factor(weight, A, B, magnitude, alpha)
    return F.linear(x, weight, bias) + alpha / A.shape[0] * F.linear(x, B @ A) * factor


def base_stretched(x, weight, bias, A, B, magnitude, alpha):
    _, factor = _factor(weight, A, B, magnitude, alpha)
    return F.linear(x, factor[:, None] * weight, bias) + alpha / A.shape[0] * F.linear(x, B @ A)


def update_normalised(x, weight, bias, A, B, magnitude, alpha):
    """Direction and length are those of the update, which is then added to the base."""
    delta = alpha / A.shape[0] * B @ A
    step = magnitude[:, None] * delta / delta.norm(dim=1, keepdim=True)
    return F.linear(x, weight + step, bias)


def output_normalised(x, weight, bias, A, B, magnitude, alpha):
    y = F.linear(x, weight + alpha / A.shape[0] * B @ A, bias)
    return magnitude * y / y.norm(dim=-1, keepdim=True)


def base_directed(x, weight, bias, A, B, magnitude, alpha):
    """The base is brought to the magnitude; the update is added afterwards."""
    directed = magnitude[:, None] * weight / weight.norm(dim=1, keepdim=True)
    return F.linear(x, directed + alpha / A.shape[0] * B @ A, bias)


# --- other right answers ---------------------------------------------------------------------


def without_the_merged_weight(x, weight, bias, A, B, magnitude, alpha):
    """As PEFT does it: the base's output, and what has to be added to it."""
    s = alpha / A.shape[0]
    factor = magnitude / torch.linalg.vector_norm(weight + s * (B @ A), dim=1)
    base = x @ weight.T
    y = base + (factor - 1) * base + factor * s * (x @ A.T @ B.T)
    return y if bias is None else y + bias


def row_by_row(x, weight, bias, A, B, magnitude, alpha):
    outputs = []
    for o in range(len(weight)):
        v = weight[o] + alpha / len(A) * sum(B[o, k] * A[k] for k in range(len(A)))
        outputs.append((x * v).sum(-1) * magnitude[o] / v.square().sum().sqrt())
    y = torch.stack(outputs, dim=-1)
    return y if bias is None else y + bias


def by_normalize(x, weight, bias, A, B, magnitude, alpha):
    V = torch.addmm(weight, B, A, alpha=alpha / B.size(1))
    return F.linear(x, torch.einsum("o,oi->oi", magnitude, F.normalize(V, dim=-1)), bias)


DORA = "lora/04_fine_tune#dora-and-pissa-what-each-changes"

DORA_FORWARD = Exercise(
    id="lora.dora_forward",
    title="DoRA: direction and length apart",
    returns="a tensor (…, O) in the dtype of x",
    points=3,
    difficulty=2,
    minutes=15,
    reference=reference,
    cases={
        "rows of a matrix": rows_of_a_matrix,
        "a batch of sequences": a_batch_of_sequences,
        "one vector": one_vector,
        "no bias": without_bias,
        "a square weight": square_weight,
        "alpha below the rank": small_alpha,
        "one row, rank one": one_row_rank_one,
        "before the first step": before_the_first_step,
        "only the magnitudes have moved": after_the_magnitude_moved,
        "x is a transposed view": transposed_view,
    },
    mistakes=(
        Mistake(
            "columns",
            columns,
            "the norm is taken over each column of the (O, I) weight, as the paper writes it; "
            "the magnitude belongs to an output, so take the norm of each row.",
            DORA,
        ),
        Mistake(
            "whole-matrix",
            whole_matrix,
            "one norm is taken of the whole matrix; each row has its own.",
            DORA,
        ),
        Mistake(
            "length-of-the-base",
            length_of_base,
            "W + (α/r)·B A is divided by the lengths of W's rows, so the rows do not come out as "
            "long as the magnitude says; divide by the norm of the sum.",
            DORA,
        ),
        Mistake(
            "squared-length",
            squared_length,
            "the rows are divided by the square of their length; take the root.",
            DORA,
        ),
        Mistake(
            "sum-of-absolutes",
            sum_of_absolutes,
            "the length is taken as the sum of absolute values; it is the root of the sum of "
            "squares.",
            DORA,
        ),
        Mistake(
            "root-mean-square",
            root_mean_square,
            "the squares of a row are averaged, as in RMSNorm; a length is the root of their sum.",
            DORA,
        ),
        Mistake(
            "not-normalised",
            not_normalised,
            "the rows are multiplied by the magnitude without being divided by their own length; "
            "the magnitude replaces that length.",
            DORA,
        ),
        Mistake(
            "direction-only",
            direction_only,
            "the magnitude is not used, so every row has length 1.",
            DORA,
        ),
        Mistake(
            "lost-axis",
            no_keepdim,
            "the norm or the magnitude has shape (O,) and lines up with the inputs, or with "
            "nothing; give it an axis of size 1 so that it lines up with the rows.",
            DORA,
            also=(along_inputs, both_along_inputs),
        ),
        Mistake(
            "bias-stretched",
            bias_stretched,
            "the bias is multiplied by magnitude over length as well; add it at the end.",
            DORA,
        ),
        Mistake("bias-dropped", bias_dropped, "the bias is not added, where there is one.", DORA),
        Mistake(
            "no-bias-forgotten",
            no_bias_fails,
            "it fails where bias is None; a layer may have none.",
            DORA,
        ),
        Mistake(
            "base-twice",
            base_twice,
            "the base's output is added to the whole of DoRA's, which contains it already; with "
            "the base added, the factor on it is magnitude over length minus 1.",
            DORA,
        ),
        Mistake(
            "only-the-update-stretched",
            update_stretched,
            "only B A is brought to length; the magnitude is the length of the whole row of "
            "W + (α/r)·B A.",
            DORA,
        ),
        Mistake(
            "only-the-base-stretched",
            base_stretched,
            "only W is brought to length and B A is added as it is; the magnitude is the length of "
            "their sum.",
            DORA,
        ),
        Mistake(
            "base-before-the-update",
            base_directed,
            "W is brought to length before B A is added, so the update changes the length again; "
            "add first.",
            DORA,
        ),
        Mistake(
            "update-normalised",
            update_normalised,
            "the update is normalised by its own length, 0/0 while B is zero, and added to W; it "
            "is the sum of the two that has a direction and a length.",
            DORA,
        ),
        Mistake(
            "output-normalised",
            output_normalised,
            "the output is normalised; DoRA brings the weight's rows to length, whatever x is.",
            DORA,
        ),
        Mistake(
            "update-transposed",
            transposed,
            "the transpose of B A is added, which fits only a square weight, and is wrong there.",
            DORA,
        ),
        Mistake(
            "weight-not-transposed",
            weight_as_stored,
            "x is multiplied by the weight as it is stored, (O, I); its transpose is needed.",
            DORA,
        ),
        *scale_mistakes(_adapted, DORA),
    ),
    alternatives=(without_the_merged_weight, row_by_row, by_normalize),
    hints=(
        "Build the weight first and forget x. What shape has W + (α/r)·B A, and which of its axes "
        "does the magnitude, of shape (O,), belong to?",
        "Check yourself before the first step: with B = 0 and the lengths of W's rows as "
        "magnitudes, what must come out?",
        "After your change every row of the new weight has exactly the length that magnitude says, "
        "update included. Print those lengths. The bias is no part of the weight.",
    ),
    read=DORA,
)
