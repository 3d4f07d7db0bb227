"""The release, as the skeleton that every submission is rebuilt on: its cells and what they are."""

from dataclasses import dataclass
from functools import cached_property

from marking.grading.notebook_file import Cell, clean
from marking.grading.python_source import defines, is_stub

STAND_IN = "# The answer stands in another cell."


@dataclass(frozen=True)
class Slot:
    """One cell of the release. `answer`: the student's to fill; `grade`: it gives points;
    `locked`: the student may not change it; none of them: open, ours but of no consequence."""

    raw: dict
    answer: bool
    grade: bool
    locked: bool

    @cached_property
    def source(self) -> str:
        return clean("".join(self.raw["source"]))

    @cached_property
    def names(self) -> set[str]:
        return defines(self.source) if self.code and self.answer else set()

    @property
    def code(self) -> bool:
        return self.raw["cell_type"] == "code"

    @property
    def grade_id(self) -> str:
        return self.raw["metadata"].get("nbgrader", {}).get("grade_id", "")

    @property
    def label(self) -> str:
        return self.grade_id or self.raw.get("id", "")

    @property
    def given(self) -> bool:
        """Whether it runs before the student's code, as released."""
        install = "install" in self.raw["metadata"].get("tags", [])
        return self.code and not self.answer and not self.grade and not install

    def untouched(self, source: str) -> bool:
        """Whether it holds nothing new; blanks and line breaks do not count in a text."""
        if self.code:
            empty = self.answer and (not source or is_stub(source))
            return source == self.source or empty
        return source.split() in (self.source.split(), [])


class Skeleton:
    """The slots of a release notebook, found by grade id, cell id or text."""

    def __init__(self, release: dict):
        self.release = release
        self.slots = [_slot(raw) for raw in release["cells"]]
        self._by_grade = {s.grade_id: i for i, s in enumerate(self.slots) if s.grade_id}
        self._by_id = {s.raw["id"]: i for i, s in enumerate(self.slots) if s.raw.get("id")}
        self._by_text = {s.source: i for i, s in enumerate(self.slots) if s.source}
        self.answers = [i for i, slot in enumerate(self.slots) if slot.answer]
        first = self.answers[0] if self.answers else len(self.slots)
        self.start = max((i for i in range(first) if self.slots[i].given), default=-1)

    def find(self, cell: Cell) -> int | None:
        """The slot that a submitted cell comes from, by what it says of itself."""
        for where, key in ((self._by_grade, cell.grade_id), (self._by_id, cell.id)):
            if key in where:
                return where[key]
        return self._by_text.get(cell.source)

    def between(self, answer: int, index: int) -> bool:
        """Whether a slot stands behind an answer (-1: the start) and before the next answer."""
        after = [i for i in self.answers if i > answer]
        return answer <= index < (after[0] if after else len(self.slots))


def _slot(raw: dict) -> Slot:
    nbgrader = raw["metadata"].get("nbgrader", {})
    solution = bool(nbgrader.get("solution"))
    return Slot(raw, solution, bool(nbgrader.get("grade")), bool(nbgrader.get("locked")))
