"""`clearhead export`: the gradebook for Canvas, Moodle or Gradescope."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

console = Console()


def export(
    path: Annotated[Path, typer.Argument(help="the file; for gradescope a folder", metavar="FILE")],
    to: Annotated[str, typer.Option(help="canvas, moodle or gradescope")],
    assignment: Annotated[
        str, typer.Option(help="which assignment; need not be said where there is one alone")
    ] = "",
    assignment_id: Annotated[str, typer.Option(help="Canvas's number of the assignment")] = "",
    into: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            metavar="THEIRS",
            help="Canvas's or Moodle's own file: fill in its column of points, keep the rest",
        ),
    ] = None,
    column: Annotated[str, typer.Option(help="with --into: which column")] = "",
    course: Annotated[Path, typer.Option(help="the course's folder")] = Path(),
) -> None:
    """Write the grades as an LMS reads them (for nbgrader's own CSV: nbgrader export)."""
    from marking.grading import exports, gradebook, gradebook_rows

    config = gradebook.course_config(course.resolve())
    assignment = assignment or gradebook_rows.only_assignment(config)
    if into:
        how = {"theirs": into, "column": column or assignment_id}
        _tell_filled(exports.export_into(config, assignment, to, path, **how), path)
    else:
        number = exports.export(config, assignment, to, path, assignment_id)
        console.print(f"{number} students in {path}.", highlight=False)
    _tell_unfinished(gradebook_rows.rows(config, assignment))


def _tell_filled(made, path: Path) -> None:
    """How many are in the file, and who is in one of the two alone."""
    console.print(f"{made.count} students' points in {path}.", highlight=False)
    for text, names in {
        "in the gradebook and not in the file": made.not_in_file,
        "in the file and not in the gradebook, and left as they were": made.not_in_gradebook,
    }.items():
        if names:
            told = f"{len(names)} {text}: {', '.join(names)}."
            console.print(told, highlight=False, markup=False, soft_wrap=True)
    for note in made.notes:
        console.print(f"{note}.", highlight=False, markup=False, soft_wrap=True)


def _tell_unfinished(found: list) -> None:
    for text, count in {
        "wait for a person; their points so far were written": sum(
            any(part.waits for part in row.parts) for row in found
        ),
        "have no score yet and were left out": sum(not row.has_score for row in found),
        "were graded without a sandbox": sum(
            not all(part.sandboxed for part in row.parts) for row in found
        ),
    }.items():
        if count:
            console.print(f"{count} {text}.", highlight=False)
