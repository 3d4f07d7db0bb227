"""Adapters with their places to go wrong: what the records of this chapter have in common.

Each scale is given α, A `(…, R, I)` and B `(…, O, R)`, and says by what the product BA is
multiplied. `scale_mistakes(function, read)` makes one mistake of each wrong scale, as a
`functools.partial` of a function that takes `scale=`; so two made at once are recognised too.
"""

import math
from collections.abc import Callable
from functools import partial

from marking.exercise import Mistake

# --- situations ------------------------------------------------------------------------------


def layer_sizes(draw, *, square: bool = False, R: int | None = None) -> tuple[int, int, int]:
    """I, O, R: R at least 2 unless it is given, below I and O and dividing neither (1 divides all);
    I and O differ unless `square`.

    A small case has R = 2, and 2 or 3 for I and O.
    """
    if draw.level is not None:
        I, O = draw.sizes(2, 2, 3)
        return (I, I if square else O, R or 2)
    R = R or draw.size(2, 5)
    sizes = [n for n in range(R + 1, R + 9) if n % R or R == 1]
    I = draw.choice(*sizes)
    O = I if square else draw.choice(*(n for n in sizes if n != I))
    return I, O, R


def alpha_above(draw, R: int) -> int:
    """More than 2R, and no multiple of R unless R is 1, so that α/R is neither whole nor 1."""
    if draw.level is not None:
        return 2 * R + 1
    return draw.choice(*(n for n in range(2 * R + 1, 6 * R) if n % R or R == 1))


def alpha_below(draw, R: int) -> float:
    """Below R, and not a whole number."""
    return draw.choice(*(n + 0.5 for n in range(R)))


def adapter(draw, I: int, O: int, R: int) -> dict:
    """A and B, both filled with numbers: after some steps of training."""
    return {
        "A": draw.normal(R, I, scale=1 / math.sqrt(I)),
        "B": draw.normal(O, R, scale=1 / math.sqrt(R)),
    }


# --- scales ------------------------------------------------------------------------------------


def alpha_over_r(alpha, A, B):
    return alpha / A.shape[-2]


def no_scale(alpha, A, B):
    return 1.0


def only_alpha(alpha, A, B):
    return alpha


def upside_down(alpha, A, B):
    return A.shape[-2] / alpha


def rank_stabilised(alpha, A, B):
    return alpha / math.sqrt(A.shape[-2])


def by_input_size(alpha, A, B):
    return alpha / A.shape[-1]


def by_output_size(alpha, A, B):
    return alpha / B.shape[-2]


def whole_quotient(alpha, A, B):
    return alpha // A.shape[-2]


def squared(alpha, A, B):
    return alpha_over_r(alpha, A, B) ** 2


def one_over_r(alpha, A, B):
    return 1 / A.shape[-2]


SCALES = {
    "no-scale": (
        no_scale,
        "the factor α/r is missing; it belongs wherever the product BA stands.",
    ),
    "only-alpha": (
        only_alpha,
        "the factor is α; divide it by the rank r, so that another rank does not change the size "
        "of the update.",
    ),
    "scale-upside-down": (
        upside_down,
        "the factor is r/α; it is α/r: a larger α makes the adapter count for more.",
    ),
    "rank-stabilised": (
        rank_stabilised,
        "the factor is α/√r, which is rsLoRA's; here it is LoRA's own, α/r.",
    ),
    "rank-from-input-size": (
        by_input_size,
        "α is divided by the input size I, the last axis of A; the rank is A's first axis.",
    ),
    "rank-from-output-size": (
        by_output_size,
        "α is divided by the output size O, the first axis of B; the rank is B's last axis.",
    ),
    "whole-quotient": (
        whole_quotient,
        "α // r drops the fraction, and gives 0 for α below r; divide with /.",
    ),
    "scale-twice": (
        squared,
        "the factor α/r is applied twice, once to each of A and B or once in each of two steps; "
        "the product BA gets it once.",
    ),
    "one-over-r": (
        one_over_r,
        "the factor is 1/r and α is not used; it is α/r.",
    ),
}


def scale_mistakes(function: Callable, read: str, *but: str) -> tuple[Mistake, ...]:
    """A mistake for every wrong scale, those named in `but` left out."""
    return tuple(
        Mistake(id, partial(function, scale=scale), says, read)
        for id, (scale, says) in SCALES.items()
        if id not in but
    )
