"""The gradebook's rows of what the sandbox found: nbgrader's own, made without torch or a sandbox.

`clearhead grade` writes them for a whole class, `nbgrader autograde` as its last preprocessor.
"""

from pathlib import Path

from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import SaveAutoGrades

from marking.grading.outputs import LOOK


class SaveTrustedGrades(SaveAutoGrades):
    """nbgrader's rows, but a cell that waits for a person says so instead of counting as zero."""

    def _add_score(self, cell, resources) -> None:
        super()._add_score(cell, resources)
        if cell.metadata.nbgrader.get("solution"):
            return
        status = (cell.metadata.get("clearhead") or {}).get("status")
        if status is None or status in LOOK:  # no verdict of ours: outputs that nobody vouches for
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


def keep_timestamp(course: CourseDirectory, student: str, assignment: str) -> None:
    """Put the time of submission beside the graded notebook: nbgrader compares the two to see
    that a newer one has come."""
    source, target = (
        Path(course.format_path(folder, student, assignment)) / "timestamp.txt"
        for folder in (course.submitted_directory, course.autograded_directory)
    )
    if source.is_file() and not source.is_symlink():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.write_text(source.read_text(encoding="utf-8")[:100], encoding="utf-8")
