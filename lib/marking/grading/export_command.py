"""`clearhead export`: the gradebook for Canvas, Moodle or Gradescope."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

console = Console()


def export(
    path: Annotated[Path, typer.Argument(help="the file; for gradescope a folder", metavar="FILE")],
    to: Annotated[str, typer.Option(help="canvas, moodle or gradescope")],
    assignment: Annotated[str, typer.Option(help="which assignment")] = "attention",
    assignment_id: Annotated[str, typer.Option(help="Canvas's number of the assignment")] = "",
    course: Annotated[Path, typer.Option(help="the course's folder")] = Path(),
) -> None:
    """Write the grades as an LMS reads them (for nbgrader's own CSV: nbgrader export)."""
    from marking.grading import exports, gradebook, gradebook_rows

    config = gradebook.course_config(course.resolve())
    number = exports.export(config, assignment, to, path, assignment_id)
    console.print(f"{number} students in {path}.", highlight=False)
    found = gradebook_rows.rows(config, assignment)
    for text, count in {
        "wait for a person; their points so far were written": sum(
            any(part.waits for part in row.parts) for row in found
        ),
        "have no score yet and were left empty": sum(not row.has_score for row in found),
        "were graded without a sandbox, which is noted beside their points": sum(
            not all(part.sandboxed for part in row.parts) for row in found
        ),
    }.items():
        if count:
            console.print(f"{count} {text}.", highlight=False)
