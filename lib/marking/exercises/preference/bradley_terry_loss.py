"""preference.bradley_terry_loss: the surprise at which of two answers people preferred."""

from functools import partial

import torch
from torch.nn import functional as F

from clearhead.preference import bradley_terry_loss
from marking.exercise import Exercise, Mistake
from marking.exercises.preference._alone import alone
from marking.exercises.preference._logistic import (
    apart,
    ending_mistakes,
    exact,
    mean_surprise,
    pairs,
)

# --- situations: a mistake shows in one always or never ------------------------------------------


def _margins(draw, n):
    """Above zero: people said by how much the one answer is better."""
    return exact(0.25 + draw.normal(n).abs())


def _inputs(draw, n, margin, *, around=0.0):
    """Scores of which no pair's is the other's, turned or not."""
    chosen, rejected = (exact(around + draw.normal(n, scale=2.0)) for _ in range(2))
    return {"chosen": chosen, "rejected": rejected, "margin": margin}


def no_margin(draw):
    n = pairs(draw)
    return _inputs(draw, n, torch.zeros(n, dtype=draw.dtype))


def a_margin_for_each(draw):
    n = pairs(draw)
    return _inputs(draw, n, _margins(draw, n))


def one_pair(draw):
    return _inputs(draw, 1, _margins(draw, 1) + draw.size(0, 40, small=0) / 8)


def all_in_the_wrong_order(draw):
    n = pairs(draw)
    inputs = _inputs(draw, n, _margins(draw, n))
    return inputs | {"chosen": inputs["rejected"] - _margins(draw, n)}


def right_by_less_than_the_margin(draw):
    n = pairs(draw)
    inputs = _inputs(draw, n, _margins(draw, n))
    return inputs | {"chosen": inputs["rejected"] + inputs["margin"] / 2}


def far_apart(draw):
    """By 1,000 and more, in the right order and in the wrong one."""
    n = pairs(draw)
    inputs = _inputs(draw, n, _margins(draw, n))
    return inputs | {"chosen": inputs["rejected"] + apart(draw, n, 1000.0)}


def large_scores(draw):
    """All lie near 800, and the differences are small; none is 0, where |x| has no derivative."""
    n = pairs(draw)

    def apart(inputs):
        return bool((inputs["chosen"] - inputs["rejected"] != inputs["margin"]).all())

    return draw.until(lambda: _inputs(draw, n, _margins(draw, n), around=800.0), apart)


# --- mistakes: one change each to `_loss` --------------------------------------------------------


def _apart(chosen, rejected):
    return chosen - rejected


def _loss(
    chosen,
    rejected,
    margin,
    *,
    difference=_apart,
    ask=lambda d, margin: d - margin,
    correct=lambda losses, margin: losses,
    **ending,
):
    """As it stands it is right."""
    z = ask(difference(chosen, rejected), margin)
    score = ending.pop("score", lambda z: -F.logsigmoid(z))
    return mean_surprise(z, score=lambda z: correct(score(z), margin), **ending)


def _ask(ask):
    return partial(_loss, ask=ask)


def _difference(difference):
    return partial(_loss, difference=difference)


swapped = _difference(lambda c, r: r - c)
turned = _ask(lambda d, m: m - d)
margin_added = _ask(lambda d, m: d + m)
margin_ignored = _ask(lambda d, m: d)
margin_multiplied = _ask(lambda d, m: d * m)
margin_divides = _ask(lambda d, m: d / m)
margin_averaged = _ask(lambda d, m: d - m.mean())
margin_of_the_first = _ask(lambda d, m: d - m[0])
margin_squared = _ask(lambda d, m: d - m * m)
margin_outside = tuple(
    partial(_loss, ask=lambda d, m: d, correct=correct)
    for correct in (
        lambda x, m: x + m,
        lambda x, m: x - m,
        lambda x, m: (x - m).relu(),
        lambda x, m: (x + m).relu(),
        lambda x, m: x * m,
    )
)
distance = _difference(lambda c, r: (c - r).abs())
quotient = _difference(lambda c, r: c / r)
squashed = _difference(lambda c, r: c.sigmoid() - r.sigmoid())
rejected_ignored = _difference(lambda c, r: c)
chosen_ignored = _difference(lambda c, r: -r)
added = _difference(lambda c, r: c + r)
all_with_all = _difference(lambda c, r: c[:, None] - r)
all_with_all_by_columns = _difference(lambda c, r: c - r[:, None])


def _with_rows_margin(d, margin):
    return d - margin[:, None]


all_with_all_margin_by_rows = partial(
    _loss, difference=lambda c, r: c[:, None] - r, ask=_with_rows_margin
)
all_with_all_margin_by_rows_turned = partial(
    _loss, difference=lambda c, r: c - r[:, None], ask=_with_rows_margin
)


def apart_from_each_other(chosen, rejected, margin, *, where="chosen"):
    """Each answer has a label of its own, good or bad."""
    up = chosen - margin if where == "chosen" else chosen
    down = rejected + margin if where == "rejected" else rejected
    return (-F.logsigmoid(up) - F.logsigmoid(-down)).mean()


def half_apart(chosen, rejected, margin, *, where="chosen"):
    return apart_from_each_other(chosen, rejected, margin, where=where) / 2


def _softmax_by_hand(chosen, rejected, margin, *, e=0.0):
    a, b = (chosen - margin).exp(), rejected.exp()
    return -(a / (a + b) + e).log().mean()


def _margin_at_the_rejected(chosen, rejected, margin):
    a, b = chosen.exp(), (rejected + margin).exp()
    return -(a / (a + b)).log().mean()


def _sum_of_exponentials(chosen, rejected, margin):
    return ((chosen - margin).exp() + rejected.exp()).log().mean() - (chosen - margin).mean()


# --- other right answers -------------------------------------------------------------------------


def surprise_of_a_label(chosen, rejected, margin):
    logits = chosen - rejected - margin
    return F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))


def two_classes(chosen, rejected, margin):
    """The softmax of two scores, of which the first is the right one."""
    scores = torch.stack([chosen - margin, rejected], dim=1)
    return F.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long))


def larger_part_first(chosen, rejected, margin):
    """ln(1 + eˣ) = max(x, 0) + ln(1 + e^−|x|)."""
    x = rejected - chosen + margin
    return (x.clamp(min=0) + torch.log1p(torch.exp(-x.abs()))).mean()


NUMBER = "preference/01_rewards_from_preferences#how-does-a-choice-become-a-number"
LEARNS = "preference/01_rewards_from_preferences#what-does-a-reward-model-learn"

BRADLEY_TERRY_LOSS = Exercise(
    id="preference.bradley_terry_loss",
    title="The loss of a choice between two answers",
    returns="a scalar tensor in the dtype of chosen",
    points=3,
    difficulty=1,
    minutes=10,
    reference=bradley_terry_loss,
    trains=("chosen", "rejected"),
    cases={
        "a margin for each pair": a_margin_for_each,
        "no margin": no_margin,
        "one pair": one_pair,
        "all in the wrong order": all_in_the_wrong_order,
        "right by less than the margin": right_by_less_than_the_margin,
        "scores far apart": far_apart,
        "large scores, close together": large_scores,
    },
    mistakes=(
        Mistake(
            "sides-swapped",
            swapped,
            "σ gets the difference the wrong way round; the chosen answer's score comes first, and "
            "the loss falls as it grows.",
            NUMBER,
            also=(turned,),
        ),
        Mistake(
            "margin-added",
            margin_added,
            "the margin is added to the difference, which makes a pair easier; it is subtracted, "
            "so that more than the right order is asked for.",
            LEARNS,
        ),
        Mistake(
            "margin-ignored",
            margin_ignored,
            "the margin is not used; subtract each pair's from its difference of scores.",
            LEARNS,
        ),
        Mistake(
            "margin-outside",
            margin_outside[0],
            "the margin stands outside of ln σ, where it does not change the gradient of a pair; "
            "subtract it from the difference of scores, inside.",
            LEARNS,
            also=margin_outside[1:],
        ),
        Mistake(
            "margin-multiplied",
            margin_multiplied,
            "the difference is multiplied or divided by the margin; the margin is subtracted.",
            LEARNS,
            also=(*map(alone, (margin_divides, margin_squared)),),
        ),
        Mistake(
            "one-margin-for-all",
            margin_averaged,
            "one margin is taken for all pairs; each pair has its own.",
            LEARNS,
            also=(alone(margin_of_the_first),),
        ),
        *ending_mistakes(_loss, NUMBER),
        Mistake(
            "scored-apart",
            apart_from_each_other,
            "each answer is judged by itself, good or bad; people compared two, so only the "
            "difference of their scores goes into one −ln σ.",
            NUMBER,
            also=(
                *map(
                    alone,
                    (partial(apart_from_each_other, where=w) for w in ("rejected", "neither")),
                ),
                *map(
                    alone, (partial(half_apart, where=w) for w in ("chosen", "rejected", "neither"))
                ),
            ),
        ),
        Mistake(
            "all-with-all",
            all_with_all,
            "every chosen answer is compared with every rejected one; answer i was preferred to "
            "answer i alone, so subtract two (N,) tensors as they are.",
            NUMBER,
            also=(
                *map(
                    alone,
                    (
                        all_with_all_by_columns,
                        all_with_all_margin_by_rows,
                        all_with_all_margin_by_rows_turned,
                    ),
                ),
            ),
        ),
        Mistake(
            "exponentials-apart",
            _softmax_by_hand,
            "e is raised to each score by itself, and e^800 is ∞ in floats; only the difference of "
            "two scores matters, so subtract first.",
            NUMBER,
            also=(
                *map(alone, (_margin_at_the_rejected, _sum_of_exponentials)),
                *map(alone, (partial(_softmax_by_hand, e=e) for e in (1e-6, 1e-8, 1e-10, 1e-12))),
            ),
        ),
        Mistake(
            "one-side-alone",
            rejected_ignored,
            "the score of one answer of the pair is not used; σ gets the difference of both.",
            NUMBER,
            also=(alone(chosen_ignored),),
        ),
        Mistake(
            "not-a-difference",
            quotient,
            "the scores are divided, added up, squashed first or their distance is taken; σ gets "
            "chosen − rejected − margin as it is, sign and all.",
            NUMBER,
            also=(*map(alone, (distance, squashed, added)),),
        ),
    ),
    alternatives=(surprise_of_a_label, two_classes, larger_part_first),
    hints=(
        "Two answers, scored 3 and 1: how probably is the first preferred? And scored 103 and 101? "
        "What does that say about which numbers the loss may look at?",
        "With a margin of 2, a pair whose scores differ by 2 is to be no better off than a pair of "
        "equal scores without one. On which side of the difference does the margin belong?",
        "Work out your loss for scores of −1000 and 1000 by hand, then by your function. If they "
        "differ, look for the step that makes a number 0 or ∞ before its logarithm is taken.",
    ),
    read=NUMBER,
)
