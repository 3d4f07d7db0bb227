"""preference.diffusion_dpo_loss: DPO where the likelihood is a squared error of the noise."""

from functools import partial

import torch
from torch.nn import functional as F

from clearhead.preference import diffusion_dpo_loss
from marking.exercise import Exercise, Mistake
from marking.exercises.preference._alone import alone
from marking.exercises.preference._logistic import ending_mistakes, mean_surprise

# --- situations: a mistake shows in one always or never ------------------------------------------


def _inputs(draw, N, *shape, scale=None, steps=None, weight=None, shared=False):
    """Noise and four predictions of it, each with errors of its own.

    `scale` is β · T · ω.
    """
    noise_chosen = draw.normal(N, *shape)
    noise_rejected = noise_chosen.clone() if shared else draw.normal(N, *shape)
    steps = steps or draw.size(20, 1000, small=10)
    weight = weight or draw.number(1.4, 2.2)
    scale = scale or draw.number(0.2, 0.5)
    return {
        "predicted_chosen": noise_chosen + draw.normal(N, *shape, scale=0.8),
        "predicted_rejected": noise_rejected + draw.normal(N, *shape, scale=0.8),
        "reference_chosen": noise_chosen + draw.normal(N, *shape, scale=0.8),
        "reference_rejected": noise_rejected + draw.normal(N, *shape, scale=0.8),
        "noise_chosen": noise_chosen,
        "noise_rejected": noise_rejected,
        "beta": scale / steps / weight,
        "steps": steps,
        "weight": weight,
    }


def points(draw):
    return _inputs(draw, draw.size(3, 9, small=2), 2)


def pictures(draw):
    N, C, H, W = draw.sizes(4, 2, 5, small=2) if draw.level is None else (2, 1, 2, 2)
    return _inputs(draw, N, C, H, W)


def one_noise_for_both(draw):
    return _inputs(draw, draw.size(3, 9, small=2), draw.size(2, 5), shared=True)


def one_pair(draw):
    return _inputs(draw, 1, draw.size(2, 6))


def not_moved_yet(draw):
    """The model is the reference."""
    inputs = pictures(draw)
    for side in ("chosen", "rejected"):
        inputs[f"predicted_{side}"] = inputs[f"reference_{side}"].clone()
    return inputs


def a_weight_of_one(draw):
    return _inputs(draw, draw.size(3, 9, small=2), draw.size(2, 5), weight=1.0)


def one_step(draw):
    """And β is no small number then."""
    return _inputs(draw, draw.size(3, 9, small=2), draw.size(2, 5), steps=1)


def far_from_the_reference(draw):
    """Some pairs are far better than the reference, and some far worse."""
    N, n = draw.size(3, 9, small=2), draw.size(4, 6, small=2)
    inputs = _inputs(draw, N, n, scale=400.0)
    far = 3.0 + draw.normal(N, n).abs()
    better = torch.arange(N)[:, None] % 2 == 1
    for side, is_far in (("chosen", ~better), ("rejected", better)):
        noise = inputs[f"noise_{side}"]
        inputs[f"predicted_{side}"] = noise + torch.where(is_far, far, far / 16)
    return inputs


# --- mistakes: one change each to `_loss` --------------------------------------------------------


def _sum_of_squares(gap):
    return gap.square().reshape(len(gap), -1).sum(-1)


def _delta(c, r, rc, rr):
    return (c - rc) - (r - rr)


def _loss(
    predicted_chosen,
    predicted_rejected,
    reference_chosen,
    reference_rejected,
    noise_chosen,
    noise_rejected,
    beta,
    steps,
    weight,
    *,
    noises=lambda c, r: (c, r, c, r),
    error=_sum_of_squares,
    delta=_delta,
    factor=lambda beta, steps, weight, d: beta * steps * weight,
    sign=-1,
    outside=lambda losses, beta, steps, weight: losses,
    **ending,
):
    """As it stands it is right."""
    predicted = predicted_chosen, predicted_rejected, reference_chosen, reference_rejected
    targets = noises(noise_chosen, noise_rejected)
    errors = [error(p - e) for p, e in zip(predicted, targets, strict=True)]
    d = noise_chosen[0].numel()
    z = sign * factor(beta, steps, weight, d) * delta(*errors)
    score = ending.pop("score", lambda z: -F.logsigmoid(z))
    return mean_surprise(z, score=lambda z: outside(score(z), beta, steps, weight), **ending)


def _noises(noises):
    return partial(_loss, noises=noises)


def _error(error):
    return partial(_loss, error=error)


def _difference(delta):
    return partial(_loss, delta=delta)


def _factor(factor):
    return partial(_loss, factor=factor)


turned = partial(_loss, sign=1)
policy_turned = _difference(lambda c, r, rc, rr: (r - c) - (rc - rr))
reference_added = _difference(lambda c, r, rc, rr: (c - r) + (rc - rr))
sides_added = _difference(lambda c, r, rc, rr: (c - rc) + (r - rr))
no_reference = _difference(lambda c, r, rc, rr: c - r)
reference_alone = _difference(lambda c, r, rc, rr: rr - rc)
chosen_alone = _difference(lambda c, r, rc, rr: c - rc)
rejected_alone = _difference(lambda c, r, rc, rr: rr - r)
crossed = _difference(lambda c, r, rc, rr: (c - rr) - (r - rc))
divided = _difference(lambda c, r, rc, rr: c / rc - r / rr)
logarithms = _difference(lambda c, r, rc, rr: (c / rc).log() - (r / rr).log())

means = _error(lambda gap: gap.square().reshape(len(gap), -1).mean(-1))
norms = _error(lambda gap: _sum_of_squares(gap).sqrt())
distances = _error(lambda gap: gap.abs().reshape(len(gap), -1).sum(-1))
distances_averaged = _error(lambda gap: gap.abs().reshape(len(gap), -1).mean(-1))
not_squared = _error(lambda gap: gap.reshape(len(gap), -1).sum(-1))
halves = _error(lambda gap: _sum_of_squares(gap) / 2)
everything_summed = _error(lambda gap: gap.square().sum())
everything_averaged = _error(lambda gap: gap.square().mean())
for_each_number = _error(torch.square)
last_axis = _error(lambda gap: gap.square().sum(-1))
over_pairs = _error(lambda gap: gap.square().reshape(len(gap), -1).sum(0))
first_two_axes = _error(lambda gap: gap.square().sum(1))

axes_of_pictures = _error(lambda gap: gap.square().sum((1, 2, 3)))
axes_of_pictures_averaged = _error(lambda gap: gap.square().mean((1, 2, 3)))

noise_of_the_chosen = _noises(lambda c, r: (c, c, c, c))
noise_of_the_rejected = _noises(lambda c, r: (r, r, r, r))
noise_crossed = _noises(lambda c, r: (r, c, r, c))
reference_noise_crossed = _noises(lambda c, r: (c, r, r, c))
reference_noise_of_chosen = _noises(lambda c, r: (c, r, c, c))

halved = _factor(lambda beta, steps, weight, d: beta * steps * weight / 2)
doubled = _factor(lambda beta, steps, weight, d: 2 * beta * steps * weight)
no_steps = _factor(lambda beta, steps, weight, d: beta * weight)
steps_divide = _factor(lambda beta, steps, weight, d: beta / steps * weight)
no_weight = _factor(lambda beta, steps, weight, d: beta * steps)
weight_divides = _factor(lambda beta, steps, weight, d: beta * steps / weight)
weight_squared = _factor(lambda beta, steps, weight, d: beta * steps * weight**2)
beta_alone = _factor(lambda beta, steps, weight, d: beta)
no_beta = _factor(lambda beta, steps, weight, d: steps * weight)
beta_divides = _factor(lambda beta, steps, weight, d: steps * weight / beta)
beta_twice = _factor(lambda beta, steps, weight, d: beta**2 * steps * weight)
nothing_multiplied = _factor(lambda beta, steps, weight, d: 1.0)
over_size = _factor(lambda beta, steps, weight, d: beta * steps * weight / (2 * d))
times_size = _factor(lambda beta, steps, weight, d: beta * steps * weight * d)
times_twice_size = _factor(lambda beta, steps, weight, d: beta * steps * weight * 2 * d)


def _outside(factor, outside):
    return partial(_loss, factor=factor, outside=outside)


beta_outside = _outside(
    lambda beta, steps, weight, d: steps * weight, lambda x, beta, steps, weight: beta * x
)
steps_outside = _outside(
    lambda beta, steps, weight, d: beta * weight, lambda x, beta, steps, weight: steps * x
)
weight_outside = _outside(
    lambda beta, steps, weight, d: beta * steps, lambda x, beta, steps, weight: weight * x
)
all_outside = _outside(
    lambda beta, steps, weight, d: 1.0, lambda x, beta, steps, weight: beta * steps * weight * x
)
both_outside = _outside(
    lambda beta, steps, weight, d: beta, lambda x, beta, steps, weight: steps * weight * x
)


def to_the_reference(
    predicted_chosen,
    predicted_rejected,
    reference_chosen,
    reference_rejected,
    noise_chosen,
    noise_rejected,
    beta,
    steps,
    weight,
    *,
    sign=-1,
):
    """The reference's prediction is taken for the truth."""
    c = _sum_of_squares(predicted_chosen - reference_chosen)
    r = _sum_of_squares(predicted_rejected - reference_rejected)
    return -F.logsigmoid(sign * beta * steps * weight * (c - r)).mean()


# --- other right answers -------------------------------------------------------------------------


def as_the_code_has_it(
    predicted_chosen,
    predicted_rejected,
    reference_chosen,
    reference_rejected,
    noise_chosen,
    noise_rejected,
    beta,
    steps,
    weight,
):
    """Means of squares, pairs end to end, ½, and a β that makes up for both."""
    model = torch.cat([predicted_chosen, predicted_rejected])
    reference = torch.cat([reference_chosen, reference_rejected])
    target = torch.cat([noise_chosen, noise_rejected])
    axes = list(range(1, target.ndim))
    model_w, model_l = (model - target).pow(2).mean(axes).chunk(2)
    reference_w, reference_l = (reference - target).pow(2).mean(axes).chunk(2)
    code_beta = 2 * target[0].numel() * beta * steps * weight
    inside = -0.5 * code_beta * ((model_w - model_l) - (reference_w - reference_l))
    return -F.logsigmoid(inside).mean()


def as_differences_of_rewards(
    predicted_chosen,
    predicted_rejected,
    reference_chosen,
    reference_rejected,
    noise_chosen,
    noise_rejected,
    beta,
    steps,
    weight,
):
    """A reward is by how much the squared error has fallen."""

    def reward(predicted, reference, noise):
        gained = F.mse_loss(reference, noise, reduction="none")
        gained = gained - F.mse_loss(predicted, noise, reduction="none")
        return beta * steps * weight * gained.flatten(1).sum(1)

    chosen = reward(predicted_chosen, reference_chosen, noise_chosen)
    rejected = reward(predicted_rejected, reference_rejected, noise_rejected)
    return F.softplus(rejected - chosen).mean()


def pair_by_pair(
    predicted_chosen,
    predicted_rejected,
    reference_chosen,
    reference_rejected,
    noise_chosen,
    noise_rejected,
    beta,
    steps,
    weight,
):
    losses = []
    for i in range(len(noise_chosen)):
        w = ((predicted_chosen[i] - noise_chosen[i]) ** 2).sum()
        w = w - ((reference_chosen[i] - noise_chosen[i]) ** 2).sum()
        r = ((predicted_rejected[i] - noise_rejected[i]) ** 2).sum()
        r = r - ((reference_rejected[i] - noise_rejected[i]) ** 2).sum()
        losses.append(F.logsigmoid(beta * steps * weight * (r - w)))
    return -sum(losses) / len(losses)


T_OMEGA = "preference/05_diffusion_dpo#where-does-the-weight-of-a-step-come-from"
LIKELIHOOD = "preference/05_diffusion_dpo#what-is-the-likelihood-of-a-picture"
WHICH_WAY = "preference/05_diffusion_dpo#which-way-did-the-samples-move"

DIFFUSION_DPO_LOSS = Exercise(
    id="preference.diffusion_dpo_loss",
    title="The loss of Diffusion-DPO",
    returns="a scalar tensor in the dtype of predicted_chosen",
    points=4,
    difficulty=3,
    minutes=20,
    reference=diffusion_dpo_loss,
    trains=("predicted_chosen", "predicted_rejected"),
    cases={
        "points in the plane": points,
        "pictures": pictures,
        "one noise for both": one_noise_for_both,
        "one pair": one_pair,
        "a model that has not moved": not_moved_yet,
        "a weight of 1": a_weight_of_one,
        "one step": one_step,
        "far from the reference": far_from_the_reference,
    },
    mistakes=(
        Mistake(
            "sign-turned",
            turned,
            "the argument of σ has the wrong sign; a *smaller* error at the chosen sample is "
            "better, so the difference of errors comes in with a minus. As it is, training moves "
            "away from what was preferred.",
            WHICH_WAY,
            also=(policy_turned,),
        ),
        Mistake(
            "mean-of-squares",
            means,
            "the squares of a sample are averaged; the formula has their sum, and a mean divides β "
            "by the number of elements without a word.",
            T_OMEGA,
        ),
        Mistake(
            "steps-left-out",
            no_steps,
            "T is not in the argument of σ (or divides it); one step was drawn in place of the sum "
            "over all T, so its difference is multiplied by T.",
            T_OMEGA,
            also=(alone(steps_divide),),
        ),
        Mistake(
            "weight-left-out",
            no_weight,
            "ω is not in the argument of σ, or not once; β, T and ω multiply the difference.",
            T_OMEGA,
            also=(*map(alone, (weight_divides, weight_squared)),),
        ),
        Mistake(
            "halved",
            halved,
            "there is a factor ½ or 2 too many; the ½ of the published code goes with a β that is "
            "twice as large.",
            T_OMEGA,
            also=(*map(alone, (doubled, halves)),),
        ),
        Mistake(
            "one-noise-for-both",
            noise_of_the_chosen,
            "one noise is taken as the target of both samples; each prediction is compared with "
            "the noise that its own sample got.",
            LIKELIHOOD,
            also=(noise_of_the_rejected, alone(reference_noise_of_chosen)),
        ),
        Mistake(
            "noise-crossed",
            noise_crossed,
            "a prediction is compared with the other sample's noise; compare it with its own.",
            LIKELIHOOD,
            also=(alone(reference_noise_crossed),),
        ),
        Mistake(
            "reference-ignored",
            no_reference,
            "the reference's errors are not used; what counts is by how much the model's are "
            "smaller than the reference's.",
            LIKELIHOOD,
        ),
        Mistake(
            "reference-added",
            reference_added,
            "the reference's errors have the wrong sign; they are subtracted from the model's, at "
            "each of the two samples.",
            LIKELIHOOD,
            also=(alone(crossed),),
        ),
        Mistake(
            "reference-for-noise",
            to_the_reference,
            "the model's prediction is compared with the reference's; both are compared with the "
            "noise, and the squared errors subtracted.",
            LIKELIHOOD,
            also=(alone(partial(to_the_reference, sign=1)),),
        ),
        Mistake(
            "beta-left-out",
            no_beta,
            "β is not used as it is; β · T · ω multiplies the difference of errors.",
            T_OMEGA,
            also=(*map(alone, (beta_divides, beta_twice)),),
        ),
        Mistake(
            "beta-alone",
            beta_alone,
            "T and ω are not used; β · T · ω multiplies the difference of errors.",
            T_OMEGA,
            also=(alone(nothing_multiplied),),
        ),
        Mistake(
            "beta-of-the-code",
            over_size,
            "the number of elements of a sample is in the factor; it stands between this β and "
            "that of the published code, which averages. With sums of squares the factor is "
            "β · T · ω.",
            T_OMEGA,
            also=(*map(alone, (times_size, times_twice_size)),),
        ),
        Mistake(
            "factor-outside",
            beta_outside,
            "β, T or ω stands in front of the logarithm; there it scales the loss as a learning "
            "rate does. All three belong inside σ.",
            T_OMEGA,
            also=(*map(alone, (steps_outside, weight_outside, all_outside, both_outside)),),
        ),
        Mistake(
            "not-squared",
            norms,
            "the errors are not squares: distances, absolute values or plain differences are "
            "added up. Each is ‖ε − prediction‖², a sum of squares.",
            LIKELIHOOD,
            also=(*map(alone, (distances, distances_averaged, not_squared)),),
        ),
        Mistake(
            "everything-in-one-sum",
            everything_summed,
            "the squares are added up or averaged over the pairs too, before −ln σ; each pair has "
            "its own errors, and the mean over pairs comes last.",
            LIKELIHOOD,
            also=(everything_averaged, alone(over_pairs)),
        ),
        Mistake(
            "each-number-a-pair",
            for_each_number,
            "−ln σ is taken of parts of a sample; add up the squares over all axes but the first.",
            LIKELIHOOD,
            also=(*map(alone, (last_axis, first_two_axes)),),
        ),
        Mistake(
            "axes-of-pictures-alone",
            axes_of_pictures,
            "the axes of a picture are named one by one; a sample may have one axis or several. "
            "Flatten all but the first, then add up.",
            LIKELIHOOD,
            also=(alone(axes_of_pictures_averaged),),
        ),
        *ending_mistakes(_loss, LIKELIHOOD),
        Mistake(
            "one-side-alone",
            chosen_alone,
            "only one sample of the pair, or only the reference, is looked at, or the two are "
            "added up; σ gets a difference between chosen and rejected.",
            LIKELIHOOD,
            also=(*map(alone, (rejected_alone, reference_alone, sides_added)),),
        ),
        Mistake(
            "errors-divided",
            divided,
            "errors are divided by one another; a squared error stands for a logarithm already, so "
            "subtract.",
            LIKELIHOOD,
            also=(alone(logarithms),),
        ),
    ),
    alternatives=(as_the_code_has_it, as_differences_of_rewards, pair_by_pair),
    hints=(
        "In DPO the reward is β times a log-ratio. Here nobody has the likelihood; which number "
        "takes its place, and is it larger or smaller for a likelier sample?",
        "There are four squared errors, each a number for each sample. Which noise does each "
        "prediction belong to, and what must the loss be while the model is still the reference?",
        "A picture has many numbers and a batch many pairs. Which of the two are added up before "
        "σ, which averaged after it? Then let the model get better on every chosen sample: does "
        "your loss fall?",
    ),
    read=LIKELIHOOD,
)
