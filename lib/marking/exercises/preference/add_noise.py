"""preference.add_noise: a picture at any step of the noise, without the steps before it."""

from functools import partial

import torch

from clearhead.preference import add_noise
from marking.exercise import Exercise, Mistake
from marking.exercises.preference._alone import alone

# --- situations: a mistake shows in one always or never ------------------------------------------


def _schedule(draw, K):
    """ᾱ, from nearly 1 down to nearly 0: a product of numbers below 1."""
    falls = 0.15 + 0.6 * draw.chance(0.5, K) + 0.05 * draw.normal(K).double().abs().clamp(max=2.0)
    alpha_bar = torch.exp(-(falls * (6.0 / falls.sum())).cumsum(0))
    return alpha_bar.to(draw.dtype)


def _inputs(draw, B, *shape, t=None, alpha_bar=None):
    """Each sample at a step of its own, neither the first nor the last."""
    if alpha_bar is None:
        alpha_bar = _schedule(draw, draw.size(B + 3, B + 12, small=B + 2))
    K = len(alpha_bar)
    if t is None:
        t = torch.tensor(draw.sizes(B, 1, K - 2, small=1) if draw.level is None else _few(B))
    return {
        "x0": draw.normal(B, *shape) + 0.5,
        "noise": draw.normal(B, *shape),
        "t": t,
        "alpha_bar": alpha_bar,
    }


def _few(B):
    return list(range(1, B + 1))


def points(draw):
    """In the plane: B is 3 or more, so that a step for each sample does not fit their axes."""
    return _inputs(draw, draw.size(3, 9, small=3), 2)


def pictures(draw):
    B, C, H, W = draw.sizes(4, 2, 6, small=2)
    return _inputs(draw, B, C, H, W)


def one_number_each(draw):
    return _inputs(draw, draw.size(2, 9))


def as_many_as_they_are_wide(draw):
    """B is the size of the last axis, so that the wrong shapes fit."""
    n = draw.size(3, 5, small=2)
    return _inputs(draw, n, draw.size(2, 4, small=2), n)


def one_sample(draw):
    return _inputs(draw, 1, draw.size(2, 9))


def one_step_for_all(draw):
    B = draw.size(3, 6, small=2)
    return _inputs(draw, B, draw.size(7, 9, small=3), t=torch.full((B,), draw.size(1, B)))


def first_step_and_last(draw):
    K = draw.size(5, 12, small=3)
    return _inputs(
        draw, 2, draw.size(3, 6), t=torch.tensor([0, K - 1]), alpha_bar=_schedule(draw, K)
    )


def all_noise_at_the_end(draw):
    """ᾱ is 1 at the first step and 0 at the last."""
    K = draw.size(5, 12, small=4)
    alpha_bar = torch.cat([torch.ones(1), _schedule(draw, K - 2), torch.zeros(1)]).to(draw.dtype)
    return _inputs(draw, 3, draw.size(4, 6), t=torch.tensor([0, 2, K - 1]), alpha_bar=alpha_bar)


# --- mistakes: one change each to `_noised` ------------------------------------------------------


def _each(a, x0):
    return a.reshape(-1, *[1] * (x0.ndim - 1))


def _noised(
    x0,
    noise,
    t,
    alpha_bar,
    *,
    schedule=lambda alpha_bar: alpha_bar,
    at=lambda alpha_bar, t: alpha_bar[t],
    spread=_each,
    signal=lambda a: a.sqrt(),
    rest=lambda a: (1 - a).sqrt(),
    order=lambda x0, noise: (x0, noise),
    join=lambda x, e: x + e,
):
    """As it stands it is right."""
    a = spread(at(schedule(alpha_bar), t), x0)
    x, e = order(x0, noise)
    return join(signal(a) * x, rest(a) * e)


def _factors(signal, rest):
    return partial(_noised, signal=signal, rest=rest)


def _signal(signal):
    return partial(_noised, signal=signal)


def _rest(rest):
    return partial(_noised, rest=rest)


def _at(at):
    return partial(_noised, at=at)


no_roots = _factors(lambda a: a, lambda a: 1 - a)
signal_not_rooted = _signal(lambda a: a)
noise_not_rooted = _rest(lambda a: 1 - a)
one_minus_root = _rest(lambda a: 1 - a.sqrt())
squares = _factors(lambda a: a**2, lambda a: (1 - a) ** 2)
one_less_square = _rest(lambda a: (1 - a**2).sqrt())
one_less_square_of_alpha = _factors(lambda a: a, lambda a: (1 - a**2).sqrt())
root_of_root = _factors(lambda a: a**0.25, lambda a: (1 - a.sqrt()).sqrt())
root_of_ratio = _rest(lambda a: ((1 - a) / a).sqrt())
swapped = partial(_noised, order=lambda x0, noise: (noise, x0))
signal_not_scaled = _signal(torch.ones_like)
noise_not_scaled = _rest(torch.ones_like)
noise_scaled_like_signal = _rest(lambda a: a.sqrt())
signal_scaled_like_noise = _signal(lambda a: (1 - a).sqrt())
nothing_but_signal = _rest(torch.zeros_like)
subtracted = partial(_noised, join=lambda x, e: x - e)
subtracted_turned = partial(_noised, join=lambda x, e: e - x)
parts_returned = partial(_noised, join=lambda x, e: (x, e))
with_noise = partial(_noised, join=lambda x, e: (x + e, e))

multiplied_again = partial(_noised, schedule=lambda a: a.cumprod(0))
added_up = partial(_noised, schedule=lambda a: a.cumsum(0))
betas = partial(_noised, schedule=lambda a: (1 - a).cumprod(0))
single_alphas = partial(_noised, schedule=lambda a: a / torch.cat([a.new_ones(1), a[:-1]]))
turned_round = partial(_noised, schedule=lambda a: a.flip(0))

early = _at(lambda a, t: a[t - 1])
early_from_one = _at(lambda a, t: torch.cat([a.new_ones(1), a])[t])
early_but_first = _at(lambda a, t: a[(t - 1).clamp(min=0)])
late = _at(lambda a, t: a[t + 1])
late_but_last = _at(lambda a, t: a[(t + 1).clamp(max=len(a) - 1)])
late_and_round = _at(lambda a, t: a.roll(-1)[t])
first_for_all = _at(lambda a, t: a[t[:1]])
last_for_all = _at(lambda a, t: a[t[-1:]])
largest_for_all = _at(lambda a, t: a[t.max()[None]])
mean_for_all = _at(lambda a, t: a[t].mean()[None])
in_order = _at(lambda a, t: a[: len(t)])

not_spread = partial(_noised, spread=lambda a, x0: a)
one_axis_behind = partial(_noised, spread=lambda a, x0: a[:, None])
two_axes_behind = partial(_noised, spread=lambda a, x0: a[:, None, None])
three_axes_behind = partial(_noised, spread=lambda a, x0: a[:, None, None, None])
axes_in_front = partial(_noised, spread=lambda a, x0: a.reshape(*[1] * (x0.ndim - 1), -1))


# --- other right answers -------------------------------------------------------------------------


def sample_by_sample(x0, noise, t, alpha_bar):
    made = []
    for x, e, i in zip(x0, noise, t.tolist(), strict=True):
        signal = alpha_bar[i].item()
        made.append(signal**0.5 * x + (1 - signal) ** 0.5 * e)
    return torch.stack(made)


def by_einsum(x0, noise, t, alpha_bar):
    a = alpha_bar.gather(0, t)
    first = torch.einsum("b,b...->b...", a.sqrt(), x0)
    return first + torch.einsum("b,b...->b...", (1 - a).sqrt(), noise)


def tables_first(x0, noise, t, alpha_bar):
    """Both factors for every step, looked up after; the sample's axis moved to the end and back."""
    factors = torch.stack([alpha_bar.pow(0.5), torch.sub(1, alpha_bar).pow(0.5)])[:, t]
    x = factors[0] * x0.movedim(0, -1) + factors[1] * noise.movedim(0, -1)
    return x.movedim(-1, 0)


PICTURE = "preference/05_diffusion_dpo#how-does-noise-become-a-picture"

ADD_NOISE = Exercise(
    id="preference.add_noise",
    title="A sample at any step of the noise",
    returns="a tensor of the shape and dtype of x0",
    points=2,
    difficulty=1,
    minutes=10,
    reference=add_noise,
    cases={
        "points in the plane": points,
        "pictures": pictures,
        "one number each": one_number_each,
        "as many samples as they are wide": as_many_as_they_are_wide,
        "one sample": one_sample,
        "one step for all": one_step_for_all,
        "the first step and the last": first_step_and_last,
        "nothing but noise at the end": all_noise_at_the_end,
    },
    mistakes=(
        Mistake(
            "no-roots",
            no_roots,
            "the roots are missing; ᾱ and 1 − ᾱ are shares of the variance, and a sample is scaled "
            "by their roots.",
            PICTURE,
            also=(alone(squares),),
        ),
        Mistake(
            "noise-not-rooted",
            noise_not_rooted,
            "the noise is scaled by 1 − ᾱ; its variance is to be that, so take the root.",
            PICTURE,
        ),
        Mistake(
            "signal-not-rooted",
            signal_not_rooted,
            "x0 is scaled by ᾱ; what is left of its variance is to be that, so take the root.",
            PICTURE,
        ),
        Mistake(
            "one-minus-root",
            one_minus_root,
            "the noise is scaled by 1 − √ᾱ; the squares of the two factors add up to 1, not the "
            "factors: it is √(1 − ᾱ).",
            PICTURE,
        ),
        Mistake(
            "factors-swapped",
            swapped,
            "the two factors have changed places; ᾱ is what is left of the signal, and falls as t "
            "grows.",
            PICTURE,
        ),
        Mistake(
            "not-broadcast",
            not_spread,
            "the factors, one for each sample, are not spread over the sample's other axes; give "
            "them the shape (B, 1, …, 1), with as many axes as x0.",
            PICTURE,
            also=(
                one_axis_behind,
                *map(alone, (two_axes_behind, three_axes_behind, axes_in_front)),
            ),
        ),
        Mistake(
            "multiplied-up-again",
            multiplied_again,
            "alpha_bar is multiplied (or added) up once more; it is the product of all steps up to "
            "t already.",
            PICTURE,
            also=(*map(alone, (added_up, betas)),),
        ),
        Mistake(
            "one-step-early",
            early,
            "ᾱ is taken one step too early; t counts from 0, so it is alpha_bar[t].",
            PICTURE,
            also=(early_but_first, alone(early_from_one)),
        ),
        Mistake(
            "one-step-late",
            late,
            "ᾱ is taken one step too late; t counts from 0, so it is alpha_bar[t].",
            PICTURE,
            also=(*map(alone, (late_but_last, late_and_round)),),
        ),
        Mistake(
            "one-step-for-all",
            first_for_all,
            "one step is taken for the whole batch; each sample has its own.",
            PICTURE,
            also=(*map(alone, (last_for_all, largest_for_all, mean_for_all, in_order)),),
        ),
        Mistake(
            "signal-not-scaled",
            signal_not_scaled,
            "noise is added to x0 as it is, so that the variance grows; here x0 shrinks by √ᾱ.",
            PICTURE,
        ),
        Mistake(
            "noise-not-scaled",
            noise_not_scaled,
            "the noise is added as it is; it is scaled by √(1 − ᾱ).",
            PICTURE,
            also=(alone(root_of_ratio),),
        ),
        Mistake(
            "one-factor-for-both",
            noise_scaled_like_signal,
            "x0 and the noise are scaled alike; one gets √ᾱ, the other √(1 − ᾱ).",
            PICTURE,
            also=(alone(signal_scaled_like_noise),),
        ),
        Mistake(
            "square-under-the-root",
            one_less_square,
            "ᾱ is squared under the root (or rooted once more); alpha_bar is ᾱ itself, not its "
            "root.",
            PICTURE,
            also=(*map(alone, (one_less_square_of_alpha, root_of_root)),),
        ),
        Mistake(
            "another-schedule",
            single_alphas,
            "alpha_bar is taken for something else: turned round, or made into the α of single "
            "steps. Entry t is the share of the signal's variance that is left at step t.",
            PICTURE,
            also=(alone(turned_round),),
        ),
        Mistake(
            "noise-subtracted",
            subtracted,
            "the noise is subtracted; it is added here, and subtracted on the way back.",
            PICTURE,
            also=(alone(subtracted_turned),),
        ),
        Mistake(
            "no-noise",
            nothing_but_signal,
            "there is no noise in the result; add noise times √(1 − ᾱ).",
            PICTURE,
        ),
        Mistake(
            "not-one-tensor",
            parts_returned,
            "several tensors come back; return their sum alone.",
            PICTURE,
            also=(alone(with_noise),),
        ),
    ),
    alternatives=(sample_by_sample, by_einsum, tables_first),
    hints=(
        "x0 and noise both have variance 1 and know nothing of one another. What is the variance "
        "of a·x0 + b·noise, and what must a and b do for it to stay 1?",
        "alpha_bar says how much of the signal's variance is left. What does the result consist of "
        "where it is 1, and where it is 0?",
        "There is one factor for each sample, and a sample may be a number, a point or a picture. "
        "Print the shapes of the two tensors that you multiply, for a batch of pictures.",
    ),
    read=PICTURE,
)
