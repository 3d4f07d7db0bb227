"""The files in a folder or a zip archive, read one at a time and never unpacked.

Nothing is written, so a path that leads out of the archive leads nowhere: it is refused by name,
like links, encrypted and damaged entries, entries that unpack to too much, and archives in archives
in archives. An archive inside stands for a folder of its name.
"""

import contextlib
import dataclasses
import io
import itertools
import os
import re
import stat
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from marking.grading.notebook_file import MOST_BYTES, Unreadable

MOST_FILES = 50_000
MOST_DIRECTORY = 16 << 20  # bytes of an archive's table of contents
MOST_NAME = 500  # characters of a path
MOST_INNER = 64 << 20  # bytes of an archive inside
MOST_INNER_FILES = 500  # in it
JUNK = re.compile(
    r"\.ipynb_checkpoints|__MACOSX|\._.*|\.DS_Store|Thumbs\.db|desktop\.ini|\.git", re.I
)
_ODD_FORMAT = (
    NotImplementedError,
    RuntimeError,
    ValueError,
    struct.error,
    IndexError,
    OverflowError,
)
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, *_ODD_FORMAT)


@dataclass(frozen=True)
class File:
    """One file: `path` is for people, `parts` are its folders and name, `refused` says why it
    cannot be read ("" when it can), `archive` is the path of the handed-in archive it lies in."""

    path: str
    parts: tuple[str, ...]
    when: float = 0.0
    refused: str = ""
    open: Callable[[], io.BufferedIOBase] | None = None
    notes: tuple[str, ...] = field(default=())
    archive: tuple[str, ...] = ()

    @property
    def outer(self) -> tuple[str, ...]:
        """The path that the source itself gives, which says whose it is: in an archive that was
        handed in every name is the student's own. The archive stands for a notebook of its name."""
        *folders, name = self.archive or self.parts
        return (*folders, f"{name[:-4]}.ipynb" if _is_zip(name) else name)

    def read(self, most: int = MOST_BYTES) -> bytes:
        """Its bytes. Raises `Unreadable` if there are more than `most`, or it cannot be read."""
        if self.refused:
            raise Unreadable(self.refused)
        try:
            with self.open() as stream:
                data = stream.read(most + 1)
        except _BROKEN as error:
            raise Unreadable(f"It cannot be read: {_reason(error)}.") from None
        if len(data) > most:
            raise Unreadable(f"It is larger than {most >> 20} MiB: clear the outputs.")
        return data


@contextlib.contextmanager
def opened(source: Path) -> Iterator[list[File]]:
    """Every file of a folder or zip archive, those in archives inside it too; or the one file.

    A folder that holds one archive and nothing else is that archive: an export as downloaded.
    """
    source = _alone_in(source) or source
    with contextlib.ExitStack() as stack:
        if source.is_dir():
            found = _in_folder(source)
        elif _is_zip(source.name):
            stream = stack.enter_context(source.open("rb"))
            found = _in_zip(File(source.name, (source.name,)), stream, ())
        else:
            found = iter([_on_disk(source, (source.name,))])
        kept = list(itertools.islice(found, MOST_FILES + 1))
        if len(kept) > MOST_FILES:
            why = f"There are more than {MOST_FILES:,} files: the rest were left out."
            kept[-1] = File(source.name, (source.name,), refused=why)
        yield list(_flat(kept))


def _alone_in(folder: Path) -> Path | None:
    """The archive that is all a folder holds."""
    inside = [p for p in folder.iterdir() if not _is_junk((p.name,))] if folder.is_dir() else []
    return inside[0] if len(inside) == 1 and _is_zip(inside[0].name) else None


def _flat(found: Iterable[File]) -> Iterator[File]:
    for file in found:
        if file.refused or not _is_zip(file.parts[-1]):
            yield file
        else:
            yield from _inner(file)


def _is_zip(name: str) -> bool:
    return name.lower().endswith(".zip")


def _is_junk(parts: tuple[str, ...]) -> bool:
    return any(JUNK.fullmatch(part) for part in parts)


def _in_folder(source: Path) -> Iterator[File]:
    for folder, below, names in os.walk(source):
        below[:] = sorted(name for name in below if not _is_junk((name,)))
        links = [name for name in below if (Path(folder) / name).is_symlink()]
        for name in sorted(names) + links:
            path = Path(folder) / name
            if not _is_junk((name,)):
                yield _on_disk(path, path.relative_to(source).parts)


def _on_disk(path: Path, parts: tuple[str, ...]) -> File:
    shown = _printable("/".join(parts))
    try:
        status = path.lstat()
    except OSError as error:
        return File(shown, parts, refused=f"It cannot be read: {error.strerror}.")
    if stat.S_ISLNK(status.st_mode):
        return File(shown, parts, refused="It is a link, and links are not followed.")
    if not stat.S_ISREG(status.st_mode):
        return File(shown, parts, refused="It is not a file but a device or a pipe.")
    return File(shown, parts, status.st_mtime, open=lambda: path.open("rb"))


def _inner(file: File) -> Iterator[File]:
    """The files of an archive that lies in the source; it is read again for each, not kept."""
    folder = (*file.parts[:-1], file.parts[-1][:-4])
    try:
        stream = io.BytesIO(file.read(MOST_INNER))
    except Unreadable as error:
        yield dataclasses.replace(file, refused=str(error))
        return
    found = list(itertools.islice(_in_zip(file, stream, folder), MOST_INNER_FILES + 1))
    if len(found) > MOST_INNER_FILES:
        why = f"It holds more than {MOST_INNER_FILES} files: hand in the notebook alone."
        yield dataclasses.replace(file, refused=why)
        return
    for inside in found:
        if _is_zip(inside.parts[-1]) and inside.parts != file.parts:
            why = "It is an archive inside an archive that was handed in."
            inside = dataclasses.replace(inside, refused=why)
        yield inside


def _in_zip(file: File, stream, folder: tuple[str, ...]) -> Iterator[File]:
    """The files of an archive; for one inside the source, `folder` is what it stands for."""
    try:
        end = zipfile._EndRecData(stream)  # the table's size, before the table is read
        if end and end[5] > MOST_DIRECTORY:
            raise zipfile.BadZipFile("its table of contents is too long")
        archive = zipfile.ZipFile(stream)
    except _BROKEN as error:
        why = f"It is no zip archive that can be read: {_reason(error)}."
        yield dataclasses.replace(file, refused=why)
        return
    for info in archive.infolist():
        name = _name(info)
        inside = tuple(part for part in name.split("/") if part not in ("", ".")) or ("unnamed",)
        if info.is_dir() or _is_junk(inside):
            continue
        yield File(
            _printable(f"{file.path}/{name}" if folder else name),
            (*folder, *(part[:MOST_NAME] for part in inside[:20])),
            _when(info),
            refused=_why_not(info, name),
            open=partial(_again, file, info) if folder else partial(archive.open, info),
            archive=file.parts if folder else (),
        )


def _again(file: File, info: zipfile.ZipInfo) -> io.BufferedIOBase:
    return zipfile.ZipFile(io.BytesIO(file.read(MOST_INNER))).open(info)


def _why_not(info: zipfile.ZipInfo, name: str) -> str:
    if name.startswith("/") or ".." in PurePosixPath(name).parts or re.match(r"[A-Za-z]:", name):
        return "Its path leads out of the archive."
    if len(name) > MOST_NAME:
        return f"Its path is longer than {MOST_NAME} characters."
    if stat.S_ISLNK(info.external_attr >> 16):
        return "It is a link, and links are not followed."
    if info.flag_bits & 1:
        return "It is encrypted."
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "It is compressed in a way that is not read here: zip it in the ordinary way."
    return ""


def _name(info: zipfile.ZipInfo) -> str:
    """The entry's name, with `/`. Many programs write UTF-8 and do not say so."""
    name = info.filename
    if not info.flag_bits & 0x800:
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            pass
    return name.replace("\\", "/")


def _when(info: zipfile.ZipInfo) -> float:
    try:
        return time.mktime((*info.date_time, 0, 0, -1))
    except (ValueError, OverflowError):
        return 0.0


def _printable(text: str) -> str:
    """For a report: no half characters of a name in another encoding, no control characters."""
    return "".join(c if c.isprintable() else "?" for c in text)[:300]


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return _printable(text.rstrip("."))[:120]
