"""The gradebook in the columns that Canvas, Moodle and Gradescope read.

`nbgrader export` writes nbgrader's own CSV.
"""

import csv
import io
import json
from pathlib import Path

from traitlets.config import Config

from marking.grading.gradebook_rows import ExportError, Row, number, rows
from marking.grading.worksheet import Filled, fill

FORMULA = ("=", "+", "@", "-", "\t", "\r")
FORMATS = ("canvas", "moodle", "gradescope")


def canvas(found: list[Row], assignment: str, assignment_id: str = "") -> str:
    """Canvas's gradebook CSV. With Canvas's id of the assignment it fills that column; without one
    Canvas offers to make a new assignment. A student whom the grader has no score for is empty."""
    column = f"{assignment} ({assignment_id})" if assignment_id else assignment
    stamped = any(row.stamps for row in found)
    head = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", column]
    lines = [head + ["Notes"] * stamped]
    lines.append(["    Points Possible", "", "", "", "", number(found[0].most)] + [""] * stamped)
    for row in found:
        points = number(row.score) if row.has_score else ""
        line = [row.sortable_name, row.lms_id, row.student, row.student, "", points]
        lines.append(line + [" ".join(row.stamps)] * stamped)
    return _csv(lines)


def moodle(found: list[Row]) -> str:
    """Moodle's grading worksheet. The identifier is the student's LMS id in the gradebook."""
    head = ["Identifier", "Full name", "ID number", "Email address", "Status", "Grade"]
    head += ["Maximum grade", "Grade can be changed", "Last modified (grade)", "Feedback comments"]
    lines = [head]
    for row in found:
        participant = row.lms_id.removeprefix("Participant ")
        identifier = f"Participant {participant}" if participant else ""
        points = number(row.score) if row.has_score else ""
        line = [identifier, row.full_name, row.student, row.email, "Submitted for grading"]
        lines.append([*line, points, number(row.most), "Yes", "", " ".join(row.stamps)])
    return _csv(lines)


def gradescope(row: Row) -> dict:
    """One student's results.json. Scores in it never exceed what the gradebook says."""
    tests = [
        {
            "name": part.name,
            "score": part.score,
            "max_score": part.most,
            "output": part.says,
            "visibility": "after_published",
            "status": "passed" if part.score >= part.most else "failed",
        }
        for part in row.parts
        if part.score is not None
    ]
    lines = list(row.stamps)
    if row.penalty:
        lines.append(f"{row.penalty:g} points were taken off because it was late.")
    lines += [f"{part.name} has no score yet." for part in row.parts if part.score is None]
    sandboxed = all(part.sandboxed for part in row.parts)
    return {
        "score": row.score,
        "max_score": row.most,
        "output": "\n".join(lines),
        "visibility": "after_published",
        "stdout_visibility": "hidden",
        "tests": tests,
        "extra_data": {"student": row.student, "sandbox": "bubblewrap" if sandboxed else "none"},
    }


def export(config: Config, assignment: str, to: str, path: Path, assignment_id: str = "") -> int:
    """Write the file (for Gradescope a folder with a file a student); how many students are in it.

    Raises `ExportError`.
    """
    if to not in FORMATS:
        raise ExportError(f"There is no format {to!r}: choose {', '.join(FORMATS)}.")
    found = rows(config, assignment)
    try:
        if to == "gradescope":
            for row in found:
                text = json.dumps(gradescope(row), indent=1, ensure_ascii=False) + "\n"
                _write(path / row.student / "results.json", text)
        else:
            made = canvas(found, assignment, assignment_id) if to == "canvas" else moodle(found)
            _write(path, made)
    except OSError as error:
        raise ExportError(f"{path.name} could not be written: {error.strerror}.") from None
    return len(found)


def export_into(config: Config, assignment: str, to: str, path: Path, **how) -> Filled:
    """Fill in the LMS's own file `theirs` (its `column`, if that has to be said) and write it to
    `path`; theirs stays as it is. Raises `ExportError`."""
    theirs, column = how["theirs"], how.get("column", "")
    if to not in ("canvas", "moodle"):
        raise ExportError(f"--into takes a file of Canvas or Moodle, not of {to!r}.")
    if path.exists() and path.samefile(theirs):
        raise ExportError(f"{path.name} is the file that you gave: name another to write to.")
    found = rows(config, assignment)
    try:
        made = fill(theirs.read_bytes(), found, to, assignment, column)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made.data)
    except OSError as error:
        raise ExportError(f"{error.filename or path.name}: {error.strerror}.") from None
    return made


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")


def no_formula(cell: str) -> str:
    """The text so that no spreadsheet takes it for a formula."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def _csv(lines: list[list[str]]) -> str:
    made = io.StringIO()
    safe = [[no_formula(cell) for cell in line] for line in lines]
    csv.writer(made, lineterminator="\r\n").writerows(safe)
    return made.getvalue()
