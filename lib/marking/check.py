"""`check`: run a learner's function on an exercise's public cases and say what is wrong."""

from collections.abc import Callable

import torch

from marking import progress
from marking.diagnosis import DTYPES, diagnose, run_suite, smallest_example
from marking.errors import CourseError
from marking.exercise import Exercise, suite
from marking.outcome import Outcome
from marking.registry import exercises, find
from marking.report import Report

_MISSING = object()


def check(
    exercise_id: str | None = None,
    answer: Callable = _MISSING,
    *,
    seed: int = 0,
    seconds: float = 3.0,
) -> Report:
    """Check a function against an exercise's public cases.

    Every situation is tried in float64 and float32; it passes if both do. The cases are the same
    on every call with the same `seed`, so a failing example stays put while you work on it; a
    grader draws others. `seconds` limits each call of your function.

    Raises `UnknownExercise` for an id that does not exist (with the nearest one that does) and
    `CourseError` if `answer` is no function. Whatever the function itself does is reported.
    """
    exercise = _exercise(exercise_id, answer)
    cases = [case for dtype in DTYPES for case in suite(exercise, seed, dtype)]
    outcomes = run_suite(exercise, answer, cases, seconds=seconds)
    results: dict[str, Outcome] = {}
    for case, outcome in zip(cases, outcomes, strict=True):
        if case.situation not in results or results[case.situation].ok:
            results[case.situation] = outcome
    printed = next((outcome.printed for outcome in outcomes if outcome.printed), "")
    report = Report(exercise, results, printed=printed)
    if report.attempted:
        progress.record(exercise.id, report.share)
        if report.passed < report.total:
            mistakes, certain = diagnose(exercise, cases, outcomes)
            example = smallest_example(exercise, answer, cases, outcomes, seconds)
            report = Report(exercise, results, mistakes, certain, example, printed)
    return report


def _exercise(exercise_id, answer) -> Exercise:
    """The exercise that is meant, if the call has an id and a function.

    Raises `CourseError` with the call to write otherwise.
    """
    if answer is _MISSING and not isinstance(exercise_id, str):
        name = getattr(exercise_id, "__name__", "softmax")
        known = [exercise for exercise in exercises().values() if exercise.name == name]
        wanted = known[0] if known else next(iter(exercises().values()))
        raise CourseError(
            f'check needs the id of the exercise and your function: check("{wanted.id}", '
            f"{name if known else wanted.name})."
        )
    exercise = find(exercise_id)
    if callable(answer):
        return exercise
    call = f'check needs the function itself: check("{exercise.id}", {exercise.name}).'
    if answer is _MISSING:
        raise CourseError(call)
    if answer is None:
        raise CourseError(f"{call} It got None.")
    if isinstance(answer, str):
        raise CourseError(f"{call} It got a text; leave the quotation marks out.")
    many = "; is there a call, with (…), too many?" if isinstance(answer, torch.Tensor) else "."
    raise CourseError(f"{call} It got a value of type {type(answer).__name__}{many}")
