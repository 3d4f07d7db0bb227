"""preference.kl_estimators: three estimates of a distance from the tokens that were sampled."""

from functools import partial

import torch

from clearhead.preference import kl_estimators
from marking.exercise import Exercise, Mistake


def estimates_and_gradient(answer, policy, reference):
    """What comes back, and the gradient of each with respect to `policy`."""
    with torch.enable_grad():
        policy = policy.clone().requires_grad_()
        parts = answer(policy=policy, reference=reference)
        if not isinstance(parts, (tuple, list)) or len(parts) != 3:
            raise TypeError("return three tensors, (k1, k2, k3)")
        named = dict(zip(("k1", "k2", "k3"), parts, strict=True))
        gradients = {}
        for name, part in named.items():
            given = None
            if isinstance(part, torch.Tensor) and part.requires_grad:
                (given,) = torch.autograd.grad(
                    part.sum(), policy, retain_graph=True, allow_unused=True
                )
            given = torch.zeros_like(policy) if given is None else given.detach()
            gradients["gradient of " + name] = given
    plain = {k: x.detach() if isinstance(x, torch.Tensor) else x for k, x in named.items()}
    return {**plain, **gradients}


# --- situations ----------------------------------------------------------------------------------


def _inputs(draw, *shape, signs=(1, -1), low=0.3, high=1.5):
    """policy − reference of these signs in turn, `low` to `high` in size; no log-prob above 0."""
    n = int(torch.tensor(shape).prod()) if shape else 1
    d = [signs[i % len(signs)] * draw.number(low, high) for i in range(n)]
    policy = [-(high + draw.number(0.2, 2.0)) for _ in d]
    reference = [p - x for p, x in zip(policy, d, strict=True)]
    made = {"policy": policy, "reference": reference}
    return {
        name: torch.tensor(x, dtype=torch.float64).to(draw.dtype).view(shape)
        for name, x in made.items()
    }


def one_answer(draw):
    return _inputs(draw, draw.size(3, 8, small=2))


def batch(draw):
    return _inputs(draw, *draw.sizes(2, 2, 5))


def groups_of_answers(draw):
    return _inputs(draw, *draw.sizes(3, 2, 4))


def one_token(draw):
    return _inputs(draw, signs=(-1,))


def same_model(draw):
    """The reference is the policy itself, as before the first update."""
    inputs = _inputs(draw, *draw.sizes(2, 2, 6))
    return inputs | {"reference": inputs["policy"].clone()}


def likelier(draw):
    return _inputs(draw, draw.size(9, 15, small=2), signs=(1,))


def less_likely(draw):
    return _inputs(draw, *draw.sizes(2, 2, 6), signs=(-1,))


def far_apart(draw):
    """A batch of one answer."""
    return _inputs(draw, 1, draw.size(3, 8, small=2), low=3.0, high=5.0)


# --- mistakes: one change each to `_estimate` ----------------------------------------------------


def _estimate(
    policy,
    reference,
    *,
    given=lambda policy, reference: (policy, reference),
    differ=torch.sub,
    first=lambda d: d,
    second=lambda d: d.square() / 2,
    third=lambda d: torch.exp(-d) - 1 + d,
    weigh=lambda k, policy: k,
    finish=lambda ks: ks,
):
    """As it stands it is right; d is policy − reference."""
    policy, reference = given(policy, reference)
    d = differ(policy, reference)
    return finish(tuple(weigh(k(d), policy) for k in (first, second, third)))


def _first(first):
    return partial(_estimate, first=first)


def _second(second):
    return partial(_estimate, second=second)


def _third(third):
    return partial(_estimate, third=third)


def _finish(finish):
    return partial(_estimate, finish=finish)


ratio_upside_down = _third(lambda d: torch.exp(d) - 1 - d)
ratio_upside_down_in_r = _third(lambda d: torch.exp(d) - 1 + d)
sign_inside = _third(lambda d: torch.exp(-d) - 1 - d)
one_not_subtracted = _third(lambda d: torch.exp(-d) + d)
one_added = _third(lambda d: torch.exp(-d) + 1 + d)
without_the_logarithm = _third(lambda d: torch.exp(-d) - 1)
ratio_alone = _third(lambda d: torch.exp(-d))
sign_of_the_whole = _third(lambda d: 1 - torch.exp(-d) - d)
exp_forgotten = _third(lambda d: -d - 1 + d)
k1_detached = _first(lambda d: d.detach())
k2_detached = _second(lambda d: d.detach().square() / 2)
k3_detached = _third(lambda d: (torch.exp(-d) - 1 + d).detach())
ratio_detached = _third(lambda d: torch.exp(-d).detach() - 1 + d)

turned_round = _first(lambda d: -d)
made_positive = _first(torch.abs)
cut_at_zero = _first(lambda d: d.clamp(min=0))
as_ratio = _first(torch.exp)

half_forgotten = _second(torch.square)
half_squared = _second(lambda d: (d / 2).square())
not_squared = _second(lambda d: d / 2)
squared_ratio = _second(lambda d: torch.exp(-d).square() / 2)
squared_ratio_less_one = _second(lambda d: torch.expm1(-d).square() / 2)
second_turned = _second(lambda d: -d.square() / 2)

models_swapped = partial(_estimate, differ=lambda p, q: q - p)
logarithm_again = partial(_estimate, differ=lambda p, q: torch.log(p / q))
logarithm_again_turned = partial(_estimate, differ=lambda p, q: -torch.log(p / q))
probabilities = partial(_estimate, differ=lambda p, q: p.exp() - q.exp())
weighed = partial(_estimate, weigh=lambda k, policy: policy.exp() * k)
no_gradient = partial(_estimate, given=lambda p, q: (p.detach(), q))

averaged = _finish(lambda ks: tuple(k.mean() for k in ks))
averaged_over_last = _finish(lambda ks: tuple(k.mean(-1) if k.ndim else k for k in ks))
summed = _finish(lambda ks: tuple(k.sum() for k in ks))
summed_over_last = _finish(lambda ks: tuple(k.sum(-1) if k.ndim else k for k in ks))
order_turned = _finish(lambda ks: ks[::-1])
order_of_k1_k3 = _finish(lambda ks: (ks[0], ks[2], ks[1]))
order_of_k2_first = _finish(lambda ks: (ks[1], ks[0], ks[2]))
stacked_as_pair = _finish(lambda ks: ks[:2])
one_alone = _finish(lambda ks: ks[2])
as_dict = _finish(lambda ks: dict(zip(("k1", "k2", "k3"), ks, strict=True)))


# --- other right answers -------------------------------------------------------------------------


def from_the_ratio(policy, reference):
    """As most code has it; near 0 it loses digits that this check does not ask for."""
    ratio = torch.exp(reference - policy)
    return -torch.log(ratio), torch.log(ratio) ** 2 / 2, ratio - 1 - torch.log(ratio)


def with_expm1(policy, reference):
    log_r = reference - policy
    return -log_r, 0.5 * log_r * log_r, torch.expm1(log_r) - log_r


def k3_from_k1(policy, reference):
    """k1 plus a control variate, r − 1, whose mean is 0."""
    k1 = policy - reference
    return [k1, k1.pow(2).div(2), k1 + torch.exp(-k1) - 1]


MOVED = "preference/03_policy_gradients#how-far-have-we-moved"

KL_ESTIMATORS = Exercise(
    id="preference.kl_estimators",
    title="Three estimates of a KL divergence",
    returns="three tensors of the shape of policy: k1, k2, k3",
    points=3,
    difficulty=1,
    minutes=10,
    reference=kl_estimators,
    through=estimates_and_gradient,
    cases={
        "the tokens of one answer": one_answer,
        "a batch of answers": batch,
        "groups of answers": groups_of_answers,
        "one token": one_token,
        "policy and reference are the same": same_model,
        "likelier under the policy": likelier,
        "less likely under the policy": less_likely,
        "far apart": far_apart,
    },
    mistakes=(
        Mistake(
            "ratio-upside-down",
            ratio_upside_down,
            "k3 is made of policy / reference; with samples of the policy, r is reference / "
            "policy: only then is the mean of r − 1 zero.",
            MOVED,
            also=(ratio_upside_down_in_r,),
        ),
        Mistake(
            "half-forgotten",
            half_forgotten,
            "k2 is the whole square; it is half of it.",
            MOVED,
            also=(half_squared,),
        ),
        Mistake(
            "k1-turned-round",
            turned_round,
            "k1 is reference − policy; the divergence from the policy that sampled is the mean of "
            "policy − reference.",
            MOVED,
        ),
        Mistake(
            "models-swapped",
            models_swapped,
            "policy and reference have changed places in all three; ln r is reference − policy.",
            MOVED,
        ),
        Mistake(
            "k3-sign-inside",
            sign_inside,
            "k3 has ln r with the wrong sign (or is turned round as a whole); it is r − 1 − ln r, "
            "which is never negative.",
            MOVED,
            also=(sign_of_the_whole,),
        ),
        Mistake(
            "averaged",
            averaged,
            "the estimates are averaged or added up; return one for each token, in the shape of "
            "policy. Which tokens count is for the caller to say.",
            MOVED,
            also=(averaged_over_last, summed, summed_over_last),
        ),
        Mistake(
            "without-gradient",
            no_gradient,
            "no gradient reaches policy, from all three or from one of them; a KL term that is "
            "computed under no_grad, or from a detached policy, holds nothing back.",
            MOVED,
            also=(k1_detached, k2_detached, k3_detached),
        ),
        Mistake(
            "ratio-detached",
            ratio_detached,
            "r is detached in k3, so its gradient is that of k1; r depends on the policy, let the "
            "gradient through.",
            MOVED,
        ),
        Mistake(
            "one-not-subtracted",
            one_not_subtracted,
            "k3 lacks its − 1 (or adds it); where both models agree r is 1, and k3 must be 0.",
            MOVED,
            also=(one_added,),
        ),
        Mistake(
            "k3-without-the-logarithm",
            without_the_logarithm,
            "k3 is r − 1, or r alone; r − 1 has the mean 0 and estimates nothing, − ln r belongs "
            "to it.",
            MOVED,
            also=(ratio_alone,),
        ),
        Mistake(
            "exp-forgotten",
            exp_forgotten,
            "the difference of the log-probs is taken for the ratio; r is its exponential.",
            MOVED,
        ),
        Mistake(
            "weighed-by-the-policy",
            weighed,
            "each token is weighed by its probability; the sampling has done that already, "
            "a likelier token comes more often.",
            MOVED,
        ),
        Mistake(
            "logarithm-taken-again",
            logarithm_again_turned,
            "the quotient of the log-probs is taken; the inputs are logarithms already, so the "
            "logarithm of the ratio is their difference.",
            MOVED,
            also=(logarithm_again,),
        ),
        Mistake(
            "probabilities-subtracted",
            probabilities,
            "the probabilities are subtracted; the estimates are made of the log-probs.",
            MOVED,
        ),
        Mistake(
            "k1-made-positive",
            made_positive,
            "k1 is made positive, by its size or a cut at 0; single tokens may be negative, and "
            "without them the mean is too large.",
            MOVED,
            also=(cut_at_zero,),
        ),
        Mistake(
            "k1-is-the-ratio",
            as_ratio,
            "k1 is the ratio; it is its logarithm.",
            MOVED,
        ),
        Mistake(
            "k2-not-squared",
            not_squared,
            "k2 is not squared; it is half of the square of ln r.",
            MOVED,
        ),
        Mistake(
            "k2-of-the-ratio",
            squared_ratio_less_one,
            "k2 squares the ratio; square its logarithm.",
            MOVED,
            also=(squared_ratio,),
        ),
        Mistake(
            "k2-negative",
            second_turned,
            "k2 is negative; half of a square never is.",
            MOVED,
        ),
        Mistake(
            "order-swapped",
            order_turned,
            "the three have changed places; return (k1, k2, k3).",
            MOVED,
            also=(order_of_k1_k3, order_of_k2_first),
        ),
        Mistake(
            "not-three",
            one_alone,
            "something else than three tensors comes back; return (k1, k2, k3), a tuple.",
            MOVED,
            also=(stacked_as_pair, as_dict),
        ),
    ),
    alternatives=(from_the_ratio, with_expm1, k3_from_k1),
    hints=(
        "The tokens were sampled by the policy. If a token is twice as likely under the policy as "
        "under the reference, what are ln r and r, and which of the two models stands above in r?",
        "Everything is made of one difference. What must all three be where the two models agree, "
        "and which of them may be negative?",
        "Take the two tokens of a coin, of probability ½ each under the policy, ¼ and ¾ under the "
        "reference. Work out r for both by hand; the mean of r − 1 must be 0, and the means of k1 "
        "and k3 equal.",
    ),
    read=MOVED,
)
