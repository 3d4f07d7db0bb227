"""preference.ipo_loss: a goal for the margin, per token, in place of a logarithm of σ."""

from functools import partial

import torch
from torch.nn import functional as F

from clearhead.preference import ipo_loss
from marking.exercise import Exercise, Mistake, Tolerance
from marking.exercises.preference._alone import alone
from marking.exercises.preference._logistic import exact, log_probs, pairs, token_counts

# --- situations: a mistake shows in one always or never ------------------------------------------


def _tau(draw):
    """So small that 1/(2τ) is far above τ and τ/2."""
    return draw.number(0.1, 0.4)


def _margins(moved, counts):
    return moved[0] / counts[0] - moved[1] / counts[1]


def _inputs(draw, counts, *, beyond=True, moved=None):
    """`beyond`: is a pair's margin beyond the goal, so that it shows if that costs nothing?"""
    n, tau = len(counts[0]), _tau(draw)

    def fits(moved):
        return bool((_margins(moved, counts) > 1.05 / (2 * tau)).any()) == beyond

    if moved is None:
        moved = draw.until(lambda: exact(draw.normal(2, n, scale=6.0)), fits)
    reference_chosen, reference_rejected = log_probs(draw, n), log_probs(draw, n)
    return {
        "chosen": reference_chosen + moved[0],
        "rejected": reference_rejected + moved[1],
        "reference_chosen": reference_chosen,
        "reference_rejected": reference_rejected,
        "chosen_tokens": counts[0],
        "rejected_tokens": counts[1],
        "tau": tau,
    }


def several_pairs(draw):
    return _inputs(draw, token_counts(draw, pairs(draw)))


def one_pair(draw):
    return _inputs(draw, token_counts(draw, 1), beyond=False)


def equal_lengths(draw):
    counts = draw.integers(2, 12, pairs(draw))
    return _inputs(draw, (counts, counts.clone()))


def one_token_each(draw):
    """As in the paper, where a mean over tokens is the sum."""
    return _inputs(draw, 2 * [torch.ones(pairs(draw), dtype=torch.int64)])


def not_moved_yet(draw):
    counts = token_counts(draw, pairs(draw))
    return _inputs(draw, counts, moved=torch.zeros(2, len(counts[0]), dtype=draw.dtype))


def _margin_of(draw, times):
    """Pairs whose margin a token is so many times the goal."""
    inputs = several_pairs(draw)
    c, r = inputs["chosen_tokens"], inputs["rejected_tokens"]
    worse = (inputs["rejected"] - inputs["reference_rejected"]) / r
    goal = times / (2 * inputs["tau"])
    return inputs | {"chosen": inputs["reference_chosen"] + c * (goal + worse)}


def at_the_goal(draw):
    """But for rounding, which tells on which side of it a pair is."""

    def rounded(inputs):
        c, r, rc, rr, n, m = (
            inputs[name]
            for name in (
                "chosen",
                "rejected",
                "reference_chosen",
                "reference_rejected",
                "chosen_tokens",
                "rejected_tokens",
            )
        )
        return bool((_each_by_its_own(c, r, rc, rr, n, m) != 1 / (2 * inputs["tau"])).any())

    return draw.until(lambda: _margin_of(draw, 1.0), rounded)


def beyond_the_goal(draw):
    """The loss rises again."""
    return _margin_of(draw, 1.5 + draw.normal(1).abs().item())


# --- mistakes: one change each to `_loss` --------------------------------------------------------


def _each_by_its_own(c, r, rc, rr, n, m):
    return (c - rc) / n - (r - rr) / m


def _loss(
    chosen,
    rejected,
    reference_chosen,
    reference_rejected,
    chosen_tokens,
    rejected_tokens,
    tau,
    *,
    signs=lambda c, r, rc, rr: (c, r, rc, rr),
    counts=lambda n, m: (n, m),
    margin=_each_by_its_own,
    goal=lambda tau: 1 / (2 * tau),
    distance=lambda h, goal: h - goal,
    square=torch.square,
    before=lambda gap: gap,
    reduce=torch.mean,
    finish=lambda loss: loss,
):
    """As it stands it is right."""
    four = signs(chosen, rejected, reference_chosen, reference_rejected)
    h = margin(*four, *counts(chosen_tokens, rejected_tokens))
    return finish(reduce(square(before(distance(h, goal(tau))))))


def _signs(signs):
    return partial(_loss, signs=signs)


def _counts(counts):
    return partial(_loss, counts=counts)


def _margin(margin):
    return partial(_loss, margin=margin)


def _goal(goal):
    return partial(_loss, goal=goal)


def _square(square):
    return partial(_loss, square=square)


sums = _counts(lambda n, m: (1, 1))
counts_swapped = _counts(lambda n, m: (m, n))
counts_together = _counts(lambda n, m: (n + m, n + m))
mean_count = _counts(lambda n, m: ((n + m) / 2, (n + m) / 2))
longer_count = _counts(lambda n, m: (torch.maximum(n, m),) * 2)
shorter_count = _counts(lambda n, m: (torch.minimum(n, m),) * 2)
chosen_count = _counts(lambda n, m: (n, n))
rejected_count = _counts(lambda n, m: (m, m))
batch_counts = _counts(lambda n, m: (n.double().mean().item(), m.double().mean().item()))
longest = _counts(lambda n, m: (n.max(), m.max()))
longest_of_all = _counts(lambda n, m: (max(int(n.max()), int(m.max())),) * 2)
batch_sums = _counts(lambda n, m: (n.sum(), m.sum()))
batch_sum_of_both = _counts(lambda n, m: ((n + m).sum(),) * 2)
roots_of_counts = _counts(lambda n, m: (n.sqrt(), m.sqrt()))
times_counts = _margin(lambda c, r, rc, rr, n, m: (c - rc) * n - (r - rr) * m)
policy_averaged = _margin(lambda c, r, rc, rr, n, m: (c / n - r / m) - (rc - rr))
reference_averaged = _margin(lambda c, r, rc, rr, n, m: (c - r) - (rc / n - rr / m))
chosen_averaged = _margin(lambda c, r, rc, rr, n, m: (c - rc) / n - (r - rr))
rejected_averaged = _margin(lambda c, r, rc, rr, n, m: (c - rc) - (r - rr) / m)

turned = _signs(lambda c, r, rc, rr: (r, c, rr, rc))
no_reference = _signs(lambda c, r, rc, rr: (c, r, 0 * rc, 0 * rr))
reference_added = _signs(lambda c, r, rc, rr: (c, r, -rc, -rr))
ratios_added = _margin(lambda c, r, rc, rr, n, m: (c - rc) / n + (r - rr) / m)
chosen_alone = _margin(lambda c, r, rc, rr, n, m: (c - rc) / n)
rejected_alone = _margin(lambda c, r, rc, rr, n, m: (rr - r) / m)
probability_ratios = _margin(lambda c, r, rc, rr, n, m: ((c - rc) / n).exp() - ((r - rr) / m).exp())
divided = _margin(lambda c, r, rc, rr, n, m: (c / rc) / n - (r / rr) / m)

half_tau = _goal(lambda tau: tau / 2)
tau_itself = _goal(lambda tau: tau)
two_tau = _goal(lambda tau: 2 * tau)
one_over_tau = _goal(lambda tau: 1 / tau)
two_over_tau = _goal(lambda tau: 2 / tau)
a_quarter = _goal(lambda tau: 1 / (4 * tau))
squared_tau = _goal(lambda tau: 1 / (2 * tau * tau))
goal_of_half = _goal(lambda tau: 0.5)
goal_of_one = _goal(lambda tau: 1.0)
no_goal = _goal(lambda tau: 0.0)
goal_added = partial(_loss, distance=lambda h, goal: h + goal)
multiplied_out = partial(_loss, distance=lambda h, goal: h / (2 * goal) - 0.5)
multiplied_out_by_two = partial(_loss, distance=lambda h, goal: h / goal - 1)
beta_inside = partial(_loss, distance=lambda h, goal: h / (2 * goal) - goal)
beta_inside_and_one = partial(_loss, distance=lambda h, goal: h / (2 * goal) - 1)

absolute = _square(torch.abs)
signed = _square(lambda gap: gap)
signed_from_goal = _square(lambda gap: -gap)
halved = _square(lambda gap: gap.square() / 2)
one_sided = _square(lambda gap: (-gap).relu().square())
one_sided_hinge = _square(lambda gap: (-gap).relu())
huber = _square(lambda gap: F.smooth_l1_loss(gap, 0 * gap, reduction="none"))
logistic = _square(lambda gap: -F.logsigmoid(gap))
logistic_without_goal, logistic_times_tau = (
    partial(_loss, distance=distance, square=lambda z: -F.logsigmoid(z))
    for distance in (lambda h, goal: h, lambda h, goal: h / (2 * goal))
)
mean_inside = partial(_loss, before=torch.mean)
summed = partial(_loss, reduce=torch.sum)
for_each = partial(_loss, reduce=lambda losses: losses)
rooted = partial(_loss, finish=torch.sqrt)
as_number = partial(_loss, finish=lambda loss: loss.item())
negated = partial(_loss, finish=lambda loss: -loss)


# --- other right answers -------------------------------------------------------------------------


def as_a_regression(
    chosen, rejected, reference_chosen, reference_rejected, chosen_tokens, rejected_tokens, tau
):
    better = chosen / chosen_tokens - reference_chosen / chosen_tokens
    worse = rejected / rejected_tokens - reference_rejected / rejected_tokens
    return F.mse_loss(better - worse, torch.full_like(better, 0.5 / tau))


def policy_and_reference_apart(
    chosen, rejected, reference_chosen, reference_rejected, chosen_tokens, rejected_tokens, tau
):
    policy = chosen / chosen_tokens - rejected / rejected_tokens
    reference = reference_chosen / chosen_tokens - reference_rejected / rejected_tokens
    return ((policy - reference - 1 / (2 * tau)) ** 2).mean()


def pair_by_pair(
    chosen, rejected, reference_chosen, reference_rejected, chosen_tokens, rejected_tokens, tau
):
    total = 0.0
    for i in range(len(chosen)):
        w = (chosen[i] - reference_chosen[i]) / int(chosen_tokens[i])
        r = (rejected[i] - reference_rejected[i]) / int(rejected_tokens[i])
        total = total + (w - r) ** 2 - (w - r) / tau + 1 / (4 * tau * tau)
    return total / len(chosen)


CHANGE = "preference/02_dpo#what-do-ipo-simpo-orpo-and-kto-change"
DISAPPEARS = "preference/02_dpo#how-does-the-reward-model-disappear"
ANSWERS = "preference/02_dpo#what-is-the-log-probability-of-an-answer"

IPO_LOSS = Exercise(
    id="preference.ipo_loss",
    title="The loss of IPO",
    returns="a scalar tensor in the dtype of chosen",
    points=3,
    difficulty=2,
    minutes=15,
    reference=ipo_loss,
    trains=("chosen", "rejected"),
    tolerance=Tolerance(fp64=1e-6),  # one over a number of tokens is a float32
    cases={
        "several pairs": several_pairs,
        "one pair": one_pair,
        "answers of equal length": equal_lengths,
        "answers of one token": one_token_each,
        "a policy that has not moved": not_moved_yet,
        "at the goal": at_the_goal,
        "beyond the goal": beyond_the_goal,
    },
    mistakes=(
        Mistake(
            "not-per-token",
            sums,
            "the log-ratios are not divided by the answers' numbers of tokens; here each is a mean "
            "over its answer's tokens, so that a long answer has no larger margin for its length.",
            CHANGE,
        ),
        Mistake(
            "target-tau-over-two",
            half_tau,
            "the goal is τ/2, τ or 2τ; it is 1/(2τ), and `1 / 2 * tau` is (1/2)·τ in Python. A "
            "large τ holds the policy near the reference.",
            CHANGE,
            also=(tau_itself, alone(two_tau)),
        ),
        Mistake(
            "target-one-over-tau",
            one_over_tau,
            "the goal has another factor than ½; it is 1/(2τ).",
            CHANGE,
            also=(*map(alone, (two_over_tau, a_quarter, squared_tau)),),
        ),
        Mistake(
            "target-left-out",
            no_goal,
            "τ is not in the goal; the margin is to come to 1/(2τ), not to 0 or to another number.",
            CHANGE,
            also=(*map(alone, (goal_of_half, goal_of_one)),),
        ),
        Mistake(
            "target-multiplied-out",
            multiplied_out,
            "the margin is multiplied by τ, as DPO multiplies it by β; in IPO τ stands in the goal "
            "alone, and multiplying both by it changes the size of the loss.",
            CHANGE,
            also=(*map(alone, (multiplied_out_by_two, beta_inside, beta_inside_and_one)),),
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
                        batch_counts,
                        batch_sums,
                        batch_sum_of_both,
                        longest,
                        longest_of_all,
                    ),
                ),
            ),
        ),
        Mistake(
            "reference-not-averaged",
            policy_averaged,
            "the policy's log-probabilities are divided by the tokens and the reference's are not "
            "(or the other way round); both are sums over the same tokens.",
            CHANGE,
            also=(alone(reference_averaged),),
        ),
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
            "the log-ratios are multiplied by numbers of tokens, or divided by their roots; divide "
            "each by its number of tokens.",
            CHANGE,
            also=(alone(roots_of_counts),),
        ),
        Mistake(
            "sides-swapped",
            goal_added,
            "the margin has the wrong sign against the goal: chosen and rejected have changed "
            "places, or the goal is added. The chosen answer is to lead by 1/(2τ).",
            DISAPPEARS,
            also=(turned,),
        ),
        Mistake(
            "reference-ignored",
            no_reference,
            "the reference is not used; the margin is one of log-ratios, policy to reference.",
            DISAPPEARS,
        ),
        Mistake(
            "reference-added",
            reference_added,
            "the reference has the wrong sign; of each answer's log-probability the reference's "
            "own is subtracted.",
            DISAPPEARS,
        ),
        Mistake(
            "absolute-value",
            absolute,
            "the distance from the goal is not squared (or its square is halved); the loss is the "
            "mean of the squares.",
            CHANGE,
            also=(halved, *map(alone, (signed, signed_from_goal, huber))),
        ),
        Mistake(
            "one-sided",
            one_sided,
            "a margin beyond the goal costs nothing; in IPO it costs as much as one as far short "
            "of it, and that is what stops the policy.",
            CHANGE,
            also=(alone(one_sided_hinge),),
        ),
        Mistake(
            "logistic",
            logistic,
            "the loss is −ln σ, as in DPO; IPO takes the square of the distance from the goal.",
            CHANGE,
            also=(*map(alone, (logistic_without_goal, logistic_times_tau)),),
        ),
        Mistake(
            "mean-inside",
            mean_inside,
            "the margins are averaged before they are squared, so that one above the goal makes up "
            "for one below it; square first.",
            CHANGE,
        ),
        Mistake("summed", summed, "the squares are added up; return their mean.", CHANGE),
        Mistake(
            "not-averaged",
            for_each,
            "a loss for each pair comes back; return one number, their mean.",
            CHANGE,
        ),
        Mistake(
            "rooted",
            rooted,
            "the root of the mean square comes back, or its negative; return the mean square.",
            CHANGE,
            also=(alone(negated),),
        ),
        Mistake(
            "one-side-alone",
            chosen_alone,
            "only one answer of the pair is looked at, or the two are added up; the margin is the "
            "difference of their log-ratios.",
            DISAPPEARS,
            also=(*map(alone, (rejected_alone, ratios_added)),),
        ),
        Mistake(
            "ratio-without-logarithm",
            probability_ratios,
            "probabilities are compared, or log-probabilities are divided by one another; the "
            "margin is a difference of differences of logarithms.",
            ANSWERS,
            also=(alone(divided),),
        ),
        Mistake(
            "a-number-returned",
            as_number,
            "a Python number comes back, and no gradient flows through one; return the scalar "
            "tensor.",
            CHANGE,
        ),
    ),
    alternatives=(as_a_regression, policy_and_reference_apart, pair_by_pair),
    hints=(
        "Two answers, of 10 and of 40 tokens; the policy has made every token of both likelier by "
        "the same factor. What is the margin, if length is not to count?",
        "A policy that has not moved has the same loss for every pair, whatever the answers. Which "
        "number is it for τ = 0.1? Work it out on paper, then see what your function says.",
        "Draw the loss over the margin. Where is it least, and what does it cost to be as far on "
        "the other side of that place? Mind the order in which Python divides and multiplies.",
    ),
    read=CHANGE,
)
