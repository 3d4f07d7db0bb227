"""inference.time_lower_bound: the least time of a list of operations on a chip, by the roofline."""

from functools import partial

from clearhead.hardware import CHIPS
from clearhead.inference import time_lower_bound
from marking.exercise import Exercise, Mistake

# --- situations: a mistake shows in one always or never ------------------------------------------


def _chip(draw):
    """Peak and bandwidth, round numbers when small; the ridge is well above one either way."""
    if draw.level is not None:
        return 100.0, 10.0
    chip = draw.choice(*CHIPS)
    return chip.bf16, chip.bandwidth


def _one(draw, chip, kind):
    """An operation with a clear limit: one of its two times is less than half of the other."""
    time = draw.size(1, 5) if draw.level is not None else draw.number(0.002, 0.05)
    less = time * (draw.choice(0.2, 0.4) if draw.level is not None else draw.number(0.15, 0.45))
    flops, moved = {
        "compute": (time, less),
        "memory": (less, time),
        "no flops": (0, time),
        "no bytes": (time, 0),
    }[kind]
    return round(chip[0] * flops), round(chip[1] * moved)


def _inputs(draw, *kinds):
    chip = _chip(draw)
    operations = [_one(draw, chip, kind) for kind in kinds]
    return {"operations": operations, "peak_flops": chip[0], "bandwidth": chip[1]}


def one_that_computes(draw):
    return _inputs(draw, "compute")


def one_that_moves(draw):
    return _inputs(draw, "memory")


def both_kinds(draw):
    """One of each, and two more of one kind between or behind them."""
    more = draw.choice("compute", "memory")
    return _inputs(draw, *draw.choice(("compute", "memory"), ("memory", "compute")), more, more)


def all_compute(draw):
    return _inputs(draw, *["compute"] * draw.size(2, 5))


def all_memory(draw):
    return _inputs(draw, *["memory"] * draw.size(2, 5))


def at_the_ridge(draw):
    """Both times are equal, in every rounding: sizes are powers of two times small integers."""
    if draw.level is not None:
        peak, bandwidth, unit = 64.0, 8.0, 1
    else:
        peak, bandwidth, unit = 2.0 ** draw.size(46, 50), 2.0 ** draw.size(40, 42), 2**-8
    times = [unit * draw.size(1, 9) for _ in range(draw.size(2, 4))]
    operations = [(int(peak * time), int(bandwidth * time)) for time in times]
    return {"operations": operations, "peak_flops": peak, "bandwidth": bandwidth}


def only_bytes(draw):
    """A copy, or rows looked up in an embedding: not one operation."""
    return _inputs(draw, "compute", *draw.choice(("no flops", "compute"), ("compute", "no flops")))


def nothing_moved(draw):
    """What is computed on numbers that are on the chip already."""
    return _inputs(draw, "memory", *draw.choice(("no bytes", "memory"), ("memory", "no bytes")))


def no_operations(draw):
    chip = _chip(draw)
    return {"operations": [], "peak_flops": chip[0], "bandwidth": chip[1]}


# --- mistakes: one change each to `_bound` -------------------------------------------------------


def _reaches(f, n, c, m, peak, bandwidth):
    return c >= m


def _bound(
    operations,
    peak_flops,
    bandwidth,
    *,
    flops=lambda f: f,
    moved=lambda n: n,
    compute=lambda f, peak, bandwidth: f / peak,
    move=lambda n, peak, bandwidth: n / bandwidth,
    each=max,
    total=lambda times, each: sum(each(c, m) for c, m in times),
    computes=_reaches,
    words=("compute", "memory"),
    limits=lambda which, times: which,
    finish=lambda seconds, limits: (seconds, limits),
):
    """As it stands it is right."""
    chip = (peak_flops, bandwidth)
    times = [(compute(flops(f), *chip), move(moved(n), *chip)) for f, n in operations]
    which = [
        words[0] if computes(f, n, c, m, *chip) else words[1]
        for (f, n), (c, m) in zip(operations, times, strict=True)
    ]
    return finish(total(times, each), limits(which, times))


def _each(each):
    return partial(_bound, each=each)


def _total(total):
    return partial(_bound, total=total)


def _computes(computes):
    return partial(_bound, computes=computes)


def _limits(limits):
    return partial(_bound, limits=limits)


def _finish(finish):
    return partial(_bound, finish=finish)


def _seconds(change):
    return _finish(lambda seconds, limits: (change(seconds), limits))


both_added = _each(lambda c, m: c + m)
the_shorter = _each(min)
mean_of_both = _each(lambda c, m: (c + m) / 2)
compute_alone = _each(lambda c, m: c)
memory_alone = _each(lambda c, m: m)

totals_compared = _total(
    lambda times, each: each(sum(c for c, _ in times), sum(m for _, m in times))
)
totals_of_columns = _total(lambda times, each: each(*map(sum, zip(*times, strict=True))))
longest_alone = _total(lambda times, each: max((each(c, m) for c, m in times), default=0.0))
longest_of_some = _total(lambda times, each: max(each(c, m) for c, m in times))
first_alone = _total(lambda times, each: each(*times[0]))
first_or_nothing = _total(lambda times, each: sum(each(c, m) for c, m in times[:1]))
last_alone = _total(lambda times, each: each(*times[-1]))
last_or_nothing = _total(lambda times, each: sum(each(c, m) for c, m in times[-1:]))
mean_of_all = _total(lambda times, each: sum(each(c, m) for c, m in times) / len(times))
not_added = _total(lambda times, each: [each(c, m) for c, m in times])

flops_upside_down = partial(_bound, compute=lambda f, peak, bandwidth: peak / f)
both_upside_down = partial(
    _bound,
    compute=lambda f, peak, bandwidth: peak / f,
    move=lambda n, peak, bandwidth: bandwidth / n,
)
bytes_upside_down = partial(_bound, move=lambda n, peak, bandwidth: bandwidth / n)
rates_swapped = partial(
    _bound,
    compute=lambda f, peak, bandwidth: f / bandwidth,
    move=lambda n, peak, bandwidth: n / peak,
)
multiplied = partial(
    _bound,
    compute=lambda f, peak, bandwidth: f * peak,
    move=lambda n, peak, bandwidth: n * bandwidth,
)
flops_doubled = partial(_bound, flops=lambda f: 2 * f)
flops_halved = partial(_bound, flops=lambda f: f / 2)
bits_moved = partial(_bound, moved=lambda n: 8 * n)
two_bytes_each = partial(_bound, moved=lambda n: 2 * n)

tie_to_memory = _computes(lambda f, n, c, m, peak, bandwidth: c > m)
shorter_time_named = _computes(lambda f, n, c, m, peak, bandwidth: c < m)
shorter_time_or_tie = _computes(lambda f, n, c, m, peak, bandwidth: c <= m)
more_flops_than_bytes = _computes(lambda f, n, c, m, peak, bandwidth: f >= n)
more_flops_than_bytes_strictly = _computes(lambda f, n, c, m, peak, bandwidth: f > n)
ridge_upside_down = _computes(lambda f, n, c, m, peak, bandwidth: f / n >= bandwidth / peak)
ridge_upside_down_strictly = _computes(lambda f, n, c, m, peak, bandwidth: f / n > bandwidth / peak)
divided_by_bytes = _computes(lambda f, n, c, m, peak, bandwidth: f / n >= peak / bandwidth)
divided_by_bytes_strictly = _computes(lambda f, n, c, m, peak, bandwidth: f / n > peak / bandwidth)


def _of_the_totals(which, times):
    return "compute" if sum(c for c, _ in times) >= sum(m for _, m in times) else "memory"


def _commonest(which, times):
    return "compute" if which.count("compute") >= which.count("memory") else "memory"


one_limit_for_all = _limits(lambda which, times: [_of_the_totals(which, times)] * len(which))
commonest_limit = _limits(lambda which, times: [_commonest(which, times)] * len(which))
one_word = _limits(_of_the_totals)
one_word_of_the_commonest = _limits(_commonest)
last_word = _limits(lambda which, times: which[-1])
first_limit = _limits(lambda which, times: which[:1])
last_limit = _limits(lambda which, times: which[-1:])
each_kind_once = _limits(lambda which, times: sorted(set(which)))
joined = _limits(lambda which, times: ", ".join(which))
other_words = tuple(
    partial(_bound, words=words)
    for words in (
        ("compute-bound", "memory-bound"),
        ("compute", "bandwidth"),
        ("flops", "bytes"),
        ("Compute", "Memory"),
        (True, False),
        (0, 1),
        ("compute bound", "memory bound"),
        ("compute_bound", "memory_bound"),
    )
)

in_milliseconds = tuple(_seconds(partial(lambda by, t: t * by, by)) for by in (1e3, 1e6, 1e9))
limits_first = _finish(lambda seconds, limits: (limits, seconds))
seconds_alone = _finish(lambda seconds, limits: seconds)
one_over = _seconds(lambda t: 1 / t)


def _on_none(answer):
    """Right, but for an empty list of operations."""
    return _finish(lambda seconds, limits: (seconds, limits) if limits else answer())


def _raise(error):
    raise error


columns_unpacked = _on_none(
    lambda: _raise(ValueError("not enough values to unpack (expected 2, got 0)"))
)
wrong_on_none = (
    _on_none(lambda: _raise(IndexError("list index out of range"))),
    _on_none(lambda: _raise(TypeError("reduce() of empty iterable with no initial value"))),
    _on_none(lambda: _raise(UnboundLocalError("cannot access local variable"))),
    _on_none(lambda: _raise(ZeroDivisionError("division by zero"))),
    _on_none(lambda: 0.0),
    _on_none(lambda: None),
    _on_none(lambda: []),
    _on_none(lambda: (0.0, None)),
    _on_none(lambda: (None, [])),
    _on_none(lambda: (0.0, ["compute"])),
    _on_none(lambda: (0.0, ["memory"])),
    _on_none(lambda: (0.0, "compute")),
    _on_none(lambda: (float("inf"), [])),
)


def flops_a_second(operations, peak_flops, bandwidth):
    """What the chip reaches, the roofline's vertical axis."""
    seconds, limits = _bound(operations, peak_flops, bandwidth)
    return sum(f for f, _ in operations) / seconds, limits


def attainable(operations, peak_flops, bandwidth):
    """The lowest point of the roof that an operation stands under."""
    _, limits = _bound(operations, peak_flops, bandwidth)
    return sum(min(peak_flops, f / n * bandwidth) for f, n in operations), limits


# --- other right answers -------------------------------------------------------------------------


def by_the_ridge(operations, peak_flops, bandwidth):
    ridge = peak_flops / bandwidth
    seconds, limits = 0.0, []
    for flops, moved in operations:
        if flops >= ridge * moved:
            limits.append("compute")
            seconds += flops / peak_flops
        else:
            limits.append("memory")
            seconds += moved / bandwidth
    return seconds, limits


def by_what_is_reached(operations, peak_flops, bandwidth):
    """Divides the work by the height of the roof above it."""
    seconds, limits = [], []
    for flops, moved in operations:
        if flops == 0:
            seconds.append(moved / bandwidth)
        else:
            roof = min(peak_flops, flops / moved * bandwidth) if moved else peak_flops
            seconds.append(flops / roof)
        limits.append(("memory", "compute")[flops * bandwidth >= moved * peak_flops])
    return sum(seconds), tuple(limits)


def sorted_times(operations, peak_flops, bandwidth):
    both = [((f / peak_flops, "compute"), (n / bandwidth, "memory")) for f, n in operations]
    longest = [max(pair, key=lambda time: time[0]) for pair in both]  # the first of two equal ones
    return [sum(time for time, _ in longest), [word for _, word in longest]]


LEAST = "inference/02_counting#what-is-the-least-time-a-step-can-take"
BYTES = "inference/02_counting#how-many-bytes-does-a-step-move"

TIME_LOWER_BOUND = Exercise(
    id="inference.time_lower_bound",
    title="The least time a step can take",
    returns='a float, seconds, and a list with "compute" or "memory" for each operation',
    outputs=("seconds", "limits"),
    points=3,
    difficulty=2,
    minutes=15,
    reference=time_lower_bound,
    cases={
        "one that computes": one_that_computes,
        "one that moves": one_that_moves,
        "both kinds": both_kinds,
        "all limited by compute": all_compute,
        "all limited by memory": all_memory,
        "at the ridge": at_the_ridge,
        "one that only moves bytes": only_bytes,
        "one that moves nothing": nothing_moved,
        "no operations": no_operations,
    },
    mistakes=(
        Mistake(
            "both-times-added",
            both_added,
            "the time to compute and the time to move are added; they run side by side, and the "
            "longer of the two is what an operation takes at least.",
            LEAST,
        ),
        Mistake(
            "shorter-time",
            the_shorter,
            "the shorter of the two times is taken; the operation is over when the longer one is.",
            LEAST,
        ),
        Mistake(
            "mean-of-both-times",
            mean_of_both,
            "the two times are averaged; the longer one is what the operation takes at least.",
            LEAST,
        ),
        Mistake(
            "compute-only",
            compute_alone,
            "only the time to compute is counted; where the bytes take longer, it is they that "
            "count.",
            BYTES,
        ),
        Mistake(
            "memory-only",
            memory_alone,
            "only the time to move bytes is counted; where the operations take longer, it is they "
            "that count.",
            LEAST,
        ),
        Mistake(
            "totals-compared",
            totals_compared,
            "all flops and all bytes are added up first and then compared; the operations run one "
            "after another, so one cannot compute while another waits for memory: compare within "
            "each, then add.",
            LEAST,
            also=(totals_of_columns,),
        ),
        Mistake(
            "longest-operation-only",
            longest_alone,
            "the time of one operation comes back; they run one after another, so add up all.",
            LEAST,
            also=(
                longest_of_some,
                first_alone,
                first_or_nothing,
                last_alone,
                last_or_nothing,
            ),
        ),
        Mistake(
            "mean-operation",
            mean_of_all,
            "the mean of the operations' times comes back; they run one after another, so return "
            "the sum.",
            LEAST,
        ),
        Mistake(
            "not-added-up",
            not_added,
            "a list of times comes back; seconds is their sum.",
            LEAST,
        ),
        Mistake(
            "upside-down",
            both_upside_down,
            "a rate is divided by an amount; seconds are flops over FLOP/s, and bytes over "
            "bytes/s.",
            LEAST,
            also=(flops_upside_down, bytes_upside_down, multiplied),
        ),
        Mistake(
            "rates-swapped",
            rates_swapped,
            "flops are divided by the bandwidth, and bytes by the peak; each belongs with its own.",
            LEAST,
        ),
        Mistake(
            "flops-doubled",
            flops_doubled,
            "the flops are doubled; a multiply-add has been counted as two already.",
            LEAST,
        ),
        Mistake(
            "flops-halved",
            flops_halved,
            "the flops are halved; peak_flops counts a multiply-add as two as well, so the units "
            "agree.",
            LEAST,
        ),
        Mistake(
            "bytes-scaled",
            two_bytes_each,
            "the bytes are multiplied by 2 (or 8); they are bytes already, neither numbers nor "
            "bits.",
            BYTES,
            also=(bits_moved,),
        ),
        Mistake(
            "tie-to-memory",
            tie_to_memory,
            "at the ridge, where both times are equal, the limit is called memory; by the "
            "convention here it is compute.",
            LEAST,
        ),
        Mistake(
            "limits-swapped",
            shorter_time_named,
            "the limits have changed places; what limits is whatever takes longer.",
            LEAST,
            also=(shorter_time_or_tie,),
        ),
        Mistake(
            "flops-against-bytes",
            more_flops_than_bytes,
            "the limit is found by comparing the number of flops with the number of bytes; compare "
            "the times, or flops a byte with peak_flops / bandwidth.",
            LEAST,
            also=(more_flops_than_bytes_strictly,),
        ),
        Mistake(
            "ridge-upside-down",
            ridge_upside_down,
            "flops a byte are compared with bandwidth / peak_flops; the ridge is the other way "
            "round, flops over bytes as well.",
            LEAST,
            also=(ridge_upside_down_strictly,),
        ),
        Mistake(
            "divided-by-no-bytes",
            divided_by_bytes,
            "flops a byte cannot be computed for an operation that moves none; compare the two "
            "times, which can always be had.",
            LEAST,
            also=(divided_by_bytes_strictly,),
        ),
        Mistake(
            "one-limit-for-all",
            one_limit_for_all,
            "all operations are given the same limit; each has its own, by its own flops and "
            "bytes.",
            LEAST,
            also=(commonest_limit,),
        ),
        Mistake(
            "one-word",
            one_word,
            "one limit comes back for all operations together; return a list with a word for each.",
            LEAST,
            also=(
                one_word_of_the_commonest,
                last_word,
                first_limit,
                last_limit,
                each_kind_once,
                joined,
            ),
        ),
        Mistake(
            "other-words",
            other_words[0],
            'the limits are other words than asked for; they are "compute" and "memory".',
            LEAST,
            also=other_words[1:],
        ),
        Mistake(
            "not-in-seconds",
            in_milliseconds[0],
            "the time is in another unit; FLOP/s and bytes/s give seconds as they are.",
            LEAST,
            also=in_milliseconds[1:],
        ),
        Mistake(
            "a-rate",
            flops_a_second,
            "a rate comes back, what the chip reaches in FLOP/s; return the time.",
            LEAST,
            also=(attainable, one_over),
        ),
        Mistake(
            "limits-first",
            limits_first,
            "the two results have changed places; seconds come first.",
            LEAST,
        ),
        Mistake(
            "seconds-only",
            seconds_alone,
            "only the seconds come back; return the list of limits as well.",
            LEAST,
        ),
        Mistake(
            "no-operations",
            columns_unpacked,
            "an empty list of operations fails (or gives something else than 0.0 and []): there is "
            "nothing to unpack or to index; begin with 0.0 and an empty list, and add to them.",
            LEAST,
            also=wrong_on_none,
        ),
    ),
    alternatives=(by_the_ridge, by_what_is_reached, sorted_times),
    hints=(
        "Take a chip that does 100 operations and moves 10 bytes a second, and one operation with "
        "200 flops and 50 bytes. How long must the arithmetic take? And the bytes?",
        "Inside one operation, arithmetic and bytes overlap; between two operations nothing does. "
        "Which of the two is a maximum, and which a sum?",
        "The limit of an operation is whatever keeps it longest. Try your comparison on one that "
        "has no flops, on one that moves no bytes, and on one where both take equally long.",
    ),
    read=LEAST,
)
