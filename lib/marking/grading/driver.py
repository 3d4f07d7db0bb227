"""The driver: what is still to grade, by whom, and into the store.

The driver alone knows the course's secret and alone writes the store. A row is stored before it is
given out; what is stored is not graded again, so a run that was killed goes on where it was, a
regrade too.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from marking.grading.graded import Graded, Task
from marking.grading.pool import JOB, Pool
from marking.grading.python_source import checked
from marking.grading.seed import VERSION, seed_for
from marking.grading.store import Store, StoreError

__all__ = ["Graded", "Task", "grade", "plan"]

SAVE_SECONDS = 0.25  # a commit waits for the disk, so rows are written a few at a time


def grade(
    submissions: Iterable,
    *,
    secret: bytes,
    store: Store,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
    regrade: bool = False,
    scheduler: str | None = None,
    sandboxed: bool = True,
    job: str = JOB,
    meanwhile: Callable[[], None] = lambda: None,
) -> Iterator[Graded]:
    """Grade what has no row yet (with `regrade`, everything) and give each new row once stored.

    `progress(done, total)` counts rows. `scheduler` is the address of a Dask scheduler; without it
    `workers` processes on this machine do the work. `meanwhile` is called once, while they start
    and before anything is stored. Raises `StoreError`, `SandboxError` and
    `ClusterError`, each one sentence; the rows stored before stand.
    """
    tasks, copies = plan(submissions, secret, store, regrade=regrade, sandboxed=sandboxed)
    total = sum(map(len, tasks.values())) + len(copies)
    saver = _Saver(store, progress=progress, total=total)
    if not tasks:
        meanwhile()
        yield from saver.save(copies)
        return
    first = [twins[0] for twins in tasks.values()]
    if scheduler:
        first = [replace(task, gpu=find(task.exercise).gpu) for task in first]
    with _engine(scheduler, min(workers, len(first)), job, sandboxed) as engine:
        meanwhile()
        if regrade:
            store.outdate({task.assignment for twins in tasks.values() for task in twins})
        yield from saver.save(copies)
        try:
            for row in engine.run(first):
                twins = tasks[row.key] if row else ()
                yield from saver.add(_for(twin, row) for twin in twins)
            yield from saver.flush()
        except BaseException:  # Ctrl-C, or whoever reads the rows has stopped: keep what is done
            with contextlib.suppress(StoreError):
                list(saver.flush())
            raise


def plan(
    submissions: Iterable, secret: bytes, store: Store, *, regrade: bool, sandboxed: bool
) -> tuple[dict[str, list[Task]], list[Graded]]:
    """The tasks without a row, by key, and the rows that only need a copy.

    Students who handed in the same code share a key: it is graded once, and each has a row.
    """
    done = {} if regrade else store.done()
    tasks: dict[str, list[Task]] = {}
    copies: list[Graded] = []
    for submission in submissions:
        for task in tasks_of(submission, secret, sandboxed=sandboxed):
            there = done.get(task.key, {})
            if there.get((task.student, task.assignment), "our fault") != "our fault":
                continue
            if any(status != "our fault" for status in there.values()):
                copies.append(_for(task, store.find(task.key)))
            else:
                tasks.setdefault(task.key, []).append(task)
    return tasks, copies


def tasks_of(submission, secret: bytes, *, sandboxed: bool = True) -> list[Task]:
    """One task for each exercise that the submission's grade cells check."""
    return [
        Task(
            student=submission.student,
            assignment=submission.assignment,
            submission=submission.hash,
            exercise=exercise,
            points=points,
            cells=tuple(submission.cells),
            seed=seed_for(secret, exercise, submission.hash),
            sandbox="bubblewrap" if sandboxed else "none",
            version=VERSION,
        )
        for exercise, points in asked(submission.notebook)
    ]


def rows_of(submissions: Iterable, secret: bytes, store: Store, *, sandboxed: bool) -> dict:
    """For each student, the stored rows of what was submitted, in the notebook's order."""
    stored = {(row.key, row.student, row.assignment): row for row in store.rows()}
    found: dict[str, list[Graded]] = {}
    for submission in submissions:
        tasks = tasks_of(submission, secret, sandboxed=sandboxed)
        names = [(task.key, task.student, task.assignment) for task in tasks]
        found.setdefault(submission.student, []).extend(
            stored[name] for name in names if name in stored
        )
    return found


def find(exercise: str):
    """The exercise's record: torch is loaded with it, which the driver does without till then."""
    from marking.registry import find

    return find(exercise)


def asked(notebook: dict) -> list[tuple[str, float]]:
    """The exercises that a notebook's grade cells check, and their points."""
    found = []
    for cell in notebook["cells"]:
        mark = cell.get("metadata", {}).get("nbgrader", {})
        if cell["cell_type"] == "code" and mark.get("grade"):
            if name := checked("".join(cell["source"])):
                found.append((name, float(mark["points"])))
    return found


def _for(task: Task, row: Graded) -> Graded:
    """The row as this task's student has it."""
    points = None if row.share is None else round(row.share * task.points, 2)
    return replace(row, student=task.student, assignment=task.assignment, points=points)


def _engine(scheduler: str | None, workers: int, job: str, sandboxed: bool):
    if scheduler is None:
        return Pool(workers, job=job, sandbox="bubblewrap" if sandboxed else "none")
    from marking.grading.cluster import Cluster  # Dask is loaded only when it is asked for

    return Cluster(scheduler, job=job)


class _Saver:
    """Writes rows a few at a time and gives them back once they are on the disk."""

    def __init__(self, store: Store, *, progress, total: int):
        self._store, self._progress = store, progress
        self._total, self._done = total, 0
        self._rows: list[Graded] = []
        self._saved = time.monotonic()

    def add(self, rows: Iterable[Graded]) -> Iterator[Graded]:
        self._rows += rows
        if time.monotonic() - self._saved > SAVE_SECONDS:
            yield from self.flush()

    def save(self, rows: Iterable[Graded]) -> Iterator[Graded]:
        self._rows += rows
        yield from self.flush()

    def flush(self) -> Iterator[Graded]:
        rows, self._rows = self._rows, []
        if rows:
            self._store.add(rows)
        self._saved = time.monotonic()
        self._done += len(rows)
        if self._progress:
            self._progress(self._done, self._total)
        yield from rows
