"""The sandbox inside `nbgrader autograde`: preprocessors that stand where `Execute` stood.

nbgrader starts a kernel and believes what is printed in it. `TrustedGrade` takes the student's
cells, has each exercise judged in the sandbox, and writes the grade cells' outputs itself; the rest
of nbgrader reads them as it always did.
"""

import json
from pathlib import Path

import nbformat
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import NbGraderPreprocessor, SaveAutoGrades
from traitlets import Bool

from marking.grading import intake
from marking.grading.driver import tasks_of
from marking.grading.graded import Graded, Task
from marking.grading.job import grade_task
from marking.grading.outputs import LOOK, Verdict, fill
from marking.grading.secret import course_secret


class _OfTheCourse(NbGraderPreprocessor):
    """A preprocessor that knows where the course's folders are."""

    def course(self) -> CourseDirectory:
        return CourseDirectory(config=self.config)

    def submission(self, resources) -> "intake.Submission":
        """What the student handed in, its answers on the release's skeleton.

        It is read from the submitted file, never from a notebook that something has changed since:
        the hidden cases depend on its hash. Raises `intake.Unreadable`.
        """
        names = resources["nbgrader"]
        course, assignment = self.course(), names["assignment"]
        file = f"{names['notebook']}.ipynb"
        release = Path(course.format_path(course.release_directory, ".", assignment)) / file
        sent = Path(course.format_path(course.submitted_directory, names["student"], assignment))
        return intake.rebuild(
            (sent / file).read_bytes(),
            json.loads(release.read_text(encoding="utf-8")),
            names["student"],
            assignment,
        )


class Rebuild(_OfTheCourse):
    """First of the sanitizers: a damaged notebook becomes the release with its answers in it."""

    def preprocess(self, notebook, resources):
        submission = self.submission(resources)
        for note in submission.notes:
            self.log.warning("%s: %s", submission.student, note)
        keep_timestamp(self.course(), submission.student, submission.assignment)
        return nbformat.from_dict(submission.notebook), resources


class TrustedGrade(_OfTheCourse):
    """In place of `Execute`: judge every exercise in the sandbox and write what it is worth."""

    sandboxed = Bool(
        True, help="False grades without a sandbox, which is stamped on every score"
    ).tag(config=True)

    def preprocess(self, notebook, resources):
        submission = self.submission(resources)
        secret = course_secret(Path(self.course().root))
        tasks = tasks_of(submission, secret, sandboxed=self.sandboxed)
        rows = [self._grade(task) for task in tasks]
        fill(notebook, {row.exercise: Verdict.of(row) for row in rows})
        return notebook, resources

    def _grade(self, task: Task) -> Graded:
        """What the sandbox says; whatever goes wrong on our side is no score."""
        try:
            row = grade_task(task)
        except Exception as error:
            self.log.exception("%s of %s was not graded", task.exercise, task.student)
            row = task.unscored("our fault", f"{type(error).__name__}: {error}")
        if row.status in LOOK:
            self.log.warning("%s of %s: %s. %s", row.exercise, row.student, row.status, row.note)
        return row


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
