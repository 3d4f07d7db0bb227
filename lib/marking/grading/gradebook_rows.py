"""The rows of nbgrader's gradebook as an LMS wants to know them.

Everything comes from the gradebook and the graded notebooks beside it, so manual grades, extra
credit and late penalties count, and it does not matter which command graded.
"""

from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config

from marking.errors import CourseError
from marking.grading.gradebook_session import explained
from marking.grading.outputs import UNBOXED

WAITS = "Part of it waits for a person; these are the points so far."


class ExportError(CourseError):
    """There is nothing to export, or it cannot be written."""


@dataclass(frozen=True)
class Part:
    """One grade cell of one student: `score` is None while our fault leaves it without one."""

    name: str
    score: float | None
    most: float
    says: str
    sandboxed: bool
    waits: bool


@dataclass(frozen=True)
class Row:
    """One student's submission as an LMS wants to know it; `score` is after the late penalty."""

    student: str
    first_name: str
    last_name: str
    email: str
    lms_id: str
    score: float
    most: float
    penalty: float
    parts: tuple[Part, ...]

    @property
    def full_name(self) -> str:
        return " ".join(filter(None, (self.first_name, self.last_name))) or self.student

    @property
    def sortable_name(self) -> str:
        return ", ".join(filter(None, (self.last_name, self.first_name))) or self.student

    @property
    def has_score(self) -> bool:
        """No part of it is without a score by our fault."""
        return all(part.score is not None for part in self.parts)

    @property
    def stamps(self) -> list[str]:
        """What has to be said beside the points."""
        unboxed = not all(part.sandboxed for part in self.parts)
        waits = any(part.waits for part in self.parts)
        return [UNBOXED] * unboxed + [WAITS] * waits


def number(value: float) -> str:
    """Points as an LMS reads them: 3, 2.5."""
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"


def only_assignment(config: Config) -> str:
    """The one assignment that has submissions. Raises `ExportError` if there are several, or none,
    and `GradebookError` if the gradebook cannot be read."""
    course = CourseDirectory(config=config)
    with explained(), Gradebook(course.db_url, course.course_id) as book:
        names = [a.name for a in book.assignments if book.assignment_submissions(a.name)]
    if len(names) > 1:
        raise ExportError(
            f"Which assignment: {' or '.join(sorted(names))}? Say --assignment {sorted(names)[0]}."
        )
    if not names:
        raise ExportError("Nothing has been graded yet: 'clearhead grade' first.")
    return names[0]


def rows(config: Config, assignment: str) -> list[Row]:
    """Every submission of an assignment, by student. Raises `ExportError` if there is none, and
    `GradebookError` if the gradebook cannot be read."""
    course = CourseDirectory(config=config)
    with explained(), Gradebook(course.db_url, course.course_id) as book:
        try:
            book.find_assignment(assignment)
        except MissingEntry:
            known = ", ".join(a.name for a in book.assignments) or "nothing"
            raise ExportError(f"The gradebook has no {assignment}; it has {known}.") from None
        sent = sorted(book.assignment_submissions(assignment), key=lambda s: s.student.id)
        found = [_row(course, submission) for submission in sent]
    if not found:
        raise ExportError(f"Nobody's {assignment} has been graded yet: 'clearhead grade' first.")
    return found


def _row(course: CourseDirectory, submission) -> Row:
    student = submission.student
    penalty = submission.late_submission_penalty or 0.0
    folder = Path(
        course.format_path(course.autograded_directory, student.id, submission.assignment.name)
    )
    parts = []
    for notebook in submission.notebooks:
        said = _said(folder / f"{notebook.name}.ipynb")
        grades = {grade.name: grade for grade in notebook.grades}
        order = [name for name in said if name in grades] or sorted(grades)
        parts += [_part(grades[name], said.get(name)) for name in order]
    return Row(
        student=student.id,
        first_name=student.first_name or "",
        last_name=student.last_name or "",
        email=student.email or "",
        lms_id=student.lms_user_id or "",
        score=round(max(submission.score - penalty, 0.0), 2),
        most=submission.max_score,
        penalty=round(penalty, 2),
        parts=tuple(parts),
    )


def _said(path: Path) -> dict[str, tuple[str, str | None]]:
    """Grade cell → what its outputs say, and the sandbox that it was graded in."""
    if not path.is_file():
        return {}
    told = {}
    for cell in nbformat.read(path, as_version=4).cells:
        data = cell.metadata.get("nbgrader") or {}
        if data.get("grade"):
            outputs = cell.get("outputs", [])
            text = "".join(o.get("text", "") or o.get("evalue", "") for o in outputs)
            box = (cell.metadata.get("clearhead") or {}).get("sandbox")
            told[data["grade_id"]] = text.strip(), box
    return told


def _part(grade, said: tuple[str, str | None] | None) -> Part:
    text, box = said or ("", None)
    by_hand = grade.manual_score is not None
    code = grade.cell.cell_type == "code"
    missing = code and grade.auto_score is None and not by_hand
    return Part(
        name=grade.name,
        score=None if missing else grade.score,
        most=grade.max_score,
        says=text,
        sandboxed=by_hand or not code or box == "bubblewrap",
        waits=grade.needs_manual_grade,
    )
