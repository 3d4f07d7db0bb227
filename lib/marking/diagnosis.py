"""Which mistake is it? And the smallest case that shows it.

An answer that fails is compared with every known mistake of the exercise, on the same inputs. If
one of them does what the answer does on every case, that is the mistake. People also make two at
once: mistakes that each explain some of the failing cases are offered with less confidence.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from marking.draw import Draw
from marking.exercise import Case, Exercise, Mistake, draw_case
from marking.outcome import Outcome, run_case, same

DTYPES = (torch.float64, torch.float32)
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
    of_mistake: Callable[[Mistake], list[Outcome]],
) -> tuple[tuple[Mistake, ...], bool]:
    """The mistakes that the outcomes equal, and whether one explains every case.

    `of_mistake` gives a mistake's own outcomes on the same cases (the kill matrix has them
    already). A mistake that agrees on every case is the answer; of several, the one that differs
    from the reference most often, then the earlier one. Failing that, up to two mistakes that
    together explain more than half of what failed.
    """
    failed = {i for i, outcome in enumerate(outcomes) if not outcome.ok}
    if not failed or outcomes[min(failed)].fault in SELF_EXPLAINING:
        return (), False
    explains: dict[str, set[int]] = {}
    for mistake in exercise.mistakes:
        theirs = of_mistake(mistake)
        agrees = {
            i
            for i, (mine, its) in enumerate(zip(outcomes, theirs, strict=True))
            if same(mine, its, 10 * exercise.tolerance[cases[i].dtype])
        }
        explains[mistake.id] = {i for i in agrees & failed if not theirs[i].ok}
        if len(agrees) == len(cases) and explains[mistake.id]:
            return (mistake,), True
    found: list[Mistake] = []
    left = set(failed)
    for _ in range(2):
        best = max(exercise.mistakes, key=lambda m: len(explains[m.id] & left))
        if explains[best.id] & left:
            found.append(best)
            left -= explains[best.id]
    return (tuple(found), False) if 2 * len(left) < len(failed) else ((), False)


def run_suite(exercise, answer, cases: list[Case], *, seconds: float) -> list[Outcome]:
    """Every case in turn; after a time-out the rest count as timed out without being run."""
    outcomes: list[Outcome] = []
    for case in cases:
        if outcomes and outcomes[-1].fault in ("timeout", "not-attempted"):
            outcomes.append(outcomes[-1])
        else:
            outcomes.append(run_case(exercise, answer, case, seconds=seconds))
    return outcomes


def diagnose(exercise, cases, outcomes, *, seconds: float) -> tuple[tuple[Mistake, ...], bool]:
    """`name_mistakes`, running each mistake on the cases."""
    return name_mistakes(
        exercise,
        cases,
        outcomes,
        lambda mistake: run_suite(exercise, mistake.impl, cases, seconds=seconds),
    )


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
            return min(found, key=lambda e: _elements(e.case))
    return Example(*min(failed, key=lambda pair: _elements(pair[0])))


def _elements(case: Case) -> int:
    return sum(v.numel() for v in case.inputs.values() if isinstance(v, torch.Tensor))
