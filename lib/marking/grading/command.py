"""`clearhead grade`: from a folder or a zip of notebooks to the gradebook."""

import time
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from marking.errors import CourseError
from marking.grading.quick import quick_imports

console = Console()
SUBMITTED, RESULTS = "_grading/submitted", "_grading/results.db"


def grade(
    assignment: Annotated[str, typer.Argument(help="such as attention")],
    source: Annotated[
        Path | None,
        typer.Option("--from", help=f"a folder or zip of notebooks; without it {SUBMITTED}"),
    ] = None,
    workers: Annotated[int, typer.Option(help="processes on this machine", min=1)] = 2,
    regrade: Annotated[bool, typer.Option("--regrade", help="grade again what is graded")] = False,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="go on, or forget all rows and begin anew")
    ] = True,
    scheduler: Annotated[
        str | None, typer.Option(help="a Dask scheduler's address, tcp://…: grade on its workers")
    ] = None,
    sandboxed: Annotated[
        bool, typer.Option("--sandbox/--no-sandbox", help="without it student code can do harm")
    ] = True,
    course: Annotated[Path, typer.Option(help="the course's folder")] = Path(),
) -> None:
    """Grade a class's notebooks in the sandbox and write the gradebook."""
    root = course.resolve()
    source = (source or root / SUBMITTED).resolve()
    submissions, refused = _collect(root, assignment, source)
    rows = _grade(
        root,
        assignment,
        submissions,
        source=source,
        regrade=regrade,
        resume=resume,
        workers=workers,
        scheduler=scheduler,
        sandboxed=sandboxed,
    )
    points, notes = _write_gradebook(root, assignment, submissions, rows, regrade=regrade)
    from marking.grading import summary

    shown = [row for submission in submissions for row in rows[submission.student]]
    summary.show(console, shown, refused, notes, points)


def _collect(root: Path, assignment: str, source: Path) -> tuple[list, list]:
    """The submissions, and those that were refused. Raises `CourseError` if there is none."""
    from marking.grading import intake

    release = root / "chapters" / "exercises" / assignment / f"{assignment}.ipynb"
    if not release.is_file():
        raise CourseError(
            f"There is no released notebook of {assignment!r} here: start in the course's folder, "
            "or name it with --course."
        )
    if not source.exists():
        raise CourseError(f"There is nothing at {source}: put the notebooks there, or use --from.")
    submissions, refused = intake.collect(source, assignment, release)
    if not submissions:
        told = "; ".join(f"{r.student or r.path}: {r.why}" for r in refused[:3])
        raise CourseError(f"No notebook of {assignment} in {source} can be graded. {told}".strip())
    return submissions, refused


def _expect_in_gradebook(root: Path, assignment: str) -> None:
    """Refuse before the work what the gradebook could not take after it."""
    with quick_imports():
        from marking.grading.gradebook import Writer, course_config

    with Writer(course_config(root)) as writer:
        writer.expect(assignment)


def _grade(
    root: Path, assignment: str, submissions, *, source: Path, resume: bool, **how
) -> dict[str, list]:
    """Every submission's rows by student, graded now or before."""
    from marking.grading import driver
    from marking.grading.secret import course_secret
    from marking.grading.store import Store

    secret = course_secret(root)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Store(root / RESULTS) as store:
        if not resume:
            _expect_in_gradebook(root, assignment)
            store.forget(assignment)
        store.remember(assignment, source)
        start, new = time.monotonic(), 0
        with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
            line = bar.add_task(f"Grading {assignment}", total=None)
            try:
                for _ in driver.grade(
                    submissions,
                    secret=secret,
                    store=store,
                    meanwhile=partial(_expect_in_gradebook, root, assignment),
                    progress=lambda done, total: bar.update(line, completed=done, total=total),
                    **how,
                ):
                    new += 1
            except KeyboardInterrupt:
                raise CourseError(
                    "Stopped. What is graded is kept; the same command, without --no-resume or "
                    "--regrade, goes on from there."
                ) from None
        seconds = time.monotonic() - start
        console.print(f"{new} answers graded in {seconds:.1f} s.", highlight=False)
        return driver.rows_of(submissions, secret, store, sandboxed=how["sandboxed"])


def _write_gradebook(root: Path, assignment: str, submissions, rows: dict, *, regrade: bool):
    """Everybody's rows; what the gradebook then says of each student of these, and the notes."""
    from marking.grading.gradebook import Writer, course_config

    with Writer(course_config(root)) as writer:
        notes = {
            s.student: (*s.notes, *writer.write(s, rows[s.student], regrade=regrade))
            for s in submissions
        }
        points = writer.points(assignment)
    return [row for row in points if row.student in rows], notes
