"""preference.kto_loss: answers without a partner, each marked good or bad.

Whether a gradient flows through the reference point shows in no value, so an answer is checked
through `loss_and_gradients`.
"""

from functools import partial

import torch
from torch.nn import functional as F

from clearhead.preference import kto_loss
from marking.exercise import Exercise, Mistake, Tolerance
from marking.exercises.preference._alone import alone
from marking.exercises.preference._logistic import exact, log_probs


def loss_and_gradients(answer, policy, policy_kl, reference_kl, **others):
    """The loss, and what it sends back to the policy's log-probabilities and to z0's."""
    learn = [x.clone().requires_grad_() for x in (policy, policy_kl, reference_kl)]
    given = [None, None, None]
    with torch.enable_grad():
        loss = answer(policy=learn[0], policy_kl=learn[1], reference_kl=learn[2], **others)
        if isinstance(loss, torch.Tensor) and loss.requires_grad:
            given = torch.autograd.grad(loss.sum(), learn, allow_unused=True)
    pairs = zip(given, learn, strict=True)
    gradients = [(torch.zeros_like(x) if g is None else g).detach() for g, x in pairs]
    return (loss.detach() if isinstance(loss, torch.Tensor) else loss, *gradients)


# --- situations: a mistake shows in one always or never ------------------------------------------


def _beta(draw):
    return draw.number(0.3, 0.6)


def _weights(draw):
    """Exact in any float: `torch.where` makes a float32 of a Python number."""
    return draw.choice((1.25, 1.5), (1.25, 0.75), (0.75, 1.25))


def _some_of_each(draw, n):
    desirable = draw.chance(0.5, n)
    desirable[0], desirable[-1] = True, False
    return desirable


def _inputs(draw, desirable, *, kl=1.0, m=None, weights=None):
    """`kl` is the sign of the mean difference of the mismatched answers, which has both signs.

    The answers' own mean difference is above zero and another.
    """
    n = len(desirable)
    m = m or draw.until(lambda: draw.size(3, 7, small=2), lambda m: m != n)
    reference, reference_kl = log_probs(draw, n), log_probs(draw, m)
    moved = exact(draw.normal(n, scale=3.0))
    moved = moved - exact(moved.mean()) + 4.0 if n > 1 else moved.abs() + 4.0
    moved_kl = exact(draw.normal(m, scale=3.0))
    moved_kl = kl * (moved_kl - exact(moved_kl.mean()) + 1.0 + draw.size(0, 4) / 8)
    if m > 1:
        moved_kl[0], moved_kl[1] = moved_kl[0] + 6.0, moved_kl[1] - 6.0
    good, bad = weights or _weights(draw)
    return {
        "policy": reference + moved,
        "reference": reference,
        "desirable": desirable,
        "policy_kl": reference_kl + moved_kl,
        "reference_kl": reference_kl,
        "beta": _beta(draw),
        "desirable_weight": good,
        "undesirable_weight": bad,
    }


def _answers(draw):
    return draw.size(4, 9, small=2)


def good_and_bad(draw):
    return _inputs(draw, _some_of_each(draw, _answers(draw)))


def as_many_mismatched(draw):
    """N = M: tensors fit that should not be added."""
    n = _answers(draw)
    return _inputs(draw, _some_of_each(draw, n), m=n)


def one_weight(draw):
    return _inputs(draw, _some_of_each(draw, _answers(draw)), weights=(1.0, 1.0))


def nearer_than_the_reference(draw):
    """The estimate of the divergence is below zero, and counts as zero."""
    return _inputs(draw, _some_of_each(draw, _answers(draw)), kl=-1.0)


def only_good(draw):
    return _inputs(draw, torch.ones(_answers(draw), dtype=torch.bool))


def only_bad(draw):
    return _inputs(draw, torch.zeros(_answers(draw), dtype=torch.bool))


def one_answer(draw):
    return _inputs(draw, torch.tensor([True]))


def far_apart(draw):
    """By thousands, in the right direction and in the wrong one, and never as many of each."""
    answers = [(True, 1), (True, -1), (False, 1), (False, 1), (False, -1)]
    answers += [(True, 1)] * draw.size(2, 4)
    desirable, signs = (torch.tensor(x) for x in zip(*answers, strict=True))
    inputs = _inputs(draw, desirable)
    reference = inputs["reference"] - 20_000
    moved = signs * exact(6000 + 1000 * draw.normal(len(signs)).abs())
    gained = (inputs["policy_kl"] - inputs["reference_kl"]).clamp(-4, 8)  # in e^4, not in e^9
    policy_kl = inputs["reference_kl"] + gained
    return inputs | {"policy": reference + moved, "reference": reference, "policy_kl": policy_kl}


def not_moved_yet(draw):
    """As many good answers as bad ones, weighed alike: at 0, where clamp, relu and max differ in
    what they pass on, nothing comes of it.
    """
    k = draw.size(2, 5, small=1)
    inputs = _inputs(draw, torch.tensor([True, False] * k), weights=(1.25, 1.25))
    same = {"policy": inputs["reference"].clone(), "policy_kl": inputs["reference_kl"].clone()}
    return inputs | same


# --- mistakes: one change each to `_loss` --------------------------------------------------------


def _loss(
    policy,
    reference,
    desirable,
    policy_kl,
    reference_kl,
    beta,
    desirable_weight,
    undesirable_weight,
    *,
    ratio=lambda policy, reference: policy - reference,
    kl=lambda policy_kl, reference_kl, r: (policy_kl - reference_kl).mean(),
    clamp=lambda z: z.clamp(min=0),
    detach=torch.Tensor.detach,
    good=lambda r, z, beta: beta * (r - z),
    bad=lambda r, z, beta: beta * (z - r),
    value=lambda gain: 1 - torch.sigmoid(gain),
    weigh=lambda good, bad: (good, bad),
    select=torch.where,
    outside=lambda loss, beta: loss,
    finish=lambda losses: losses.mean(),
):
    """As it stands it is right."""
    r = ratio(policy, reference)
    z = detach(clamp(kl(policy_kl, reference_kl, r)))
    w_good, w_bad = weigh(desirable_weight, undesirable_weight)
    good_loss = w_good * value(good(r, z, beta))
    bad_loss = w_bad * value(bad(r, z, beta))
    return outside(finish(select(desirable, good_loss, bad_loss)), beta)


def _kl(kl, **more):
    return partial(_loss, kl=kl, **more)


def _value(value):
    return partial(_loss, value=value)


def _finish(finish):
    return partial(_loss, finish=finish)


def _same(z):
    return z


not_detached = partial(_loss, detach=_same)
half_detached = tuple(
    alone(partial(_loss, kl=kl, detach=_same))
    for kl in (
        lambda p, q, r: (p.detach() - q).mean(),
        lambda p, q, r: (p - q.detach()).mean(),
    )
)
not_clamped = partial(_loss, clamp=_same)
distance = partial(_loss, clamp=torch.abs)
clamped_above = partial(_loss, clamp=lambda z: z.clamp(max=0))
clamped_at_one = partial(_loss, clamp=lambda z: z.clamp(0, 1))
own_answers = _kl(lambda p, q, r: r.mean())
own_answers_absolute = _kl(lambda p, q, r: r.abs().mean())
clamped_one_by_one = _kl(lambda p, q, r: (p - q).clamp(min=0).mean())
distances_averaged = _kl(lambda p, q, r: (p - q).abs().mean())
summed_kl = _kl(lambda p, q, r: (p - q).sum())
kl_turned = _kl(lambda p, q, r: (q - p).mean())
kl_of_probabilities = _kl(lambda p, q, r: (p.exp() * (p - q)).sum())
kl_of_probabilities_averaged = _kl(lambda p, q, r: (p.exp() * (p - q)).mean())
third_estimator = _kl(lambda p, q, r: ((q - p).exp() - 1 - (q - p)).mean())
second_estimator = _kl(lambda p, q, r: ((p - q) ** 2 / 2).mean())
largest_kl = _kl(lambda p, q, r: (p - q).max())
middle_kl = _kl(lambda p, q, r: (p - q).median())
everything_averaged = _kl(lambda p, q, r: torch.cat([p - q, r]).mean())
for_each = _kl(lambda p, q, r: p - q)
first_alone = _kl(lambda p, q, r: (p - q)[0])


def _both(good, bad):
    return partial(_loss, good=good, bad=bad)


no_point = _both(lambda r, z, beta: beta * r, lambda r, z, beta: -beta * r)
no_point_for_good = partial(_loss, good=lambda r, z, beta: beta * r)
no_point_for_bad = partial(_loss, bad=lambda r, z, beta: -beta * r)
point_added = _both(lambda r, z, beta: beta * (r + z), lambda r, z, beta: -beta * (r + z))
point_added_to_bad = partial(_loss, bad=lambda r, z, beta: -beta * (r + z))
point_not_scaled = _both(lambda r, z, beta: beta * r - z, lambda r, z, beta: z - beta * r)
ratio_not_scaled = _both(lambda r, z, beta: r - beta * z, lambda r, z, beta: beta * z - r)
point_scaled_twice = _both(
    lambda r, z, beta: beta * (r - beta * z), lambda r, z, beta: beta * (beta * z - r)
)
beta_ignored = _both(lambda r, z, beta: r - z, lambda r, z, beta: z - r)
beta_twice = _both(lambda r, z, beta: beta**2 * (r - z), lambda r, z, beta: beta**2 * (z - r))
beta_divides = _both(lambda r, z, beta: (r - z) / beta, lambda r, z, beta: (z - r) / beta)
beta_outside = partial(beta_ignored, outside=lambda loss, beta: beta * loss)
beta_inside_and_outside = partial(_loss, outside=lambda loss, beta: beta * loss)
one_sign = partial(_loss, bad=lambda r, z, beta: beta * (r - z))
one_sign_turned = partial(_loss, good=lambda r, z, beta: beta * (z - r))
turned = _both(lambda r, z, beta: beta * (z - r), lambda r, z, beta: beta * (r - z))

value_returned = _value(torch.sigmoid)
value_negated = _value(lambda gain: -torch.sigmoid(gain))
logistic = _value(lambda gain: -F.logsigmoid(gain))
log_of_sigmoid = _value(lambda gain: -torch.sigmoid(gain).log())
one_less_logarithm = _value(lambda gain: 1 - F.logsigmoid(gain))
not_squashed = _value(lambda gain: 1 - gain)
not_squashed_negated = _value(lambda gain: -gain)
hinge = _value(lambda gain: (1 - gain).relu())
exponentials_divided = _value(lambda gain: 1 - gain.exp() / (1 + gain.exp()))
exponentials_divided_raw = tuple(
    _value(value)
    for value in (
        lambda gain: 1 - 1 / (1 + (-gain).exp()),
        lambda gain: 1 / (1 + gain.exp()),
        lambda gain: (-gain).exp() / (1 + (-gain).exp()),
    )
)
exponentials_divided_otherwise = tuple(map(alone, exponentials_divided_raw))
squashed_otherwise = _value(lambda gain: 1 - torch.tanh(gain))

kinds_swapped = partial(_loss, select=lambda d, good, bad: torch.where(d, bad, good))
weights_swapped = partial(_loss, weigh=lambda good, bad: (bad, good))
weights_ignored = partial(_loss, weigh=lambda good, bad: (1.0, 1.0))
good_weight_alone = partial(_loss, weigh=lambda good, bad: (good, 1.0))
bad_weight_alone = partial(_loss, weigh=lambda good, bad: (1.0, bad))
good_weight_for_both = partial(_loss, weigh=lambda good, bad: (good, good))
bad_weight_for_both = partial(_loss, weigh=lambda good, bad: (bad, bad))
weights_divide = partial(_loss, weigh=lambda good, bad: (1 / good, 1 / bad))
weights_shared = partial(_loss, weigh=lambda good, bad: (good / (good + bad), bad / (good + bad)))


def _by_kind(join, *, empty=False):
    """A mean of each kind; of none NaN, or 0."""

    def select(desirable, good, bad):
        means = [good[desirable].mean(), bad[~desirable].mean()]
        return join(*(x.nan_to_num(0.0) if empty else x for x in means))

    return partial(_loss, select=select)


means_added, means_added_empty, means_halved, means_halved_empty = (
    _by_kind(join, empty=empty)
    for join in (lambda a, b: a + b, lambda a, b: (a + b) / 2)
    for empty in (False, True)
)

summed = _finish(torch.sum)
for_each_answer = _finish(lambda losses: losses)
as_number = _finish(lambda losses: losses.mean().item())
negated = _finish(lambda losses: -losses.mean())
cut_off = _finish(lambda losses: losses.mean().detach())

no_reference = partial(_loss, ratio=lambda policy, reference: policy)
reference_added = partial(_loss, ratio=lambda policy, reference: policy + reference)
ratio_turned = partial(_loss, ratio=lambda policy, reference: reference - policy)
ratio_exponentiated = partial(_loss, ratio=lambda policy, reference: (policy - reference).exp())
ratio_divided = partial(_loss, ratio=lambda policy, reference: policy / reference)
policy_detached = partial(_loss, ratio=lambda policy, reference: (policy - reference).detach())


def weight_of_the_value(
    policy,
    reference,
    desirable,
    policy_kl,
    reference_kl,
    beta,
    desirable_weight,
    undesirable_weight,
):
    """1 − w·σ in place of w·(1 − σ): the same gradient, and another value."""
    inputs = policy, reference, desirable, policy_kl, reference_kl, beta
    weight = torch.where(desirable, desirable_weight, undesirable_weight).to(policy)
    return _loss(*inputs, desirable_weight, undesirable_weight) + (1 - weight).mean()


def _of_the_own_kind(value):
    """One gain an answer, that of its kind: what overflows is then another part of the gradient."""

    def loss(
        policy,
        reference,
        desirable,
        policy_kl,
        reference_kl,
        beta,
        desirable_weight,
        undesirable_weight,
    ):
        z = (policy_kl - reference_kl).mean().clamp(min=0).detach()
        r = policy - reference
        weight = torch.where(desirable, desirable_weight, undesirable_weight).to(policy)
        return (weight * value(beta * torch.where(desirable, r - z, z - r))).mean()

    return loss


exponentials_divided_by_kind = tuple(
    _of_the_own_kind(m.keywords["value"]) for m in (exponentials_divided, *exponentials_divided_raw)
)


# --- other right answers -------------------------------------------------------------------------


def by_sign(
    policy,
    reference,
    desirable,
    policy_kl,
    reference_kl,
    beta,
    desirable_weight,
    undesirable_weight,
):
    """One formula: a sign and a weight for each answer."""
    with torch.no_grad():
        z0 = torch.clamp((policy_kl - reference_kl).mean(), min=0)
    sign = 2 * desirable.to(policy.dtype) - 1
    weight = desirable * desirable_weight + ~desirable * undesirable_weight
    return (weight * torch.sigmoid(-sign * beta * (policy - reference - z0))).mean()


def kind_by_kind(
    policy,
    reference,
    desirable,
    policy_kl,
    reference_kl,
    beta,
    desirable_weight,
    undesirable_weight,
):
    """As trl has it: the losses of both kinds end to end, then one mean."""
    z0 = F.relu(policy_kl.detach().mean() - reference_kl.detach().mean())
    r = policy - reference
    good = 1 - F.sigmoid(beta * (r[desirable] - z0))
    bad = 1 - F.sigmoid(beta * (z0 - r[~desirable]))
    return torch.cat([desirable_weight * good, undesirable_weight * bad]).mean()


def answer_by_answer(
    policy,
    reference,
    desirable,
    policy_kl,
    reference_kl,
    beta,
    desirable_weight,
    undesirable_weight,
):
    z0 = max(0.0, sum((p - q).item() for p, q in zip(policy_kl, reference_kl, strict=True)))
    z0 = z0 / len(policy_kl)
    total = 0.0
    for p, q, good in zip(policy, reference, desirable, strict=True):
        gain = p - q - z0 if good else z0 - (p - q)
        weight = desirable_weight if good else undesirable_weight
        total = total + weight * torch.special.expit(-beta * gain)
    return total / len(policy)


CHANGE = "preference/02_dpo#what-do-ipo-simpo-orpo-and-kto-change"
PUSHES = "preference/02_dpo#which-way-does-the-gradient-push"

KTO_LOSS = Exercise(
    id="preference.kto_loss",
    title="The loss of KTO",
    returns="a scalar tensor in the dtype of policy; z0 passes no gradient on",
    outputs=("loss", "gradient_of_policy", "gradient_of_policy_kl", "gradient_of_reference_kl"),
    through=loss_and_gradients,
    points=4,
    difficulty=3,
    minutes=20,
    reference=kto_loss,
    tolerance=Tolerance(fp64=1e-6),  # a weight may have become a float32 on the way
    cases={
        "good and bad answers": good_and_bad,
        "as many mismatched answers": as_many_mismatched,
        "one weight for both": one_weight,
        "an estimate below zero": nearer_than_the_reference,
        "good answers alone": only_good,
        "bad answers alone": only_bad,
        "one answer": one_answer,
        "a policy that has not moved": not_moved_yet,
        "far apart": far_apart,
    },
    mistakes=(
        Mistake(
            "reference-point-not-detached",
            not_detached,
            "a gradient flows through z0 to the mismatched answers, of the policy or of the "
            "reference; z0 is a number to compare with, so cut it off with detach().",
            CHANGE,
            also=half_detached,
        ),
        Mistake(
            "reference-point-not-clamped",
            not_clamped,
            "z0 is below zero where the estimate is; a divergence is not, so take the larger of it "
            "and 0.",
            CHANGE,
            also=(*map(alone, (distance, clamped_above, clamped_at_one)),),
        ),
        Mistake(
            "weights-ignored",
            weights_ignored,
            "the weights are not used, or one of them, or not on the whole of 1 − σ; each answer's "
            "loss is multiplied by the weight of its kind.",
            CHANGE,
            also=(
                weight_of_the_value,
                *map(alone, (good_weight_alone, bad_weight_alone, weights_divide, weights_shared)),
            ),
        ),
        Mistake(
            "one-sign-for-both",
            one_sign,
            "good and bad answers have the same sign inside σ; a good one gains by r − z0, a bad "
            "one by z0 − r.",
            CHANGE,
            also=(alone(one_sign_turned),),
        ),
        Mistake(
            "beta-ignored",
            beta_ignored,
            "β is not used inside σ; it multiplies the gain, r − z0 or z0 − r.",
            CHANGE,
            also=(beta_outside,),
        ),
        Mistake(
            "reference-point-left-out",
            no_point,
            "z0 is not used (or for one kind only); an answer's reward is compared with what the "
            "policy has gained on average.",
            CHANGE,
            also=(no_point_for_good, alone(no_point_for_bad)),
        ),
        Mistake(
            "reference-point-of-the-own-answers",
            own_answers,
            "z0 is taken from the answers that are being judged; it is the mean of policy_kl − "
            "reference_kl, the answers put after other prompts.",
            CHANGE,
            also=(*map(alone, (own_answers_absolute, everything_averaged)),),
        ),
        Mistake(
            "clamped-one-by-one",
            clamped_one_by_one,
            "each difference is cut off at 0, or made positive, before the mean; take the mean "
            "first, then the larger of it and 0.",
            CHANGE,
            also=(alone(distances_averaged),),
        ),
        Mistake(
            "value-returned",
            value_returned,
            "the loss grows as the gain does: σ itself is averaged, or the gain has the wrong sign "
            "for both kinds. The loss of an answer is 1 − σ(β · gain), and a good one gains by "
            "r − z0.",
            CHANGE,
            also=(turned, *map(alone, (value_negated, negated))),
        ),
        Mistake(
            "logistic",
            logistic,
            "the loss is −ln σ, as in DPO; KTO takes 1 − σ, which is bounded, so that one answer "
            "marked wrong cannot pull without end.",
            CHANGE,
            also=(*map(alone, (log_of_sigmoid, one_less_logarithm)),),
        ),
        Mistake(
            "desirable-swapped",
            kinds_swapped,
            "good answers are treated as bad ones, weights and all; True in desirable means good.",
            CHANGE,
        ),
        Mistake(
            "weights-swapped",
            weights_swapped,
            "the two weights have changed places, or one is used for both kinds; good answers get "
            "desirable_weight.",
            CHANGE,
            also=(*map(alone, (good_weight_for_both, bad_weight_for_both)),),
        ),
        Mistake(
            "mean-of-two-means",
            means_added,
            "good and bad answers are averaged apart and the means are joined; of no answers there "
            "is no mean. Take one mean over all N.",
            CHANGE,
            also=(*map(alone, (means_added_empty, means_halved, means_halved_empty)),),
        ),
        Mistake(
            "summed",
            summed,
            "the losses of the answers are added up; return their mean.",
            CHANGE,
        ),
        Mistake(
            "not-averaged",
            for_each_answer,
            "a loss for each answer comes back; return one number, their mean.",
            CHANGE,
        ),
        Mistake(
            "reference-point-summed",
            summed_kl,
            "z0 is a sum, or one difference; it is the mean of all M.",
            CHANGE,
            also=(*map(alone, (largest_kl, middle_kl, first_alone)),),
        ),
        Mistake(
            "reference-point-for-each",
            for_each,
            "z0 is a number for each mismatched answer; it is one number for all, their mean.",
            CHANGE,
        ),
        Mistake(
            "reference-point-turned",
            kl_turned,
            "z0 has the wrong sign: the policy's log-probability comes first, and z0 is taken off "
            "the reward.",
            CHANGE,
            also=(*map(alone, (point_added, point_added_to_bad)),),
        ),
        Mistake(
            "another-estimate",
            third_estimator,
            "z0 is another estimate of the divergence; here it is the plain mean of policy_kl − "
            "reference_kl, both of them logarithms.",
            CHANGE,
            also=(
                *map(alone, (second_estimator, kl_of_probabilities, kl_of_probabilities_averaged)),
            ),
        ),
        Mistake(
            "beta-on-one-part",
            point_not_scaled,
            "β multiplies only the reward, or only z0, or one of them twice; it multiplies their "
            "difference.",
            CHANGE,
            also=(*map(alone, (ratio_not_scaled, point_scaled_twice)),),
        ),
        Mistake(
            "beta-twice",
            beta_twice,
            "β is applied twice; once, inside σ, is enough.",
            CHANGE,
            also=(alone(beta_inside_and_outside),),
        ),
        Mistake(
            "beta-divides",
            beta_divides,
            "the gain is divided by β; multiply.",
            CHANGE,
        ),
        Mistake(
            "reference-ignored",
            no_reference,
            "the reference's log-probability is not taken off (or is added); r is policy − "
            "reference.",
            CHANGE,
            also=(alone(reference_added),),
        ),
        Mistake(
            "ratio-turned",
            ratio_turned,
            "r is reference − policy; it grows as the policy makes the answer likelier.",
            PUSHES,
        ),
        Mistake(
            "ratio-without-logarithm",
            ratio_exponentiated,
            "probabilities are compared, or log-probabilities are divided; r is the difference of "
            "two log-probabilities.",
            CHANGE,
            also=(alone(ratio_divided),),
        ),
        Mistake(
            "not-squashed",
            not_squashed,
            "σ is missing, or it is another function; the loss of an answer lies between 0 and its "
            "weight.",
            CHANGE,
            also=(*map(alone, (not_squashed_negated, hinge, squashed_otherwise)),),
        ),
        Mistake(
            "exponentials-divided",
            exponentials_divided,
            "σ is made of exponentials, which overflow for answers that lie far apart: the loss or "
            "its gradient is NaN. Use torch.sigmoid.",
            CHANGE,
            also=(*exponentials_divided_otherwise, *exponentials_divided_by_kind),
        ),
        Mistake(
            "cut-off",
            cut_off,
            "no gradient reaches the policy; detach z0 alone, not the reward or the loss.",
            PUSHES,
            also=(alone(policy_detached),),
        ),
        Mistake(
            "a-number-returned",
            as_number,
            "a Python number comes back, and no gradient flows through one; return the scalar "
            "tensor.",
            PUSHES,
        ),
    ),
    alternatives=(by_sign, kind_by_kind, answer_by_answer),
    hints=(
        "A good answer and a bad one have the same reward, far above z0. Whose loss is small, "
        "whose is large, and how large can either become?",
        "z0 is one number for the whole batch. Of which answers is it made, what if their mean is "
        "below zero, and what should training do about it?",
        "If your values are right and a gradient is not, ask for each tensor whether the loss may "
        "pull at it: the policy's log-probabilities of the judged answers, those of the mismatched "
        "ones, the reference's.",
    ),
    read=CHANGE,
)
