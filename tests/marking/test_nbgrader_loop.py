"""The teacher's loop through real nbgrader: generate, autograde, feedback, export.

Everything happens in a temporary course that holds copies of nbgrader_config.py and the master.
One gradebook and one autograde call serve all students: nbgrader takes seconds for each.
"""

import csv
import importlib.util
import json
import shutil

import nbformat
import pytest
from tests.marking.nbgrader_course import NAME, POINTS, RELEASE, points

from marking.registry import find

pytestmark = [
    pytest.mark.bubblewrap,
    pytest.mark.skipif(
        importlib.util.find_spec("nbgrader") is None,
        reason="nbgrader is not installed: pip install -e '.[grade]'",
    ),
]


@pytest.fixture(scope="module")
def course(graded_course):
    return graded_course


@pytest.fixture(scope="module")
def grades(course) -> dict:
    return course.grades()


def errors(notebook) -> list[str]:
    return [
        f"{cell.id}: {output.ename}: {output.evalue}"
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "error"
    ]


def test_the_committed_release_is_byte_identical_to_a_fresh_one(course):
    fresh = course.folder / "chapters" / "exercises" / NAME / RELEASE.name
    assert fresh.read_bytes() == RELEASE.read_bytes(), "run `make release`"
    assert [p.name for p in fresh.parent.iterdir()] == [RELEASE.name]


def test_the_master_scores_full_marks(grades):
    assert points(grades, "master") == POINTS
    waiting = [cell for cell, (_, waits) in grades["master"].items() if waits]
    assert waiting == ["why_faster-answer"]


def test_the_untouched_release_scores_zero_and_waits_for_nobody(course, grades):
    assert points(grades, "untouched") == dict.fromkeys(POINTS, 0.0)
    waiting = {cell for cell, (_, waits) in grades["untouched"].items() if waits}
    assert waiting <= {"why_faster-answer"}
    assert not errors(course.graded("untouched"))


def test_a_half_right_submission_gets_part_of_the_points(grades):
    scores = points(grades, "half")
    count = len(find("attention.softmax").cases)
    share = (count - 1) / count  # one situation fails
    assert scores["softmax-check"] == pytest.approx(POINTS["softmax-check"] * share, abs=0.006)
    assert 0 < scores["causal_mask-check"] < POINTS["causal_mask-check"]
    others = set(POINTS) - {"softmax-check", "causal_mask-check"}
    assert {scores[cell] for cell in others} == {0.0}


def test_a_right_answer_that_writes_on_stderr_keeps_its_marks(course, grades):
    assert points(grades, "warns") == POINTS
    answered = next(c for c in course.graded("warns").cells if c.id == "softmax-answer")
    assert "file=sys.stderr" in answered.source


def test_grading_leaves_the_graders_own_progress_alone(course, grades):
    assert not (course.folder / "progress.json").exists()


def test_feedback_shows_each_student_what_was_scored(course, grades):
    for student in grades:
        text = course.page(student)
        assert "1 · Softmax that cannot overflow</a> (" in text and "Test cell" not in text
        waits = sum(waits for _, waits in grades[student].values())
        assert ("still to be graded by a person" in text) == bool(waits)
    assert "(2 points, waits for a person)" in course.page("master")
    assert "nan-on-empty" in course.page("half"), "the mistake is named"


def test_export_writes_a_row_for_each_student(course, grades):
    course.nbgrader("export")
    with open(course.folder / "_grading" / "grades.csv", encoding="utf-8") as file:
        rows = {row["student_id"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(grades)
    for student, row in rows.items():
        assert row["assignment"] == NAME
        earned = 0 if student == "late" else sum(points(grades, student).values())
        assert float(row["score"]) == pytest.approx(earned)
        assert float(row["max_score"]) == sum(POINTS.values()) + 2  # the answer in words


def test_the_unattempted_notebook_runs_to_the_end(course):
    shutil.copy(RELEASE, course.folder / "mine.ipynb")
    options = ("--to", "notebook", "--execute", "--inplace")
    course.python("-m", "nbconvert", *options, "mine.ipynb")
    notebook = nbformat.read(course.folder / "mine.ipynb", as_version=4)
    assert not errors(notebook)
    for cell in notebook.cells:
        if cell.id.endswith("-check"):
            said = json.dumps(cell.outputs)
            assert "not written yet" in said, f"{cell.id} does not say what to do"
