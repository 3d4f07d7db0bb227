"""One submission's rows of nbgrader's gradebook: read once, committed once.

nbgrader's own code asks the database for every cell and commits after it. Here it is handed a
stand-in for the gradebook that has the rows at hand, so that what it decides is the same.
"""

import contextlib
import warnings

from nbgrader.api import Gradebook, MissingEntry, SubmittedNotebook
from sqlalchemy.exc import SAWarning


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


@contextlib.contextmanager
def one_commit(book: Gradebook):
    """The API commits at every step; here the steps are flushed and committed together."""
    session = book.db()
    session.commit = session.flush
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SAWarning)  # of nbgrader's own way to add a submission
            yield
        del session.commit
        session.commit()
    except BaseException:
        session.rollback()
        raise
    finally:
        session.__dict__.pop("commit", None)
