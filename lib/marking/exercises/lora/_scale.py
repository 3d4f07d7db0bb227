"""The scale α/r and the ways to get it wrong, for every exercise in which it occurs.

An answer with its places to go wrong takes a keyword `scale`, a function of alpha, A "… R I" and
B "… O R". `functools.partial(answer, scale=…)` is then a mistake, and one that the diagnosis can
recognise together with another made elsewhere in the same answer.
"""

import math
from collections.abc import Callable
from functools import partial

from marking.exercise import Mistake


def right(alpha, A, B):
    return alpha / A.shape[-2]


def no_scale(alpha, A, B):
    return 1.0


def only_alpha(alpha, A, B):
    return alpha


def inverted(alpha, A, B):
    return A.shape[-2] / alpha


def rank_stabilised(alpha, A, B):
    return alpha / math.sqrt(A.shape[-2])


def twice(alpha, A, B):
    return right(alpha, A, B) ** 2


def only_divided(alpha, A, B):
    return 1 / A.shape[-2]


def by_input_features(alpha, A, B):
    return alpha / A.shape[-1]


def by_output_features(alpha, A, B):
    return alpha / B.shape[-2]


def whole_number(alpha, A, B):
    return alpha // A.shape[-2]


def rank_and_alpha(draw, *, low: int = 2, high: int = 5) -> tuple[int, int]:
    """A rank, and an alpha that is no multiple of it: no two of the scales above agree."""
    r = draw.size(low, high)
    return r, draw.choice(*(a for a in (3, 7, 10, 16) if a % r))


def scale_mistakes(answer: Callable, read: str) -> tuple[Mistake, ...]:
    """The mistakes of an answer in which B A is multiplied by `scale`."""
    return (
        Mistake(
            "no-scale",
            partial(answer, scale=no_scale),
            "B A is not multiplied by α/r; the scale is part of the adapter, wherever it is used.",
            read,
        ),
        Mistake(
            "only-alpha",
            partial(answer, scale=only_alpha),
            "B A is multiplied by α alone; divide by the rank too, the scale is α/r.",
            read,
        ),
        Mistake(
            "scale-inverted",
            partial(answer, scale=inverted),
            "B A is multiplied by r/α; the scale is the other way up, α/r.",
            read,
        ),
        Mistake(
            "rank-stabilised",
            partial(answer, scale=rank_stabilised),
            "the scale is α/√r, that of rank-stabilised LoRA; here it is α/r.",
            read,
        ),
        Mistake(
            "scale-twice",
            partial(answer, scale=twice),
            "α/r is multiplied in twice, for instance into B and again into B A; once is enough.",
            read,
        ),
        Mistake(
            "alpha-ignored",
            partial(answer, scale=only_divided),
            "B A is divided by the rank and alpha is not used; the scale is α/r.",
            read,
        ),
        Mistake(
            "rank-from-another-axis",
            partial(answer, scale=by_input_features),
            "α is divided by the number of input or output features; the rank is the axis that A "
            "and B share, the rows of A and the columns of B.",
            read,
            also=(partial(answer, scale=by_output_features),),
        ),
        Mistake(
            "scale-rounded",
            partial(answer, scale=whole_number),
            "α is divided by r with //, which drops the fraction; the scale is α/r and seldom a "
            "whole number.",
            read,
        ),
    )
