"""Which submitted cell is which: answers into their slots, the student's other cells in between.

By grade id, then by cell id, then by the text; where a slot is still empty, by the function that a
cell defines. What a student wrote is never thrown away but where it replaced a locked cell's text.
"""

import re
from dataclasses import dataclass, field, replace

from marking.grading import markdown_text
from marking.grading.notebook_file import Cell
from marking.grading.python_source import defines, is_python, without_magics
from marking.grading.skeleton import STAND_IN, Skeleton


@dataclass
class Piece:
    """A submitted cell on its way: the slot it belongs to, or None for a cell of the student's."""

    cell: Cell
    slot: int | None
    names: set[str] = field(default_factory=set)
    said: int | None = None  # the slot that it named, also when it does not fill it

    @property
    def code(self) -> bool:
        return self.cell.kind == "code"


@dataclass
class Match:
    """`answers`: slot → the cell that fills it. `extras`: slot → the cells that follow it."""

    answers: dict[int, Cell] = field(default_factory=dict)
    extras: dict[int, list[Cell]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def match(skeleton: Skeleton, cells: list[Cell]) -> Match:
    """Every answer slot's cell and every other cell of the student's, in order."""
    found = Match()
    pieces = [Piece(cell, slot, said=slot) for cell in cells for slot in [skeleton.find(cell)]]
    pieces = [p for p in pieces if not _ours(skeleton, p)]
    for piece in pieces:
        _set_kind(skeleton, piece, found.notes)
        _take_out_magics(skeleton, piece, found.notes)
    pieces = _joined(pieces, found.notes)
    for piece in pieces:
        piece.names = defines(piece.cell.source) if piece.code else set()
        _release_changed(skeleton, piece, found.notes)
    for slot in skeleton.answers:
        _fill(skeleton, slot, pieces, found)
    _place(skeleton, pieces, found)
    return found


def _ours(skeleton: Skeleton, piece: Piece) -> bool:
    """Whether it is nothing of the student's and marks no place: Colab's button, an empty cell."""
    if piece.said is None:
        return not piece.cell.source or markdown_text.is_badge(piece.cell.source)
    return False


def _set_kind(skeleton: Skeleton, piece: Piece, notes: list[str]) -> None:
    """A cell whose type was changed by a slip of the keyboard gets the right one again."""
    cell, source = piece.cell, markdown_text.without_fence(piece.cell.source)
    if piece.slot is None:
        wanted = {name for i in skeleton.answers for name in skeleton.slots[i].names}
        hidden = not piece.code and wanted & set(re.findall(r"^def (\w+)", source, re.MULTILINE))
        kind = "code" if hidden and is_python(source) else cell.kind
    else:
        kind = "code" if skeleton.slots[piece.slot].code else "markdown"
    if kind == "code" and not piece.code:
        notes.append(f"{_label(skeleton, piece)} was a {cell.kind} cell: read as code")
        piece.cell = replace(cell, kind=kind, source=source)
    elif kind != cell.kind:
        piece.cell = replace(cell, kind="markdown")
        if piece.slot is not None and skeleton.slots[piece.slot].answer:
            notes.append(f"{_label(skeleton, piece)} was a {cell.kind} cell: read as text")


def _take_out_magics(skeleton: Skeleton, piece: Piece, notes: list[str]) -> None:
    if not piece.code:
        return
    source, note = without_magics(piece.cell.source)
    if note:
        notes.append(f"{_label(skeleton, piece)}: {note}")
        piece.cell = replace(piece.cell, source=source)


def _joined(pieces: list[Piece], notes: list[str]) -> list[Piece]:
    """Cells that were split in the middle of a function, in one piece again."""
    whole: list[Piece] = []
    for piece in pieces:
        source, last = piece.cell.source, whole[-1] if whole else None
        if last and last.code and piece.code and source[:1] in (" ", "\t"):
            together = f"{last.cell.source}\n{source}"
            if not is_python(source) and is_python(together):
                notes.append("a cell that had been split was joined again")
                last.cell = replace(last.cell, source=together)
                continue
        whole.append(piece)
    return whole


def _release_changed(skeleton: Skeleton, piece: Piece, notes: list[str]) -> None:
    """A cell of ours that was changed: ours stands; what the student put there follows it."""
    slot = None if piece.slot is None else skeleton.slots[piece.slot]
    if slot is None or slot.answer or slot.untouched(piece.cell.source):
        return
    kept = bool(piece.cell.source) and (not slot.grade or bool(piece.names))
    if slot.locked or kept:
        what = "its changes are kept in a cell behind it" if kept else "the release's stands"
        notes.append(f"{slot.label} had been changed: {what}")
    if kept:
        piece.slot = None


def _fill(skeleton: Skeleton, index: int, pieces: list[Piece], found: Match) -> None:
    """Choose the cell that fills one answer slot; the other candidates become extra cells."""
    slot = skeleton.slots[index]
    named = [p for p in pieces if p.slot == index]
    live = [p for p in named if not slot.untouched(p.cell.source)]
    by_name = [p for p in live if p.names & slot.names] or live
    if len(named) > 1:
        found.notes.append(f"{slot.label} was there {len(named)} times: the last answer stands")
    if by_name:
        for piece in live:
            piece.slot = index if piece is by_name[-1] else None
    else:
        by_name = _elsewhere(skeleton, index, pieces, found.notes)
    if by_name:
        found.answers[index] = by_name[-1].cell
    elif any(p.names & slot.names for p in pieces if p.slot != index):
        found.answers[index] = Cell("code", STAND_IN)
        found.notes.append(f"{slot.label} is answered in another answer's cell")
    elif not named:
        found.notes.append(f"{slot.label} was missing: the release's stands in its place")


def _elsewhere(skeleton, index: int, pieces: list[Piece], notes: list[str]) -> list[Piece]:
    """A cell of the student's that defines the function, or a text right behind the task."""
    slot = skeleton.slots[index]
    free = [
        (before, p) for before, p in zip([None, *pieces], pieces, strict=False) if p.slot is None
    ]
    if slot.code:
        hits = [p for _, p in free if p.names & slot.names]
        why = "the function that it defines"
    else:
        beside = {index - 1, index}
        texts = [(before, p) for before, p in free if not p.code]
        hits = [p for before, p in texts if {p.said, before and before.said} & beside]
        why = "its place behind the task"
    if hits:
        notes.append(f"{slot.label} was found by {why}")
        hits[-1].slot = index
    return hits


def _place(skeleton: Skeleton, pieces: list[Piece], found: Match) -> None:
    """Put the student's other cells behind the cell of the release that they stood behind."""
    here, answer = skeleton.start, -1
    for piece in pieces:
        if piece.slot is None:
            if piece.said is not None and skeleton.between(answer, piece.said):
                here = max(here, piece.said)
            found.extras.setdefault(here, []).append(piece.cell)
        elif found.answers.get(piece.slot) is piece.cell:
            here = answer = piece.slot
        elif skeleton.between(answer, piece.slot) and piece.slot >= skeleton.start:
            here = piece.slot


def _label(skeleton: Skeleton, piece: Piece) -> str:
    return skeleton.slots[piece.slot].label if piece.slot is not None else "an extra cell"
