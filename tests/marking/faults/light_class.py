"""A class of light submissions, all different, and a driver over it to be killed.

Run as a program it grades the class into a store and ends with status 0, or 1 and a sentence:
`python light_class.py STORE COUNT JOB [SCHEDULER]`.
"""

import hashlib
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

SECRET = b"the course's secret, for tests alone"
REAL = "marking.grading.job:grade_task"
JOBS = ("quick", "deadly", "slow", "where", "wrong")
QUICK, DEADLY, SLOW, WHERE, WRONG = (f"light_class:{name}" for name in JOBS)
ANSWERS = (
    "return torch.ones(T, S, dtype=torch.bool).tril(S - T)",
    "return torch.ones(T, S, dtype=torch.bool).tril()",
    "return torch.arange(S)[None, :] <= torch.arange(T)[:, None] + (S - T)",
    "raise NotImplementedError()",
    "return 1 / 0",
)


@dataclass(frozen=True)
class Light:
    """Stands for `intake.Submission`: what the driver reads of one."""

    student: str
    assignment: str
    cells: tuple[str, ...]
    notebook: dict
    hash: str
    notes: tuple[str, ...] = ()


def light(number: int, body: str | None = None, exercise: str = "causal_mask") -> Light:
    """Student `number`'s notebook with one exercise in it."""
    body = body or ANSWERS[number % len(ANSWERS)]
    cells = ("import torch", f"def {exercise}(T, S):\n    # {number}\n    {body}")
    digest = hashlib.sha256("\n".join(cells).encode()).hexdigest()
    mark = {"grade": True, "points": 2, "grade_id": f"{exercise}-check", "solution": False}
    check = {
        "cell_type": "code",
        "metadata": {"nbgrader": mark},
        "source": f'check("attention.{exercise}", {exercise}).points(2)',
    }
    return Light(f"student-{number:03}", "attention", cells, {"cells": [check]}, digest)


def light_class(count: int) -> list[Light]:
    return [light(number) for number in range(count)]


def quick(task):
    """A job that judges nothing: everything is right."""
    from marking.grading.judge import Result

    return task.graded(Result(task.exercise, "right", 1.0, "All hidden checks passed."))


def wrong(task):
    from marking.grading.judge import Result

    return task.graded(Result(task.exercise, "wrong", 0.0))


def deadly(task):
    """A job that a submission with KILL in it ends, process and all."""
    if any("KILL" in cell for cell in task.cells):
        os.kill(os.getpid(), signal.SIGKILL)
    return quick(task)


def slow(task):
    time.sleep(0.05)
    return quick(task)


def where(task):
    """A job that notes the name of the Dask worker that does it."""
    from dataclasses import replace

    from distributed import get_worker

    time.sleep(0.05)  # so that every worker gets some
    return replace(quick(task), note=get_worker().name)


def main() -> None:
    from marking.errors import CourseError
    from marking.grading.driver import grade
    from marking.grading.store import Store

    path, count, job, *scheduler = sys.argv[1:]
    address = scheduler[0] if scheduler else None
    try:
        with Store(Path(path)) as store:
            how = {"secret": SECRET, "store": store, "scheduler": address, "job": job}
            for _ in grade(light_class(int(count)), sandboxed=job == REAL, **how):
                pass
    except CourseError as problem:
        sys.exit(str(problem))


if __name__ == "__main__":
    main()
