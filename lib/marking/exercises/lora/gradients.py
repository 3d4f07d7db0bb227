"""lora.gradients: what A and B receive from the layer's output, in closed form."""

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


def reference(x, A, B, alpha, d_output):
    return library.gradients(x, A, B, alpha, d_output)


# --- situations ------------------------------------------------------------------------------


def _inputs(draw, *lead, sizes=None, alpha=alpha_above):
    I, O, R = sizes or layer_sizes(draw)
    return {
        "x": draw.normal(*lead, I),
        **adapter(draw, I, O, R),
        "alpha": alpha(draw, R),
        "d_output": draw.normal(*lead, O),
    }


def rows(draw):
    return _inputs(draw, draw.size(2, 6, small=1))


def one_vector(draw):
    return _inputs(draw)


def sequences(draw):
    return _inputs(draw, *draw.sizes(2, 2, 4, small=1))


def three_leading_axes(draw):
    return _inputs(draw, *draw.sizes(3, 2, 4, small=1))


def small_alpha(draw):
    return _inputs(draw, draw.size(2, 6, small=1), alpha=alpha_below)


def first_step(draw):
    """B is zero, so A receives nothing, and B does."""
    inputs = _inputs(draw, draw.size(2, 6, small=1))
    return inputs | {"B": torch.zeros_like(inputs["B"])}


def as_many_out_as_in(draw):
    return _inputs(draw, draw.size(2, 6), sizes=layer_sizes(draw, square=True))


def all_sizes_the_same(draw):
    """Rows, I, O and R: every product that could be written has a shape that fits."""
    n = draw.size(3, 5, small=2)
    return _inputs(draw, n, sizes=(n, n, n))


def one_row_rank_one(draw):
    """A batch of one is still a batch, and a factor of rank one still a matrix."""
    return _inputs(draw, 1, sizes=layer_sizes(draw, R=1))


def transposed_views(draw):
    """x and d_output as (T, B, …) with the axes swapped, A and B as transposes."""
    inputs = _inputs(draw, *draw.sizes(2, 2, 4, small=1))
    for name in ("x", "d_output"):
        inputs[name] = inputs[name].transpose(0, 1)
    for name in ("A", "B"):
        inputs[name] = inputs[name].T.contiguous().T
    return inputs


# --- mistakes: one change each to `_closed_form`, or a function of their own --------------------


def _as_rows(x):
    return x.reshape(-1, x.shape[-1])


def _closed_form(
    x,
    A,
    B,
    alpha,
    d_output,
    *,
    scale=alpha_over_r,
    incoming=lambda d_output: d_output,
    for_a=lambda x, d, A, B: (d @ B).T @ x,
    for_b=lambda x, d, A, B: d.T @ (x @ A.T),
    scales=lambda s: (s, s),
    divide_by=lambda d_output: 1,
    back=lambda d_A, d_B: (d_A, d_B),
):
    """As it stands it is right."""
    rows, d_rows = _as_rows(x), _as_rows(incoming(d_output))
    s_a, s_b = scales(scale(alpha, A, B))
    n = divide_by(d_output)
    d_A, d_B = for_a(rows, d_rows, A, B), for_b(rows, d_rows, A, B)
    return back(s_a * d_A / n, s_b * d_B / n)


def _back(back):
    return partial(_closed_form, back=back)


def _rows_of(d_output):
    return max(1, d_output[..., 0].numel())


scale_in_b_only = partial(_closed_form, scales=lambda s: (1, s))
scale_twice_in_a = partial(_closed_form, scales=lambda s: (s**2, s))
scale_twice_in_b = partial(_closed_form, scales=lambda s: (s, s**2))
scale_in_a_only = partial(_closed_form, scales=lambda s: (s, 1))
order_swapped = _back(lambda d_A, d_B: (d_B, d_A))
both_transposed = _back(lambda d_A, d_B: (d_A.T, d_B.T))
a_transposed = _back(lambda d_A, d_B: (d_A.T, d_B))
b_transposed = _back(lambda d_A, d_B: (d_A, d_B.T))
downhill = _back(lambda d_A, d_B: (-d_A, -d_B))
nothing_for_b = _back(lambda d_A, d_B: (d_A, torch.zeros_like(d_B)))
nothing_for_a = _back(lambda d_A, d_B: (torch.zeros_like(d_A), d_B))
averaged = partial(_closed_form, divide_by=_rows_of)
averaged_over_first = partial(_closed_form, divide_by=lambda d: d.shape[0] if d.ndim > 1 else 1)
averaged_over_all = partial(_closed_form, divide_by=lambda d: d.numel())
of_the_sum = partial(_closed_form, incoming=torch.ones_like)
a_instead_of_b = partial(_closed_form, for_a=lambda x, d, A, B: (d @ A.T).T @ x)
b_instead_of_a = partial(_closed_form, for_b=lambda x, d, A, B: d.T @ (x @ B))
b_left_out = partial(_closed_form, for_a=lambda x, d, A, B: d.T @ x)
a_left_out = partial(_closed_form, for_b=lambda x, d, A, B: d.T @ x)
both_left_out = partial(
    _closed_form, for_a=lambda x, d, A, B: d.T @ x, for_b=lambda x, d, A, B: d.T @ x
)
b_not_transposed = partial(_closed_form, for_a=lambda x, d, A, B: (d @ B.T).T @ x)
a_not_transposed = partial(_closed_form, for_b=lambda x, d, A, B: d.T @ (x @ A))
both_not_transposed = partial(
    _closed_form,
    for_a=lambda x, d, A, B: (d @ B.T).T @ x,
    for_b=lambda x, d, A, B: d.T @ (x @ A),
)
summed_before = partial(
    _closed_form,
    for_a=lambda x, d, A, B: torch.outer((d @ B).sum(0), x.sum(0)),
    for_b=lambda x, d, A, B: torch.outer(d.sum(0), (x @ A.T).sum(0)),
)
elementwise = partial(_closed_form, for_a=lambda x, d, A, B: d.T @ x * B)


def not_summed(x, A, B, alpha, d_output):
    """The leading axes of x stay: one gradient for each sequence."""
    s = alpha / A.shape[0]
    return s * (d_output @ B).mT @ x, s * d_output.mT @ (x @ A.mT)


def not_summed_by_transpose(x, A, B, alpha, d_output):
    s, turned = alpha / A.shape[0], d_output.transpose(-2, -1)
    return s * B.T @ turned @ x, s * turned @ x @ A.T


def not_flattened(x, A, B, alpha, d_output):
    """`.T` turns all axes round."""
    s = alpha / A.shape[0]
    return s * (d_output @ B).T @ x, s * d_output.T @ (x @ A.T)


def not_flattened_factors_first(x, A, B, alpha, d_output):
    s = alpha / A.shape[0]
    return s * B.T @ d_output.T @ x, s * d_output.T @ x @ A.T


def not_flattened_b_first(x, A, B, alpha, d_output):
    s = alpha / A.shape[0]
    d_B = s * d_output.T @ (x @ A.T)
    return s * (d_output @ B).T @ x, d_B


def by_einsum_over(axes, data_first=True):
    """An equation with a letter for each leading axis, which fits one number of axes alone."""
    d, i = f"{axes}o", f"{axes}i"
    for_a = f"{d},or,{i}->ri" if data_first else f"or,{d},{i}->ri"

    def answer(x, A, B, alpha, d_output):
        s = alpha / A.shape[0]
        d_A = torch.einsum(for_a, *((d_output, B, x) if data_first else (B, d_output, x)))
        return s * d_A, s * torch.einsum(f"{d},{i},ri->or", d_output, x, A)

    return answer


def by_view(x, A, B, alpha, d_output):
    return _closed_form(x.view(-1, x.shape[-1]), A, B, alpha, d_output)


def by_view_of_d_output(x, A, B, alpha, d_output):
    return _closed_form(x, A, B, alpha, d_output.view(-1, d_output.shape[-1]))


def by_flatten(x, A, B, alpha, d_output):
    return _closed_form(x.flatten(0, -2), A, B, alpha, d_output)


def summed_over_first_axis(x, A, B, alpha, d_output):
    d_A, d_B = not_summed(x, A, B, alpha, d_output)
    return (d_A.sum(0), d_B.sum(0)) if x.ndim > 2 else (d_A, d_B)


def one_sequence(x, A, B, alpha, d_output):
    """All but the last two axes are read at 0."""
    while x.ndim > 2:
        x, d_output = x[0], d_output[0]
    return _closed_form(x, A, B, alpha, d_output)


def whole_matrix(x, A, B, alpha, d_output):
    """The gradient of the weight, which is what full fine-tuning would use."""
    return alpha / A.shape[0] * _as_rows(d_output).T @ _as_rows(x)


def after_a_step(x, A, B, alpha, d_output):
    """B is moved by its own gradient before A's is taken."""
    d_B = _closed_form(x, A, B, alpha, d_output)[1]
    return _closed_form(x, A, B - d_B, alpha, d_output)[0], d_B


# --- other right answers ---------------------------------------------------------------------


def by_einsum(x, A, B, alpha, d_output):
    s = alpha / A.shape[0]
    hidden = torch.einsum("...i,ri->...r", x, A)
    d_hidden = s * torch.einsum("...o,or->...r", d_output, B)
    d_B = s * torch.einsum("...o,...r->or", d_output, hidden)
    return torch.einsum("...r,...i->ri", d_hidden, x), d_B


def through_the_whole_gradient(x, A, B, alpha, d_output):
    """d_W first, then each factor gets it through the other."""
    d_weight = alpha / B.shape[1] * torch.einsum("no,ni->oi", _as_rows(d_output), _as_rows(x))
    return [B.T @ d_weight, d_weight @ A.T]


def row_by_row(x, A, B, alpha, d_output):
    d_A, d_B = torch.zeros_like(A), torch.zeros_like(B)
    for row, d_row in zip(_as_rows(x), _as_rows(d_output), strict=True):
        d_A += torch.outer(B.T @ d_row, row)
        d_B += torch.outer(d_row, A @ row)
    return d_A * alpha / len(A), d_B * alpha / len(A)


GRADIENTS = "lora/02_mathematics#how-do-the-gradients-come-out"
FIRST_STEP = "lora/02_mathematics#what-happens-in-the-first-two-steps"
SCALE = "lora/02_mathematics#what-does-alpha-do"

GRADIENTS_OF_FACTORS = Exercise(
    id="lora.gradients",
    title="What A and B receive",
    returns="two tensors: d_A (R, I) and d_B (O, R), in the dtype of x",
    points=5,
    difficulty=3,
    minutes=30,
    reference=reference,
    outputs=("d_A", "d_B"),
    cases={
        "rows": rows,
        "a batch of sequences": sequences,
        "a single vector": one_vector,
        "three leading axes": three_leading_axes,
        "alpha below the rank": small_alpha,
        "the first step": first_step,
        "as many outputs as inputs": as_many_out_as_in,
        "all sizes the same": all_sizes_the_same,
        "one row, rank one": one_row_rank_one,
        "transposed views": transposed_views,
    },
    tolerance=Tolerance(fp32=1e-4),
    forbidden=("backward", "grad", "vjp", "jvp", "jacobian", "jacrev", "jacfwd"),
    mistakes=(
        *scale_mistakes(_closed_form, SCALE),
        Mistake(
            "scale-in-one-only",
            scale_in_b_only,
            "α/r is in one of the two gradients and not in the other; it multiplies BAx, so it "
            "reaches both.",
            SCALE,
            also=(scale_in_a_only,),
        ),
        Mistake(
            "scale-twice-in-one",
            scale_twice_in_a,
            "α/r is in one of the two gradients twice, as when it is in the hidden numbers already "
            "and is multiplied in again at the end; each gradient holds it once.",
            SCALE,
            also=(scale_twice_in_b,),
        ),
        Mistake(
            "order-swapped",
            order_swapped,
            "the gradient of B comes back first; return d_A, then d_B.",
            GRADIENTS,
        ),
        Mistake(
            "answer-transposed",
            both_transposed,
            "a gradient comes back transposed; it has the shape of what it is the gradient of, "
            "(R, I) for A and (O, R) for B.",
            GRADIENTS,
            also=(a_transposed, b_transposed),
        ),
        Mistake(
            "downhill",
            downhill,
            "the sign is turned round; the gradient points uphill, and it is the optimiser that "
            "goes the other way.",
            GRADIENTS,
        ),
        Mistake(
            "nothing-for-b",
            nothing_for_b,
            "B receives nothing; its gradient holds A and x, not B, so it moves even when B is "
            "zero.",
            FIRST_STEP,
        ),
        Mistake(
            "nothing-for-a",
            nothing_for_a,
            "A receives nothing; that is true only while B is zero, at the first step.",
            FIRST_STEP,
        ),
        Mistake(
            "averaged",
            averaged,
            "the gradients are divided by a number of rows; a mean belongs to the loss, and is in "
            "d_output already. Sum over the rows.",
            GRADIENTS,
            also=(averaged_over_first, averaged_over_all),
        ),
        Mistake(
            "of-the-sum",
            of_the_sum,
            "d_output is not used, so this is the gradient of the sum of all outputs; every "
            "output's share is weighed by d_output.",
            GRADIENTS,
        ),
        Mistake(
            "own-factor",
            a_instead_of_b,
            "a gradient is made of the factor that it belongs to; A gets its gradient through B, "
            "and B through A.",
            GRADIENTS,
            also=(b_instead_of_a,),
        ),
        Mistake(
            "other-factor-left-out",
            both_left_out,
            "a product of d_output and x alone is the gradient of the whole weight, (O, I); for A "
            "multiply it by Bᵀ from the left, for B by Aᵀ from the right.",
            GRADIENTS,
            also=(a_left_out, b_left_out, whole_matrix),
        ),
        Mistake(
            "factor-not-transposed",
            both_not_transposed,
            "A or B is multiplied the wrong way round; forward uses Aᵀ and Bᵀ on rows, so going "
            "back d_output meets B as it is, and x meets Aᵀ.",
            GRADIENTS,
            also=(a_not_transposed, b_not_transposed),
        ),
        Mistake(
            "summed-before",
            summed_before,
            "x and d_output are each summed over the rows before they are multiplied; multiply row "
            "by row, then sum.",
            GRADIENTS,
        ),
        Mistake(
            "not-summed-over-the-batch",
            not_summed,
            "every sequence has a gradient of its own here; A and B are shared by all of them, so "
            "sum over all leading axes: lay the rows of x and of d_output below one another first.",
            GRADIENTS,
            also=(
                not_summed_by_transpose,
                summed_over_first_axis,
            ),
        ),
        Mistake(
            "not-flattened",
            not_flattened,
            "this works only for x with one number of axes, as .T does, or an equation with a "
            "letter for each axis; reshape x and d_output to (rows, …) first.",
            GRADIENTS,
            also=(
                not_flattened_b_first,
                not_flattened_factors_first,
                *(by_einsum_over(axes, first) for axes in ("n", "bt") for first in (True, False)),
            ),
        ),
        Mistake(
            "view-of-a-view",
            by_view,
            "view only re-reads memory in its order, and x or d_output may be a transposed view; "
            "use reshape.",
            GRADIENTS,
            also=(by_view_of_d_output,),
        ),
        Mistake(
            "no-leading-axis",
            by_flatten,
            "flatten(0, -2) needs a leading axis, and a single vector has none; reshape(-1, I) "
            "makes one row of it.",
            GRADIENTS,
        ),
        Mistake(
            "one-sequence",
            one_sequence,
            "only the first sequence counts; sum over all leading axes.",
            GRADIENTS,
        ),
        Mistake(
            "after-a-step",
            after_a_step,
            "the gradient of A is taken with a B that has been changed already; both gradients "
            "belong to the same A and B.",
            GRADIENTS,
        ),
    ),
    alternatives=(by_einsum, through_the_whole_gradient, row_by_row),
    hints=(
        "Cut the adapter into two steps, first to R numbers for each row and then to O. Each step "
        "is a linear layer without bias: what is the gradient of such a layer's weight, and what "
        "does it hand back to its input?",
        "Write the shapes under each product: d_A has to come out as (R, I), d_B as (O, R), and "
        "the axis of the rows has to vanish. That leaves one way to multiply.",
        "Leading axes all mean the same here, rows that share A and B: make one axis of them, for "
        "x and for d_output alike, then no sum is left to write. Where does the scale sit?",
    ),
    read=GRADIENTS,
)
