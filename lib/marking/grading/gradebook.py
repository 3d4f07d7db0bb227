"""Results into the ordinary nbgrader gradebook, without its converters and without a kernel.

The rows and the notebook in `autograded/` are those that `nbgrader autograde` would have written:
nbgrader's own preprocessors decide the scores, on rows that are read once a submission instead of
once a cell. Manual grades, extra credit and comments that a person has given stay.
"""

import contextlib
import logging
import os
import stat
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import nbformat
from nbgrader.api import Gradebook, MissingEntry, SubmittedNotebook
from nbgrader.coursedir import CourseDirectory
from nbgrader.plugins import BasePlugin
from nbgrader.preprocessors import AssignLatePenalties
from traitlets.config import Config, PyFileConfigLoader

from marking.grading.gradebook_session import (
    KEPT,
    AtHand,
    GradebookError,
    Points,
    absent,
    explained,
    one_commit,
    points,
)
from marking.grading.outputs import fill, verdicts
from marking.grading.trusted_rows import SaveTrustedGrades, keep_timestamp, submitted_at

CONFIG = "nbgrader_config.py"


def course_config(root: Path) -> Config:
    """The course's nbgrader configuration. Raises `GradebookError` if there is none or it fails."""
    if not (root / CONFIG).is_file():
        raise GradebookError(f"There is no {CONFIG} in {root.name or root}: start in the course.")
    try:
        return PyFileConfigLoader(CONFIG, path=str(root)).load_config()
    except Exception as error:  # it is a program
        said = f"{type(error).__name__}: {error}"
        raise GradebookError(f"{root / CONFIG} cannot be run: {said}. Mend it.") from None


class Writer:
    """One open gradebook. Use as a context manager, or `close` it."""

    def __init__(self, config: Config):
        self.config = config
        self.course = CourseDirectory(config=config)
        self.save = SaveTrustedGrades(config=config)
        self.late = AssignLatePenalties(config=config)
        for part in (self.save, self.late):
            part.log = logging.getLogger("marking.gradebook")
            part.log.setLevel(logging.ERROR)

    @cached_property
    def book(self) -> Gradebook:
        return Gradebook(self.course.db_url, self.course.course_id)

    def expect(self, assignment: str) -> None:
        """Raises `GradebookError` if the gradebook cannot be read or lacks the assignment."""
        with explained(), _known(assignment):
            self.book.find_assignment(assignment)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        if "book" in self.__dict__:
            self.__dict__.pop("book").close()

    def write(self, submission, graded: Iterable, *, regrade: bool = False) -> tuple[str, ...]:
        """One submission's rows, all or none, then its notebook; notes for the staff.

        What is already written is left alone, a person's work on it included; `regrade` writes it
        again, as `nbgrader autograde --force` does. Raises `GradebookError` if the gradebook is
        locked or damaged, the disk full, or the assignment unknown.
        """
        notebook = nbformat.from_dict(submission.notebook)
        fill(notebook, verdicts(graded))
        when, _, notes = submitted_at(self.course, submission.student, submission.assignment)
        with explained(submission.student), _known(submission.assignment):
            if not regrade and self._is_written(submission, notebook, when):
                return notes
            self._rows(submission, notebook, when)
        self._file(submission, notebook)
        return notes

    def points(self, assignment: str) -> list[Points]:
        """What every student has by now, by student."""
        with explained():
            return points(self.book, assignment)

    def _path(self, submission) -> Path:
        names = submission.student, submission.assignment
        folder = Path(self.course.format_path(self.course.autograded_directory, *names))
        return folder / f"{submission.assignment}.ipynb"

    def _is_written(self, submission, notebook, when) -> bool:
        """The same notebook lies there, and its rows and time of submission are in the book."""
        path = self._path(submission)
        try:
            if path.read_text(encoding="utf-8") != _text(notebook):
                return False
        except (OSError, UnicodeDecodeError):  # not there, or half of something
            return False
        try:
            sent = self.book.find_submission(submission.assignment, submission.student)
        except MissingEntry:
            return False
        return sent.timestamp == when

    def _rows(self, submission, notebook, when) -> None:
        student, assignment = submission.student, submission.assignment
        book = self.book
        with one_commit(book):
            book.update_or_create_student(student)
            known = {"timestamp": when} if when else {}
            sent = book.update_or_create_submission(assignment, student, **known)
            for row in sent.notebooks:
                if row.name == assignment:
                    self._notebook_rows(row, notebook)
                else:
                    absent(row)

    def _notebook_rows(self, row: SubmittedNotebook, notebook) -> None:
        """What SaveAutoGrades and AssignLatePenalties do, on rows that are at hand."""
        self.save.gradebook = AtHand(row)
        self.save.notebook_id, self.save.assignment_id = row.name, row.assignment.name
        self.save.student_id = row.student.id
        for index, cell in enumerate(notebook.cells):
            self.save.preprocess_cell(cell, {}, index)
        self.book.db.flush()
        self.book.db.expire(row)
        row.late_submission_penalty = None
        seconds = row.assignment.total_seconds_late
        if seconds > 0:
            self.late.init_plugin()
            plugin: BasePlugin = self.late.plugin_inst
            penalty = plugin.late_submission_penalty(row.student.id, row.score, seconds)
            if penalty is not None:
                row.late_submission_penalty = self.late._check_late_penalty(row, penalty)

    def _file(self, submission, notebook) -> None:
        """The graded notebook, as a whole or not at all; read-only as nbgrader leaves it."""
        path = self._path(submission)
        fresh = path.with_suffix(".new")
        try:
            keep_timestamp(self.course, submission.student, submission.assignment)
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh.unlink(missing_ok=True)
            fresh.write_text(_text(notebook), encoding="utf-8")
            shared = stat.S_IWUSR | stat.S_IWGRP if self.course.groupshared else 0
            fresh.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH | shared)
            os.replace(fresh, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise GradebookError(
                f"The graded notebook of {submission.student} was not written: {error.strerror}. "
                f"{KEPT}"
            ) from None


@contextlib.contextmanager
def _known(assignment: str):
    """An assignment, or a cell of it, that the gradebook lacks becomes one sentence."""
    try:
        yield
    except MissingEntry:
        raise GradebookError(
            f"The gradebook does not know {assignment} as it is now: run 'make release', or "
            f"'nbgrader generate_assignment {assignment} --force', and then this again."
        ) from None


def _text(notebook) -> str:
    return nbformat.writes(notebook) + "\n"


_open: dict[str, Writer] = {}


def write(submission, graded: Iterable, config: Config, *, regrade: bool = False) -> None:
    """The rows and the graded notebook of one submission; again is the same as once.

    The gradebook is opened at the first call and stays open until `close`.
    """
    url = CourseDirectory(config=config).db_url
    if url not in _open:
        _open[url] = Writer(config)
    _open[url].write(submission, graded, regrade=regrade)


def close() -> None:
    """Close every gradebook that `write` opened."""
    while _open:
        _open.popitem()[1].close()
