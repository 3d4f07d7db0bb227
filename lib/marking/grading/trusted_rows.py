"""The gradebook's rows of what the sandbox found: nbgrader's own, made without torch or a sandbox.

`clearhead grade` writes them for a whole class, `nbgrader autograde` as its last preprocessor.
"""

from pathlib import Path

from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import SaveAutoGrades
from nbgrader.utils import parse_utc

from marking.grading.seed import FOR_A_PERSON


class SaveTrustedGrades(SaveAutoGrades):
    """nbgrader's rows, but a cell that waits for a person says so instead of counting as zero."""

    def _add_score(self, cell, resources) -> None:
        super()._add_score(cell, resources)
        if cell.metadata.nbgrader.get("solution"):
            return
        status = (cell.metadata.get("clearhead") or {}).get("status")
        # Without a status there is no verdict of ours: nobody vouches for such outputs.
        if status is None or status in FOR_A_PERSON:
            name = cell.metadata.nbgrader["grade_id"]
            grade = self.gradebook.find_grade(
                name, self.notebook_id, self.assignment_id, self.student_id
            )
            has_score = status == "needs a look" and not _is_error(cell)
            grade.auto_score = grade.auto_score if has_score else None
            grade.needs_manual_grade = True
            self.gradebook.db.commit()


def _is_error(cell) -> bool:
    return any(output.output_type == "error" for output in cell.get("outputs", ()))


TIMESTAMP = "timestamp.txt"
NO_TIME = f"its {TIMESTAMP} holds no time that can be read, so none was taken from it"


def submitted_at(course: CourseDirectory, student: str, assignment: str):
    """The time in the submission's `timestamp.txt`, its text, and what to tell the staff.

    The student may have written that file: one that cannot be read gives no time, and a note.
    """
    folder = Path(course.format_path(course.submitted_directory, student, assignment))
    path = folder / TIMESTAMP
    if not path.is_file() or path.is_symlink():
        return None, "", ()
    try:
        text = path.read_text(encoding="utf-8")[:100].strip()
        return parse_utc(text), text, ()
    except Exception:  # dateutil raises much, nbgrader does not say what
        return None, "", (NO_TIME,)


def keep_timestamp(course: CourseDirectory, student: str, assignment: str) -> None:
    """Put the time of submission beside the graded notebook: nbgrader compares the two to see
    that a newer one has come."""
    _, text, _ = submitted_at(course, student, assignment)
    folder = Path(course.format_path(course.autograded_directory, student, assignment))
    if text:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / TIMESTAMP).unlink(missing_ok=True)
        (folder / TIMESTAMP).write_text(f"{text}\n", encoding="utf-8")
