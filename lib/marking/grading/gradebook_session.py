"""One submission's rows of nbgrader's gradebook: read once, committed once.

nbgrader's own code asks the database for every cell and commits after it. Here it is handed a
stand-in for the gradebook that has the rows at hand, so that what it decides is the same.
"""

import contextlib
import logging
import sqlite3
from typing import NamedTuple

from nbgrader.api import Grade, Gradebook, InvalidEntry, MissingEntry, SubmittedNotebook
from sqlalchemy.exc import SQLAlchemyError

from marking.errors import CourseError
from marking.grading.store import FULL, HELD

REASONS = {
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_IOERR: FULL,
    sqlite3.SQLITE_BUSY: HELD,
    sqlite3.SQLITE_LOCKED: HELD,
    sqlite3.SQLITE_READONLY: "it may not be written: see its owner and its permissions",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: see its folder, and whether there is room",
    sqlite3.SQLITE_CORRUPT: "it is damaged: put a copy of it in its place",
    sqlite3.SQLITE_NOTADB: "it is no gradebook: put a copy of it in its place",
}
NBGRADERS_LOG = logging.getLogger("tornado.application")  # it logs the trace of what it raises
KEPT = "What was graded is kept; the same command goes on from there."


class GradebookError(CourseError):
    """The gradebook cannot be read or written: nothing of this submission was."""


@contextlib.contextmanager
def explained(whose: str = ""):
    """What the database says becomes one sentence; `whose` grades are not in it."""
    before, NBGRADERS_LOG.disabled = NBGRADERS_LOG.disabled, True
    try:
        yield
    except (SQLAlchemyError, InvalidEntry) as error:
        cause = error if isinstance(error, SQLAlchemyError) else error.__context__
        said = getattr(cause, "orig", None) or cause
        code = getattr(said, "sqlite_errorcode", 0) & 0xFF
        reason = REASONS.get(code) or str(said).partition("\n")[0]
        none = f" Nothing of {whose}'s grades was written." if whose else ""
        raise GradebookError(f"The gradebook cannot be used: {reason}.{none} {KEPT}") from None
    finally:
        NBGRADERS_LOG.disabled = before


class AtHand:
    """Stands for a Gradebook in nbgrader's preprocessors: one notebook's rows, found by name."""

    class db:
        @staticmethod
        def commit() -> None:
            """The whole submission is committed at once."""

    def __init__(self, row: SubmittedNotebook):
        self.grades = {grade.cell.name: grade for grade in row.grades}
        self.comments = {comment.cell.name: comment for comment in row.comments}

    def find_grade(self, name: str, *_):
        return self._find(self.grades, name)

    def find_comment(self, name: str, *_):
        return self._find(self.comments, name)

    def _find(self, rows: dict, name: str):
        if name not in rows:
            raise MissingEntry(name)
        return rows[name]


def absent(row: SubmittedNotebook) -> None:
    """As nbgrader does for a notebook of the assignment that was not handed in."""
    for grade in row.grades:
        grade.auto_score, grade.needs_manual_grade = 0, False


class Points(NamedTuple):
    """What a student has of an assignment by now, and the cells that wait for a person."""

    student: str
    score: float
    most: float
    waits: tuple[str, ...]


def points(book: Gradebook, assignment: str) -> list[Points]:
    """What every student has, by hand and after the late penalty too, by student."""
    waiting = waits(book, assignment)
    sent = sorted(book.assignment_submissions(assignment), key=lambda s: s.student_id)
    return [
        Points(
            student=one.student_id,
            score=max(one.score - (one.late_submission_penalty or 0.0), 0.0),
            most=one.max_score,
            waits=tuple(waiting.get(one.id, ())),
        )
        for one in sent
    ]


def waits(book: Gradebook, assignment: str) -> dict[str, list[str]]:
    """For each submission's id the cells that wait for a person, by name."""
    found: dict[str, list[str]] = {}
    for grade in book.db.query(Grade).filter(Grade.needs_manual_grade):
        if grade.notebook.assignment.name == assignment:
            found.setdefault(grade.notebook.assignment_id, []).append(grade.name)
    return found


@contextlib.contextmanager
def one_commit(book: Gradebook):
    """The API commits at every step; here the steps are flushed and committed together."""
    session = book.db()
    session.commit = session.flush
    try:
        with session.no_autoflush:  # nbgrader reads while it adds, and half of it would be flushed
            yield
        del session.commit
        session.commit()
    except BaseException:
        session.rollback()
        raise
    finally:
        session.__dict__.pop("commit", None)
