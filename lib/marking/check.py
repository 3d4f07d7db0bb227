"""`check`: run a learner's function on an exercise's public cases and say what is wrong."""

from collections.abc import Callable

from marking import progress
from marking.diagnosis import DTYPES, diagnose, run_suite, smallest_example
from marking.errors import CourseError
from marking.exercise import suite
from marking.outcome import Outcome
from marking.registry import find
from marking.report import Report


def check(exercise_id: str, answer: Callable, *, seed: int = 0, seconds: float = 3.0) -> Report:
    """Check a function against an exercise's public cases.

    Every situation is tried in float64 and float32; it passes if both do. The cases are the same
    on every call with the same `seed`, so a failing example stays put while you work on it; a
    grader draws others. `seconds` limits each call of your function.

    Raises `UnknownExercise` for an id that does not exist (with the nearest one that does) and
    `CourseError` if `answer` is no function. Whatever the function itself does is reported.
    """
    exercise = find(exercise_id)
    if not callable(answer):
        raise CourseError(
            f'check needs the function itself: check("{exercise.id}", {exercise.name}). '
            f"It got a value of type {type(answer).__name__}; is there a call, with (…), too many?"
        )
    cases = [case for dtype in DTYPES for case in suite(exercise, seed, dtype)]
    outcomes = run_suite(exercise, answer, cases, seconds=seconds)
    results: dict[str, Outcome] = {}
    for case, outcome in zip(cases, outcomes, strict=True):
        if case.situation not in results or results[case.situation].ok:
            results[case.situation] = outcome
    report = Report(exercise, results)
    if report.attempted:
        progress.record(exercise.id, report.share)
        if report.passed < report.total:
            mistakes, certain = diagnose(exercise, cases, outcomes, seconds=seconds)
            example = smallest_example(exercise, answer, cases, outcomes, seconds)
            report = Report(exercise, results, mistakes, certain, example)
    return report
