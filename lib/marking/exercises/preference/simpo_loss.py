"""preference.simpo_loss: no reference; an answer's score is its mean log-probability a token."""

from functools import partial

import torch
from torch.nn import functional as F

from clearhead.preference import simpo_loss
from marking.exercise import Exercise, Mistake, Tolerance
from marking.exercises.preference._alone import alone
from marking.exercises.preference._logistic import (
    apart,
    ending_mistakes,
    exact,
    mean_surprise,
    pairs,
    token_counts,
)

# --- situations: a mistake shows in one always or never ------------------------------------------


def _inputs(draw, counts, *, beta=None, gamma=None):
    """Log-probabilities of about −1 to −3 a token."""
    n = len(counts[0])
    each = [-1.0 - exact(draw.normal(n).abs()) for _ in range(2)]
    return {
        "chosen": each[0] * counts[0],
        "rejected": each[1] * counts[1],
        "chosen_tokens": counts[0],
        "rejected_tokens": counts[1],
        "beta": draw.number(1.8, 3.0) if beta is None else beta,
        "gamma": draw.number(0.4, 1.2) if gamma is None else gamma,
    }


def several_pairs(draw):
    return _inputs(draw, token_counts(draw, pairs(draw)))


def one_pair(draw):
    return _inputs(draw, token_counts(draw, 1))


def equal_lengths(draw):
    counts = draw.integers(2, 12, pairs(draw))
    return _inputs(draw, (counts, counts.clone()))


def one_token_each(draw):
    return _inputs(draw, 2 * [torch.ones(pairs(draw), dtype=torch.int64)])


def no_margin(draw):
    return _inputs(draw, token_counts(draw, pairs(draw)), gamma=0.0)


def beta_one(draw):
    return _inputs(draw, token_counts(draw, pairs(draw)), beta=1.0)


def a_long_answer_is_better(draw):
    """Each of its tokens is likelier, though the whole is less likely."""
    n = pairs(draw)
    rejected_tokens = draw.integers(2, 6, n)
    chosen_tokens = 6 * rejected_tokens
    worse = 2.0 + exact(draw.normal(n).abs())
    inputs = _inputs(draw, (chosen_tokens, rejected_tokens))
    return inputs | {"chosen": -worse / 2 * chosen_tokens, "rejected": -worse * rejected_tokens}


def far_apart(draw):
    """By thousands a token, in the right order and in the wrong one."""
    n = pairs(draw)
    counts = token_counts(draw, n)
    inputs = _inputs(draw, counts)
    each = -20_000 + apart(draw, n, 2000.0)
    return inputs | {"chosen": each * counts[0], "rejected": -20_000.0 * counts[1].to(draw.dtype)}


# --- mistakes: one change each to `_loss` --------------------------------------------------------


def _difference(c, r, n, m):
    return c / n - r / m


def _loss(
    chosen,
    rejected,
    chosen_tokens,
    rejected_tokens,
    beta,
    gamma,
    *,
    counts=lambda n, m: (n, m),
    difference=_difference,
    scale=lambda d, beta: beta * d,
    ask=lambda z, gamma, beta: z - gamma,
    outside=lambda losses, beta: losses,
    correct=lambda losses, gamma: losses,
    **ending,
):
    """As it stands it is right. `difference` may say what is multiplied by β and what is not."""
    d = difference(chosen, rejected, *counts(chosen_tokens, rejected_tokens))
    z = scale(d[0], beta) + d[1] if isinstance(d, tuple) else scale(d, beta)
    score = ending.pop("score", lambda z: -F.logsigmoid(z))
    return mean_surprise(
        ask(z, gamma, beta),
        score=lambda z: outside(correct(score(z), gamma), beta),
        **ending,
    )


def _counts(counts):
    return partial(_loss, counts=counts)


def _differ(difference):
    return partial(_loss, difference=difference)


def _scale(scale):
    return partial(_loss, scale=scale)


def _ask(ask):
    return partial(_loss, ask=ask)


sums = _counts(lambda n, m: (1, 1))
counts_swapped = _counts(lambda n, m: (m, n))
counts_together = _counts(lambda n, m: (n + m, n + m))
mean_count = _counts(lambda n, m: ((n + m) / 2, (n + m) / 2))
longer_count = _counts(lambda n, m: (torch.maximum(n, m),) * 2)
shorter_count = _counts(lambda n, m: (torch.minimum(n, m),) * 2)
chosen_count = _counts(lambda n, m: (n, n))
rejected_count = _counts(lambda n, m: (m, m))
longest = _counts(lambda n, m: (n.max(), m.max()))
longest_of_all = _counts(lambda n, m: (max(int(n.max()), int(m.max())),) * 2)
roots_of_counts = _counts(lambda n, m: (n.sqrt(), m.sqrt()))
chosen_averaged = _counts(lambda n, m: (n, 1))
rejected_averaged = _counts(lambda n, m: (1, m))
times_counts = _differ(lambda c, r, n, m: c * n - r * m)

turned = _differ(lambda c, r, n, m: r / m - c / n)
all_turned = partial(_loss, scale=lambda d, beta: -beta * d, ask=lambda z, gamma, beta: z + gamma)
chosen_alone = _differ(lambda c, r, n, m: c / n)
rejected_alone = _differ(lambda c, r, n, m: -r / m)
added = _differ(lambda c, r, n, m: c / n + r / m)
divided = _differ(lambda c, r, n, m: (c / n) / (r / m))
probabilities = _differ(lambda c, r, n, m: (c / n).exp() - (r / m).exp())
whole_probabilities = _differ(lambda c, r, n, m: c.exp() / n - r.exp() / m)
odds = _differ(
    lambda c, r, n, m: (c / n - (-(c / n).exp()).log1p()) - (r / m - (-(r / m).exp()).log1p())
)

gamma_added = _ask(lambda z, gamma, beta: z + gamma)
gamma_ignored = _ask(lambda z, gamma, beta: z)
gamma_times_beta = _ask(lambda z, gamma, beta: z - beta * gamma)
gamma_over_beta = _ask(lambda z, gamma, beta: z - gamma / beta)
gamma_multiplied = _ask(lambda z, gamma, beta: z * gamma)
gamma_squared = _ask(lambda z, gamma, beta: z - gamma**2)
one_less_gamma = _ask(lambda z, gamma, beta: z - (1 - gamma))
gamma_outside = tuple(
    partial(_loss, ask=lambda z, gamma, beta: z, correct=correct)
    for correct in (
        lambda x, gamma: x + gamma,
        lambda x, gamma: x - gamma,
        lambda x, gamma: (x - gamma).relu(),
        lambda x, gamma: x * gamma,
    )
)

beta_ignored = _scale(lambda d, beta: d)
beta_twice = _scale(lambda d, beta: beta * beta * d)
beta_divides = _scale(lambda d, beta: d / beta)
beta_outside = partial(_loss, scale=lambda d, beta: d, outside=lambda losses, beta: beta * losses)
beta_divides_outside = partial(
    _loss, scale=lambda d, beta: d, outside=lambda losses, beta: losses / beta
)
beta_inside_and_outside = partial(_loss, outside=lambda losses, beta: beta * losses)
beta_inside_divides_outside = partial(_loss, outside=lambda losses, beta: losses / beta)
chosen_scaled_alone = _differ(lambda c, r, n, m: (c / n, -r / m))
rejected_scaled_alone = _differ(lambda c, r, n, m: (-r / m, c / n))


# --- other right answers -------------------------------------------------------------------------


def rewards_first(chosen, rejected, chosen_tokens, rejected_tokens, beta, gamma):
    reward = [beta * chosen / chosen_tokens, beta * rejected / rejected_tokens]
    return F.softplus(gamma - (reward[0] - reward[1])).mean()


def margin_over_beta(chosen, rejected, chosen_tokens, rejected_tokens, beta, gamma):
    """As trl has it."""
    logits = chosen / chosen_tokens - rejected / rejected_tokens - gamma / beta
    return -F.logsigmoid(beta * logits).mean()


def pair_by_pair(chosen, rejected, chosen_tokens, rejected_tokens, beta, gamma):
    losses = []
    for c, r, n, m in zip(chosen, rejected, chosen_tokens, rejected_tokens, strict=True):
        z = beta * (c / n.item()) - beta * (r / m.item()) - gamma
        losses.append(torch.logaddexp(torch.zeros_like(z), -z))
    return torch.stack(losses).mean()


CHANGE = "preference/02_dpo#what-do-ipo-simpo-orpo-and-kto-change"
PUSHES = "preference/02_dpo#which-way-does-the-gradient-push"
ANSWERS = "preference/02_dpo#what-is-the-log-probability-of-an-answer"

SIMPO_LOSS = Exercise(
    id="preference.simpo_loss",
    title="The loss of SimPO",
    returns="a scalar tensor in the dtype of chosen",
    points=3,
    difficulty=2,
    minutes=10,
    reference=simpo_loss,
    trains=("chosen", "rejected"),
    tolerance=Tolerance(fp64=1e-6),  # one over a number of tokens is a float32
    cases={
        "several pairs": several_pairs,
        "one pair": one_pair,
        "answers of equal length": equal_lengths,
        "answers of one token": one_token_each,
        "no margin": no_margin,
        "a β of 1": beta_one,
        "a long answer is better": a_long_answer_is_better,
        "far apart": far_apart,
    },
    mistakes=(
        Mistake(
            "not-per-token",
            sums,
            "the log-probabilities are not divided by the answers' numbers of tokens; a long "
            "answer then scores low for its length alone.",
            CHANGE,
        ),
        Mistake(
            "gamma-added",
            gamma_added,
            "γ is added, which makes a pair easier; it is subtracted from the difference, so that "
            "the chosen answer has to lead by γ.",
            CHANGE,
        ),
        Mistake(
            "gamma-ignored",
            gamma_ignored,
            "γ is not used; subtract it from the difference of the two scores.",
            CHANGE,
        ),
        Mistake(
            "gamma-times-beta",
            gamma_times_beta,
            "γ is inside the bracket that β multiplies; β multiplies the two means alone, and γ is "
            "subtracted after that.",
            CHANGE,
        ),
        Mistake(
            "gamma-as-a-ratio",
            gamma_over_beta,
            "γ is divided by β, squared or multiplied by something; it is subtracted as it is.",
            CHANGE,
            also=(*map(alone, (gamma_squared, gamma_multiplied, one_less_gamma)),),
        ),
        Mistake(
            "gamma-outside",
            gamma_outside[0],
            "γ stands outside of ln σ, where it does not change the gradient of a pair; subtract "
            "it inside.",
            CHANGE,
            also=(*map(alone, gamma_outside[1:]),),
        ),
        Mistake(
            "beta-outside",
            beta_outside,
            "β stands in front of the logarithm; there it scales the loss as a learning rate does. "
            "It multiplies the two means, inside σ.",
            CHANGE,
            also=(*map(alone, (beta_divides_outside, beta_inside_divides_outside)),),
        ),
        Mistake(
            "beta-ignored",
            beta_ignored,
            "β is not used; it multiplies the two means.",
            CHANGE,
        ),
        Mistake(
            "beta-twice",
            beta_twice,
            "β is applied twice; once is enough.",
            CHANGE,
            also=(alone(beta_inside_and_outside),),
        ),
        Mistake(
            "beta-divides",
            beta_divides,
            "the means are divided by β; multiply.",
            CHANGE,
        ),
        Mistake(
            "beta-on-one-part",
            chosen_scaled_alone,
            "β multiplies only one of the two means; it multiplies both.",
            CHANGE,
            also=(alone(rejected_scaled_alone),),
        ),
        Mistake(
            "sides-swapped",
            turned,
            "the difference is turned: rejected stands before chosen, and training would make the "
            "rejected answer likelier.",
            PUSHES,
            also=(all_turned,),
        ),
        Mistake(
            "counts-swapped",
            counts_swapped,
            "each answer is divided by the other's number of tokens; divide it by its own.",
            CHANGE,
        ),
        Mistake(
            "both-counts-together",
            counts_together,
            "one number of tokens is taken for both answers of a pair, or for the batch; divide "
            "each by its own.",
            CHANGE,
            also=(
                chosen_count,
                *map(
                    alone,
                    (
                        mean_count,
                        longer_count,
                        shorter_count,
                        rejected_count,
                        longest,
                        longest_of_all,
                    ),
                ),
            ),
        ),
        *ending_mistakes(_loss, PUSHES),
        Mistake(
            "one-answer-averaged",
            chosen_averaged,
            "one answer of the pair is divided by its tokens and the other is not; divide both.",
            CHANGE,
            also=(alone(rejected_averaged),),
        ),
        Mistake(
            "times-tokens",
            times_counts,
            "the log-probabilities are multiplied by numbers of tokens, or divided by their roots; "
            "divide each by its number of tokens.",
            CHANGE,
            also=(alone(roots_of_counts),),
        ),
        Mistake(
            "probabilities-compared",
            probabilities,
            "probabilities or odds are compared, or means are divided by one another; σ gets the "
            "difference of two mean log-probabilities.",
            ANSWERS,
            also=(*map(alone, (whole_probabilities, odds, divided)),),
        ),
        Mistake(
            "one-side-alone",
            chosen_alone,
            "only one answer of the pair is looked at, or the two are added up; σ gets their "
            "difference.",
            PUSHES,
            also=(*map(alone, (rejected_alone, added)),),
        ),
    ),
    alternatives=(rewards_first, margin_over_beta, pair_by_pair),
    hints=(
        "What plays the part of an answer's reward here, and which two of its ingredients did DPO "
        "not need?",
        "Take two answers whose tokens all have probability ½, one of 3 tokens and one of 30. What "
        "should their scores be, and what does your function make of them?",
        "With β = 2 and γ = 1, by how much must the mean log-probability of a chosen token exceed "
        "a rejected one's for σ to be ½? Try your brackets on that.",
    ),
    read=CHANGE,
)
