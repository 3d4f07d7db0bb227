"""An appeal: the same hidden inputs again, what was expected, and what the student's code answers.

The seed stands in the graded row, so the inputs are those of the grading as long as the exercise's
record is; the student's code runs in the sandbox once more. What is printed holds hidden inputs:
it is for the person who decides the appeal, and for the student where that person says so.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from marking.errors import CourseError
from marking.exercise import Case, Exercise
from marking.grading import forbidden, judge
from marking.grading.graded import Graded
from marking.grading.job import prove
from marking.grading.sandbox import Container, SandboxError
from marking.grading.secret import course_secret
from marking.grading.store import Store
from marking.outcome import Outcome
from marking.registry import find
from marking.show import as_text


@dataclass(frozen=True)
class Appeal:
    """One student's answer to one exercise, put to the same cases again."""

    exercise: Exercise
    row: Graded | None  # as it was graded; None when it never was
    seed: str
    same_code: bool  # whether what is handed in now is what was graded
    cases: tuple[Case, ...]
    outcomes: tuple[Outcome, ...]
    stopped: str  # why there is no answer at all, or ""

    @property
    def failed(self) -> list[tuple[Case, Outcome]]:
        return [(c, o) for c, o in self.all if not o.ok]

    @property
    def all(self) -> list[tuple[Case, Outcome]]:
        return list(zip(self.cases, self.outcomes, strict=True))

    def agrees(self) -> bool | None:
        """Whether today's answers have the faults that were graded; None if that cannot be said."""
        if self.row is None or not self.row.cases:
            return None
        now = tuple(
            (c.situation, str(c.dtype).removeprefix("torch."), o.fault or "") for c, o in self.all
        )
        return now == self.row.cases


def reproduce(
    submission, exercise_id: str, *, root: Path, container: Container | None = None
) -> Appeal:
    """Draw one student's hidden cases again and put them to the submitted code.

    Raises `CourseError` if the sandbox cannot be had.
    """
    exercise = find(exercise_id)
    row = _row(root, submission, exercise.id)
    seed = row.seed if row else judge.seed_for(course_secret(root), exercise.id, submission.hash)
    cases = judge.hidden_cases(exercise, seed)
    own = container or Container()
    try:
        if container is None:
            prove(own)
        outcomes, stopped = _answers(own, exercise, list(submission.cells), cases)
    finally:
        if container is None:
            own.stop()
    same = row is None or row.submission == submission.hash
    return Appeal(exercise, row, seed, same, tuple(cases), tuple(outcomes), stopped)


def _answers(container, exercise, cells, cases) -> tuple[list[Outcome], str]:
    """What the judge heard, case by case; or why it heard nothing."""
    cells = [forbidden.without_magics(cell) for cell in cells]
    if called := forbidden.call(exercise, cells):
        return [Outcome(fault="forbidden") for _ in cases], called
    with container.child(exercise.forbidden) as connection:
        _, instead = judge._open(connection, exercise, cells, judge.CELLS_SECONDS)
        if instead is None:
            until = time.monotonic() + judge.TOTAL_SECONDS
            return judge._ask(connection, exercise, cases, judge.CASE_SECONDS, until), ""
    if instead.share is None:
        raise SandboxError(instead.note)
    return [Outcome(fault=instead.status) for _ in cases], instead.says


def _row(root: Path, submission, exercise_id: str) -> Graded | None:
    """How it was graded: the row of this very code, or else of what this student had before."""
    file = Path(root) / "_grading" / "results.db"
    if not file.exists():
        return None
    with Store(file) as store:
        rows = [
            row
            for row in store.rows(submission.assignment)
            if (row.student, row.exercise) == (submission.student, exercise_id)
        ]
    same = [row for row in rows if row.submission == submission.hash]
    return (same or rows or [None])[-1]


def choose(submissions: Iterable, refused: Iterable, student: str):
    """The student's submission. Raises `CourseError` that names who there is."""
    found = {submission.student: submission for submission in submissions}
    if student in found:
        return found[student]
    for one in refused:
        if one.student == student:
            raise CourseError(f"The submission of {student} was refused: {one.why}")
    there = ", ".join(sorted(found)[:10]) or "nobody"
    more = ", …" if len(found) > 10 else ""
    raise CourseError(f"There is no submission of {student}. There are: {there}{more}.")


def lines(appeal: Appeal, *, everything: bool = False, most: int = 3) -> Iterator[str]:
    """The appeal as text: the failed cases, or all of them."""
    yield from _heading(appeal)
    chosen = appeal.all if everything else appeal.failed[:most]
    for case, outcome in chosen:
        yield ""
        dtype = str(case.dtype).removeprefix("torch.")
        yield f"{case.situation} ({dtype}): {'right' if outcome.ok else outcome.fault}"
        for name, value in case.inputs.items():
            yield f"  {name} = {as_text(value, 4)}"
        yield f"  expected: {as_text(case.like, 4)}"
        if outcome.value is not None:
            yield f"  answered: {as_text(outcome.value, 4)}"
        if not outcome.ok and outcome.message:
            yield f"  {plain(outcome.error or outcome.message)}"
    left = len(appeal.failed) - len(chosen)
    if not everything and left > 0:
        yield f"\n{left} more failed cases: --all shows every case."


def _heading(appeal: Appeal) -> Iterator[str]:
    row, right = appeal.row, len(appeal.cases) - len(appeal.failed)
    yield f"{appeal.exercise.id}: {right} of {len(appeal.cases)} cases right, seed {appeal.seed}"
    if row is None:
        yield "It has not been graded: these are the cases it would be graded on."
        return
    score = "no score" if row.points is None else f"{row.points:g} points"
    yield f"Graded: {row.status}, {score}; grader version {row.version}, sandbox {row.sandbox}."
    if row.says:
        yield f"The student was told: {plain(row.says)}"
    if not appeal.same_code:
        yield "The code handed in now is not the code that was graded: what follows may differ."
    elif appeal.agrees() is not None:
        yield (
            "Today's answers fail and pass where the graded ones did."
            if appeal.agrees()
            else "Today's answers are not those that were graded: look at this one yourself."
        )
    if appeal.stopped:
        yield f"No case was answered: {plain(appeal.stopped)}"


def plain(text: str) -> str:
    """A student's words without what a terminal would obey."""
    return "".join(c if c.isprintable() else "�" for c in text.replace("\n", " "))
