"""The teacher's loop through real nbgrader: generate, autograde, feedback, export.

Everything happens in a temporary course that holds copies of nbgrader_config.py and the master.
One gradebook and one autograde call serve all students: nbgrader takes seconds for each.
"""

import copy
import csv
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from marking.registry import exercises

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("nbgrader") is None,
    reason="nbgrader is not installed: pip install -e '.[grade]'",
)

ROOT = Path(__file__).resolve().parents[2]
NAME = "attention"
MASTER = ROOT / "solutions" / NAME / f"{NAME}.ipynb"
RELEASE = ROOT / "chapters" / "exercises" / NAME / f"{NAME}.ipynb"
POINTS = {f"{e.name}-check": e.points for e in exercises(NAME).values()}

READ_GRADES = """
import json, sys
from nbgrader.api import Gradebook
with Gradebook(sys.argv[1]) as book:
    print(json.dumps({
        s.student.id: {
            g.name: [g.auto_score, g.needs_manual_grade]
            for notebook in s.notebooks for g in notebook.grades
        }
        for s in book.assignment_submissions(sys.argv[2])
    }))
"""

NAN_ON_EMPTY = '''
def softmax(x, dim):
    """Right but for a slice that is all -inf."""
    e = torch.exp(x - x.amax(dim=dim, keepdim=True))
    return e / e.sum(dim=dim, keepdim=True)
'''

WARNS = """
import sys
import warnings

quiet_softmax = softmax


def softmax(x, dim):
    warnings.warn("a warning of a library", stacklevel=2)
    print("a line on stderr", file=sys.stderr)
    return quiet_softmax(x, dim)


print("another, when the cell runs", file=sys.stderr)
"""


class Course:
    """A course folder of its own, with what nbgrader said and did there."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = {
            **os.environ,
            "CLEARHEAD_PROGRESS": str(folder / "progress.json"),
            "OMP_NUM_THREADS": "1",
        }
        (folder / "solutions" / NAME).mkdir(parents=True)
        shutil.copy(ROOT / "nbgrader_config.py", folder)
        shutil.copy(MASTER, folder / "solutions" / NAME)

    def python(self, *arguments: str) -> str:
        run = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-6000:]
        return run.stdout

    def nbgrader(self, *arguments: str) -> None:
        self.python("-m", "nbgrader", *arguments)

    def submit(self, student: str, notebook) -> None:
        folder = self.folder / "_grading" / "submitted" / student / NAME
        folder.mkdir(parents=True)
        nbformat.write(notebook, folder / f"{NAME}.ipynb")

    def grades(self) -> dict:
        """Student → cell → [points, waits for a person]."""
        book = f"sqlite:///{self.folder / '_grading' / 'gradebook.db'}"
        return json.loads(self.python("-c", READ_GRADES, book, NAME))

    def graded(self, student: str):
        path = self.folder / "_grading" / "autograded" / student / NAME / f"{NAME}.ipynb"
        return nbformat.read(path, as_version=4)


def answer(notebook, name: str, source: str) -> None:
    """Put a learner's code into an answer cell."""
    next(c for c in notebook.cells if c.id == f"{name}-answer").source = source.strip()


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Course:
    made = Course(tmp_path_factory.mktemp("course"))
    made.nbgrader("generate_assignment", NAME)
    master = nbformat.read(MASTER, as_version=4)
    release = nbformat.read(made.folder / "chapters/exercises" / NAME / f"{NAME}.ipynb", 4)

    half = copy.deepcopy(release)
    answer(half, "softmax", NAN_ON_EMPTY)
    answer(half, "causal_mask", "def causal_mask(T, S):\n    return torch.ones(T, S).tril() == 1")

    warns = copy.deepcopy(release)
    for cell in master.cells:
        if cell.id.endswith("-answer") and cell.cell_type == "code":
            warn = WARNS if cell.id == "softmax-answer" else ""
            answer(warns, cell.id.removesuffix("-answer"), cell.source + "\n" + warn)

    made.submit("master", master)
    made.submit("untouched", release)
    made.submit("half", half)
    made.submit("warns", warns)
    made.nbgrader("autograde", NAME)
    return made


@pytest.fixture(scope="module")
def grades(course) -> dict:
    return course.grades()


def points(grades: dict, student: str) -> dict:
    return {cell: score for cell, (score, _) in grades[student].items() if cell in POINTS}


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
    assert scores["softmax-check"] == pytest.approx(POINTS["softmax-check"] * 6 / 7, abs=0.005)
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
    course.nbgrader("generate_feedback", NAME)
    for student in grades:
        page = course.folder / "_grading" / "feedback" / student / NAME / f"{NAME}.html"
        text = page.read_text(encoding="utf-8")
        assert "softmax-check" in text and "(Score: " in text
    half = course.folder / "_grading" / "feedback" / "half" / NAME / f"{NAME}.html"
    assert "nan-on-empty" in half.read_text(encoding="utf-8"), "the mistake is named"


def test_export_writes_a_row_for_each_student(course, grades):
    course.nbgrader("export")
    with open(course.folder / "_grading" / "grades.csv", encoding="utf-8") as file:
        rows = {row["student_id"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"master", "untouched", "half", "warns"}
    for student, row in rows.items():
        assert row["assignment"] == NAME
        assert float(row["score"]) == pytest.approx(sum(points(grades, student).values()))
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
