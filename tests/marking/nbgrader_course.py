"""A course folder of its own for tests that go through real nbgrader.

It holds copies of nbgrader_config.py and the master, nothing else of the repository.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

from marking.registry import exercises

ROOT = Path(__file__).resolve().parents[2]
NAME = "attention"
MASTER = ROOT / "solutions" / NAME / f"{NAME}.ipynb"
RELEASE = ROOT / "chapters" / "exercises" / NAME / f"{NAME}.ipynb"
POINTS = {f"{e.name}-check": e.points for e in exercises(NAME).values()}

LATE = '\nc.LateSubmissionPlugin.penalty_method = "zero"\n'


class Course:
    """A course folder of its own, with what nbgrader said and did there."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = {
            **os.environ,
            "CLEARHEAD_PROGRESS": str(folder / "progress.json"),
            "OMP_NUM_THREADS": "1",
        }
        self.environment.pop("CLEARHEAD_SECRET_FILE", None)
        if not folder.exists():
            (folder / "solutions" / NAME).mkdir(parents=True)
            config = (ROOT / "nbgrader_config.py").read_text(encoding="utf-8")
            (folder / "nbgrader_config.py").write_text(config + LATE, encoding="utf-8")
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
        folder.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, folder / f"{NAME}.ipynb")

    def hand_in_late(self, student: str) -> None:
        """The assignment was due a day before this student's notebook came."""
        with self.book() as book:
            book.update_or_create_assignment(NAME, duedate="2026-01-01 12:00:00 UTC")
        folder = self.folder / "_grading" / "submitted" / student / NAME
        (folder / "timestamp.txt").write_text("2026-01-02 12:00:00 UTC\n")

    def copied(self, folder: Path) -> "Course":
        """The same course in another folder."""
        shutil.copytree(self.folder, folder)
        return Course(folder)

    def write_rows(self, *options: str) -> str:
        """Grade and write the gradebook by `clearhead grade`."""
        return self.python("-m", "marking", "grade", NAME, "--workers", "1", *options)

    def write_again(self, student: str, *, regrade: bool = False) -> None:
        """Write the gradebook from the rows that `clearhead grade` stored."""
        from marking.grading import gradebook, intake
        from marking.grading.store import Store

        path = self.folder / "_grading" / "submitted" / student / NAME / f"{NAME}.ipynb"
        release = json.loads(RELEASE.read_text(encoding="utf-8"))
        sent = intake.rebuild(path.read_bytes(), release, student, NAME)
        with Store(self.folder / "_grading" / "results.db") as store:
            rows = [row for row in store.rows(NAME) if row.student == student]
        config = gradebook.course_config(self.folder)
        gradebook.write(sent, rows, config, regrade=regrade)
        gradebook.close()

    def book(self):
        from nbgrader.api import Gradebook

        return Gradebook(f"sqlite:///{self.folder / '_grading' / 'gradebook.db'}", "clearhead")

    def rows(self) -> dict:
        """Student → what the gradebook holds of that submission."""
        with self.book() as book:
            return {s.student.id: _row(s) for s in book.assignment_submissions(NAME)}

    def grades(self) -> dict:
        """Student → cell → [points, waits for a person]."""
        return {
            student: {cell: [auto, waits] for cell, (auto, _, waits) in row["grades"].items()}
            for student, row in self.rows().items()
        }

    def graded(self, student: str):
        path = self.folder / "_grading" / "autograded" / student / NAME / f"{NAME}.ipynb"
        return nbformat.read(path, as_version=4)

    def page(self, student: str) -> str:
        path = self.folder / "_grading" / "feedback" / student / NAME / f"{NAME}.html"
        return path.read_text(encoding="utf-8")


def _row(sent) -> dict:
    return {
        "timestamp": str(sent.timestamp),
        "score": sent.score,
        "penalty": sent.late_submission_penalty,
        "grades": {
            g.name: [g.auto_score, g.manual_score, g.needs_manual_grade]
            for notebook in sent.notebooks
            for g in notebook.grades
        },
        "comments": {
            c.name: [c.auto_comment, c.manual_comment]
            for notebook in sent.notebooks
            for c in notebook.comments
        },
    }


def answer(notebook, name: str, source: str) -> None:
    """Put a learner's code into an answer cell."""
    next(c for c in notebook.cells if c.id == f"{name}-answer").source = source.strip()


def points(grades: dict, student: str) -> dict:
    return {cell: score for cell, (score, _) in grades[student].items() if cell in POINTS}
