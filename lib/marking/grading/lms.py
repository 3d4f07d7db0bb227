"""Whose file is it: the student, read from the path, as nbgrader and each LMS export it.

| from | path |
|---|---|
| nbgrader | `submitted/ada/attention/attention.ipynb` |
| Canvas | `lovelaceada_LATE_123_456_attention.ipynb`: user 123 |
| Moodle | `Ada Lovelace_123_assignsubmission_file_/attention.ipynb`: participant 123 |
| Gradescope | `submission_123/attention.ipynb`, with `submission_metadata.yml` beside it |
| a folder | `ada/attention.ipynb`, `ada.ipynb`, `attention_ada.ipynb` |
"""

import hashlib
import re
import unicodedata
from dataclasses import dataclass, field, replace
from pathlib import Path

from marking.grading.archive import File
from marking.grading.notebook_file import Unreadable

MOST_TRIED = 20  # notebooks of one student
_NOTEBOOK = re.compile(r"\.ipynb(?:\.(?:txt|json|html?))?$", re.I)
_CANVAS = re.compile(r"^([^_]+)_(LATE_)?(\d+)_(\d+)_(.+)$")
_MOODLE = re.compile(r"^(.+?)_(\d+)_assignsubmission_(?:file|onlinetext)(?:_.*)?$")
_GRADESCOPE = re.compile(r"^submission_(\d+)$")
_COPY = re.compile(
    r"^(?:copy of |kopie von |copie de )+|(?:[ _-]*\(\d+\)|-copy\d*| - copy)+$", re.I
)
# Files that stand beside submissions and are none.
_BESIDE = re.compile(
    r"timestamp\.txt|submission_metadata\.yml|.*\.(?:png|jpe?g|csv|gif|pt|npy)", re.I
)


@dataclass
class _Handed:
    """What one student handed in: notebooks, and files that are none."""

    notebooks: list[File] = field(default_factory=list)
    others: list[File] = field(default_factory=list)


def students(
    found: list[File], source: Path, assignment: str, other_assignments: set[str] = frozenset()
) -> tuple[list[tuple[str, list[File]]], list[tuple[str, str, str]]]:
    """Each student's files, the latest first, by safe id; and (student, path, why) of the refused.

    `found` are the files of `source`; `other_assignments`: folders of these names under a student
    hold something else.
    """
    listed = _gradescope_names(found)
    plain = _plain_names(found, assignment)
    above = _above(source)
    handed: dict[str, _Handed] = {}
    for file in found:
        parts = (*above, *file.parts)
        if _is_other(parts, assignment, other_assignments):
            continue
        raw, notes = _by_lms(file.outer, listed)
        outer = (*above, *file.outer)
        raw = raw or _by_nbgrader(outer, len(above), assignment, plain) or plain[file.outer]
        one = handed.setdefault(unicodedata.normalize("NFC", raw), _Handed())
        kept = replace(file, notes=notes)
        (one.notebooks if _NOTEBOOK.search(file.parts[-1]) else one.others).append(kept)
    return _sorted(handed, assignment)


def _sorted(handed: dict[str, _Handed], assignment: str):
    found, refused, used = [], [], {}
    for raw, one in sorted(handed.items()):
        student = safe_id(raw)
        if used.setdefault(student, raw) != raw:
            student = f"{student}-{_digest(raw)}"
        readable = [f for f in one.notebooks if not f.refused]
        refused += [(student, f.path, f.refused) for f in one.notebooks + one.others if f.refused]
        if readable:
            readable.sort(key=lambda f: _age(f, assignment))
            found.append((student, readable[:MOST_TRIED]))
            continue
        for file in one.others:
            if not file.refused and not _BESIDE.fullmatch(file.parts[-1]):
                why = f"It is not a notebook: its name does not end in .ipynb but in {_end(file)}."
                refused.append((student, file.path, why))
    return found, refused


def _age(file: File, assignment: str) -> tuple:
    """Sorts the latest first; of two of one time, the one that has the assignment's own name."""
    attempt = _CANVAS.match(file.outer[-1])
    number = int(attempt[4]) if attempt else 0
    return -number, -file.when, file.parts[-1] != f"{assignment}.ipynb", file.path


def _end(file: File) -> str:
    return Path(file.parts[-1]).suffix[:20] or "nothing"


def _above(source: Path) -> tuple[str, ...]:
    """The two folders above the source's files: nbgrader's student may be one of them."""
    folder = source.resolve() if source.is_dir() else source.resolve().parent
    return () if source.suffix.lower() == ".zip" else folder.parts[1:][-2:]


def _is_other(parts: tuple[str, ...], assignment: str, others: set[str]) -> bool:
    folder = parts[-2] if len(parts) > 2 else assignment
    return folder in others and not _bare(parts[-1], folder)


def _by_lms(parts: tuple[str, ...], listed: dict[str, str]) -> tuple[str, tuple[str, ...]]:
    """The student as an LMS names them, or ""; and what the path says besides.

    The outermost part that names one counts, and in it what stands first: below and behind that,
    the student chose the names.
    """
    for part in parts:
        if canvas := _CANVAS.match(part):
            late = ("Canvas says that it was late",) if canvas[2] else ()
            return f"{canvas[1]}_{canvas[3]}", late
        if moodle := _MOODLE.match(part):
            return f"{moodle[1]}_{moodle[2]}", ()
        if _GRADESCOPE.match(part):
            return listed.get(part, part), ()
    return "", ()


def _by_nbgrader(parts, above: int, assignment: str, plain: dict) -> str:
    """The student of `…/ada/attention/attention.ipynb`, or "". A folder of the assignment's name
    may also hold a notebook of each student."""
    if len(parts) < 3 or parts[-2] != assignment or parts[-3] in ("exercises", "solutions"):
        return ""
    inside = len(parts) - above >= 3
    if not _bare(parts[-1], assignment):
        return parts[-3]
    beside = {_bare(p[-1], assignment) for p in plain if p[:-1] == parts[above:-1]}
    return parts[-3] if inside and (len(beside) == 1 or "" in beside) else ""


def _gradescope_names(found: list[File]) -> dict[str, str]:
    """Gradescope's own list: submission_123 → the student's number, address or name."""
    lists = [f for f in found if _is_gradescopes_list(f)]
    try:
        text = lists[0].read().decode("utf-8", "replace") if lists else ""
    except Unreadable:
        text = ""
    names: dict[str, str] = {}
    here = ""
    for line in text.splitlines():
        if start := re.match(r"(submission_\d+):", line):
            here, best = start[1], 0
        entry = re.match(r"\s+(?:- )?:(name|email|sid): *['\"]?([^'\"\n]+)", line)
        if here and entry:
            rank = {"name": 1, "email": 2, "sid": 3}[entry[1]]
            if rank > best and entry[2].strip():
                names[here], best = entry[2].strip(), rank
    return names


def _is_gradescopes_list(file: File) -> bool:
    """Whether it is the one beside the submissions, and in none of them."""
    *folders, name = file.parts
    inside = file.archive or any(map(_GRADESCOPE.match, folders))
    return name == "submission_metadata.yml" and len(folders) <= 1 and not inside


def _plain_names(found: list[File], assignment: str) -> dict[tuple[str, ...], str]:
    """The student of every path of a plain folder: the first folder that differs, or the name.

    A folder in which no notebook bears the assignment's name alone is a group of students.
    """
    paths = [f.outer for f in found]
    skip = 0
    while _all_in_one(paths, skip) and len(_below(paths, skip + 1, assignment)) > 1:
        skip += 1
    inside: dict[str, set[str]] = {}
    for parts in paths:
        if len(parts) > skip + 1 and _NOTEBOOK.search(parts[-1]):
            inside.setdefault(parts[skip], set()).add(_bare(parts[-1], assignment))
    names = {}
    for parts in paths:
        beside = inside.get(parts[skip], set())
        by_folder = len(parts) > skip + 1 and (len(beside) < 2 or "" in beside)
        stem = _bare(parts[-1], assignment) or Path(parts[-1]).stem
        names[parts] = parts[skip] if by_folder else stem
    return names


def _all_in_one(paths: list[tuple[str, ...]], skip: int) -> bool:
    """Whether all paths share the folder at that depth."""
    return len({p[skip] if len(p) > skip + 1 else None for p in paths} - {None}) == 1 and all(
        len(p) > skip + 1 for p in paths
    )


def _below(paths: list[tuple[str, ...]], skip: int, assignment: str) -> set[str]:
    """What could tell students apart at that depth."""
    names = {p[skip] if len(p) > skip + 1 else _bare(p[-1], assignment) for p in paths}
    return names - {"", assignment}


def _bare(name: str, assignment: str) -> str:
    """A file's name without its ending, the marks of a copy, and the assignment's name."""
    stem = _COPY.sub("", _NOTEBOOK.sub("", name))
    stem = re.sub(rf"(?:^|[\s_-]+){re.escape(assignment)}(?=$|[\s_-])", "", stem, flags=re.I)
    return _COPY.sub("", stem).strip(" _-.")


def safe_id(raw: str) -> str:
    """An id of letters, digits and `._@-` that can name a folder; where something of the name was
    left out, a piece of its hash is added, so that two names do not become one."""
    plain = unicodedata.normalize("NFKD", raw).encode("ascii", "ignore").decode()
    kept = re.sub(r"[^\w.@-]", "", plain.replace(" ", "-")).strip(".-")[:60]
    whole = kept == raw.strip().replace(" ", "-")
    return kept if whole and kept else f"{kept or 'student'}-{_digest(raw)}"


def _digest(raw: str) -> str:
    return hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()[:8]
