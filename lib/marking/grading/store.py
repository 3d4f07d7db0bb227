"""The results of grading, in one SQLite file that only the driver writes.

A row is written once: the same key for the same student is ignored the second time, unless it is
outdated: then it counts as not there until it is written again. A batch of
rows is written whole or not at all, so a driver killed at any moment leaves a file to resume from.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from marking.errors import CourseError
from marking.grading.graded import Graded

SCHEMA = """
CREATE TABLE IF NOT EXISTS rows (
    key TEXT NOT NULL, student TEXT NOT NULL, assignment TEXT NOT NULL, submission TEXT NOT NULL,
    exercise TEXT NOT NULL, status TEXT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (key, student, assignment)
)
"""
SOURCES = "CREATE TABLE IF NOT EXISTS sources (assignment TEXT PRIMARY KEY, path TEXT NOT NULL)"
OUTDATED = """
CREATE TABLE IF NOT EXISTS outdated (
    key TEXT NOT NULL, student TEXT NOT NULL, assignment TEXT NOT NULL,
    PRIMARY KEY (key, student, assignment)
)
"""
IN_IT = "(SELECT key, student, assignment FROM outdated)"
CURRENT = f"(key, student, assignment) NOT IN {IN_IT}"
INSERT = "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
# What was our fault is no score, so a later score replaces it; nothing else is written twice.
REPLACE = "status = excluded.status, body = excluded.body"
SAME = "key = ? AND student = ? AND assignment = ?"
WHERE = f" WHERE rows.status = 'our fault' OR (key, student, assignment) IN {IN_IT}"

FULL = "the disk is full or a limit on file size was reached: free some space"
HELD = "another program holds it: wait for it or close it"
REASONS = {
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_IOERR: FULL,
    sqlite3.SQLITE_BUSY: HELD,
    sqlite3.SQLITE_LOCKED: HELD,
    sqlite3.SQLITE_CORRUPT: "it is damaged: move it away, and everything is graded again",
    sqlite3.SQLITE_NOTADB: "it is no results file: move it away, and everything is graded again",
    sqlite3.SQLITE_READONLY: "it may not be written: see its owner and its permissions",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: see its folder and its permissions",
}


class StoreError(CourseError):
    """The results file cannot be read or written; what was written before is still there."""


class Store:
    """The rows of one results file. `wait` is how many seconds to wait for another program."""

    def __init__(self, path: Path | str, *, wait: float = 10.0):
        self.path = Path(path)
        with self._explained():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=wait)
            self._db.execute(SCHEMA)
            self._db.execute(SOURCES)
            self._db.execute(OUTDATED)
            self._db.commit()

    def add(self, rows: Iterable[Graded]) -> None:
        """Write all these rows or none. A row that is there already stays unless it is outdated or
        was our fault. Raises `StoreError`."""
        values = [
            (r.key, r.student, r.assignment, r.submission, r.exercise, r.status, r.to_json())
            for r in rows
        ]
        with self._explained(), self._db:
            self._db.executemany(INSERT + REPLACE + WHERE, values)
            done = [value[:3] for value in values]
            self._db.executemany(f"DELETE FROM outdated WHERE {SAME}", done)

    def rows(self, assignment: str | None = None) -> list[Graded]:
        """Every row, or those of one assignment, by student and exercise."""
        where, given = ("WHERE assignment = ?", (assignment,)) if assignment else ("", ())
        query = f"SELECT body FROM rows {where} ORDER BY student, exercise, rowid"
        return [self._read(body) for (body,) in self._ask(query, given)]

    def done(self) -> dict[str, dict[tuple[str, str], str]]:
        """For each key, the (student, assignment) with a current row under it, and its status."""
        found: dict[str, dict[tuple[str, str], str]] = {}
        query = f"SELECT key, student, assignment, status FROM rows WHERE {CURRENT}"
        for key, *whose, status in self._ask(query):
            found.setdefault(key, {})[tuple(whose)] = status
        return found

    def find(self, key: str) -> Graded | None:
        """Some student's scored and current row under that key."""
        query = f"SELECT body FROM rows WHERE key = ? AND status != 'our fault' AND {CURRENT}"
        bodies = self._ask(f"{query} LIMIT 1", (key,))
        return self._read(bodies[0][0]) if bodies else None

    def forget(self, assignment: str) -> None:
        """Drop the rows of one assignment: everything in it is graded again."""
        with self._explained(), self._db:
            for table in ("rows", "outdated"):
                self._db.execute(f"DELETE FROM {table} WHERE assignment = ?", (assignment,))

    def outdate(self, assignments: Iterable[str]) -> None:
        """Have every row of these assignments graded again, by this run or by one that follows."""
        query = "SELECT key, student, assignment FROM rows WHERE assignment = ?"
        given = [(assignment,) for assignment in assignments]
        with self._explained(), self._db:
            self._db.executemany(f"INSERT OR IGNORE INTO outdated {query}", given)

    def remember(self, assignment: str, source: Path) -> None:
        """Where the assignment's submissions were last taken from."""
        with self._explained(), self._db:
            row = (assignment, str(source))
            self._db.execute("INSERT OR REPLACE INTO sources VALUES (?, ?)", row)

    def source(self, assignment: str) -> Path | None:
        """What `remember` was told, or None."""
        found = self._ask("SELECT path FROM sources WHERE assignment = ?", (assignment,))
        return Path(found[0][0]) if found else None

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _ask(self, query: str, given: tuple = ()) -> list[tuple]:
        with self._explained():
            return self._db.execute(query, given).fetchall()

    def _read(self, body: str) -> Graded:
        with self._explained():
            return Graded.from_json(body)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """What goes wrong becomes one sentence that says what to do."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            raise self._error(REASONS.get(code, str(error))) from None
        except OSError as error:
            raise self._error(f"{error.strerror}") from None
        except ValueError as error:
            raise self._error(f"it holds a row that cannot be read ({error})") from None

    def _error(self, reason: str) -> StoreError:
        kept = "Nothing that was written before is lost; the same command goes on from there."
        return StoreError(f"The results file {self.path} cannot be used: {reason}. {kept}")
