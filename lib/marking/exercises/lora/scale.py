"""lora.scale: α/r, or α/√r when rank-stabilised."""

import math
from functools import partial

import torch

from clearhead import lora as library
from marking.exercise import Exercise, Mistake


def reference(alpha, r, rank_stabilized):
    return library.scale(alpha, r, rank_stabilized=rank_stabilized)


# --- situations ------------------------------------------------------------------------------


def _inputs(alpha, r, rank_stabilized=False):
    return {"alpha": alpha, "r": r, "rank_stabilized": rank_stabilized}


def _no_square(draw, low, high):
    """A rank whose root is no whole number."""
    return draw.until(lambda: draw.size(low, high), lambda r: math.isqrt(r) ** 2 != r)


def twice_the_rank(draw):
    """The habit of most configurations: the scale is 2 at every rank."""
    r = draw.size(3, 64)
    return _inputs(2 * r, r)


def no_multiple(draw):
    r = draw.size(3, 30)
    return _inputs(2 * r + draw.size(1, r - 1), r)


def less_than_the_rank(draw):
    r = draw.size(6, 64)
    return _inputs(draw.size(2, r // 2), r)


def a_fraction(draw):
    r = draw.size(2, 16)
    return _inputs(draw.choice(0.5, 2.5, 7.25), r)


def stabilised(draw):
    return _inputs(draw.size(65, 99), _no_square(draw, 3, 64), True)


def stabilised_equal(draw):
    """Where α/r would be 1."""
    r = _no_square(draw, 2, 64)
    return _inputs(r, r, True)


def stabilised_fraction(draw):
    r = draw.size(3, 16)
    return _inputs(draw.choice(0.5, 2.5, 7.25), r, True)


def rank_one(draw):
    return _inputs(draw.size(2, 32), 1, True)


# --- mistakes: one change each to `_scale` ------------------------------------------------------


def _scale(
    alpha,
    r,
    rank_stabilized,
    *,
    stabilised=lambda flag: flag,
    plain=lambda alpha, r: alpha / r,
    by_root=lambda alpha, r: alpha / math.sqrt(r),
    whole=lambda value: value,
):
    """As it stands it is right."""
    return whole((by_root if stabilised(rank_stabilized) else plain)(alpha, r))


def _both_ways(plain, by_root):
    return partial(_scale, plain=plain, by_root=by_root)


only_alpha = _both_ways(lambda alpha, r: alpha, lambda alpha, r: alpha)
always_one = _both_ways(lambda alpha, r: 1.0, lambda alpha, r: 1.0)
alpha_ignored = _both_ways(lambda alpha, r: 1 / r, lambda alpha, r: 1 / math.sqrt(r))
inverted = _both_ways(lambda alpha, r: r / alpha, lambda alpha, r: math.sqrt(r) / alpha)
inverted_plain = partial(_scale, plain=lambda alpha, r: r / alpha)
times_rank = _both_ways(lambda alpha, r: alpha * r, lambda alpha, r: alpha * math.sqrt(r))

flag_ignored = partial(_scale, stabilised=lambda flag: False)
always_stabilised = partial(_scale, stabilised=lambda flag: True)
flag_inverted = partial(_scale, stabilised=lambda flag: not flag)

root_of_the_whole = partial(_scale, by_root=lambda alpha, r: math.sqrt(alpha / r))
root_of_alpha = partial(_scale, by_root=lambda alpha, r: math.sqrt(alpha) / r)
roots_on_top = partial(_scale, by_root=lambda alpha, r: alpha / r / math.sqrt(r))
square_of_r = partial(_scale, by_root=lambda alpha, r: alpha / r**2)
stabilised_without_alpha = partial(_scale, by_root=lambda alpha, r: 1 / math.sqrt(r))
stabilised_times_root = partial(_scale, by_root=lambda alpha, r: alpha * math.sqrt(r))

whole_number = _both_ways(lambda alpha, r: alpha // r, lambda alpha, r: alpha // math.sqrt(r))
only_plain_whole = partial(_scale, plain=lambda alpha, r: alpha // r)

a_tensor = partial(_scale, whole=lambda value: torch.tensor(value))
root_of_a_tensor = partial(_scale, by_root=lambda alpha, r: alpha / torch.sqrt(torch.tensor(r)))
roots_of_tensors = _both_ways(
    lambda alpha, r: torch.tensor(alpha / r),
    lambda alpha, r: alpha / torch.tensor(float(r)).sqrt(),
)


# --- other right answers ---------------------------------------------------------------------


def one_power(alpha, r, rank_stabilized):
    exponent = 0.5 if rank_stabilized else 1.0
    return alpha * r**-exponent


def plain_times_root(alpha, r, rank_stabilized):
    scale = alpha / r
    if rank_stabilized:
        scale *= math.sqrt(r)
    return scale


def through_logarithms(alpha, r, rank_stabilized):
    return math.exp(math.log(alpha) - math.log(r) / (2 if rank_stabilized else 1))


FORMULA = "lora/02_mathematics#why-divide-by-r-or-by-r"

SCALE = Exercise(
    id="lora.scale",
    title="The scale of an adapter",
    returns="a plain Python number",
    points=1,
    difficulty=1,
    minutes=5,
    reference=reference,
    cases={
        "alpha is twice the rank": twice_the_rank,
        "alpha is no multiple of the rank": no_multiple,
        "alpha is less than the rank": less_than_the_rank,
        "alpha is a fraction": a_fraction,
        "rank-stabilised": stabilised,
        "rank-stabilised, alpha equal to the rank": stabilised_equal,
        "rank-stabilised, alpha is a fraction": stabilised_fraction,
        "rank 1": rank_one,
    },
    mistakes=(
        Mistake(
            "only-alpha",
            only_alpha,
            "alpha comes back undivided; divide it by the rank, so that a larger rank does not "
            "make a larger update.",
            FORMULA,
        ),
        Mistake(
            "always-one",
            always_one,
            "1 comes back whatever alpha and the rank are, which is B A without a scale.",
            FORMULA,
        ),
        Mistake(
            "alpha-ignored",
            alpha_ignored,
            "only the rank is used; alpha is what the quotient has on top.",
            FORMULA,
        ),
        Mistake(
            "inverted",
            inverted,
            "the quotient is the wrong way up, r/α; alpha belongs on top.",
            FORMULA,
            also=(inverted_plain,),
        ),
        Mistake(
            "times-rank",
            times_rank,
            "alpha is multiplied by the rank, or by its root; divide by it.",
            FORMULA,
        ),
        Mistake(
            "flag-ignored",
            flag_ignored,
            "rank_stabilized changes nothing; with it the divisor is √r, not r.",
            FORMULA,
        ),
        Mistake(
            "always-stabilised",
            always_stabilised,
            "alpha is divided by √r always; without rank_stabilized the divisor is r, as in the "
            "LoRA paper.",
            FORMULA,
        ),
        Mistake(
            "flag-inverted",
            flag_inverted,
            "the two formulas have changed places; the rank-stabilised one has the root.",
            FORMULA,
        ),
        Mistake(
            "root-of-the-quotient",
            root_of_the_whole,
            "the root is taken of the whole quotient, √(α/r); only the rank stands under it.",
            FORMULA,
        ),
        Mistake(
            "root-of-alpha",
            root_of_alpha,
            "the root is taken of alpha; it belongs to the rank.",
            FORMULA,
        ),
        Mistake(
            "divided-by-both",
            roots_on_top,
            "rank-stabilised divides by r and by √r as well; √r takes the place of r.",
            FORMULA,
        ),
        Mistake(
            "divided-by-the-square",
            square_of_r,
            "rank-stabilised divides by r²; it divides by less than r, not by more: by √r.",
            FORMULA,
        ),
        Mistake(
            "stabilised-without-alpha",
            stabilised_without_alpha,
            "the rank-stabilised scale leaves alpha out; it is α/√r.",
            FORMULA,
        ),
        Mistake(
            "stabilised-times-root",
            stabilised_times_root,
            "the rank-stabilised scale multiplies alpha by √r; it is α/r times √r, that is α/√r.",
            FORMULA,
        ),
        Mistake(
            "whole-number",
            whole_number,
            "// drops the fraction of the quotient; divide with /.",
            FORMULA,
            also=(only_plain_whole,),
        ),
        Mistake(
            "a-tensor",
            a_tensor,
            "a tensor comes back, as torch.sqrt gives; alpha and r are plain numbers, so math.sqrt "
            "or ** 0.5 does it.",
            FORMULA,
            also=(root_of_a_tensor, roots_of_tensors),
        ),
    ),
    alternatives=(one_power, plain_times_root, through_logarithms),
    hints=(
        "An entry of B A is a sum of r products. What would happen to the size of the update if "
        "you doubled the rank and had no divisor?",
        "The two scales have the same numerator. Which of them shrinks faster as the rank grows?",
        "The terms of that sum have either sign and largely cancel, so it grows more slowly than "
        "its number of terms. The rank-stabilised divisor grows just as slowly. By what does a sum "
        "of r independent terms grow?",
    ),
    read=FORMULA,
)
