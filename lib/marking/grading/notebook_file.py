"""The bytes of a submitted file, read as a notebook of any format, within bounds.

Size, depth and the number of values are checked before the JSON is parsed. What is not a notebook
raises `Unreadable` with one sentence; what is oddly written (nbformat 2 to 4.5, a byte order mark,
CRLF, missing ids, sources as lists) is read. Outputs are never looked at.
"""

import base64
import json
import re
from dataclasses import dataclass, field

MOST_BYTES = 32 << 20
MOST_VALUES = 1_000_000
MOST_DEPTH = 60
MOST_CELLS = 2_000
MOST_CODE = 1 << 18  # characters, of all code cells together
MOST_TEXT = 1 << 22  # and of all cells
MOST_PICTURE = 2 << 20

# A string, ended or not, or a mark that makes the JSON deeper or longer. It never backtracks.
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.?)*+(?:"|\Z)|[\[\]{},]', re.DOTALL)
_PICTURES = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}


class Unreadable(Exception):
    """The file is no notebook that can be graded; `str(error)` says why in one sentence."""


@dataclass(frozen=True)
class Cell:
    """One submitted cell: `kind` is "code", "markdown" or "raw"; `source` ends in no blank line."""

    kind: str
    source: str
    id: str = ""
    grade_id: str = ""
    pictures: dict = field(default_factory=dict)


def read_cells(data: bytes) -> tuple[list[Cell], list[str]]:
    """The cells of a notebook file, and what had to be repaired. Raises `Unreadable`."""
    text, notes = _text(data)
    _check_size(text)
    try:
        notebook = json.loads(text)
    except RecursionError:
        raise Unreadable("Its JSON is nested too deeply.") from None
    except ValueError as error:
        raise Unreadable(_why_no_json(text, error)) from None
    cells = [_cell(raw) for raw in _raw_cells(notebook)]
    odd = sum(cell is None for cell in cells)
    if odd:
        notes.append(f"{odd} cells could not be read and were left out")
    found = [cell for cell in cells if cell is not None]
    if sum(len(cell.source) for cell in found if cell.kind == "code") > MOST_CODE:
        raise Unreadable(f"Its code cells hold more than {MOST_CODE >> 10} KiB.")
    if sum(len(cell.source) for cell in found) > MOST_TEXT:
        raise Unreadable(f"Its cells hold more than {MOST_TEXT >> 20} MiB of text.")
    return found, notes


def _text(data: bytes) -> tuple[str, list[str]]:
    if len(data) > MOST_BYTES:
        raise Unreadable(f"It is larger than {MOST_BYTES >> 20} MiB: clear the outputs.")
    if not data.strip():
        raise Unreadable("The file is empty.")
    encoding = json.detect_encoding(data[:16])
    try:
        text, notes = data.decode(encoding), []
    except UnicodeDecodeError:
        text, notes = data.decode(encoding, "replace"), ["bytes that are not UTF-8 were replaced"]
    return text.removeprefix("\ufeff"), notes


def _check_size(text: str) -> None:
    """Raises `Unreadable` for JSON that would be too deep or take too much memory to parse."""
    depth = 0
    for count, token in enumerate(_TOKEN.finditer(text)):
        mark = text[token.start()]
        depth += (mark in "[{") - (mark in "]}")
        if depth > MOST_DEPTH:
            raise Unreadable("Its JSON is nested too deeply.")
        if count > MOST_VALUES:
            raise Unreadable(f"It holds more than {MOST_VALUES:,} values: clear the outputs.")


def _why_no_json(text: str, error: ValueError) -> str:
    start = text.lstrip()[:200].lower()
    if start.startswith(("<!doctype", "<html", "<head", "<?xml")):
        return "It is not a notebook but a web page."
    if start.startswith("%pdf"):
        return "It is not a notebook but a PDF file."
    if start.startswith("pk\x03\x04"):
        return "It is not a notebook but a zip archive."
    if re.search(r"^<{7} ", text, re.MULTILINE):
        return "It holds the marks of a git merge that was not finished."
    if start.startswith("{"):
        where = getattr(error, "lineno", None)
        broken = f"line {where}" if where else "a number that is too long"
        return f"Its JSON is broken at {broken}: the file may have been cut off."
    return "It is not a notebook: its text is not JSON."


def _raw_cells(notebook) -> list:
    """The cells of nbformat 4, or of the worksheets of nbformat 2 and 3."""
    if not isinstance(notebook, dict):
        raise Unreadable("It is not a notebook: its JSON is not an object.")
    cells = notebook.get("cells")
    sheets = notebook.get("worksheets")
    if not isinstance(cells, list) and isinstance(sheets, list):
        parts = [sheet.get("cells") for sheet in sheets if isinstance(sheet, dict)]
        cells = [cell for part in parts if isinstance(part, list) for cell in part]
    if not isinstance(cells, list):
        raise Unreadable("It is not a notebook: it has no cells.")
    if len(cells) > MOST_CELLS:
        raise Unreadable(f"It has more than {MOST_CELLS:,} cells.")
    return cells


def _cell(raw) -> Cell | None:
    if not isinstance(raw, dict):
        return None
    kind = raw.get("cell_type")
    source = raw.get("source", raw.get("input", ""))  # nbformat 3 calls it input
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    if not isinstance(source, str) or not isinstance(kind, str):
        return None
    if kind == "heading":  # nbformat 3
        kind, level = "markdown", raw.get("level")
        source = "#" * (level if level in range(1, 7) else 1) + " " + source
    metadata = raw.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    nbgrader = metadata.get("nbgrader")
    nbgrader = nbgrader if isinstance(nbgrader, dict) else {}
    return Cell(
        kind=kind if kind in ("code", "raw") else "markdown",
        source=clean(source),
        id=_word(raw.get("id")) or _word(metadata.get("id")),  # Colab keeps it in the metadata
        grade_id=_word(nbgrader.get("grade_id")),
        pictures=_pictures(raw.get("attachments")),
    )


def clean(source: str) -> str:
    """Line ends as `\\n`; no NUL, no half of a surrogate pair; no blank lines at either end."""
    source = source.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    source = source.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return re.sub(r"\A(?:[ \t]*\n)+", "", source).rstrip()


def _word(value) -> str:
    return value if isinstance(value, str) and len(value) <= 200 else ""


def _pictures(attachments) -> dict:
    """The PNG and JPEG pictures among a cell's attachments; anything else is left out."""
    found = {}
    for name, bundle in attachments.items() if isinstance(attachments, dict) else ():
        for kind, start in _PICTURES.items():
            data = bundle.get(kind) if isinstance(bundle, dict) else None
            data = "".join(data) if _all_text(data) else data
            if isinstance(data, str) and len(data) <= MOST_PICTURE and _holds(data, start):
                found[re.sub(r"[^\w.-]", "-", clean(name))[:80]] = {kind: data.replace("\n", "")}
    return found


def _all_text(value) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _holds(data: str, start: bytes) -> bool:
    try:
        return base64.b64decode(data.replace("\n", ""), validate=True).startswith(start)
    except ValueError:
        return False
