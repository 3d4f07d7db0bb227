r"""Text to train on that is there already, or one package away: a list of documents.

| name | what | where it comes from |
| --- | --- | --- |
| `python-topics` | Python's own help texts, 465 kB of English | every CPython |
| `kjv` | the King James Bible, 4 MB, a chapter a document | Debian: `apt install bible-kjv` |
| `tang` | 313 poems of the Tang, 80 kB of Chinese | Debian: `apt install fortunes-zh` |
| `song` | 95 poems of the Song, 30 kB | the same |
| `chinese` | sayings, classics and manuals, 2 MB | the same |

Anything else is a folder of yours, or one file: every `.txt` and `.md` in it is a document.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from random import Random

from clearhead._checks import require_finite, require_integer

FORTUNES = Path("/usr/share/games/fortunes")
POEMS = {"tang": "tang300", "song": "song100", "chinese": "chinese"}
COLOUR = re.compile(r"\x1b\[(\x1b\[[0-9;]*m)?[0-9;]*m")  # the terminal's; one may hold another
NAMES = ("python-topics", "kjv", *POEMS)


def corpus(name_or_folder: str | Path = "python-topics") -> list[str]:
    """The documents of a corpus in the table above, of a folder, or of one file; none is empty.

    Raises `FileNotFoundError` when it is not there, saying how to get it, `ValueError` when it
    holds no text or a file is not UTF-8, and `OSError` when a file can't be read.
    """
    name = str(name_or_folder)
    if name == "python-topics":
        from pydoc_data.topics import topics

        documents = list(topics.values())
    elif name == "kjv":
        documents = _bible()
    elif name in POEMS:
        documents = _fortunes(FORTUNES / POEMS[name])
    else:
        documents = _files(Path(name_or_folder))
    documents = [document.strip() for document in documents if document.strip()]
    if not documents:
        raise ValueError(f"{name} holds no text; give a folder with .txt or .md files that do.")
    return documents


def split(
    documents: Sequence[str], *, held_out: float = 0.1, seed: int = 0
) -> tuple[list[str], list[str]]:
    """Documents to train on, and documents to test on: drawn whole, at most this share of the text.

    Equal documents go to one side together: text that was trained on is no test. Both lists keep
    the order. Raises `ValueError` when there are fewer than two different documents, or the
    shortest is more than the share.
    """
    require_finite(held_out=held_out)
    require_integer(0, seed=seed)
    if not 0 < held_out < 1:
        raise ValueError(f"held_out is {held_out}; give a share between 0 and 1.")
    copies = {document: 0 for document in documents}
    for document in documents:
        copies[document] += len(document)
    if list(copies) == [""]:
        raise ValueError("The documents hold no text; give two different ones or more.")
    room = held_out * sum(copies.values())
    drawn, test = list(copies), set()
    Random(seed).shuffle(drawn)
    for document in drawn:
        if copies[document] <= room:
            test.add(document)
            room -= copies[document]
    if not test:
        raise ValueError(
            f"None of the {len(copies)} different documents is as short as {held_out:.0%} of the "
            "text; give more documents or a larger share."
        )
    return [d for d in documents if d not in test], [d for d in documents if d in test]


def _bible() -> list[str]:
    """One document a chapter, one line a verse, as the program `bible` prints them."""
    program = shutil.which("bible")
    if program is None:
        raise FileNotFoundError("kjv is not on this machine; on Debian: apt install bible-kjv")
    command = [program, "-f", "gen1:1-rev22:21"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    chapters: dict[str, list[str]] = {}
    for line in printed.splitlines():
        reference, _, verse = line.partition(" ")  # "Ge1:1"
        chapters.setdefault(reference.partition(":")[0], []).append(verse)
    return ["\n".join(verses) for verses in chapters.values()]


def _fortunes(file: Path) -> list[str]:
    """The entries of a file of the program `fortune`, which stand between lines of a `%`."""
    if not file.exists():
        raise FileNotFoundError(
            f"{file.name} is not on this machine; on Debian: apt install fortunes-zh"
        )
    return COLOUR.sub("", _read(file)).split("\n%\n")


def _files(place: Path) -> list[str]:
    if not place.exists():
        raise FileNotFoundError(
            f"There is no folder {place}; give a folder of .txt and .md files or one of the "
            f"corpora {', '.join(NAMES)}."
        )
    files = [place] if place.is_file() else sorted(place.rglob("*"))
    wanted = (file for file in files if file.suffix in (".txt", ".md") and file.is_file())
    return [_read(file) for file in wanted]


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")  # a byte-order mark is no text
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file} is not UTF-8 (byte {error.start} is {error.object[error.start]:#04x}); "
            "convert it, for example with iconv."
        ) from None
