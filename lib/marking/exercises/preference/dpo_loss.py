"""preference.dpo_loss: the loss of a choice, with the reward read off the policy."""

import math
from functools import partial

import torch
from torch.nn import functional as F

from clearhead.preference import dpo_loss
from marking.exercise import Exercise, Mistake
from marking.exercises.preference._alone import alone
from marking.exercises.preference._logistic import (
    apart,
    ending_mistakes,
    exact,
    log_probs,
    mean_surprise,
    pairs,
)

# --- situations: a mistake shows in one always or never ------------------------------------------


def _moved(draw, n):
    """By how much the policy has moved from the reference."""
    return exact(draw.normal(n, scale=3.0))


def _further(draw, n):
    return exact(0.5 + draw.normal(n).abs())


def _inputs(draw, n, moved_chosen, moved_rejected, *, beta=None, same_reference=False):
    """Both answers' log-probabilities under the reference, and by how much they have moved."""
    reference_chosen = log_probs(draw, n)
    reference_rejected = reference_chosen.clone() if same_reference else log_probs(draw, n)
    return {
        "chosen": reference_chosen + moved_chosen,
        "rejected": reference_rejected + moved_rejected,
        "reference_chosen": reference_chosen,
        "reference_rejected": reference_rejected,
        "beta": draw.number(0.1, 0.6) if beta is None else beta,
    }


def several_pairs(draw):
    n = pairs(draw)
    return _inputs(draw, n, _moved(draw, n), _moved(draw, n))


def one_pair(draw):
    return _inputs(draw, 1, _moved(draw, 1), _moved(draw, 1))


def not_moved_yet(draw):
    """As before the first step: the policy is the reference."""
    n = pairs(draw)
    return _inputs(draw, n, *torch.zeros(2, n, dtype=draw.dtype))


def an_even_reference(draw):
    """The reference finds both answers as likely as each other."""
    n = pairs(draw)
    return _inputs(draw, n, _moved(draw, n), _moved(draw, n), same_reference=True)


def beta_one(draw):
    n = pairs(draw)
    return _inputs(draw, n, _moved(draw, n), _moved(draw, n), beta=1.0)


def both_less_likely(draw):
    """And the rejected one more so, as often in training."""
    n = pairs(draw)
    fall = _further(draw, n)
    return _inputs(draw, n, -fall, -fall - _further(draw, n))


def far_from_the_reference(draw):
    """By thousands, in the right direction and in the wrong one."""
    n = pairs(draw)
    moved = _moved(draw, n) - 20_000
    return _inputs(draw, n, moved + apart(draw, n, 12_000.0), moved)


# --- mistakes: one change each to `_loss` --------------------------------------------------------


def _ratios(c, r, rc, rr):
    return (c - rc) - (r - rr)


def _loss(
    chosen,
    rejected,
    reference_chosen,
    reference_rejected,
    beta,
    *,
    margin=_ratios,
    scale=lambda d, beta: beta * d,
    outside=lambda losses, beta: losses,
    **ending,
):
    """As it stands it is right. `margin` may say what is multiplied by β and what is not."""
    d = margin(chosen, rejected, reference_chosen, reference_rejected)
    z = scale(d[0], beta) + d[1] if isinstance(d, tuple) else scale(d, beta)
    score = ending.pop("score", lambda z: -F.logsigmoid(z))
    return mean_surprise(z, score=lambda z: outside(score(z), beta), **ending)


def _margin(margin):
    return partial(_loss, margin=margin)


def _scale(scale):
    return partial(_loss, scale=scale)


def _outside(outside):
    return partial(_loss, scale=lambda d, beta: d, outside=outside)


turned = _margin(lambda c, r, rc, rr: (r - rr) - (c - rc))
policy_turned = _margin(lambda c, r, rc, rr: (r - c) - (rc - rr))
no_reference = _margin(lambda c, r, rc, rr: c - r)
reference_added = _margin(lambda c, r, rc, rr: (c - r) + (rc - rr))
all_added = _margin(lambda c, r, rc, rr: c - r - rc - rr)
reference_alone = _margin(lambda c, r, rc, rr: rc - rr)
reference_of_the_other = _margin(lambda c, r, rc, rr: c - r - rr)
reference_of_the_chosen = _margin(lambda c, r, rc, rr: c - r - rc)
reference_halved = _margin(lambda c, r, rc, rr: (c - r) - (rc - rr) / 2)
chosen_alone = _margin(lambda c, r, rc, rr: c - rc)
rejected_alone = _margin(lambda c, r, rc, rr: rr - r)
ratios_added = _margin(lambda c, r, rc, rr: (c - rc) + (r - rr))

divided = _margin(lambda c, r, rc, rr: c / rc - r / rr)
divided_by_pairs = _margin(lambda c, r, rc, rr: c / r - rc / rr)
divided_then_logarithm = _margin(lambda c, r, rc, rr: (c / rc).log() - (r / rr).log())
logarithms_again = _margin(lambda c, r, rc, rr: (c.log() - rc.log()) - (r.log() - rr.log()))
divided_at_last = _margin(lambda c, r, rc, rr: (c - rc) / (r - rr))
probability_ratios = _margin(lambda c, r, rc, rr: (c - rc).exp() - (r - rr).exp())
probability_ratios_by_pairs = _margin(lambda c, r, rc, rr: (c - r).exp() - (rc - rr).exp())
probabilities = _margin(lambda c, r, rc, rr: (c.exp() - r.exp()) - (rc.exp() - rr.exp()))
ratios_divided = _margin(lambda c, r, rc, rr: ((c - rc) - (r - rr)).exp())

policy_scaled_alone = _margin(lambda c, r, rc, rr: (c - r, rr - rc))
reference_scaled_alone = _margin(lambda c, r, rc, rr: (rr - rc, c - r))
chosen_scaled_alone = _margin(lambda c, r, rc, rr: (c - rc, rr - r))
first_scaled_alone = _margin(lambda c, r, rc, rr: (c, rr - rc - r))

beta_ignored = _scale(lambda d, beta: d)
beta_twice = _scale(lambda d, beta: beta * beta * d)
beta_divides = _scale(lambda d, beta: d / beta)
beta_rest = _scale(lambda d, beta: (1 - beta) * d)
beta_added = _scale(lambda d, beta: d - beta)
beta_outside = _outside(lambda losses, beta: beta * losses)
beta_divides_outside = _outside(lambda losses, beta: losses / beta)
beta_inside_and_outside = partial(_loss, outside=lambda losses, beta: beta * losses)
beta_inside_divides_outside = partial(_loss, outside=lambda losses, beta: losses / beta)
from_ln_two = partial(_loss, finish=lambda loss: loss - math.log(2))
from_ln_two_times = partial(_loss, finish=lambda loss: loss / math.log(2))


def apart_from_each_other(
    chosen, rejected, reference_chosen, reference_rejected, beta, *, share=1.0
):
    """Each answer has a label of its own, good or bad."""
    up, down = chosen - reference_chosen, rejected - reference_rejected
    return share * (-F.logsigmoid(beta * up) - F.logsigmoid(-beta * down)).mean()


goal = partial(_loss, scale=lambda d, beta: d - 1 / (2 * beta), score=torch.square)
goal_of_one = partial(_loss, score=lambda z: (z - 1).square())


# --- other right answers -------------------------------------------------------------------------


def rewards_first(chosen, rejected, reference_chosen, reference_rejected, beta):
    reward = beta * torch.stack([chosen - reference_chosen, rejected - reference_rejected])
    return -F.logsigmoid(reward[0] - reward[1]).mean()


def policy_and_reference_apart(chosen, rejected, reference_chosen, reference_rejected, beta):
    """As in the authors' code."""
    logits = (chosen - rejected) - (reference_chosen - reference_rejected)
    return F.softplus(-beta * logits).mean()


def classifier_of_pairs(chosen, rejected, reference_chosen, reference_rejected, beta):
    total = 0.0
    for c, r, rc, rr in zip(chosen, rejected, reference_chosen, reference_rejected, strict=True):
        z = beta * (c - rc - r + rr)
        total = total + torch.logaddexp(torch.zeros_like(z), -z)
    return total / len(chosen)


DISAPPEARS = "preference/02_dpo#how-does-the-reward-model-disappear"
PUSHES = "preference/02_dpo#which-way-does-the-gradient-push"
ANSWERS = "preference/02_dpo#what-is-the-log-probability-of-an-answer"

DPO_LOSS = Exercise(
    id="preference.dpo_loss",
    title="The loss of DPO",
    returns="a scalar tensor in the dtype of chosen",
    points=3,
    difficulty=2,
    minutes=15,
    reference=dpo_loss,
    trains=("chosen", "rejected"),
    cases={
        "several pairs": several_pairs,
        "one pair": one_pair,
        "a policy that has not moved": not_moved_yet,
        "a reference that prefers neither": an_even_reference,
        "a β of 1": beta_one,
        "both have become less likely": both_less_likely,
        "far from the reference": far_from_the_reference,
    },
    mistakes=(
        Mistake(
            "sides-swapped",
            turned,
            "the difference inside σ is turned: chosen and rejected, or policy and reference, have "
            "changed places, and training would make the rejected answer likelier.",
            PUSHES,
            also=(policy_turned,),
        ),
        Mistake(
            "reference-ignored",
            no_reference,
            "the reference is not used (or only for one of the two answers); the reward of an "
            "answer is by how much likelier the policy makes it than the reference does.",
            DISAPPEARS,
            also=(
                *map(alone, (reference_of_the_other, reference_of_the_chosen, reference_halved)),
            ),
        ),
        Mistake(
            "reference-added",
            reference_added,
            "the reference has the wrong sign; of each answer's log-probability the reference's "
            "own is subtracted.",
            DISAPPEARS,
            also=(alone(all_added),),
        ),
        Mistake(
            "beta-outside",
            beta_outside,
            "β stands in front of the logarithm; there it scales the loss as a learning rate does. "
            "It belongs inside σ, where it says how far the policy may go.",
            DISAPPEARS,
            also=(*map(alone, (beta_divides_outside, beta_inside_divides_outside)),),
        ),
        Mistake(
            "beta-twice",
            beta_twice,
            "β is applied twice, once to the rewards and once to their difference or to the loss; "
            "once is enough.",
            DISAPPEARS,
            also=(alone(beta_inside_and_outside),),
        ),
        Mistake(
            "beta-ignored",
            beta_ignored,
            "β is not used; the difference of the log-ratios is multiplied by it.",
            DISAPPEARS,
            also=(*map(alone, (beta_rest, beta_added)),),
        ),
        Mistake(
            "beta-divides",
            beta_divides,
            "the difference is divided by β; a reward is β times a log-ratio, so multiply.",
            DISAPPEARS,
        ),
        Mistake(
            "beta-on-one-part",
            policy_scaled_alone,
            "β multiplies only a part of the difference; put brackets around the whole of it.",
            DISAPPEARS,
            also=(*map(alone, (reference_scaled_alone, chosen_scaled_alone, first_scaled_alone)),),
        ),
        *ending_mistakes(_loss, PUSHES),
        Mistake(
            "zero-at-the-reference",
            from_ln_two,
            "the loss is shifted or scaled so as to begin at 0 or 1; a policy equal to its "
            "reference has the loss ln 2, which is that of a guess between two.",
            PUSHES,
            also=(alone(from_ln_two_times),),
        ),
        Mistake(
            "ratio-of-log-probs",
            divided,
            "log-probabilities are divided by one another, or their logarithm is taken again; the "
            "logarithm of a quotient is the difference of the logarithms.",
            ANSWERS,
            also=(
                *map(
                    alone,
                    (divided_by_pairs, divided_then_logarithm, logarithms_again, divided_at_last),
                ),
            ),
        ),
        Mistake(
            "ratio-without-logarithm",
            probability_ratios,
            "probabilities or their ratios are compared; a reward is β times the logarithm of a "
            "ratio, so leave the exponential out.",
            DISAPPEARS,
            also=(*map(alone, (probability_ratios_by_pairs, probabilities, ratios_divided)),),
        ),
        Mistake(
            "one-side-alone",
            chosen_alone,
            "only one answer of the pair, or only the reference, is looked at; σ gets the "
            "difference of two rewards.",
            PUSHES,
            also=(*map(alone, (rejected_alone, reference_alone)),),
        ),
        Mistake(
            "rewards-added",
            ratios_added,
            "the rewards of the two answers are added up; σ gets their difference.",
            PUSHES,
        ),
        Mistake(
            "a-goal-for-the-margin",
            goal,
            "the squared distance from a goal is averaged, as in IPO; DPO's loss is −ln σ, which "
            "falls for ever as the difference grows.",
            "preference/02_dpo#what-do-ipo-simpo-orpo-and-kto-change",
            also=(alone(goal_of_one),),
        ),
        Mistake(
            "scored-apart",
            apart_from_each_other,
            "each answer is judged by itself, good or bad; people compared two, so only the "
            "difference of their rewards goes into one −ln σ.",
            DISAPPEARS,
            also=(alone(partial(apart_from_each_other, share=0.5)),),
        ),
    ),
    alternatives=(rewards_first, policy_and_reference_apart, classifier_of_pairs),
    hints=(
        "You have the loss of a choice between two scored answers already. What does DPO put in "
        "the place of an answer's score?",
        "The policy equals the reference. What must come out, whatever β is and however likely the "
        "answers are? Work out the number, and see whether you get it.",
        "Take a pair of which the policy has made both answers less likely, the rejected one more "
        "so. Follow the four numbers and their signs up to σ: is its argument above zero, and on "
        "which side of the logarithm does β stand?",
    ),
    read=DISAPPEARS,
)
