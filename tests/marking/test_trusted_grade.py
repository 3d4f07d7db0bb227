"""The sandbox inside nbgrader, and the same results written without nbgrader's converters."""

import json
import math
import os
import re
import shutil
import sqlite3
from dataclasses import replace

import nbformat
import pytest
import torch

pytest.importorskip("nbgrader", reason="pip install -e '.[grade]'")

from tests.marking.nbgrader_course import NAME, POINTS, RELEASE

from marking.grading import gradebook, intake
from marking.grading.graded import Task
from marking.grading.judge import Result, hidden_cases, seed_for
from marking.grading.outputs import UNBOXED, Verdict, fill, for_student
from marking.grading.secret import course_secret
from marking.registry import exercises

pytestmark = pytest.mark.bubblewrap


@pytest.fixture(scope="module")
def stock(graded_course) -> dict:
    return graded_course.rows()


@pytest.fixture(scope="module")
def ours(written_course) -> dict:
    return written_course.rows()


def zeros(rows: dict, student: str) -> set:
    return {cell for cell in POINTS if rows[student]["grades"][cell][0] == 0.0}


def submission(student: str, course):
    path = course.folder / "_grading" / "submitted" / student / NAME / f"{NAME}.ipynb"
    release = json.loads(RELEASE.read_text(encoding="utf-8"))
    return intake.rebuild(path.read_bytes(), release, student, NAME)


def results(sent, status="right", share=1.0, sandbox="bubblewrap") -> list:
    """A row for each exercise, made up."""
    rows = []
    for cell, most in POINTS.items():
        name = f"{NAME}.{cell.removesuffix('-check')}"
        task = Task(sent.student, NAME, sent.hash, name, most, sent.cells, "seed", sandbox)
        rows.append(task.graded(Result(name, status, share, "All 7 hidden checks passed.")))
    return rows


def test_both_commands_write_the_same_rows(stock, ours):
    assert ours == stock


def test_both_commands_leave_the_same_notebooks(stock, graded_course, written_course):
    for student in stock:
        assert written_course.graded(student) == graded_course.graded(student), student


def test_right_half_right_wrong_and_unattempted_are_told_apart(stock):
    full, half = stock["warns"]["grades"], stock["half"]["grades"]
    assert {cell: full[cell][0] for cell in POINTS} == POINTS
    assert 0 < half["softmax-check"][0] < POINTS["softmax-check"]
    assert zeros(stock, "untouched") == set(POINTS)


def test_a_hostile_submission_earns_nothing(stock):
    assert zeros(stock, "hostile") == set(POINTS)
    assert not any(waits for _, _, waits in stock["hostile"]["grades"].values())


def test_a_cell_that_ends_the_process_earns_nothing(stock):
    assert zeros(stock, "leaves") == set(POINTS)


def test_outputs_that_a_student_forged_are_not_there(graded_course):
    for cell in graded_course.graded("hostile").cells:
        if cell.id.endswith("-check"):
            assert [o.output_type for o in cell.outputs] == ["stream", "execute_result"]
            assert cell.outputs[1].data == {"text/plain": "0.0"}
            assert "check(" in cell.source


def test_a_late_penalty_is_taken(stock):
    assert stock["late"]["penalty"] == stock["late"]["score"] > 0
    assert stock["half"]["penalty"] == 0


def test_what_a_person_gave_stays_and_writing_again_changes_nothing(course_copy):
    with course_copy.book() as book:
        grade = book.find_grade("softmax-check", NAME, NAME, "half")
        grade.manual_score, grade.needs_manual_grade = 2.9, False
        book.find_comment("softmax-answer", NAME, NAME, "half").manual_comment = "Nearly."
        book.db.commit()
    before = course_copy.rows()
    course_copy.write_again("half")
    assert course_copy.rows() == before
    course_copy.write_again("half", regrade=True)
    after = course_copy.rows()["half"]
    assert after["grades"]["softmax-check"][1:] == [2.9, True], "as nbgrader --force leaves it"
    assert after["comments"]["softmax-answer"] == [None, "Nearly."]


def test_a_newer_notebook_replaces_the_older_rows(course_copy):
    config = gradebook.course_config(course_copy.folder)
    newer = replace(submission("warns", course_copy), student="untouched")
    with gradebook.Writer(config) as writer:
        writer.write(newer, results(newer))
    grades = course_copy.rows()["untouched"]["grades"]
    assert {cell: grades[cell][0] for cell in POINTS} == POINTS


def test_a_student_whom_the_gradebook_does_not_know_is_added(course_copy):
    config = gradebook.course_config(course_copy.folder)
    sent = replace(submission("warns", course_copy), student="newcomer")
    with gradebook.Writer(config) as writer:
        writer.write(sent, results(sent))
    expected = course_copy.rows()["warns"]
    assert course_copy.rows()["newcomer"] == expected


def test_our_fault_is_never_a_score_and_waits_for_a_person(course_copy):
    config = gradebook.course_config(course_copy.folder)
    sent = submission("warns", course_copy)
    with gradebook.Writer(config) as writer:
        writer.write(sent, results(sent, "our fault", None))
    grades = course_copy.rows()["warns"]["grades"]
    assert {tuple(grades[cell]) for cell in POINTS} == {(None, None, True)}
    told = [c.outputs for c in course_copy.graded("warns").cells if c.id.endswith("-check")]
    assert {outputs[0].output_type for outputs in told} == {"error"}


def test_an_exercise_that_nobody_graded_waits_for_a_person(course_copy):
    config = gradebook.course_config(course_copy.folder)
    sent = submission("warns", course_copy)
    with gradebook.Writer(config) as writer:
        writer.write(sent, results(sent)[1:])
    assert course_copy.rows()["warns"]["grades"]["softmax-check"] == [None, None, True]


def test_when_the_sandbox_fails_inside_nbgrader_nobody_gets_a_point(sent_course, tmp_path):
    course = sent_course.copied(tmp_path / "course")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("git", "uname"):
        if shutil.which(name):
            (tools / name).symlink_to(shutil.which(name))
    course.environment["PATH"] = str(tools)
    course.nbgrader("autograde", NAME, "--student", "warns")
    grades = course.rows()["warns"]["grades"]
    assert {tuple(grades[cell]) for cell in POINTS} == {(None, None, True)}


def test_a_score_without_a_sandbox_says_so(course_copy):
    notebook = nbformat.from_dict(submission("warns", course_copy).notebook)
    sent = submission("warns", course_copy)
    fill(notebook, {row.exercise: Verdict.of(row) for row in results(sent, sandbox="none")})
    told = [c.outputs[0].text for c in notebook.cells if c.id.endswith("-check")]
    assert len(told) == len(POINTS) and all(UNBOXED in text for text in told)


def test_a_locked_gradebook_is_one_sentence_and_nothing_is_written(course_copy):
    config = gradebook.course_config(course_copy.folder)
    sent = submission("warns", course_copy)
    before = course_copy.rows(), course_copy.graded("warns")
    with gradebook.Writer(config) as writer:
        writer.book.db.connection().exec_driver_sql("pragma busy_timeout = 100")
        writer.book.db.commit()
        holder = sqlite3.connect(course_copy.folder / "_grading" / "gradebook.db")
        holder.execute("begin exclusive")
        with pytest.raises(gradebook.GradebookError, match="another program holds it"):
            writer.write(sent, results(sent, "wrong", 0.0))
        holder.close()
    assert (course_copy.rows(), course_copy.graded("warns")) == before


def test_an_assignment_that_the_gradebook_does_not_know_is_named(course_copy):
    os.remove(course_copy.folder / "_grading" / "gradebook.db")
    sent = submission("warns", course_copy)
    with gradebook.Writer(gradebook.course_config(course_copy.folder)) as writer:
        with pytest.raises(gradebook.GradebookError, match="generate_assignment attention"):
            writer.write(sent, results(sent, "wrong", 0.0))


def test_a_folder_without_a_course_is_named(tmp_path):
    with pytest.raises(gradebook.GradebookError, match=r"nbgrader_config\.py"):
        gradebook.course_config(tmp_path)


SAID = [
    ("It raised ValueError: 4 (line 3 of its cell)", "It raised ValueError (line 3 of its cell)."),
    (
        "It raised ValueError: 4 (line 3 of rotary's cell)",
        "It raised ValueError (line 3 of rotary's cell).",
    ),
    ("It raised ValueError: 4 (line 3 of secret's cell)", "It raised ValueError."),
    (
        "It raised ValueError: 4 (line 3 of another cell)",
        "It raised ValueError (line 3 of another cell).",
    ),
    ("It raised ValueError: 7 of 7 hidden checks passed. abc", "It raised ValueError."),
    ("It raised A0x123B: no", "It raised an error."),
    ("It calls 0.1 4.56, which …", "It calls a function, which answers the exercise for you."),
    ("It calls log_softmax, …", "It calls log_softmax, which answers the exercise for you."),
    ("“no-scale”: the scores are not scaled.", "“no-scale”: the scores are not scaled."),
]


@pytest.mark.parametrize(("says", "shown"), SAID)
@pytest.mark.parametrize("opening", ["", "2 of 7 hidden checks passed. "])
def test_what_student_code_said_about_a_hidden_case_is_not_shown(says, shown, opening):
    assert for_student("attention.softmax", opening + says, {"rotary"}) == opening + shown


def test_no_number_of_a_hidden_input_is_in_a_graded_notebook_or_its_feedback(graded_course):
    sent = submission("hostile", graded_course)
    secret = course_secret(graded_course.folder)
    texts = nbformat.writes(graded_course.graded("hostile")) + graded_course.page("hostile")
    shown = set(re.findall(r"\d+\.\d+", texts))
    assert "It raised ValueError" in texts or "It raised an error" in texts, "it was tried"
    for exercise in exercises(NAME).values():
        for case in hidden_cases(exercise, seed_for(secret, exercise.id, sent.hash)):
            assert not shown & drawn(case), f"{exercise.id}: {case.situation}"


def drawn(case) -> set:
    """The numbers of a case's inputs and answers, each as Python would print it."""
    parts = [*case.inputs.values(), case.expected]
    parts = [p for part in parts for p in (part if isinstance(part, tuple) else [part])]
    tensors = [p for p in parts if isinstance(p, torch.Tensor) and p.is_floating_point()]
    values = {abs(v) for t in tensors for v in t.flatten().tolist() if math.isfinite(v)}
    return {str(v) for v in values if len(str(v)) > 5}
