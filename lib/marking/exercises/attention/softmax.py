"""attention.softmax: exponentials that cannot overflow, normalised along one axis."""

import math

import torch

from clearhead.attention import softmax
from marking.exercise import Exercise, Mistake, Tolerance

# --- situations ------------------------------------------------------------------------------


def rows(draw):
    n, m = draw.sizes(2, 2, 9)
    return {"x": draw.normal(n, m), "dim": -1}


def middle_axis(draw):
    shape = draw.sizes(3, 2, 7)
    return {"x": draw.normal(*shape), "dim": draw.choice(1, -2)}


def first_axis_asked(draw):
    """The axis between is of size 1, and stays."""
    n, m = draw.sizes(2, 2, 7)
    return {"x": draw.normal(n, 1, m), "dim": draw.choice(0, -3)}


def large_offset(draw):
    n, m = draw.sizes(2, 2, 9)
    return {"x": draw.normal(n, m) + draw.choice(1000.0, 2000.0), "dim": -1}


def rows_far_apart(draw):
    """Each row is ordinary; one lies 2,000 above the others."""
    n, m = draw.sizes(2, 2, 9)
    x = draw.normal(n, m)
    x[0] += 2000.0
    return {"x": x, "dim": -1}


def wide_spread(draw):
    """Two scores of each row, one apart, lie above the rest and above what float32's exp takes."""
    n, m = draw.sizes(2, 2, 9)
    x = draw.normal(n, m, scale=50.0).clamp(max=90.0)
    first = draw.size(0, m - 1)
    x[:, first] = 101.0 + draw.integers(0, 30, n).to(x.dtype)
    x[:, first - 1] = x[:, first] - 1.0
    return {"x": x, "dim": -1}


def some_minus_infinity(draw):
    n, m = draw.sizes(2, 3, 9)
    x = draw.normal(n, m)
    x[:, draw.size(0, m - 1)] = -math.inf
    return {"x": x, "dim": -1}


def slice_of_minus_infinity(draw):
    n, m = draw.sizes(2, 2, 9)
    x = draw.normal(n, m)
    x[draw.size(0, n - 1)] = -math.inf
    return {"x": x, "dim": -1}


# --- mistakes, written as people write them: a naive quotient that gives 0/0 = NaN ------------


def _shift(x, dim):
    return x - x.amax(dim=dim, keepdim=True)


def no_max(x, dim):
    return x.exp() / x.exp().sum(dim=dim, keepdim=True)


def global_max(x, dim):
    e = (x - x.max()).exp()
    return e / e.sum(dim=dim, keepdim=True)


def global_sum(x, dim):
    e = _shift(x, dim).exp()
    return e / e.sum()


def always_last_axis(x, dim):
    e = _shift(x, -1).exp()
    return e / e.sum(dim=-1, keepdim=True)


def first_axis(x, dim):
    e = _shift(x, 0).exp()
    return e / e.sum(dim=0, keepdim=True)


def nan_on_empty(x, dim):
    e = _shift(x, dim).exp()
    return e / e.sum(dim=dim, keepdim=True)


def log_probabilities(x, dim):
    e = _shift(x, dim).exp()
    return (e / e.sum(dim=dim, keepdim=True)).log()


def not_normalised(x, dim):
    return _shift(x, dim).exp()


def uniform_on_empty(x, dim):
    e = _shift(x.masked_fill(x.isinf(), -1e9), dim).exp()
    return e / e.sum(dim=dim, keepdim=True)


def no_keepdim(x, dim):
    e = _shift(x, dim).exp()
    return e / e.sum(dim=dim)


def maximum_without_axis(x, dim):
    e = (x - x.amax(dim=dim)).exp()
    return e / e.sum(dim=dim, keepdim=True)


def both_without_axis(x, dim):
    e = (x - x.amax(dim=dim)).exp()
    return e / e.sum(dim=dim)


# --- other right answers ---------------------------------------------------------------------


def powers_of_two(x, dim):
    top = x.amax(dim=dim, keepdim=True)
    top = torch.where(top.isinf(), torch.zeros_like(top), top)
    e = ((x - top) * math.log2(math.e)).exp2()
    total = e.sum(dim=dim, keepdim=True)
    return torch.where(total == 0, torch.zeros_like(e), e / total)


def by_log_sum_exp(x, dim):
    total = torch.logsumexp(x, dim=dim, keepdim=True)
    return torch.where(total.isinf(), torch.zeros_like(x), (x - total).exp())


def moved_axis(x, dim):
    y = x.movedim(dim, -1)
    top = y.max(dim=-1).values.unsqueeze(-1).clamp(min=torch.finfo(x.dtype).min)
    e = torch.exp(y - top)
    return (e / e.sum(-1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)).movedim(-1, dim)


OVERFLOW = "attention/02_scale#when-does-the-exponential-overflow"
FORMULA = "attention/01_queries_keys_values#the-general-formula-and-its-shapes"
EMPTY = "attention/03_masks_heads_positions#how-negative-is-negative-enough"

SOFTMAX = Exercise(
    id="attention.softmax",
    title="Softmax that cannot overflow",
    returns="a tensor of the shape and dtype of x",
    points=3,
    difficulty=1,
    minutes=10,
    reference=softmax,
    cases={
        "rows of a matrix": rows,
        "a middle axis": middle_axis,
        "the first axis": first_axis_asked,
        "scores with a large offset": large_offset,
        "rows far apart": rows_far_apart,
        "widely spread scores": wide_spread,
        "some scores −∞": some_minus_infinity,
        "a slice that is all −∞": slice_of_minus_infinity,
    },
    # x − logsumexp(x) is a right answer; at an offset of 2,000 float32 rounds it by 6e-5.
    tolerance=Tolerance(fp32=3e-4),
    forbidden=("softmax", "log_softmax", "_softmax", "softmin", "_safe_softmax"),
    mistakes=(
        Mistake(
            "no-max",
            no_max,
            "exp is taken of the scores as they are, and overflows to infinity for large ones; "
            "subtract each slice's maximum first, which changes nothing else.",
            OVERFLOW,
        ),
        Mistake(
            "global-max",
            global_max,
            "one maximum is subtracted from the whole tensor; a slice far below it then underflows "
            "to 0/0. Take the maximum along dim.",
            OVERFLOW,
        ),
        Mistake(
            "global-sum",
            global_sum,
            "the exponentials are divided by the sum of the whole tensor; each slice along dim "
            "has to sum to 1 by itself.",
            FORMULA,
        ),
        Mistake(
            "always-last-axis",
            always_last_axis,
            "dim is ignored and the last axis is normalised.",
            FORMULA,
        ),
        Mistake(
            "first-axis",
            first_axis,
            "the first axis is normalised, whatever dim says.",
            FORMULA,
        ),
        Mistake(
            "nan-on-empty",
            nan_on_empty,
            "a slice that is all −∞ gives −∞ − (−∞) = NaN; here such a slice gives zeros.",
            EMPTY,
        ),
        Mistake(
            "uniform-on-empty",
            uniform_on_empty,
            "−∞ is replaced by a large negative number, so a slice that is all −∞ comes out "
            "uniform; here such a slice gives zeros.",
            EMPTY,
        ),
        Mistake(
            "log-probabilities",
            log_probabilities,
            "it returns the logarithms of the probabilities.",
            FORMULA,
        ),
        Mistake(
            "not-normalised",
            not_normalised,
            "the exponentials are not divided by their sum.",
            FORMULA,
        ),
        Mistake(
            "no-keepdim",
            no_keepdim,
            "the maximum or the sum has lost its axis, so it lines up with the wrong axis or "
            "fails; take both with keepdim=True.",
            FORMULA,
            also=(maximum_without_axis, both_without_axis),
        ),
    ),
    alternatives=(powers_of_two, by_log_sum_exp, moved_axis),
    hints=(
        "What is exp(1000.) in float32? And what changes in the answer if the same number is "
        "subtracted from every score of a slice?",
        "Which number, subtracted from a slice, makes its largest exponential exactly 1? Find it "
        "along dim, and keep the axis so that the subtraction lines up.",
        "A slice that is all −∞ has the maximum −∞, and −∞ − (−∞) is NaN. Replace that maximum "
        "by 0 before you subtract; then look at what its sum is and decide what to divide by.",
    ),
    read=OVERFLOW,
)
