"""The proof that the checks work: every mistake rejected and named, every right answer accepted.

For each exercise, over many seeds and in float32 and float64, each mistake is run as if a learner
had written it. It must fail, and the diagnosis must give its own name; each alternative must pass.
A mistake must fail the same situations with every seed, or it would earn one submission more than
another. The last column is a margin: the gap of the hardest mistake, in units of the tolerance.
"""

import importlib.util
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import torch

from marking.diagnosis import DTYPES, name_mistakes, run_suite
from marking.errors import CourseError
from marking.exercise import Case, Exercise, Mistake, suite
from marking.outcome import Outcome, run_known
from marking.registry import find

LEAST_MISTAKES, LEAST_ALTERNATIVES, LEAST_NAMED = 5, 2, 0.95


@dataclass
class Row:
    """One mistake or alternative, over all seeds and dtypes."""

    exercise: str
    kind: str  # "mistake" or "alternative"
    id: str
    runs: int = 0
    right: int = 0  # mistakes rejected, alternatives accepted
    named: int = 0
    taken_for: set[str] = field(default_factory=set)
    margin: float = float("inf")  # smallest error of a rejection, in tolerances
    complaint: str = ""
    failed: dict[int, set[str]] = field(default_factory=dict)  # seed → situations, in any dtype

    @property
    def varying(self) -> dict[str, int]:
        """Situations that fail with some seeds and pass with others; with how many they fail."""
        counts = Counter(situation for failed in self.failed.values() for situation in failed)
        return {name: n for name, n in counts.items() if n < len(self.failed)}

    @property
    def good(self) -> bool:
        return self.right == self.runs


@dataclass(frozen=True)
class Matrix:
    """The whole result. `problems` lists in sentences what is not as it must be."""

    rows: list[Row]
    exercises: list[Exercise]

    def of(self, exercise_id: str, kind: str) -> list[Row]:
        return [r for r in self.rows if r.exercise == exercise_id and r.kind == kind]

    def share_named(self) -> float:
        rows = [r for r in self.rows if r.kind == "mistake" and not r.id.startswith("also:")]
        runs = sum(r.runs for r in rows)
        return sum(r.named for r in rows) / runs if runs else 0.0

    def problems(self) -> list[str]:
        found = []
        for row in self.rows:
            if not row.good:
                verdict = "accepted" if row.kind == "mistake" else f"refused: {row.complaint}"
                found.append(
                    f"{row.exercise}: the {row.kind} {row.id!r} was {verdict} "
                    f"({row.runs - row.right} of {row.runs} runs)"
                )
            if not row.id.startswith("also:"):
                found += [
                    f"{row.exercise}: the mistake {row.id!r} fails {situation!r} with {n} of "
                    f"{len(row.failed)} seeds, so it does not always earn the same points"
                    for situation, n in row.varying.items()
                ]
        for exercise in self.exercises:
            for kind, least in (("mistake", LEAST_MISTAKES), ("alternative", LEAST_ALTERNATIVES)):
                n = len(self.of(exercise.id, kind))
                if n < least:
                    found.append(f"{exercise.id}: {n} {kind}s; at least {least} are needed")
        if self.share_named() < LEAST_NAMED:
            found.append(f"only {self.share_named():.1%} of mistakes were named correctly")
        return found


def kill_matrix(exercises: Iterable[Exercise], *, seeds: int = 20, seconds: float = 5.0) -> Matrix:
    """Run every mistake and alternative of the exercises over `seeds` seeds and both dtypes."""
    exercises = list(exercises)
    return Matrix([row for e in exercises for row in _rows(e, seeds, seconds)], exercises)


def _rows(exercise: Exercise, seeds: int, seconds: float) -> list[Row]:
    right = [("reference", exercise.reference)]
    right += [(function.__name__, function) for function in exercise.alternatives]
    rows = {m.id: Row(exercise.id, "mistake", m.id) for m in exercise.mistakes}
    others = {name: Row(exercise.id, "alternative", name) for name, _ in right}
    for seed in range(seeds):
        for dtype in DTYPES:
            cases = suite(exercise, seed, dtype)
            runs = {
                m.id: run_suite(exercise, m.impl, cases, seconds=seconds) for m in exercise.mistakes
            }
            run = _run_once(exercise, cases, runs)
            for mistake in exercise.mistakes:
                row, outcomes = rows[mistake.id], runs[mistake.id]
                _score_mistake(row, exercise, cases, outcomes, run)
                pairs = zip(cases, outcomes, strict=True)
                failed = {case.situation for case, outcome in pairs if not outcome.ok}
                row.failed[seed] = row.failed.get(seed, set()) | failed
            for name, function in right:
                outcomes = run_suite(exercise, function, cases, seconds=seconds)
                row = others[name]
                row.runs += 1
                row.right += all(o.ok for o in outcomes)
                row.complaint = next((o.message for o in outcomes if not o.ok), row.complaint)
    if others["reference"].good:
        others.pop("reference")
    return [*rows.values(), *others.values()]


def _run_once(exercise: Exercise, cases: list[Case], runs: dict) -> Callable:
    """The outcome of a mistake's code on a case, looked up where it has been run already."""
    done = {mistake.impl: runs[mistake.id] for mistake in exercise.mistakes}

    @cache
    def run(impl: Callable, i: int) -> Outcome:
        return done[impl][i] if impl in done else run_known(exercise, impl, cases[i])

    return run


def _score_mistake(row: Row, exercise: Exercise, cases: list[Case], outcomes, run) -> None:
    row.runs += 1
    if all(o.ok for o in outcomes):
        return
    row.right += 1
    row.margin = min(row.margin, _margin(exercise, cases, outcomes))
    known = tuple(m for m in exercise.mistakes if not m.id.startswith("also:"))
    found, _ = name_mistakes(replace(exercise, mistakes=known), cases, outcomes, run)
    row.named += bool(found) and found[0].id == row.id
    row.taken_for.add(found[0].id if found else "unnamed")


def _margin(exercise: Exercise, cases: list[Case], outcomes: list[Outcome]) -> float:
    """The largest error among the cases, in tolerances; infinite for any fault but a value."""
    worst = 0.0
    for case, outcome in zip(cases, outcomes, strict=True):
        if outcome.fault not in (None, "value"):
            return float("inf")
        gap = _error(outcome.value, case.expected)
        worst = max(worst, gap / exercise.tolerance[case.dtype])
    return worst


def _error(value, expected) -> float:
    if isinstance(expected, dict):
        if not isinstance(value, dict) or value.keys() != expected.keys():
            return float("inf")  # behind the first wrong part, nothing has been compared
        return max((_error(value[key], expected[key]) for key in expected), default=0.0)
    if isinstance(expected, tuple | list):
        if not isinstance(value, tuple | list) or len(value) != len(expected):
            return float("inf")
        pairs = zip(value, expected, strict=True)
        return max((_error(v, e) for v, e in pairs), default=0.0)
    if isinstance(expected, torch.Tensor) and expected.is_floating_point():
        return _tensor_error(value, expected)
    differs = not (
        value.equal(expected) if isinstance(expected, torch.Tensor) else value == expected
    )
    return float("inf") if differs else 0.0


def _tensor_error(value, expected: torch.Tensor) -> float:
    """Infinite also where a part behind the first wrong one has no such shape, or is no tensor."""
    if not isinstance(value, torch.Tensor) or value.shape != expected.shape:
        return float("inf")
    a, b = value.detach().double(), expected.double()
    gap = (a - b).abs() / (1 + b.abs())
    both = a.isfinite() & b.isfinite()
    if bool(((a != b) & ~both).any()):
        return float("inf")
    return float(gap[both].max()) if bool(both.any()) else 0.0


# An instructor's own mistakes and alternatives, from a file.


def mistake(exercise_id: str, *, id: str | None = None) -> Callable[[Callable], Callable]:
    """Mark a function in an `--also` file as a wrong answer to an exercise."""
    return _mark(exercise_id, "mistake", id)


def alternative(exercise_id: str, *, id: str | None = None) -> Callable[[Callable], Callable]:
    """Mark a function in an `--also` file as another right answer to an exercise."""
    return _mark(exercise_id, "alternative", id)


def _mark(exercise_id: str, kind: str, name: str | None):
    def mark(function: Callable) -> Callable:
        find(exercise_id)
        _marked.append((exercise_id, kind, name or function.__name__, function))
        return function

    return mark


_marked: list[tuple[str, str, str, Callable]] = []


def with_file(exercises: Iterable[Exercise], file: Path) -> list[Exercise]:
    """The exercises with the marked functions of a Python file added.

    Raises `CourseError` if the file cannot be read or run, marks nothing, or gives a name twice.
    """
    _marked.clear()
    spec = importlib.util.spec_from_file_location("also", file)
    if spec is None:
        raise CourseError(f"{file} is no Python file: name a .py file.")
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except CourseError:
        raise
    except Exception as error:
        raise CourseError(f"{file} could not be run: {type(error).__name__}: {error}") from error
    if not _marked:
        raise CourseError(
            f'{file} marks nothing. Put @mistake("attention.softmax") or '
            '@alternative("attention.softmax") from marking.kill_matrix above a function.'
        )
    extended = {e.id: e for e in exercises}
    for exercise_id, kind, name, function in _marked:
        exercise = extended.get(exercise_id, find(exercise_id))
        if f"also:{name}" in _names(exercise):
            raise CourseError(
                f"{file} marks {name!r} for {exercise_id}, which has an added function of that "
                "name already: give one of them another name."
            )
        if kind == "mistake":
            added = Mistake(f"also:{name}", function, says="", read=exercise.read)
            exercise = replace(exercise, mistakes=(*exercise.mistakes, added))
        else:
            function.__name__ = f"also:{name}"
            exercise = replace(exercise, alternatives=(*exercise.alternatives, function))
        extended[exercise_id] = exercise
    sys.modules.pop("also", None)
    return list(extended.values())


def _names(exercise: Exercise) -> set[str]:
    return {m.id for m in exercise.mistakes} | {f.__name__ for f in exercise.alternatives}
