"""What the instructor reads after a run."""

from dataclasses import replace

from light_class import SECRET, light
from rich.console import Console

from marking.grading.driver import tasks_of
from marking.grading.gradebook_session import Points
from marking.grading.intake import Refused
from marking.grading.judge import STATUSES, Result
from marking.grading.summary import summary


def row(number: int, status: str, **more):
    (task,) = tasks_of(light(number), SECRET)
    share = None if status in ("needs a look", "our fault") else 0.0
    return replace(task.graded(Result(task.exercise, status, share)), **more)


def text(*given) -> str:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))
    with console.file:
        console.print(summary(*given))
        return console.export_text()


def test_every_status_has_its_own_column():
    said = text([row(number, status) for number, status in enumerate(STATUSES)])
    assert all(status in said for status in STATUSES)
    assert f"{len(STATUSES)} submissions" in said


def test_what_a_person_must_see_is_listed_by_name():
    looks = [row(1, "needs a look", note="It ended its worker 3 times."), row(2, "right")]
    said = text(looks, [Refused("ann", "ann.ipynb", "It is empty.")], {"bob": ("a cell twice",)})
    assert "student-001 · attention.causal_mask: needs a look. It ended its worker" in said
    assert "student-002 ·" not in said
    assert "ann: It is empty." in said
    assert "bob: a cell twice" in said


def test_text_of_a_student_is_neither_markup_nor_control():
    said = text([row(1, "our fault", note="[red]a\x1b[2Jb[/red]", smells=("gc",))])
    assert "[red]a [2Jb[/red]" in said
    assert "gc" in said


def test_a_run_without_a_sandbox_is_said_so():
    assert "without a sandbox" in text([row(1, "right", sandbox="none")])
    assert "without a sandbox" not in text([row(1, "right")])


def test_every_students_points_are_told_and_what_waits_for_a_person():
    points = [
        Points("ann[b]", 31.5, 38.0, ("why_faster-answer", "softmax-check")),
        *(Points(f"student-{number}", 1.0, 38.0, ()) for number in range(60)),
    ]
    said = text([row(1, "right")], [], {}, points)
    (line,) = [line for line in said.splitlines() if "ann[b]" in line]
    assert [part.strip() for part in line.split("│")[1:-1]] == [
        "ann[b]",
        "31.5",
        "38",
        "why_faster, softmax",
    ]
    assert "and 21 more" in said
    assert "Points so far" not in text([row(1, "right")])


def test_what_is_worth_reading_is_said_once_a_student():
    rows = [
        row(1, "right", smells=("gc (cell 2, line 1)",)),
        row(2, "right"),
        row(1, "wrong", exercise="attention.softmax", smells=("gc (cell 2, line 1)", "os")),
        row(3, "wrong", smells=("open",)),
    ]
    said = text(rows)
    assert "(2)" in said and "student-001: gc (cell 2, line 1), os\n" in said
    assert "student-003: open\n" in said and "student-002" not in said
