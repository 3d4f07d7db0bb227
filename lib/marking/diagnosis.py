"""Which mistake is it? And the smallest case that shows it.

An answer that fails is compared with every known mistake of the exercise, on the same inputs. If
one of them does what the answer does on every case, that is the mistake. People also make two at
once: mistakes that are one change each to the same function (`functools.partial`) are tried in
pairs. Failing that, mistakes that each explain some of the failing cases are offered with less
confidence.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import combinations, islice

import torch

from marking.draw import Draw
from marking.exercise import Case, Exercise, Mistake, draw_case
from marking.limits import undisturbed
from marking.outcome import GRADIENT, Outcome, run_case, run_known, same

DTYPES = (torch.float64, torch.float32)
PAIRS = 800  # tried at most: an answer that no mistake explains is told so within a second or so
DEAR_PAIRS, DEAR_CASES = 60, 3  # where every run builds a module
# Values that tell nothing about which mistake was made: these faults speak for themselves.
SELF_EXPLAINING = {"not-attempted", "timeout", "forbidden", "mutated"}


@dataclass(frozen=True)
class Example:
    """The smallest failing case found, and what the function did with it."""

    case: Case
    outcome: Outcome


def name_mistakes(
    exercise: Exercise,
    cases: list[Case],
    outcomes: list[Outcome],
    run: Callable[[Callable, int], Outcome],
) -> tuple[tuple[Mistake, ...], bool]:
    """The mistakes that the outcomes equal, and whether they explain every case.

    `run(impl, i)` gives the outcome of a mistake's code on case i. The first mistake that agrees
    on every case is the answer; then the first pair that does, made in one function. Failing that,
    one that agrees on every case in float32, or up to two mistakes that each explain some, and
    together more than half, of what failed.
    """
    failed = [i for i, outcome in enumerate(outcomes) if outcome.fault not in (None, *GRADIENT)]
    if not failed or outcomes[failed[0]].fault in SELF_EXPLAINING:
        return (), False

    def agrees(impl: Callable, i: int) -> bool:
        return same(outcomes[i], run(impl, i), 10 * exercise.tolerance[cases[i].dtype])

    # Where values tell as well, two errors of one class agree: einsum and @ word them differently.
    values_tell = any(outcomes[i].fault != "raised" for i in failed)

    def nearly(impl: Callable, i: int) -> bool:
        mine, theirs = outcomes[i].error.split(":")[0], run(impl, i).error.split(":")[0]
        return agrees(impl, i) or (values_tell and mine != "" and mine == theirs)

    failed.sort(key=lambda i: _elements(cases[i]))  # small ones first: most suspects differ there
    passed = [i for i in range(len(outcomes)) if i not in failed]
    suspects = list(_suspects(exercise))
    for mistakes, impl in suspects:  # stops at the first case that differs
        if all(nearly(impl, i) for i in failed + passed):
            return mistakes, True
    single = [i for i in failed + passed if cases[i].dtype == torch.float32]
    if any(i in failed for i in single):  # an answer may compute in float32 whatever it is given
        for mistakes, impl in suspects:
            if len(mistakes) == 1 and all(nearly(impl, i) for i in single):
                return mistakes, False
    once = [i for i in failed if cases[i].dtype == cases[failed[0]].dtype]
    once = once[:DEAR_CASES] if _dear(exercise) else once
    return _partly(exercise.mistakes, once, agrees), False


def _dear(exercise: Exercise) -> bool:
    return exercise.through is not None and not exercise.cheap


def _suspects(exercise: Exercise) -> Iterator[tuple[tuple[Mistake, ...], Callable]]:
    """Each mistake with its code, then each pair that can be made at once.

    Not every pair, where there are many or a run takes milliseconds because a module is built for
    it: the first ones, which are those of the commonest mistakes.
    """
    singles = [(m, impl) for m in exercise.mistakes for impl in (m.impl, *m.also)]
    for mistake, impl in singles:
        yield (mistake,), impl
    pairs = (
        ((one, other), impl)
        for (one, first), (other, second) in combinations(singles, 2)
        if one is not other and (impl := both(first, second))
    )
    yield from islice(pairs, DEAR_PAIRS if _dear(exercise) else PAIRS)


@cache
def both(first: Callable, second: Callable) -> Callable | None:
    """Two mistakes made at once: both are `partial` of one function and change different things."""
    if not (isinstance(first, partial) and isinstance(second, partial)):
        return None
    if first.func is not second.func or first.keywords.keys() & second.keywords.keys():
        return None
    return partial(first.func, **first.keywords, **second.keywords)


def _partly(mistakes, failed: list[int], agrees: Callable[[Callable, int], bool]):
    """Up to two mistakes, if together they explain more than half of the failed cases."""
    explains = {m.id: {i for i in failed if agrees(m.impl, i)} for m in mistakes}
    found: list[Mistake] = []
    left = set(failed)
    for _ in range(2):
        best = max(mistakes, key=lambda m: len(explains[m.id] & left))
        if explains[best.id] & left:
            found.append(best)
            left -= explains[best.id]
    return tuple(found) if 2 * len(left) < len(failed) else ()


def run_suite(exercise, answer, cases: list[Case], *, seconds: float) -> list[Outcome]:
    """Every case in turn; after a time-out the rest count as timed out without being run."""
    outcomes: list[Outcome] = []
    for case in cases:
        if outcomes and outcomes[-1].fault in ("timeout", "not-attempted"):
            outcomes.append(outcomes[-1])
        else:
            outcomes.append(run_case(exercise, answer, case, seconds=seconds))
    return outcomes


def diagnose(exercise, cases, outcomes) -> tuple[tuple[Mistake, ...], bool]:
    """`name_mistakes`, running each mistake on the cases as far as is needed."""

    watched = replace(exercise, forbidden=())  # mistakes are ours, and many
    unwatched = replace(watched, largest=None)

    @cache
    def run(impl: Callable, i: int) -> Outcome:
        watch = outcomes[i].fault == "too-large"
        return run_known(watched if watch else unwatched, impl, cases[i])

    with undisturbed():
        return name_mistakes(exercise, cases, outcomes, run)


def smallest_example(
    exercise: Exercise, answer: Callable, cases: list[Case], outcomes: list[Outcome], seconds: float
) -> Example:
    """The smallest failing case: small sizes and round numbers if any of those fail too."""
    failed = [
        (case, outcome) for case, outcome in zip(cases, outcomes, strict=True) if not outcome.ok
    ]
    if failed[0][1].fault in ("timeout", "forbidden", "not-attempted"):
        return Example(*failed[0])
    situations = list(dict.fromkeys(case.situation for case, _ in failed))
    for level in range(3):
        found = []
        for situation in situations:
            draw = Draw(seed=f"small|{situation}|{level}", dtype=failed[0][0].dtype, level=level)
            case = draw_case(exercise, situation, draw)
            outcome = run_case(exercise, answer, case, seconds=seconds)
            if not outcome.ok and outcome.fault not in ("timeout",):
                found.append(Example(case, outcome))
        if found:
            return _clearest(found)
    return Example(*min(failed, key=lambda pair: _elements(pair[0])))


def _clearest(found: list[Example]) -> Example:
    """One that raises or has another shape or type, if any does: that comes before values.

    Among these the situation declared first, as the plain ones are, unless another is less than
    half its size.
    """
    first = [e for e in found if e.outcome.fault not in ("value", "nan", *GRADIENT)] or found
    least = min(_elements(e.case) for e in first)
    return next(e for e in first if _elements(e.case) <= 2 * least)


def _elements(case: Case) -> int:
    return sum(v.numel() for v in case.inputs.values() if isinstance(v, torch.Tensor))
