"""Losses −ln σ(z) of pairs, with their places to go wrong: shared by four exercises.

Each record works out z, a number for each pair, and ends with `mean_surprise(z)`.
`ending_mistakes(loss, read)` makes one mistake of each wrong ending, as a `functools.partial` of
`loss`, which hands its further keywords on to `mean_surprise`; so two made at once are recognised.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch.nn import functional as F

from marking.exercise import Mistake
from marking.exercises.preference._alone import alone

STEP = 64  # a multiple of 1/64 below 2^17 is exact in float32, and so are sums of a few


def exact(x):
    """The nearest numbers of which sums and differences are exact, in float32 too."""
    return x.mul(STEP).round().div(STEP)


def pairs(draw) -> int:
    """How many pairs: two or more."""
    return draw.size(3, 40, small=2)


def apart(draw, n: int, least: float) -> torch.Tensor:
    """n numbers of both signs, the first below zero, and none between −least and least."""
    signs = torch.where(draw.chance(0.5, n), 1.0, -1.0)
    signs[0], signs[-1] = 1.0, -1.0
    return (exact(least * (1 + draw.normal(n).abs().double())) * signs).to(draw.dtype)


def log_probs(draw, n: int) -> torch.Tensor:
    """Log-probabilities of n answers: −10 and lower."""
    return exact(-10 - 8 * draw.normal(n).abs())


def token_counts(draw, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the chosen and the rejected answers: 2 or more, and never the same in a pair."""
    chosen = draw.integers(2, 12, n)
    other = draw.integers(1, 6, n)
    return chosen, torch.where(draw.chance(0.5, n) & (chosen > 6), chosen - other, chosen + other)


def mean_surprise(
    z,
    *,
    score=lambda z: -F.logsigmoid(z),
    before=lambda z: z,
    reduce=torch.mean,
    finish=lambda loss: loss,
):
    """As it stands it is right."""
    return finish(reduce(score(before(z))))


def _score(score):
    return {"score": score}


def _little_added(e):
    return _score(lambda z: -(z.sigmoid() + e).log())


def _at_least(e):
    return _score(lambda z: -z.sigmoid().clamp(min=e).log())


def _held(bound):
    return _score(lambda z: -F.logsigmoid(z.clamp(-bound, bound)))


LITTLE = (1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12)
LEAST = (1e-15, 1e-20, 1e-30, 1e-37, 1e-38)  # of a clamp; added to a number they vanish
BOUNDS = (20.0, 30.0, 50.0, 80.0, 88.0, 100.0, 500.0, 700.0)

ENDINGS: dict[str, tuple[str, list[dict[str, Callable]]]] = {
    "log-of-sigmoid": (
        "σ or an exponential is computed first and its logarithm afterwards; for −1000 that is the "
        "logarithm of 0 or of ∞, where the true value is −1000; and with a bound the loss stops "
        "growing. Use logsigmoid, or softplus, of the number itself.",
        [
            _score(lambda z: -z.sigmoid().log()),
            _score(lambda z: (1 + (-z).exp()).log()),
            _score(lambda z: (-z).exp().log1p()),
            _score(lambda z: (-z.sigmoid().log()).clamp(max=100.0)),  # as binary_cross_entropy
            *map(_little_added, LITTLE),
            *map(_at_least, LITTLE + LEAST),
            *map(_little_added, LEAST),
            *map(_held, BOUNDS),
        ],
    ),
    "mean-inside": (
        "the pairs are averaged before −ln σ; the loss is the mean of each pair's −ln σ, and a "
        "pair in the right order does not make up for one in the wrong order.",
        [
            {"before": lambda z: z.mean()},
            {"score": lambda z: z.sigmoid(), "reduce": lambda p: -p.mean().log()},
        ],
    ),
    "summed": (
        "the losses of the pairs are added up; return their mean.",
        [{"reduce": torch.sum}],
    ),
    "not-averaged": (
        "a loss for each pair comes back; return one number, their mean.",
        [{"reduce": lambda losses: losses}, {"reduce": lambda losses: losses.mean()[None]}],
    ),
    "sign-forgotten": (
        "the mean of ln σ comes back, which is below zero; the loss is its negative.",
        [{"finish": lambda loss: -loss}],
    ),
    "no-logarithm": (
        "σ itself (or 1 − σ) is averaged; the loss is the mean of −ln σ, which goes on growing for "
        "a pair that is far wrong.",
        [
            _score(lambda z: 1 - z.sigmoid()),
            _score(lambda z: -z.sigmoid()),
            _score(lambda z: z.sigmoid()),
        ],
    ),
    "sigmoid-twice": (
        "σ is applied to what is a probability already; give z itself to logsigmoid.",
        [_score(lambda z: -F.logsigmoid(z.sigmoid()))],
    ),
    "hinge": (
        "the loss is a hinge, max(0, …); here it is −ln σ, which never becomes quite zero.",
        [_score(lambda z: (1 - z).relu()), _score(lambda z: (-z).relu())],
    ),
    "order-counted": (
        "the share of pairs in the right (or the wrong) order comes back; no gradient flows "
        "through a count. The loss is the mean of −ln σ.",
        [
            _score(lambda z: (z > 0).to(z.dtype)),
            _score(lambda z: (z < 0).to(z.dtype)),
        ],
    ),
    "a-number-returned": (
        "a Python number comes back, and no gradient flows through one; return the scalar tensor.",
        [{"finish": lambda loss: loss.item()}],
    ),
}


def ending_mistakes(loss: Callable, read: str) -> tuple[Mistake, ...]:
    """A mistake for every wrong ending; the first way to make it is also tried beside others."""
    found = []
    for id, (says, (first, *rest)) in ENDINGS.items():
        also = tuple(alone(partial(loss, **keywords)) for keywords in rest)
        found.append(Mistake(id, partial(loss, **first), says, read, also=also))
    return tuple(found)
