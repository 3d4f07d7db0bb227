"""What the instructor reads after a run: how it went, who was refused, what a person must see."""

from collections import Counter
from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from marking.grading.graded import Graded
from marking.grading.seed import FOR_A_PERSON, STATUSES

STYLES = {"right": "green", "needs a look": "bold yellow", "our fault": "bold red"}
MOST_LINES = 40  # of a list on the screen; the rest is counted, and is in the store


def summary(
    rows: Iterable[Graded],
    refused: Iterable = (),
    notes: dict | None = None,
    points: Iterable = (),
):
    """Everything about these rows, to print with Rich.

    `refused` are `intake.Refused`; `notes` gives, for a student, what intake repaired; `points` is
    what the gradebook says, a `gradebook_session.Points` a student.
    """
    rows, points = list(rows), list(points)
    parts: list[RenderableType] = [statuses(rows), *([students(points)] if points else [])]
    looks = [
        f"{row.student} · {row.exercise}: {row.status}. {row.note}"
        for row in rows
        if row.status in FOR_A_PERSON
    ]
    read: dict[str, dict] = {row.student: {} for row in rows if row.smells}
    for row in rows:  # the same cells are read for each exercise
        read.get(row.student, {}).update(dict.fromkeys(row.smells))
    smells = [f"{student}: {', '.join(names)}" for student, names in read.items()]
    repaired = [f"{student}: {'; '.join(said)}" for student, said in (notes or {}).items() if said]
    graded, refused = {row.student for row in rows}, list(refused)
    for title, there in {
        "Refused: no notebook that can be graded": False,
        "Passed over: another file of theirs was graded": True,
    }.items():
        parts += _list(title, [_refusal(r) for r in refused if (r.student in graded) == there])
    parts += _list("For a person to look at, before a score stands", looks)
    parts += _list("Worth reading: unusual code, which costs no points", smells)
    parts += _list("Repaired on the way in", repaired)
    if any(row.sandbox == "none" for row in rows):
        parts.append(Text("\nGraded without a sandbox; every such row says so.", "bold red"))
    return Group(*parts)


def statuses(rows: list[Graded]) -> Table:
    """A line an exercise, a column a status that occurs."""
    counts = Counter((row.exercise, row.status) for row in rows)
    seen = [status for status in STATUSES if any(row.status == status for row in rows)]
    students = len({row.student for row in rows})
    table = Table(title=f"{students} submissions, {len(rows)} answers", title_justify="left")
    table.add_column("exercise", no_wrap=True)
    for status in seen:
        table.add_column(status, justify="right", style=STYLES.get(status))
    for exercise in dict.fromkeys(row.exercise for row in rows):
        table.add_row(exercise, *(str(counts[exercise, status] or "·") for status in seen))
    if len(rows) > len(counts):
        totals = Counter(row.status for row in rows)
        table.add_section()
        table.add_row("all", *(str(totals[status]) for status in seen))
    return table


def students(points: list) -> Table:
    """A line a student: the points so far, of how many, and what waits for a person."""
    table = Table(title="\nPoints so far, as they stand in the gradebook", title_justify="left")
    table.add_column("student", no_wrap=True)
    table.add_column("points", justify="right")
    table.add_column("of", justify="right")
    table.add_column("waits for a person")
    for row in points[:MOST_LINES]:
        waits = ", ".join(name.removesuffix("-answer").removesuffix("-check") for name in row.waits)
        table.add_row(_text(row.student), f"{row.score:.4g}", f"{row.most:g}", _text(waits))
    if len(points) > MOST_LINES:
        table.caption = f"… and {len(points) - MOST_LINES} more: formgrader lists everybody"
    return table


def show(
    console: Console, rows: Iterable[Graded], refused: Iterable, notes: dict, points: Iterable
) -> None:
    console.print(summary(rows, refused, notes, points), highlight=False)


def _refusal(refused) -> str:
    return f"{refused.student or refused.path}: {refused.why}"


def _list(title: str, lines: list[str]) -> list[Text]:
    """A heading and its lines; nothing where there are none. Student text is never markup."""
    if not lines:
        return []
    shown = [_text(f"  {line}") for line in lines[:MOST_LINES]]
    if len(lines) > MOST_LINES:
        shown.append(Text(f"  … and {len(lines) - MOST_LINES} more"))
    return [Text(f"\n{title} ({len(lines)})", "bold"), *shown]


def _text(line: str) -> Text:
    """Without markup and control characters: a student's text must not move the cursor."""
    return Text("".join(c if c.isprintable() else " " for c in line)[:500])
