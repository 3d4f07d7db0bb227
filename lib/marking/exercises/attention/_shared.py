"""The mistakes of scaling, softmax and mask that every attention exercise shares.

Each is one change to `attend`. An exercise names those that its cases can show, and gives the
function in which `attend` stands; so all say the same of the same mistake.
"""

from collections.abc import Callable
from functools import partial

from marking.exercise import Mistake
from marking.exercises.attention import _attend as parts

TRUE = "attention/03_masks_heads_positions#which-way-round-is-true"
BEFORE = "attention/03_masks_heads_positions#why-must-the-mask-come-before-the-softmax"
EMPTY = "attention/03_masks_heads_positions#how-negative-is-negative-enough"
SCALE = "attention/02_scale#what-do-the-wrong-scalings-do"
FIRST = "attention/01_queries_keys_values#the-general-formula-and-its-shapes"

# id → the change, what to say, where to read.
MISTAKES = {
    "no-scale": (
        {"scale": parts.no_scale},
        "the scores are not divided by √D, so they grow with D and softmax saturates; divide "
        "before the softmax.",
        SCALE,
    ),
    "scale-by-d": (
        {"scale": parts.by_d},
        "the scores are divided by D, not by √D, which flattens the weights; a dot product of "
        "D random terms has standard deviation √D, and that is what to divide by.",
        SCALE,
    ),
    "softmax-over-queries": (
        {"axis": -2},
        "softmax runs over the queries, so the columns sum to 1 and queries compete for a key; "
        "normalise over the keys, the last axis of the scores.",
        FIRST,
    ),
    "softmax-over-heads": (
        {"axis": 1},
        "softmax runs over the heads; normalise over the keys, the last axis of the scores.",
        FIRST,
    ),
    "mask-inverted": (
        {"hide": parts.inverted},
        "the mask is read the other way round, so each query sees what it should not; "
        "True means may attend, so hide the pairs where the mask is False.",
        TRUE,
    ),
    "mask-ignored": (
        {"hide": parts.ignored},
        "the mask is not used, so every query sees every key; hide the pairs where the mask is "
        "False before the softmax.",
        TRUE,
    ),
    "mask-after-softmax": (
        {"hide": parts.ignored, "after": parts.times_mask},
        "the mask is applied to the weights, so what remains no longer sums to 1; apply it to "
        "the scores, before the softmax.",
        BEFORE,
    ),
    "mask-multiplies-scores": (
        {"hide": parts.multiplied},
        "the scores are multiplied by the mask (or hidden with 0), and a score of 0 still "
        "gets the weight of exp(0) = 1; a hidden score has to be −∞.",
        BEFORE,
    ),
    "fill-too-small": (
        {"hide": parts.filled(-20.0)},
        "hidden scores are set to a number that real scores can fall below, so hidden keys "
        "leak in; use −∞, and treat a fully masked row apart.",
        EMPTY,
    ),
    "uniform-on-empty": (
        {"hide": parts.filled(-1e9)},
        "hidden scores are set to a large negative number, so a query that may attend to "
        "nothing gets the plain average of the values; here such a row gives zeros.",
        EMPTY,
    ),
    "nan-on-empty": (
        {"normalise": parts.torch_softmax},
        "a row of scores that is all −∞ makes torch's softmax divide 0 by 0; here a query that "
        "may attend to nothing gives zeros.",
        EMPTY,
    ),
}
ALSO = {"fill-too-small": [{"hide": parts.filled(n)} for n in (-1.0, -5.0, -10.0, -50.0)]}


def shared(around: Callable, *names: str) -> tuple[Mistake, ...]:
    """These mistakes, made in `around`, which passes their change on to `attend`."""
    return tuple(_made(around, name) for name in names)


def _made(around: Callable, name: str) -> Mistake:
    change, says, read = MISTAKES[name]
    also = tuple(partial(around, **other) for other in ALSO.get(name, ()))
    return Mistake(name, partial(around, **change), says, read, also=also)
