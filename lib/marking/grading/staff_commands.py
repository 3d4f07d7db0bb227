"""`clearhead similar` and `clearhead appeal`: what a person asks after a class was graded."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from marking.errors import CourseError

console = Console()

Assignment = Annotated[str, typer.Argument(help="which assignment")]
From = Annotated[
    Path | None,
    typer.Option("--from", help="the submissions; without it those last graded", metavar="PATH"),
]
Course = Annotated[Path, typer.Option(help="the course's folder")]


def similar(assignment: Assignment, source: From = None, course: Course = Path()) -> None:
    """Report answers that are nearly the same. Advice for a person; no score changes."""
    from marking.grading import similarity, similarity_report

    submissions, _ = _collect(course, source, assignment)
    release = course / "chapters" / "exercises" / assignment / f"{assignment}.ipynb"
    master = course / "solutions" / assignment / f"{assignment}.ipynb"
    found = similarity.similar(submissions, master, release)
    console.print(similarity_report.table(found))
    folder = course / "_grading" / "similar"
    page, rows = similarity_report.write(found, folder, assignment)
    console.print(f"Side by side: {page}\nAll pairs: {rows}", highlight=False, soft_wrap=True)


def appeal(
    assignment: Assignment,
    student: Annotated[str, typer.Argument(help="the student's id")],
    exercise: Annotated[str, typer.Argument(help="the exercise, such as attention.softmax")],
    everything: Annotated[bool, typer.Option("--all", help="the right cases too")] = False,
    source: From = None,
    course: Course = Path(),
) -> None:
    """Draw one student's hidden inputs again: inputs, what was expected, what was answered."""
    from marking.grading import appeal as appeals

    submission = appeals.choose(*_collect(course, source, assignment), student)
    name = exercise if "." in exercise else f"{assignment}.{exercise}"
    made = appeals.reproduce(submission, name, root=course)
    for line in appeals.lines(made, everything=everything):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _collect(course: Path, source: Path | None, assignment: str):
    from marking.grading.intake import collect

    release = course / "chapters" / "exercises" / assignment / f"{assignment}.ipynb"
    return collect(source or _last_graded(course, assignment), assignment, release)


def _last_graded(course: Path, assignment: str) -> Path:
    """Where `clearhead grade` took the submissions from. Raises `CourseError` if it is gone."""
    from marking.grading.command import RESULTS, SUBMITTED
    from marking.grading.store import Store

    source = None
    if (course / RESULTS).exists():
        with Store(course / RESULTS) as store:
            source = store.source(assignment)
    if source and not source.exists():
        raise CourseError(
            f"{assignment} was last graded from {source}, which is not there any more: say --from."
        )
    return source or course / SUBMITTED
