"""Intake: what students handed in, rebuilt on the release, ready to be graded.

Of a submitted notebook only the student's own code and text are taken. Everything locked, all
metadata and every id come from the release; outputs are dropped. A file that cannot be read is
refused by name, and the rest go on.
"""

import copy
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from marking.errors import CourseError
from marking.grading import archive, lms
from marking.grading.markdown_text import harmless
from marking.grading.matching import Match, match
from marking.grading.notebook_file import Cell, Unreadable, read_cells
from marking.grading.skeleton import STAND_IN, Skeleton, Slot

__all__ = ["Refused", "Submission", "Unreadable", "collect", "rebuild"]


@dataclass(frozen=True)
class Submission:
    """One student's work: `cells` are what the judge runs (given cells of the release and the
    student's code, in order; grade cells left out), `notebook` is the release with the answers in
    it, `hash` is of the student's own code and text, `notes` say what was repaired, for staff."""

    student: str
    assignment: str
    cells: tuple[str, ...]
    notebook: dict
    hash: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refused:
    """A file that cannot be graded, and why, in one sentence."""

    student: str
    path: str
    why: str


def collect(source: Path, assignment: str, release: Path) -> tuple[list[Submission], list[Refused]]:
    """Every student's latest readable notebook in `source`, by student, and what was refused.

    `source` is nbgrader's submitted folder, a folder or zip as an LMS exports it, or a notebook.
    Raises `CourseError` if the source or the release is not there.
    """
    source, release = Path(source), Path(release)
    if not source.exists():
        raise CourseError(f"There is nothing at {source}: give a folder, a zip or a notebook.")
    try:
        skeleton = Skeleton(json.loads(release.read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CourseError(f"The release notebook {release} cannot be read: {error}") from None
    others = {p.name for p in release.resolve().parent.parent.iterdir()} - {assignment}
    submissions = []
    with archive.opened(source) as found:
        students, bad = lms.students(found, source, assignment, others)
        refused = [Refused(student, path, why) for student, path, why in bad]
        for student, files in students:
            made = _latest(skeleton, student, assignment, files, refused)
            submissions += [made] if made else []
    return submissions, refused


def rebuild(notebook_bytes: bytes, release: dict, student: str, assignment: str) -> Submission:
    """The submission in the bytes of one notebook file. Raises `Unreadable`."""
    return _rebuild(Skeleton(release), notebook_bytes, student, assignment)


def _latest(skeleton, student, assignment, files, refused: list[Refused]) -> Submission | None:
    """The first readable of a student's files, which come latest first."""
    passed_over: list[str] = []
    for number, file in enumerate(files):
        rest, notes = len(files) - number - 1, ()
        if passed_over:
            notes = (f"{file.path} was taken, for {passed_over[0]} could not be read",)
        if rest:
            told = f"{file.path} was taken; {rest} older or other files of {student} were not"
            notes = (*notes, told)
        try:
            return _rebuild(skeleton, file.read(), student, assignment, (*file.notes, *notes))
        except Unreadable as error:
            refused.append(Refused(student, file.path, str(error)))
            passed_over.append(file.path)
    return None


def _rebuild(skeleton, data: bytes, student, assignment, notes=()) -> Submission:
    cells, repaired = read_cells(data)
    found = match(skeleton, cells)
    shown = _Rebuilt(skeleton, found)
    if not _is_this_assignment(skeleton, cells, found):
        raise Unreadable(f"It has no cell of the assignment {assignment!r}: is it another one's?")
    notebook = {key: copy.deepcopy(v) for key, v in skeleton.release.items() if key != "cells"}
    text = json.dumps(shown.own, ensure_ascii=True, separators=(",", ":"))
    return Submission(
        student=student,
        assignment=assignment,
        cells=tuple(shown.run),
        notebook=notebook | {"cells": shown.cells},
        hash=hashlib.sha256(text.encode()).hexdigest(),
        notes=tuple(dict.fromkeys([*notes, *repaired, *found.notes, *shown.notes])),
    )


def _is_this_assignment(skeleton: Skeleton, cells: list[Cell], found: Match) -> bool:
    """Whether an answer or a check of it is there; every assignment has a title and imports."""
    slots = [skeleton.slots[i] for i in map(skeleton.find, cells) if i is not None]
    return bool(found.answers) or any(slot.answer or slot.grade for slot in slots)


class _Rebuilt:
    """The rebuilt notebook's cells, the code to run, and what is the student's own."""

    def __init__(self, skeleton: Skeleton, found: Match):
        self.cells: list[dict] = []
        self.run: list[str] = []
        self.own: list[list[str]] = []
        self.notes: list[str] = []
        self._taken = {slot.raw.get("id") for slot in skeleton.slots}
        for extra in found.extras.get(-1, []):
            self._add_extra(extra)
        for index, slot in enumerate(skeleton.slots):
            self._add_slot(slot, found.answers.get(index))
            for extra in found.extras.get(index, []):
                self._add_extra(extra)

    def _add_slot(self, slot: Slot, answer: Cell | None) -> None:
        raw = copy.deepcopy(slot.raw) | {"source": "".join(slot.raw["source"])}
        if slot.code:
            raw |= {"outputs": [], "execution_count": None}
        if answer:
            raw |= self._content(answer, slot.label)
            if answer.source != STAND_IN:
                self.own.append([slot.label, answer.kind, answer.source])
        if slot.given or (slot.code and slot.answer):
            self.run.append(raw["source"])
        self.cells.append(raw)

    def _add_extra(self, cell: Cell) -> None:
        number = 1 + sum(kind == "extra" for kind, *_ in self.own)
        name = f"extra-{number}"
        while name in self._taken:
            name += "-"
        kind = "code" if cell.kind == "code" else "markdown"
        raw = {"cell_type": kind, "id": name, "metadata": {}} | self._content(cell, name)
        if kind == "code":
            raw |= {"outputs": [], "execution_count": None}
            self.run.append(raw["source"])
        self.own.append(["extra", kind, cell.source])
        self.cells.append(raw)

    def _content(self, cell: Cell, label: str) -> dict:
        if cell.kind == "code":
            return {"source": cell.source}
        text, changed = harmless(cell.source)
        if changed:
            self.notes.append(f"{label}: HTML, pictures from elsewhere or scripts are kept as text")
        return {"source": text} | ({"attachments": cell.pictures} if cell.pictures else {})
