"""Points put into the gradebook file that Canvas or Moodle gave the instructor.

One column is filled. Every other character of the file stays as it was: columns, lines and their
order, encoding and byte order mark, delimiter, quotation marks, line ends.
"""

import codecs
import re
import unicodedata
from dataclasses import dataclass, field

from marking.grading.gradebook_rows import ExportError, Row, number

# Columns that say who it is, the surest first; and where the name and the most points stand.
WHO = {
    "canvas": ("ID", "SIS User ID", "SIS Login ID"),
    "moodle": ("Identifier", "ID number", "Username", "Email address"),
}
NAME = {"canvas": "Student", "moodle": "Full name"}
MOST = "Maximum grade"
POSSIBLE = "Points Possible"
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_NUMBERED = re.compile(r"(.*)_(\d+)(?:-[0-9a-f]{8})?")  # an id that intake made of an LMS's name


@dataclass
class Filled:
    """The file's bytes; how many students' points are in it; and who is in one of the two alone."""

    data: bytes = b""
    count: int = 0
    not_in_file: list[str] = field(default_factory=list)
    not_in_gradebook: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class _Table:
    """The file as fields just as they are written, each with what follows it."""

    def __init__(self, data: bytes, wanted: tuple[str, ...]):
        self.mark = next((mark for mark in _MARKS if data.startswith(mark)), b"")
        self.encoding = _MARKS.get(self.mark, "utf-8")
        text = self._decoded(data[len(self.mark) :])
        for delimiter in ",;\t":
            self.lines = _fields(text, delimiter)
            self.head = [value(raw) for raw, _ in self.lines[0]]
            if any(name in self.head for name in wanted):
                return
        raise ExportError(f"This is no gradebook file: none of its columns is {', '.join(wanted)}.")

    def _decoded(self, data: bytes) -> str:
        try:
            return data.decode(self.encoding)
        except UnicodeDecodeError:
            self.encoding = "latin-1"  # whatever it is, it is written again as it was
            return data.decode(self.encoding)

    def read(self, line: list, column: str) -> str:
        at = self.head.index(column) if column in self.head else len(line)
        return value(line[at][0]).strip() if at < len(line) else ""

    def write(self, line: list, column: str, points: str) -> None:
        at = self.head.index(column)
        line[at] = (points, line[at][1])

    def encoded(self) -> bytes:
        text = "".join(raw + end for line in self.lines for raw, end in line)
        return self.mark + text.encode(self.encoding)


def _fields(text: str, delimiter: str) -> list[list[tuple[str, str]]]:
    """The lines of a CSV file: each field as it is written, and the delimiter or line end after."""
    pattern = rf'((?:"(?:[^"]|"")*+"|[^"{delimiter}\r\n])*+)({delimiter}|\r\n|\r|\n|\Z)'
    lines, line, at = [], [], 0
    for found in re.finditer(pattern, text):
        if found.start() != at or (found.start() == len(text) and not line and lines):
            break
        line.append((found[1], found[2]))
        at = found.end()
        if found[2] != delimiter:
            lines.append(line)
            line = []
    if at != len(text):
        raise ExportError("This is no gradebook file: a quotation mark in it is never closed.")
    return lines


def value(raw: str) -> str:
    quoted = len(raw) > 1 and raw[0] == raw[-1] == '"'
    return raw[1:-1].replace('""', '"') if quoted else raw


def fill(data: bytes, found: list[Row], to: str, assignment: str, column: str = "") -> Filled:
    """Put the points of `found` into the file's column of the assignment.

    A student without a score, and a line that is nobody's in the gradebook, stay as they were.
    Raises `ExportError` if it is no such file, or the column cannot be told.
    """
    table = _Table(data, WHO[to])
    column = _column(table.head, to, assignment, column)
    made, whose, seen = Filled(), _People(found), set()
    comma = any(re.fullmatch(r"\d+,\d+", table.read(line, MOST)) for line in table.lines)
    for line in table.lines[1:]:
        if len(line) <= table.head.index(column):
            continue  # blank, or cut off
        name = table.read(line, NAME[to])
        _compare(made, table, line, name, column, found[0].most)
        if not any(table.read(line, who) for who in WHO[to]):
            continue  # Canvas's own lines
        row = whose.find([table.read(line, who) for who in WHO[to]], name)
        if row is None or row.student in seen:
            made.not_in_gradebook.append(name or table.read(line, WHO[to][0]))
            continue
        seen.add(row.student)
        if row.has_score:
            points = number(row.score)
            table.write(line, column, points.replace(".", ",") if comma else points)
            made.count += 1
    made.not_in_file = [row.student for row in found if row.student not in seen]
    made.data = table.encoded()
    return made


def _column(head: list[str], to: str, assignment: str, column: str) -> str:
    """The one column to fill: by its name, or Canvas's number, or the assignment's name."""
    if column:
        fits = [name for name in head if name == column or name.endswith(f"({column})")]
    elif to == "moodle":
        fits = [name for name in head if name == "Grade"]
    else:
        ours = re.compile(rf"{re.escape(assignment)}(?: \(\d+\))?", re.IGNORECASE)
        fits = [name for name in head if ours.fullmatch(name)]
    if len(fits) == 1:
        return fits[0]
    offered = "; ".join(name for name in head if name not in (*WHO[to], NAME[to], "Section", ""))
    many = "several columns" if fits else "no column"
    raise ExportError(
        f"There is {many} for {column or assignment} in the file: give one with --column. "
        f"It has: {offered[:300]}."
    )


def _compare(made: Filled, table: _Table, line: list, name: str, column: str, most: float) -> None:
    """Note once that the LMS counts to another number than the gradebook."""
    said = table.read(line, column) if name == POSSIBLE else table.read(line, MOST)
    counts = re.fullmatch(r"\d+(?:[.,]\d+)?", said)
    if counts and float(said.replace(",", ".")) != most and not made.notes:
        made.notes.append(
            f"The file's column counts to {said} and the gradebook to {most:g}: points were "
            "written as they are"
        )


class _People:
    """The gradebook's students, found by what an LMS knows of them."""

    def __init__(self, found: list[Row]):
        self._by_id = _unique((key, row) for row in found for key in _keys(row))
        numbered = [(_NUMBERED.fullmatch(row.student), row) for row in found]
        self._by_name = _unique(((m[2], _plain(m[1])), row) for m, row in numbered if m)

    def find(self, ids: list[str], name: str) -> Row | None:
        """By an id; or by the name and number of which intake made an id."""
        bare = [one.removeprefix("Participant ") for one in ids if one]
        known = [self._by_id[one.lower()] for one in bare if one.lower() in self._by_id]
        known += [row for one in bare if (row := self._by_name.get((one, _plain(name))))]
        return known[0] if known and all(row is known[0] for row in known) else None


def _keys(row: Row) -> set[str]:
    known = {row.student, row.lms_id.removeprefix("Participant "), row.email}
    return {one.lower() for one in known}


def _unique(pairs) -> dict:
    """A dictionary without the keys that two students share."""
    made: dict = {}
    for key, row in pairs:
        made[key] = None if made.get(key, row) is not row else row
    return {key: row for key, row in made.items() if row is not None}


def _plain(name: str) -> str:
    """A name's letters and digits; Canvas writes "Lovelace, Ada" as lovelaceada."""
    folded = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[\W_]+", "", folded).lower()
