"""preference.clipped_surrogate: the loss of a token that an older policy has sampled."""

import math
from functools import partial

import torch

from clearhead.preference import clipped_surrogate
from marking.exercise import Exercise, Mistake
from marking.exercises.preference._alone import alone


def loss_and_gradient(answer, new, old, advantages, low, high, all_learn):
    """The losses, and the gradient of their sum with respect to `new`.

    With `all_learn`, `old` and `advantages` come from something that is trained, too.
    """
    with torch.enable_grad():
        given = {"new": new, "old": old, "advantages": advantages}
        given = {
            name: x.clone().requires_grad_(all_learn or name == "new") for name, x in given.items()
        }
        loss = answer(**given, low=low, high=high)
        if isinstance(loss, torch.Tensor) and loss.requires_grad:
            loss.sum().backward()
    gradients = {
        name: torch.zeros_like(x) if x.grad is None else x.grad for name, x in given.items()
    }
    told = {
        "loss": loss.detach() if isinstance(loss, torch.Tensor) else loss,
        "gradient of new": gradients["new"],
    }
    if all_learn:
        told["gradient of advantages"] = gradients["advantages"]
        told["gradient of old"] = gradients["old"]
    return told


# --- situations ----------------------------------------------------------------------------------


def _ranges(low, high):
    """Where a ratio lies; "rim" is between the two bounds' widths, on the side of each sign."""
    less, more = sorted((low, high))
    return {
        "inside": (1 - 0.8 * less, 1 - 0.3 * less, 1 + 0.3 * less, 1 + 0.8 * less),
        "above": (1 + more + 0.15, 1 + more + 0.8),
        "below": (1 - more - 0.45, 1 - more - 0.1),
        "rim above": (1 + less + 0.3 * (more - less), 1 + less + 0.7 * (more - less)),
        "rim below": (1 - less - 0.7 * (more - less), 1 - less - 0.3 * (more - less)),
        "far above": (12.0, 20.0),
        "far below": (0.03, 0.08),
    }


def _inputs(draw, places, *, low=0.2, high=0.28, all_learn=False, shape=None):
    """Each place in turn is one of `places`, pairs of a range and the sign of the advantage."""
    B, T = shape or draw.sizes(2, 2, 5)
    ranges = _ranges(low, high)
    log_ratio, advantages = [], []
    for i in range(B * T):
        where, sign = places[i % len(places)]
        bounds = ranges[where]
        bounds = bounds[2 * (i // len(places) % 2) :][:2] if len(bounds) == 4 else bounds
        log_ratio.append(draw.number(*map(math.log, bounds)))
        advantages.append(sign * draw.number(0.5, 2.0))
    old = [-draw.number(1.5, 4.0) for _ in log_ratio]
    new = [o + d for o, d in zip(old, log_ratio, strict=True)]
    made = {"new": new, "old": old, "advantages": advantages}
    tensors = {
        name: torch.tensor(x, dtype=torch.float64).to(draw.dtype).view(B, T)
        for name, x in made.items()
    }
    return {**tensors, "low": low, "high": high, "all_learn": all_learn}


QUADRANTS = [(where, sign) for where in ("above", "below") for sign in (1, -1)]
EVERYWHERE = [*QUADRANTS, ("inside", 1), ("inside", -1)]


def on_the_policy(draw):
    """Before the first update every ratio is 1, and the gradient is that of REINFORCE."""
    inputs = _inputs(draw, EVERYWHERE)
    return inputs | {"new": inputs["old"].clone()}


def inside(draw):
    return _inputs(draw, [("inside", 1), ("inside", -1)])


def risen_and_good(draw):
    return _inputs(draw, [("above", 1)])


def risen_and_bad(draw):
    return _inputs(draw, [("above", -1)])


def fallen_and_good(draw):
    return _inputs(draw, [("below", 1)])


def fallen_and_bad(draw):
    return _inputs(draw, [("below", -1)])


def between_the_bounds(draw):
    """More than low above 1, and less than high."""
    return _inputs(draw, [("rim above", 1)], low=0.2, high=draw.choice(0.3, 0.35))


def wider_below(draw):
    return _inputs(draw, [("rim below", -1), ("rim above", 1)], low=draw.choice(0.4, 0.5), high=0.2)


def mixed(draw):
    return _inputs(draw, EVERYWHERE, shape=(draw.size(2, 3), draw.size(6, 9, small=6)))


def nothing_gained(draw):
    """All answers were alike: the advantages are 0."""
    inputs = _inputs(draw, EVERYWHERE)
    return inputs | {"advantages": torch.zeros_like(inputs["advantages"])}


def far_from_one(draw):
    """Ratios that other recipes bound once more: nothing but the clip bounds them here. One answer
    alone."""
    far = [(where, sign) for where in ("far above", "far below") for sign in (-1, 1)]
    return _inputs(draw, far, shape=(1, draw.size(8, 12, small=4)))


def all_learn(draw):
    return _inputs(draw, EVERYWHERE, all_learn=True, shape=(2, draw.size(6, 9, small=6)))


# --- mistakes: one change each to `_surrogate` ---------------------------------------------------


def _both_ways(r, low, high):
    return r.clamp(1 - low, 1 + high)


def _surrogate(
    new,
    old,
    advantages,
    low,
    high,
    *,
    still=lambda old, advantages: (old.detach(), advantages.detach()),
    ratio=lambda new, old: torch.exp(new - old),
    clip=_both_ways,
    join=lambda r, clipped, A: torch.minimum(r * A, clipped * A),
    sign=-1,
    finish=lambda loss: loss,
):
    """As it stands it is right."""
    old, advantages = still(old, advantages)
    r = ratio(new, old)
    return finish(sign * join(r, clip(r, low, high), advantages))


def _still(still):
    return partial(_surrogate, still=still)


def _ratio(ratio):
    return partial(_surrogate, ratio=ratio)


def _clip(clip):
    return partial(_surrogate, clip=clip)


def _join(join):
    return partial(_surrogate, join=join)


def _finish(finish):
    return partial(_surrogate, finish=finish)


sign_forgotten = partial(_surrogate, sign=1)
larger = _join(lambda r, clipped, A: torch.maximum(r * A, clipped * A))
clip_alone = _join(lambda r, clipped, A: clipped * A)
of_the_ratios = _join(lambda r, clipped, A: torch.minimum(r, clipped) * A)
larger_ratio = alone(_join(lambda r, clipped, A: torch.maximum(r, clipped) * A))
not_clipped = _join(lambda r, clipped, A: r * A)
sizes_compared = alone(
    _join(lambda r, clipped, A: torch.minimum(r * A.abs(), clipped * A.abs()) * A.sign())
)
ratio_less_one = alone(_join(lambda r, clipped, A: torch.minimum((r - 1) * A, (clipped - 1) * A)))
half_and_half = alone(_join(lambda r, clipped, A: (r * A + clipped * A) / 2))
advantage_in_the_first = alone(_join(lambda r, clipped, A: torch.minimum(r * A, clipped)))

bounds_swapped = _clip(lambda r, low, high: r.clamp(1 - high, 1 + low))
low_for_both = _clip(lambda r, low, high: r.clamp(1 - low, 1 + low))
high_for_both = alone(_clip(lambda r, low, high: r.clamp(1 - high, 1 + high)))
one_forgotten = alone(_clip(lambda r, low, high: r.clamp(low, high)))
above_alone = _clip(lambda r, low, high: r.clamp(max=1 + high))
below_alone = alone(_clip(lambda r, low, high: r.clamp(min=1 - low)))
logarithm_clipped = _clip(lambda r, low, high: r.log().clamp(-low, high).exp())
one_over = alone(_clip(lambda r, low, high: r.clamp(1 / (1 + high), 1 + high)))
clip_detached = alone(_clip(lambda r, low, high: r.detach().clamp(1 - low, 1 + high)))
added = alone(_clip(lambda r, low, high: r.clamp(1 - low, 1 + low + high)))


def _dual(c, r, clipped, A):
    """For A < 0 the objective is not to fall below c·A."""
    least = torch.minimum(r * A, clipped * A)
    return torch.where(A < 0, torch.maximum(least, c * A), least)


dual_clip = _join(partial(_dual, 3.0))
dual_clip_elsewhere = tuple(alone(_join(partial(_dual, c))) for c in (2.0, 2.5, 4.0, 5.0, 10.0))

upside_down = _ratio(lambda new, old: torch.exp(old - new))
always_one = _ratio(lambda new, old: torch.exp(new - new.detach()))
exp_forgotten = _ratio(lambda new, old: new - old)
logarithms_divided = alone(_ratio(lambda new, old: new / old))
of_log_probs = alone(_ratio(lambda new, old: new))
of_the_new = _ratio(lambda new, old: torch.exp(new))
of_the_answer = _ratio(lambda new, old: (new - old).mean(-1, keepdim=True).exp().expand_as(new))
of_the_answers_sum = alone(
    _ratio(lambda new, old: (new - old).sum(-1, keepdim=True).exp().expand_as(new))
)


def _capped(bound, new, old):
    return torch.exp(new - old).clamp(max=bound)


def _log_capped(bound, new, old):
    return torch.exp((new - old).clamp(-bound, bound))


cut_above = tuple(alone(_ratio(partial(_capped, c))) for c in (2.0, 3.0, 4.0, 5.0, 10.0))
ratio_capped = _ratio(partial(_log_capped, 1.5))
ratio_capped_elsewhere = tuple(alone(_ratio(partial(_log_capped, b))) for b in (1.0, 2.0, 2.302585))
no_gradient = _ratio(lambda new, old: torch.exp(new - old).detach())

averaged = _finish(lambda loss: loss.mean())
summed = alone(_finish(lambda loss: loss.sum()))
averaged_by_row = alone(_finish(lambda loss: loss.mean(-1)))
summed_by_row = alone(_finish(lambda loss: loss.sum(-1)))

all_of_them_learn = _still(lambda old, advantages: (old, advantages))
advantages_learn = alone(_still(lambda old, advantages: (old.detach(), advantages)))
old_learns = alone(_still(lambda old, advantages: (old, advantages.detach())))


# --- other right answers -------------------------------------------------------------------------


def larger_of_the_losses(new, old, advantages, low, high):
    """As most code has it: a maximum, where both terms have their minus already."""
    ratio = torch.exp(new - old.detach())
    A = advantages.detach()
    return torch.max(-A * ratio, -A * torch.clamp(ratio, 1 - low, 1 + high))


def by_cases(new, old, advantages, low, high):
    """The bound of one side alone can matter: above for A > 0, below for A < 0."""
    A = advantages.detach()
    ratio = (new - old.detach()).exp()
    bounded = torch.where(A > 0, ratio.clamp(max=1 + high), ratio.clamp(min=1 - low))
    return -bounded * A


def masked_out(new, old, advantages, low, high):
    """What is clipped is a constant."""
    A = advantages.detach()
    r = torch.exp(new - old.detach())
    loss = -r * A
    loss = torch.where((r > 1 + high) & (A > 0), -(1 + high) * A, loss)
    return torch.where((r < 1 - low) & (A < 0), -(1 - low) * A, loss)


CLIP = "preference/03_policy_gradients#what-does-clipping-keep"
HIGHER = "preference/04_dapo#why-may-a-ratio-rise-further-than-it-falls"
GRADIENT = "preference/03_policy_gradients#how-can-a-sampled-word-have-a-gradient"

CLIPPED_SURROGATE = Exercise(
    id="preference.clipped_surrogate",
    title="The clipped surrogate",
    returns="a tensor (B, T), the loss of each token",
    points=4,
    difficulty=2,
    minutes=20,
    reference=clipped_surrogate,
    through=loss_and_gradient,
    cases={
        "old and new are the same": on_the_policy,
        "ratios within the bounds": inside,
        "risen, and better than expected": risen_and_good,
        "risen, and worse than expected": risen_and_bad,
        "fallen, and better than expected": fallen_and_good,
        "fallen, and worse than expected": fallen_and_bad,
        "above the lower width, below the higher": between_the_bounds,
        "wider below than above": wider_below,
        "all of these in one batch": mixed,
        "ratios far from 1": far_from_one,
        "advantages of 0": nothing_gained,
        "old and advantages are trained too": all_learn,
    },
    mistakes=(
        Mistake(
            "others-learn-too",
            all_of_them_learn,
            "a gradient reaches old or the advantages; both are numbers that were fixed when the "
            "answers were sampled. Detach them.",
            GRADIENT,
            also=(advantages_learn, old_learns),
        ),
        Mistake(
            "sign-forgotten",
            sign_forgotten,
            "that is the objective; a loss is what gets smaller, so there is a minus in front of "
            "the minimum (and only one).",
            CLIP,
        ),
        Mistake(
            "averaged",
            averaged,
            "the losses are averaged or added up; return one for each token. How long the mean is "
            "belongs to the next exercise.",
            CLIP,
            also=(averaged_by_row, summed, summed_by_row),
        ),
        Mistake(
            "bounds-swapped",
            bounds_swapped,
            "low bounds above and high below; the ratio may fall to 1 − low and rise to 1 + high.",
            HIGHER,
        ),
        Mistake(
            "one-bound-for-both",
            low_for_both,
            "one width is used on both sides; the ratio may fall by low and rise by high.",
            HIGHER,
            also=(high_for_both, one_over),
        ),
        Mistake(
            "max-for-min",
            larger,
            "the larger of the two terms is taken (or the smaller of the two losses); the "
            "objective is the smaller one, with its minus the larger loss.",
            CLIP,
        ),
        Mistake(
            "clip-alone",
            clip_alone,
            "only the clipped term is there; without the minimum a ratio that has moved the wrong "
            "way has no gradient to bring it back.",
            CLIP,
        ),
        Mistake(
            "minimum-of-the-ratios",
            of_the_ratios,
            "the minimum is taken of the ratios, before the advantage multiplies them; with a "
            "negative advantage that is the larger product. Multiply both, then compare.",
            CLIP,
            also=(sizes_compared, larger_ratio),
        ),
        Mistake(
            "not-clipped",
            not_clipped,
            "nothing is clipped; the first of the two terms is there alone.",
            CLIP,
        ),
        Mistake(
            "dual-clip",
            dual_clip,
            "a second bound, c·A, stands where the advantage is negative, as in dual-clip PPO (or "
            "the ratio is cut off above, which comes to the same); here such a ratio has one bound "
            "alone, 1 − low.",
            CLIP,
            also=(*dual_clip_elsewhere, *cut_above),
        ),
        Mistake(
            "ratio-capped",
            ratio_capped,
            "the logarithm of the ratio is bounded before the two terms are made; the first of "
            "them has the ratio as it is, however large or small.",
            CLIP,
            also=ratio_capped_elsewhere,
        ),
        Mistake(
            "ratio-upside-down",
            upside_down,
            "the ratio is old / new; the new policy stands above.",
            CLIP,
        ),
        Mistake(
            "ratio-always-one",
            always_one,
            "the ratio is taken of new with itself, so it is always 1 and is never clipped; that "
            "is right for the first update alone. Use old.",
            CLIP,
        ),
        Mistake(
            "without-gradient",
            no_gradient,
            "no gradient reaches new; the ratio is detached, or was computed under no_grad.",
            GRADIENT,
        ),
        Mistake(
            "clip-detached",
            clip_detached,
            "the clipped term has lost its gradient; where both terms are equal the minimum takes "
            "half of each, so that within the bounds half of the gradient is missing.",
            CLIP,
        ),
        Mistake(
            "exp-forgotten",
            exp_forgotten,
            "the difference of the log-probs is taken for the ratio; the ratio is its exponential.",
            CLIP,
        ),
        Mistake(
            "logarithms-divided",
            logarithms_divided,
            "the log-probs are divided by each other; the logarithm of a quotient is a difference.",
            CLIP,
        ),
        Mistake(
            "old-ignored",
            of_the_new,
            "old is not looked at; the ratio says how much likelier the token has become since it "
            "was sampled.",
            CLIP,
            also=(of_log_probs,),
        ),
        Mistake(
            "logarithm-clipped",
            logarithm_clipped,
            "the logarithm of the ratio is clipped to −low and high; the bounds are those of the "
            "ratio, and exp(high) is more than 1 + high.",
            CLIP,
        ),
        Mistake(
            "ratio-of-the-answer",
            of_the_answer,
            "there is one ratio for a whole answer, as in GSPO; here each token has its own.",
            CLIP,
            also=(of_the_answers_sum,),
        ),
        Mistake(
            "bounds-without-one",
            one_forgotten,
            "the ratio is clipped to low and high; the bounds lie about 1: 1 − low and 1 + high.",
            CLIP,
            also=(added,),
        ),
        Mistake(
            "one-side-alone",
            above_alone,
            "one bound is missing; a ratio is clipped above where the advantage is positive, and "
            "below where it is negative.",
            CLIP,
            also=(below_alone,),
        ),
        Mistake(
            "one-subtracted",
            ratio_less_one,
            "1 is subtracted from the ratios; the gradient is the same and the loss is another.",
            CLIP,
        ),
        Mistake(
            "not-a-minimum",
            half_and_half,
            "the two terms are averaged, or the advantage multiplies only one of them; take the "
            "smaller of r·A and clip(r)·A.",
            CLIP,
            also=(advantage_in_the_first,),
        ),
    ),
    alternatives=(larger_of_the_losses, by_cases, masked_out),
    hints=(
        "A token was better than expected and has become much likelier already. Should the loss "
        "still push it up? And one that was better and has become less likely?",
        "Draw the objective over the ratio, once for a positive and once for a negative advantage: "
        "a line through 0, and where it turns flat. On which side does each of the two bend?",
        "Two terms, and the more pessimistic one counts. Make both whole, advantage included, "
        "before you compare them; and of the three tensors only one may receive a gradient.",
    ),
    read=CLIP,
)
