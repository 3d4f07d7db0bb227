"""The sandbox inside `nbgrader autograde`: preprocessors that stand where `Execute` stood.

nbgrader starts a kernel and believes what is printed in it. `TrustedGrade` takes the student's
cells, has each exercise judged in the sandbox, and writes the grade cells' outputs itself; the rest
of nbgrader reads them as it always did.
"""

import json
from pathlib import Path

import nbformat
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Bool

from marking.grading import intake
from marking.grading.driver import tasks_of
from marking.grading.graded import Graded, Task
from marking.grading.job import grade_task
from marking.grading.outputs import fill, verdicts
from marking.grading.secret import course_secret
from marking.grading.seed import FOR_A_PERSON
from marking.grading.trusted_rows import SaveTrustedGrades, keep_timestamp

__all__ = ["Rebuild", "SaveTrustedGrades", "TrustedGrade"]


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
        fill(notebook, verdicts(rows))
        return notebook, resources

    def _grade(self, task: Task) -> Graded:
        """What the sandbox says; whatever goes wrong on our side is no score."""
        try:
            row = grade_task(task)
        except Exception as error:
            self.log.exception("%s of %s was not graded", task.exercise, task.student)
            row = task.unscored("our fault", f"{type(error).__name__}: {error}")
        if row.status in FOR_A_PERSON:
            self.log.warning("%s of %s: %s. %s", row.exercise, row.student, row.status, row.note)
        return row
