"""The `clearhead` command: progress for learners, proofs for instructors."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from marking.errors import CourseError
from marking.grading.command import grade
from marking.grading.export_command import export
from marking.grading.staff_commands import appeal, similar

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console()


@app.callback()
def _clearhead() -> None:
    """Clearhead: how large language models work inside."""


@app.command()
def status(chapter: Annotated[str | None, typer.Argument(help="one chapter only")] = None) -> None:
    """Show which exercises are solved."""
    from marking.progress import status as progress_status

    console.print(str(progress_status(chapter)), highlight=False)


@app.command("kill-matrix")
def kill_matrix(
    chapter: Annotated[str | None, typer.Argument(help="one chapter; without it, all")] = None,
    also: Annotated[
        list[Path] | None,
        typer.Option(help="a file with more mistakes and alternatives", exists=True),
    ] = None,
    seeds: Annotated[int, typer.Option(help="how many seeds", min=1)] = 20,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="a line a function")] = False,
) -> None:
    """Prove that every known mistake is rejected and named, and every right answer accepted."""
    from marking import kill_matrix as matrix
    from marking.registry import exercises

    chosen = list(exercises(chapter).values())
    for file in also or []:
        chosen = matrix.with_file(chosen, file)
    result = matrix.kill_matrix(chosen, seeds=seeds)
    console.print(_summary(result, seeds))
    if verbose or also:
        console.print(_details(result, only_added=not verbose))
    problems = result.problems()
    for problem in problems:
        console.print(f"[red]✗[/red] {problem}", highlight=False)
    mistakes = [r for r in result.rows if r.kind == "mistake"]
    others = [r for r in result.rows if r.kind == "alternative"]
    console.print(
        f"{len(result.exercises)} exercises; {sum(r.good for r in mistakes)} of {len(mistakes)} "
        f"mistakes rejected, {result.share_named():.1%} named correctly; "
        f"{sum(r.good for r in others)} of {len(others)} alternatives accepted "
        f"({seeds} seeds, float64 and float32).",
        highlight=False,
    )
    raise typer.Exit(1 if problems else 0)


def _summary(result, seeds: int) -> Table:
    table = Table(title=f"Kill matrix, {seeds} seeds × 2 dtypes")
    table.add_column("exercise", no_wrap=True)
    for name in ("mistakes rejected", "named", "right answers accepted", "least gap ÷ tolerance"):
        table.add_column(name, justify="right", max_width=13)
    for exercise in result.exercises:
        bad, good = result.of(exercise.id, "mistake"), result.of(exercise.id, "alternative")
        own = [r for r in bad if not r.id.startswith("also:")]
        named, runs = sum(r.named for r in own), sum(r.runs for r in own)
        margin = min((r.margin for r in bad), default=float("inf"))
        table.add_row(
            exercise.id,
            f"{sum(r.good for r in bad)}/{len(bad)}",
            f"{named / max(runs, 1):.1%}",
            f"{sum(r.good for r in good)}/{len(good)}",
            "exact" if margin == float("inf") else f"{margin:,.0f}",
        )
    return table


def _details(result, *, only_added: bool) -> Table:
    table = Table()
    for name in ("exercise", "kind", "function", "right", "taken for"):
        table.add_column(name, overflow="fold")
    for row in result.rows:
        if only_added and not row.id.startswith("also:"):
            continue
        taken = ", ".join(sorted(row.taken_for))
        table.add_row(row.exercise, row.kind, row.id, f"{row.right}/{row.runs}", taken)
    return table


for command in (grade, export, appeal, similar):
    app.command()(command)


def main() -> None:
    """Run the command; what the user can put right is one sentence and exit status 1."""
    try:
        app()
    except CourseError as problem:
        Console(stderr=True).print(str(problem), style="red", highlight=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
