"""What a learner has solved, kept in one small file of their own."""

import contextlib
import datetime
import html
import itertools
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from marking.registry import exercises

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def path() -> Path:
    """Where progress is kept: $CLEARHEAD_PROGRESS, or the user's data folder."""
    if chosen := os.environ.get("CLEARHEAD_PROGRESS"):
        return Path(chosen)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home()))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share"))
    return base / "clearhead" / "progress.json"


def load() -> dict[str, dict]:
    """The record by exercise id: best share, attempts, date solved.

    A file that cannot be read is set aside (never deleted), and a fresh record begins.
    """
    try:
        found = json.loads(path().read_text(encoding="utf-8"))
        return {key: _row(**row) for key, row in found.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, TypeError, OverflowError):
        names = (f".unreadable{number or ''}.json" for number in itertools.count())
        aside = next(p for p in map(path().with_suffix, names) if not p.exists())
        path().replace(aside)
        print(f"The record of your progress could not be read; it is kept as {aside}.")
        return {}
    except OSError:
        return {}


def _row(best: float, attempts: int = 0, solved: str | None = None, **_) -> dict:
    """One exercise's row. Raises `ValueError` or `TypeError` for what is none."""
    if not isinstance(solved, str | None):
        raise TypeError
    return {"best": float(best), "attempts": int(attempts), "solved": solved}


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Two kernels that note at once do it one after the other, where the system has locks."""
    with open(path().with_suffix(".lock"), "w") as file:
        if fcntl:
            with contextlib.suppress(OSError):  # some network folders have none
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def record(exercise_id: str, share: float) -> None:
    """Note an attempt. Progress is a convenience: a full or read-only disk loses only the note.

    While nbgrader runs a notebook nothing is noted: an instructor who grades a class has not
    solved the exercises thirty times.
    """
    if os.environ.get("NBGRADER_EXECUTION"):
        return
    try:
        path().parent.mkdir(parents=True, exist_ok=True)
        with _alone():
            rows = load()
            row = rows.setdefault(exercise_id, _row(0.0))
            row["attempts"] += 1
            row["best"] = max(row["best"], share)
            if share == 1.0 and not row["solved"]:
                row["solved"] = datetime.date.today().isoformat()
            fresh = path().with_suffix(f".{os.getpid()}.tmp")
            fresh.write_text(json.dumps(rows, indent=1), encoding="utf-8")
            fresh.replace(path())
    except OSError:
        return


@dataclass(frozen=True)
class Status:
    """A table of the exercises: solved, begun, not begun."""

    rows: list[tuple[str, str, int, int, str]]  # id, title, points, minutes, state

    def _total(self) -> str:
        solved = sum(state.startswith("solved") for *_, state in self.rows)
        return f"{solved} of {len(self.rows)} exercises solved."

    def __str__(self) -> str:
        width = max(len(row[0]) for row in self.rows)
        lines = [
            f"{key:<{width}}  {points} points  {minutes:>3} min  {state}"
            for key, _, points, minutes, state in self.rows
        ]
        return "\n".join([*lines, self._total()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        body = "".join(
            f'<tr><td style="text-align:left"><code>{key}</code></td>'
            f'<td style="text-align:left">{html.escape(title)}</td><td>{points}</td>'
            f'<td>{minutes}</td><td style="text-align:left">{state}</td></tr>'
            for key, title, points, minutes, state in self.rows
        )
        head = "".join(f"<th>{h}</th>" for h in ("exercise", "", "points", "minutes", "state"))
        return f"<table><tr>{head}</tr>{body}</table><p>{self._total()}</p>"


def status(chapter: str | None = None) -> Status:
    """What is solved, in one chapter or in all."""
    record = load()
    rows = []
    for key, exercise in exercises(chapter).items():
        row = record.get(key)
        state = "not begun"
        if row:
            state = f"solved {row['solved']}" if row.get("solved") else f"best {row['best']:.0%}"
        rows.append((key, exercise.title, exercise.points, exercise.minutes, state))
    return Status(rows)
