"""training.learning_rate: up in a straight line, down along half a cosine."""

import math
from functools import partial

import torch

from clearhead.training import learning_rate
from marking.exercise import Exercise, Mistake

# --- situations: a mistake shows in one always or never ------------------------------------------


def _inputs(draw, *, warmup=None, floor=True):
    """A small case has round numbers; otherwise the warm-up is 6 to 12, the descent 24 to 60."""
    if draw.level is not None:
        warmup = 2 + draw.level if warmup is None else warmup
        return {"peak": 1.0, "warmup": warmup, "total": warmup + 4, "floor": 0.2 * floor}
    warmup = draw.size(6, 12) if warmup is None else warmup
    peak = draw.choice(3e-4, 6e-4, 1e-3, 2e-3)
    return {
        "peak": peak,
        "warmup": warmup,
        "total": warmup + 4 * draw.size(6, 15),
        "floor": peak * draw.choice(0.2, 0.25) if floor else 0.0,
    }


def _at(inputs, step):
    return {"step": step} | inputs


def first_update(draw):
    return _at(_inputs(draw), 0)


def during_the_warm_up(draw):
    """Before its middle, where a curve would meet the straight line."""
    inputs = _inputs(draw)
    latest = (inputs["warmup"] - 1) // 2 - 1
    return _at(inputs, draw.size(1, latest) if draw.level is None else 0)


def end_of_the_warm_up(draw):
    inputs = _inputs(draw)
    return _at(inputs, inputs["warmup"] - 1)


def first_of_the_descent(draw):
    inputs = _inputs(draw)
    return _at(inputs, inputs["warmup"])


def _quarter(inputs):
    return (inputs["total"] - inputs["warmup"]) // 4


def early_in_the_descent(draw):
    inputs = _inputs(draw)
    return _at(inputs, inputs["warmup"] + _quarter(inputs) - 1)


def late_in_the_descent(draw):
    """Past the middle, and where the cosine is still above the floor."""
    inputs = _inputs(draw)
    return _at(inputs, inputs["warmup"] + 3 * _quarter(inputs) - draw.choice(0, 1))


def last_update(draw):
    inputs = _inputs(draw)
    return _at(inputs, inputs["total"] - 1)


def after_the_last(draw):
    """By less than the warm-up: a descent that takes so much too long has not ended yet."""
    inputs = _inputs(draw)
    return _at(inputs, inputs["total"] + draw.size(2, 4, small=1))


def no_warm_up(draw):
    return _at(_inputs(draw, warmup=0), 0)


def no_floor(draw):
    inputs = _inputs(draw, floor=False)
    return _at(inputs, inputs["warmup"] + _quarter(inputs))


def warm_up_to_the_end(draw):
    """There is no descent: nothing must be divided by its length, zero."""
    inputs = _inputs(draw)
    return _at(inputs | {"total": inputs["warmup"]}, inputs["warmup"] - 1)


# --- mistakes: one change each to `_rate` --------------------------------------------------------


def _half_cosine(x):
    return (1 + math.cos(math.pi * x)) / 2


def _done(t, step, warmup, total):
    return (t - warmup) / (total - warmup)


def _over(t, x, total):
    return t > total


def _rate(
    step,
    peak,
    warmup,
    total,
    floor,
    *,
    time=lambda step: step + 1,
    warming=lambda t, warmup: t <= warmup,
    warm=lambda t, peak, warmup, floor: peak * t / warmup,
    over=_over,
    end=lambda peak, floor: floor,
    done=_done,
    shape=_half_cosine,
    join=lambda share, peak, floor: floor + (peak - floor) * share,
    finish=lambda rate, floor: rate,
):
    """As it stands it is right."""
    t = time(step)
    if warming(t, warmup):
        return finish(warm(t, peak, warmup, floor), floor)
    if over(t, None, total):
        return finish(end(peak, floor), floor)
    return finish(join(shape(done(t, step, warmup, total)), peak, floor), floor)


def _warm(warm):
    return partial(_rate, warm=warm)


def _done_by(done, **others):
    return partial(_rate, done=done, **others)


def _shape(shape):
    return partial(_rate, shape=shape)


def _join(join, **others):
    return partial(_rate, join=join, **others)


def _never(t, x, total):
    return False


def _before(t, warmup):
    return t < warmup


def _guarded(t, step, warmup, total):
    return (t - warmup) / (total - warmup) if total > warmup else 1.0


def _guarded_to_start(t, step, warmup, total):
    return (t - warmup) / max(1, total - warmup)


step_for_t = tuple(
    partial(_rate, time=lambda step: step, **others)
    for others in (
        {},
        {"warming": _before},
        {"warming": _before, "done": _guarded},
        {"warming": _before, "done": _guarded_to_start},
    )
)
one_too_far = partial(_rate, time=lambda step: step + 2)
step_in_the_descent = _done_by(lambda t, step, warmup, total: (step - warmup) / (total - warmup))
step_in_the_warm_up = _warm(lambda t, peak, warmup, floor: peak * (t - 1) / warmup)
last_step_for_total = _done_by(
    lambda t, step, warmup, total: (step - warmup) / max(1, total - 1 - warmup)
)
warm_up_one_longer = _warm(lambda t, peak, warmup, floor: peak * t / (warmup + 1))

warm_up_left_out = _warm(lambda t, peak, warmup, floor: peak)
no_warm_up_at_all = partial(_rate, warming=lambda t, warmup: False, done=lambda t, s, w, n: t / n)
warm_from_floor = _warm(lambda t, peak, warmup, floor: floor + (peak - floor) * t / warmup)
warm_not_below_floor = _warm(lambda t, peak, warmup, floor: max(floor, peak * t / warmup))
warm_along_a_cosine = _warm(
    lambda t, peak, warmup, floor: peak * (1 - math.cos(math.pi * t / warmup)) / 2
)
warm_whole_numbers = _warm(lambda t, peak, warmup, floor: peak * (t // warmup))
warm_without_peak = _warm(lambda t, peak, warmup, floor: t / warmup)

from_the_start = _done_by(lambda t, step, warmup, total: t / total)
total_after_warm_up = _done_by(
    lambda t, step, warmup, total: min((t - warmup) / total, 1.0), over=_never
)
total_after_warm_up_cut = _done_by(lambda t, step, warmup, total: (t - warmup) / total)
warm_up_left_in = _done_by(lambda t, step, warmup, total: min(t / (total - warmup), 1.0))
warm_up_left_in_unbounded = _done_by(lambda t, step, warmup, total: t / (total - warmup))
done_in_whole_numbers = _done_by(lambda t, step, warmup, total: (t - warmup) // (total - warmup))

rises_again = partial(_rate, over=_never)
divides_by_nothing = partial(_rate, warming=_before)
divides_a_float_by_nothing = _done_by(
    lambda t, step, warmup, total: float(t - warmup) / (total - warmup), warming=_before
)

zero_after = partial(_rate, end=lambda peak, floor: 0.0)
peak_after = partial(_rate, end=lambda peak, floor: peak)
straight = _shape(lambda x: 1 - x)
whole_period = _shape(lambda x: (1 + math.cos(2 * math.pi * x)) / 2)
quarter_period = _shape(lambda x: math.cos(math.pi * x / 2))
quarter_period_squared_twice = _shape(lambda x: math.cos(math.pi * x / 2) ** 4)
not_halved = _shape(lambda x: 1 + math.cos(math.pi * x))
cosine_alone = _shape(lambda x: math.cos(math.pi * x))
half_alone = _shape(lambda x: math.cos(math.pi * x) / 2)
pi_left_out = _shape(lambda x: (1 + math.cos(x)) / 2)
in_degrees = _shape(lambda x: (1 + math.cos(180 * x)) / 2)
upwards = _shape(lambda x: (1 - math.cos(math.pi * x)) / 2)
sine = _shape(lambda x: (1 + math.sin(math.pi * x)) / 2)
stays = _shape(lambda x: 1.0)
root = _shape(lambda x: 1 - math.sqrt(x))
square = _shape(lambda x: (1 - x) ** 2)

floor_ignored = _join(lambda share, peak, floor: peak * share, end=lambda peak, floor: 0.0)
floor_only_after = _join(lambda share, peak, floor: peak * share)
floor_on_top = _join(lambda share, peak, floor: floor + peak * share)
floor_as_bound = _join(lambda share, peak, floor: max(floor, peak * share))
floor_as_bound_everywhere = _join(
    lambda share, peak, floor: peak * share,
    finish=lambda rate, floor: max(rate, floor),
    end=lambda peak, floor: floor,
)
floor_twice = _join(lambda share, peak, floor: floor + (peak - floor) * share + floor)
floor_as_share = _join(
    lambda share, peak, floor: peak * (floor + (1 - floor) * share),
    end=lambda peak, floor: peak * floor,
)
floor_not_taken_off = _join(lambda share, peak, floor: (peak - floor) * share)
without_peak = _join(lambda share, peak, floor: share)


def _as(kind):
    return partial(_rate, finish=lambda rate, floor: kind(rate))


as_tensor = _as(lambda rate: torch.tensor(rate, dtype=torch.float64))
as_tensor_float32 = _as(torch.tensor)


# --- other right answers -------------------------------------------------------------------------


def by_the_weight_of_the_floor(step, *, peak, warmup, total, floor):
    t = min(step + 1, total)
    if t <= warmup:
        return peak * t / warmup if step < total else floor
    angle = math.pi * (t - warmup) / (total - warmup)
    high = 0.5 + 0.5 * math.cos(angle)
    return high * peak + (1 - high) * floor


def by_a_squared_cosine(step, *, peak, warmup, total, floor):
    """(1 + cos 2a) / 2 is cos² a."""
    if step < warmup:
        return (step + 1) / warmup * peak
    if step >= total:
        return floor
    a = math.pi / 2 * (step + 1 - warmup) / (total - warmup)
    return floor + (peak - floor) * math.cos(a) ** 2


def by_the_mean_of_both_ends(step, *, peak, warmup, total, floor):
    """The middle of peak and floor, and half their distance times the cosine."""
    update = step + 1
    middle, reach = (peak + floor) / 2, (peak - floor) / 2
    if update > total:
        return floor
    if update <= warmup:
        return peak * (update / warmup)
    return (
        middle
        + reach
        * torch.cos(
            torch.tensor(math.pi * (update - warmup) / (total - warmup), dtype=torch.float64)
        ).item()
    )


MOVES = "training/02_batches_that_mean_it#how-does-the-learning-rate-move"

LEARNING_RATE = Exercise(
    id="training.learning_rate",
    title="Warm-up and cosine",
    returns="a Python float",
    points=3,
    difficulty=1,
    minutes=15,
    reference=learning_rate,
    cases={
        "the first update": first_update,
        "during the warm-up": during_the_warm_up,
        "the end of the warm-up": end_of_the_warm_up,
        "the first of the descent": first_of_the_descent,
        "early in the descent": early_in_the_descent,
        "late in the descent": late_in_the_descent,
        "the last update": last_update,
        "after the last": after_the_last,
        "no warm-up": no_warm_up,
        "no floor": no_floor,
        "a warm-up to the end": warm_up_to_the_end,
    },
    mistakes=(
        Mistake(
            "step-for-t",
            step_for_t[0],
            "step stands where t belongs; step counts from 0 and t = step + 1 from 1, so that the "
            "first update is not made at rate 0.",
            MOVES,
            also=step_for_t[1:],
        ),
        Mistake(
            "one-too-far",
            one_too_far,
            "t is counted one too far; t = step + 1.",
            MOVES,
        ),
        Mistake(
            "step-in-the-descent",
            step_in_the_descent,
            "the warm-up counts from 1 and the descent from 0, so that the peak comes twice and "
            "the floor one update late; t = step + 1 in both.",
            MOVES,
        ),
        Mistake(
            "step-in-the-warm-up",
            step_in_the_warm_up,
            "the warm-up counts from 0 and the descent from 1, so the first update is made at rate "
            "0 and the peak is never reached; t = step + 1 in both.",
            MOVES,
        ),
        Mistake(
            "peak-after-the-warm-up",
            last_step_for_total,
            "the descent begins one update late, with the peak again, and is one update shorter; "
            "the peak is the last of the warm-up, and the descent takes total − warmup updates.",
            MOVES,
        ),
        Mistake(
            "warm-up-one-longer",
            warm_up_one_longer,
            "the warm-up divides by warmup + 1, so the peak is missed by a little; at t = warmup "
            "the rate is the peak.",
            MOVES,
        ),
        Mistake(
            "no-warm-up",
            warm_up_left_out,
            "there is no warm-up; up to t = warmup the rate is peak · t / warmup.",
            MOVES,
            also=(no_warm_up_at_all,),
        ),
        Mistake(
            "warm-up-from-the-floor",
            warm_from_floor,
            "the warm-up starts at the floor; it starts at 0, and the floor belongs to the descent "
            "alone.",
            MOVES,
            also=(warm_not_below_floor,),
        ),
        Mistake(
            "warm-up-not-straight",
            warm_along_a_cosine,
            "the warm-up follows a cosine; it is a straight line, peak · t / warmup.",
            MOVES,
        ),
        Mistake(
            "whole-numbers",
            warm_whole_numbers,
            "// rounds the quotient down to a whole number, so the rate jumps; divide with /.",
            MOVES,
            also=(done_in_whole_numbers,),
        ),
        Mistake(
            "cosine-from-the-start",
            from_the_start,
            "the cosine runs over all updates, t / total, so the rate falls with a jump at the end "
            "of the warm-up; it runs over the updates after it, (t − warmup) / (total − warmup).",
            MOVES,
        ),
        Mistake(
            "total-after-the-warm-up",
            total_after_warm_up,
            "total is taken for the length of the descent; it counts all updates, so the descent "
            "has total − warmup.",
            MOVES,
            also=(total_after_warm_up_cut,),
        ),
        Mistake(
            "warm-up-not-taken-off",
            warm_up_left_in,
            "t / (total − warmup) does not begin at 0 where the descent does; take warmup off t "
            "too.",
            MOVES,
            also=(warm_up_left_in_unbounded,),
        ),
        Mistake(
            "rises-again",
            rises_again,
            "after the last update the cosine goes up again; for t > total the rate is the floor.",
            MOVES,
        ),
        Mistake(
            "another-end",
            zero_after,
            "after the last update the rate is not the floor; it stays there.",
            MOVES,
            also=(peak_after,),
        ),
        Mistake(
            "divided-by-zero",
            divides_by_nothing,
            "where the warm-up lasts to the end, the descent has no length, and dividing by it "
            "fails; t = warmup belongs to the warm-up still.",
            MOVES,
            also=(divides_a_float_by_nothing,),
        ),
        Mistake(
            "straight-descent",
            straight,
            "the rate falls along a straight line (or another curve); it falls along half a "
            "cosine, (1 + cos πx) / 2.",
            MOVES,
            also=(root, square, quarter_period_squared_twice),
        ),
        Mistake(
            "whole-period",
            whole_period,
            "2π is a whole wave, down and up again; half a wave, π, ends at the bottom.",
            MOVES,
        ),
        Mistake(
            "quarter-period",
            quarter_period,
            "this is a quarter of a wave, cos(πx / 2), which falls fastest at its end; half a wave "
            "is asked for, (1 + cos πx) / 2.",
            MOVES,
        ),
        Mistake(
            "cosine-not-moved",
            cosine_alone,
            "the cosine goes from 1 to −1; add 1 and divide by 2, so that it goes from 1 to 0.",
            MOVES,
            also=(not_halved, half_alone),
        ),
        Mistake(
            "pi-left-out",
            pi_left_out,
            "the cosine's argument does not go from 0 to π; multiply the share that is done by π "
            "(math.cos takes radians).",
            MOVES,
            also=(in_degrees,),
        ),
        Mistake(
            "upwards",
            upwards,
            "the rate rises after the warm-up; it is 1 + cos, not 1 − cos, and no sine.",
            MOVES,
            also=(sine,),
        ),
        Mistake(
            "no-descent",
            stays,
            "the rate stays at the peak; after the warm-up it falls to the floor.",
            MOVES,
        ),
        Mistake(
            "floor-ignored",
            floor_ignored,
            "the rate falls to 0; it ends at the floor: floor + (peak − floor) · share.",
            MOVES,
            also=(floor_only_after,),
        ),
        Mistake(
            "floor-on-top",
            floor_on_top,
            "the floor is added to the whole of the cosine, so the descent begins above the peak; "
            "the cosine spans peak − floor.",
            MOVES,
            also=(floor_twice,),
        ),
        Mistake(
            "floor-as-a-bound",
            floor_as_bound,
            "the cosine falls to 0 and is held at the floor where it is lower; it is to reach the "
            "floor at t = total and not before: floor + (peak − floor) · share.",
            MOVES,
            also=(floor_as_bound_everywhere,),
        ),
        Mistake(
            "floor-as-a-share",
            floor_as_share,
            "floor is taken for a share of the peak; it is a rate, as the peak is.",
            MOVES,
        ),
        Mistake(
            "floor-not-added",
            floor_not_taken_off,
            "the cosine spans peak − floor, and the floor beneath it is missing; add it.",
            MOVES,
        ),
        Mistake(
            "without-the-peak",
            without_peak,
            "a share from 0 to 1 comes back; multiply it by the peak, as LambdaLR would.",
            MOVES,
            also=(warm_without_peak,),
        ),
        Mistake(
            "tensor-returned",
            as_tensor,
            "a tensor comes back; a rate is set as a Python float, so take .item() or the "
            "functions of math.",
            MOVES,
            also=(as_tensor_float32,),
        ),
    ),
    alternatives=(
        by_the_weight_of_the_floor,
        by_a_squared_cosine,
        by_the_mean_of_both_ends,
    ),
    hints=(
        "There are three stretches. For each write down the first and the last t, and the rate "
        "that it begins and ends with; t counts the updates from 1.",
        "In the descent you need a share of the way that is 0 at t = warmup and 1 at t = total. "
        "Which is it, and what does the cosine make of 0 and of 1, if you give it half a turn?",
        "Stretch what goes from 1 to 0 so that it goes from the peak to the floor. Then ask about "
        "the odd cases: no warm-up, nothing but warm-up, and a step after the end.",
    ),
    read=MOVES,
)
