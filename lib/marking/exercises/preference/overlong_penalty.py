"""preference.overlong_penalty: what the last tokens before the limit cost."""

from functools import partial

import torch

from clearhead.preference import overlong_penalty
from marking.exercise import Exercise, Mistake, Tolerance
from marking.exercises.preference._alone import alone

# --- situations: a mistake shows in one always or never ------------------------------------------


def _inputs(lengths, longest, cache):
    return {"lengths": torch.tensor(lengths), "longest": longest, "cache": cache}


def _limits(draw):
    """A limit, and a cache of a quarter to a third of it, odd: no length lies just in between."""
    if draw.level is not None:
        return 10, 4
    cache = 2 * draw.size(4, 10) + 1
    return 3 * cache + draw.size(1, cache), cache


def _some(draw, low, high):
    """Two to five lengths from low to high."""
    return draw.sizes(min(draw.size(2, 5, small=2), high - low + 1), low, high)


def short(draw):
    longest, cache = _limits(draw)
    return _inputs(_some(draw, 1, longest - cache - 1), longest, cache)


def on_the_ramp(draw):
    longest, cache = _limits(draw)
    start = longest - cache
    return _inputs(_some(draw, start + 2, longest - 2), longest, cache)


def at_the_edges(draw):
    """One before and one behind each end of the ramp, and the ends themselves."""
    longest, cache = _limits(draw)
    edges = [edge + step for edge in (longest - cache, longest) for step in (-1, 0, 1)]
    return _inputs(edges, longest, cache)


def too_long(draw):
    longest, cache = _limits(draw)
    return _inputs(_some(draw, longest + 2, longest + cache - 1), longest, cache)


def batch(draw):
    longest, cache = _limits(draw)
    start = longest - cache
    lengths = [
        draw.size(1, start - 1),
        draw.size(start + 1, longest - 1, small=start + 1),
        longest + draw.size(2, cache),
        start + cache // 2,
        draw.size(1, start - 1),
    ]
    return _inputs(lengths[draw.size(0, 1) :], longest, cache)


def the_papers_numbers(draw):
    """A limit of 20,480 tokens and a cache of 4,096."""
    between = [draw.size(16_500, 20_300) for _ in range(draw.size(1, 4))]
    return _inputs([16_384, *between, 20_480, 20_481], 20_480, 4_096)


def ramp_from_the_start(draw):
    """The cache is as long as the limit."""
    longest = draw.size(8, 20)
    return _inputs([1, *_some(draw, 2, longest - 1), longest, longest + 3], longest, longest)


def cache_of_one(draw):
    """No ramp is left: the last token that is allowed costs all."""
    longest = draw.size(8, 20)
    return _inputs([draw.size(1, 5), longest - 1, longest, longest + 2], longest, 1)


def one_answer(draw):
    longest, cache = _limits(draw)
    return _inputs([draw.size(longest - cache + 2, longest - 2)], longest, cache)


def nobody_answered(draw):
    """Empty answers cost nothing."""
    longest, cache = _limits(draw)
    return _inputs([0] * draw.size(2, 5), longest, cache)


# --- mistakes: one change each to `_penalty` -----------------------------------------------------


def _bounded(x):
    return x.clamp(-1.0, 0.0)


def _penalty(
    lengths,
    longest,
    cache,
    *,
    start=lambda longest, cache: longest - cache,
    slope=lambda over, longest, cache: -over / cache,
    bound=_bounded,
    mend=lambda x, lengths, longest, cache: x,
    finish=lambda x: x,
):
    """As it stands it is right."""
    over = (lengths - start(longest, cache)).double()
    x = bound(slope(over, longest, cache))
    return finish(mend(x, lengths, longest, cache).float())


def _start(start):
    return partial(_penalty, start=start)


def _slope(slope):
    return partial(_penalty, slope=slope)


def _bound(bound):
    return partial(_penalty, bound=bound)


def _mend(mend):
    return partial(_penalty, mend=mend)


def _finish(finish):
    return alone(partial(_penalty, finish=finish))


behind_the_limit = _start(lambda longest, cache: longest)
at_the_cache = _start(lambda longest, cache: cache)
two_caches = _start(lambda longest, cache: longest - 2 * cache)
half_a_cache = alone(_start(lambda longest, cache: longest - cache // 2))
one_late = _start(lambda longest, cache: longest - cache + 1)
one_early = _start(lambda longest, cache: longest - cache - 1)

over_the_limit = _slope(lambda over, longest, cache: -over / longest)
over_the_rest = _slope(lambda over, longest, cache: -over / max(longest - cache, 1))
not_divided = partial(
    _penalty,
    slope=lambda over, longest, cache: -over,
    bound=lambda x: x.clamp(max=0.0),
)
rounded_away = alone(_slope(lambda over, longest, cache: (-over) // cache))
squared = _slope(lambda over, longest, cache: -((over / cache).clamp(min=0) ** 2))
halved = _slope(lambda over, longest, cache: -over / (2 * cache))


def _jump(x, n, longest, cache):
    return torch.where(n >= longest, -1.0, x)


over_the_limit_and_a_jump = alone(
    partial(_penalty, slope=lambda over, longest, cache: -over / longest, mend=_jump)
)
halved_and_a_jump = alone(
    partial(_penalty, slope=lambda over, longest, cache: -over / (2 * cache), mend=_jump)
)
from_the_limit = partial(
    _penalty,
    slope=lambda over, longest, cache: (over - cache) / cache,
    mend=lambda x, n, longest, cache: torch.where(
        n <= longest - cache, 0.0, torch.where(n >= longest, -1.0, x)
    ),
)

not_bounded = _bound(lambda x: x.clamp(max=0.0))
bonus = _bound(lambda x: x.clamp(min=-1.0))
no_bounds = _bound(lambda x: x)
positive = _bound(lambda x: (-x).clamp(0.0, 1.0))
positive_without_end = alone(_bound(lambda x: (-x).clamp(min=0.0)))
positive_ramp = _bound(lambda x: torch.where(x >= 0, 0.0, torch.where(x <= -1, -1.0, -x)))


def _step(n, longest, cache, at):
    return torch.where(at, -1.0, 0.0)


hard_from_the_limit = _mend(lambda x, n, longest, cache: _step(n, longest, cache, n >= longest))
hard_behind_the_limit = _mend(lambda x, n, longest, cache: _step(n, longest, cache, n > longest))
hard_on_the_ramp = _mend(lambda x, n, longest, cache: _step(n, longest, cache, n > longest - cache))
hard_from_the_ramp = _mend(
    lambda x, n, longest, cache: _step(n, longest, cache, n >= longest - cache)
)
nothing_beyond = _mend(lambda x, n, longest, cache: torch.where(n > longest, 0.0, x))
nothing_from_the_limit = alone(
    _mend(lambda x, n, longest, cache: torch.where(n >= longest, 0.0, x))
)
nan_beyond = alone(_mend(lambda x, n, longest, cache: torch.where(n > longest, -torch.inf, x)))
reward_included = _mend(lambda x, n, longest, cache: 1 + x)

as_integers = _finish(lambda x: x.long())
in_double = _finish(torch.Tensor.double)
as_list = _finish(torch.Tensor.tolist)
summed = _finish(torch.sum)
averaged = _finish(torch.mean)


# --- other right answers -------------------------------------------------------------------------


def the_three_cases(lengths, longest, cache):
    start = longest - cache
    ramp = (start - lengths) / cache
    ramp = torch.where(lengths <= start, torch.zeros_like(ramp), ramp)
    return torch.where(lengths > longest, -torch.ones_like(ramp), ramp)


def as_verl_has_it(lengths, longest, cache):
    """Its line, min(−exceed / buffer · factor, 0), and the lower bound that its limit makes."""
    exceed = lengths.clamp(max=longest) - (longest - cache)
    return torch.minimum(-exceed / cache * 1.0, torch.zeros(len(lengths)))


def length_by_length(lengths, longest, cache):
    found = []
    for n in lengths.tolist():
        over = min(max(n - (longest - cache), 0), cache)
        found.append(-over / cache)
    return torch.tensor(found, dtype=torch.float32)


LIMIT = "preference/04_dapo#what-happens-at-the-length-limit"

OVERLONG_PENALTY = Exercise(
    id="preference.overlong_penalty",
    title="What the limit costs",
    returns="a tensor (N,), float32",
    points=2,
    difficulty=1,
    minutes=10,
    reference=overlong_penalty,
    tolerance=Tolerance(fp64=1e-6),  # the answer is float32 whatever comes in
    cases={
        "short answers": short,
        "on the ramp": on_the_ramp,
        "at the edges": at_the_edges,
        "too long": too_long,
        "a batch of all kinds": batch,
        "the paper's numbers": the_papers_numbers,
        "a ramp from the start": ramp_from_the_start,
        "a cache of one token": cache_of_one,
        "one answer": one_answer,
        "empty answers": nobody_answered,
    },
    mistakes=(
        Mistake(
            "ramp-behind-the-limit",
            behind_the_limit,
            "the ramp begins at longest; that is the hard limit, where it ends. It begins cache "
            "tokens earlier.",
            LIMIT,
        ),
        Mistake(
            "ramp-begins-elsewhere",
            at_the_cache,
            "the ramp does not begin at longest − cache (perhaps by one token).",
            LIMIT,
            also=(two_caches, half_a_cache, one_late, one_early),
        ),
        Mistake(
            "not-bounded",
            not_bounded,
            "the penalty goes on falling behind the limit; it is −1 there, and no less.",
            LIMIT,
        ),
        Mistake(
            "bonus-for-short-answers",
            bonus,
            "answers before the ramp are rewarded for being short; up to longest − cache the "
            "penalty is 0.",
            LIMIT,
            also=(no_bounds,),
        ),
        Mistake(
            "hard-limit-alone",
            hard_from_the_limit,
            "the penalty jumps from 0 to −1, as it also does where a quotient is rounded to an "
            "integer; between longest − cache and longest it falls evenly, so that a little "
            "shorter is a little better.",
            LIMIT,
            also=(hard_behind_the_limit, hard_on_the_ramp, hard_from_the_ramp, rounded_away),
        ),
        Mistake(
            "positive",
            positive,
            "the penalty is positive, at least on the ramp; it is added to the reward, so it must "
            "not be above 0.",
            LIMIT,
            also=(positive_ramp, positive_without_end),
        ),
        Mistake(
            "divided-by-the-limit",
            over_the_limit,
            "the ramp is not cache tokens long: it is divided by something else, so that it does "
            "not reach −1 at longest, or not there first.",
            LIMIT,
            also=(over_the_rest, halved, over_the_limit_and_a_jump, halved_and_a_jump),
        ),
        Mistake(
            "not-divided",
            not_divided,
            "the ramp is not divided by cache; one token costs 1 / cache.",
            LIMIT,
        ),
        Mistake(
            "nothing-beyond-the-limit",
            nothing_beyond,
            "answers beyond longest cost nothing; they cost most, −1.",
            LIMIT,
            also=(nothing_from_the_limit, nan_beyond),
        ),
        Mistake(
            "measured-from-the-limit",
            from_the_limit,
            "the ramp is turned round: it falls from −1 to 0 towards the limit. Measure from its "
            "beginning, longest − cache.",
            LIMIT,
        ),
        Mistake(
            "squared",
            squared,
            "the ramp is curved; it is a straight line.",
            LIMIT,
        ),
        Mistake(
            "reward-included",
            reward_included,
            "1 is added, as if every answer were right; return the penalty alone.",
            LIMIT,
        ),
        Mistake(
            "as-integers",
            as_integers,
            "integers come back, or a list; return a tensor of float32.",
            LIMIT,
            also=(as_list,),
        ),
        Mistake(
            "in-double",
            in_double,
            "float64 comes back; return float32.",
            LIMIT,
        ),
        Mistake(
            "penalty-added-up",
            summed,
            "one number comes back; each answer has its own penalty.",
            LIMIT,
            also=(averaged,),
        ),
    ),
    alternatives=(the_three_cases, as_verl_has_it, length_by_length),
    hints=(
        "Draw it: lengths to the right, the penalty downwards. Where does it begin to fall, where "
        "does it stop, and how steep is it in between?",
        "With the paper's numbers, 20,480 and 4,096: what do answers of 16,384, of 18,432 and of "
        "20,480 tokens cost?",
        "One straight line does for the middle. Continue it to both sides: what has to be done to "
        "it before the ramp, and what behind? Watch that a quotient of integers keeps its "
        "fraction.",
    ),
    read=LIMIT,
)
