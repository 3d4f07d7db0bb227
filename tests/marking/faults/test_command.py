"""`clearhead grade`: what it prints, what it keeps, and how it ends."""

import contextlib
import functools
import sys
from types import SimpleNamespace

import pytest
from faults import environment, scores
from light_class import QUICK, light_class

from marking import cli
from marking.errors import CourseError
from marking.grading import command, driver, gradebook, intake, staff_commands
from marking.grading.gradebook_session import Points


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course folder with a class of four and one refused file; nobody is judged."""
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    release = tmp_path / "chapters" / "exercises" / "attention"
    release.mkdir(parents=True)
    (release / "attention.ipynb").write_text("{}")
    (tmp_path / "_grading" / "submitted").mkdir(parents=True)
    refused = intake.Refused("zoë", "zoë/attention.ipynb", "It is not a notebook.")
    monkeypatch.setattr(intake, "collect", lambda *_: (light_class(4), [refused]))
    monkeypatch.setattr(driver, "grade", functools.partial(driver.grade, job=QUICK))
    monkeypatch.setattr(command, "_expect_in_gradebook", lambda *_: None)
    monkeypatch.setattr(gradebook, "course_config", lambda _: None)
    return tmp_path


@pytest.fixture
def written(monkeypatch):
    """Stands for the gradebook: the students written to it; `locked` makes it refuse."""
    seen = SimpleNamespace(students=[], locked=False, points=[], notes=())

    def write(submission, rows, *, regrade):
        if seen.locked:
            raise gradebook.GradebookError("The gradebook is locked.")
        assert [row.student for row in rows] == [submission.student]
        seen.students.append(submission.student)
        return seen.notes

    writer = SimpleNamespace(write=write, points=lambda _: seen.points)
    monkeypatch.setattr(gradebook, "Writer", lambda _: contextlib.nullcontext(writer))
    return seen


def run(course, monkeypatch, capsys, *options):
    """The exit status and what was printed, by stdout and stderr."""
    arguments = ["clearhead", "grade", "attention", "--course", str(course)]
    arguments += ["--no-sandbox", "--workers", "1"]
    monkeypatch.setattr(sys, "argv", [*arguments, *options])
    monkeypatch.setattr(command.console, "width", 200)
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr()
    return end.value.code or 0, said.out, said.err


def test_a_class_is_graded_once_and_the_summary_names_who_was_refused(
    course, written, monkeypatch, capsys
):
    status, said, _ = run(course, monkeypatch, capsys)
    assert status == 0
    assert "4 answers graded" in said
    assert "4 submissions, 4 answers" in said
    assert "zoë: It is not a notebook." in said
    assert "without a sandbox" in said
    assert written.students == [f"student-{number:03}" for number in range(4)]
    assert "0 answers graded" in run(course, monkeypatch, capsys)[1]
    assert "4 answers graded" in run(course, monkeypatch, capsys, "--regrade")[1]
    assert "4 answers graded" in run(course, monkeypatch, capsys, "--no-resume")[1]


def test_a_locked_gradebook_is_one_sentence_and_costs_no_result(
    course, written, monkeypatch, capsys
):
    written.locked = True
    status, _, said = run(course, monkeypatch, capsys)
    assert (status, said.strip()) == (1, "The gradebook is locked.")
    assert len(scores(course / "_grading" / "results.db")) == 4
    written.locked = False
    status, said, _ = run(course, monkeypatch, capsys)
    assert status == 0 and "0 answers graded" in said
    assert len(written.students) == 4


def test_where_nothing_can_be_graded_it_ends_with_status_1(course, monkeypatch, capsys):
    refused = intake.Refused("zoë", "zoë/attention.ipynb", "It is not a notebook.")
    monkeypatch.setattr(intake, "collect", lambda *_: ([], [refused]))
    status, _, said = run(course, monkeypatch, capsys)
    assert status == 1
    assert "can be graded" in said and "zoë: It is not a notebook." in said


def test_a_chapter_without_a_release_is_refused(course, monkeypatch, capsys):
    (course / "chapters" / "exercises" / "attention" / "attention.ipynb").unlink()
    status, _, said = run(course, monkeypatch, capsys)
    assert status == 1 and "no released notebook of 'attention'" in said


def test_the_submissions_are_found_again_without_saying_where(
    course, written, monkeypatch, capsys, tmp_path
):
    elsewhere = tmp_path / "from the LMS"
    elsewhere.mkdir()
    run(course, monkeypatch, capsys, "--from", str(elsewhere))
    assert staff_commands._last_graded(course, "attention") == elsewhere
    elsewhere.rmdir()
    with pytest.raises(CourseError, match=r"from the LMS, which is not there any more: say --from"):
        staff_commands._last_graded(course, "attention")
    run(course, monkeypatch, capsys)
    assert staff_commands._last_graded(course, "attention") == course / "_grading" / "submitted"
    assert staff_commands._last_graded(course, "lora") == course / "_grading" / "submitted"


def test_each_students_points_are_in_what_is_printed(course, written, monkeypatch, capsys):
    written.points = [
        Points("student-001", 1.5, 4.0, ("why-answer",)),
        Points("of another class", 2.0, 4.0, ()),
    ]
    said = run(course, monkeypatch, capsys)[1]
    (line,) = [line for line in said.splitlines() if "student-001" in line]
    assert [part.strip() for part in line.split("│")[1:-1]] == ["student-001", "1.5", "4", "why"]
    assert "of another class" not in said


def test_what_the_gradebook_notes_is_printed(course, written, monkeypatch, capsys):
    written.notes = ("its timestamp.txt holds no time",)
    assert "student-001: its timestamp.txt holds no time" in run(course, monkeypatch, capsys)[1]


def test_nothing_is_graded_or_forgotten_where_the_gradebook_would_refuse(
    course, written, monkeypatch, capsys
):
    run(course, monkeypatch, capsys)

    def refuse(*_):
        raise gradebook.GradebookError("The gradebook does not know attention.")

    monkeypatch.setattr(command, "_expect_in_gradebook", refuse)
    for option in ("--no-resume", "--regrade"):
        status, _, said = run(course, monkeypatch, capsys, option)
        assert (status, said.strip()) == (1, "The gradebook does not know attention.")
        assert len(scores(course / "_grading" / "results.db")) == 4
