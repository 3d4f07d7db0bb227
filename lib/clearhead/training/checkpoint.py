r"""What a run needs to go on after it was killed, in files that are whole or are not there.

A checkpoint is one file, `step-00000200.1f0c….pt`, that `torch.load` reads. Its name holds the
number of steps done and the first 16 digits of the SHA-256 of its bytes.

**Atomic.** It is written under another name, forced to disk, and then renamed, which a file system
does at once or not at all. A process that is killed while it writes leaves a `.part` behind and
the checkpoints before as they were.

**Checked.** Whoever reads it compares the bytes with the name. A file that was cut short or altered
afterwards is passed over with a warning and the one before is used, for two are kept.

**Safe.** Files are read with `weights_only=True`, so that none can run code.
"""

import contextlib
import hashlib
import os
import re
import warnings
from pathlib import Path

import torch

from clearhead._checks import require_integer

NAME = re.compile(r"step-(\d{8,})\.([0-9a-f]{16})\.pt")
KEPT = 2  # the newest, and the one before in case it breaks


def save_checkpoint(folder: str | os.PathLike, step: int, state: dict) -> Path:
    """Write `state` (tensors, numbers, strings, lists, dicts) after `step` steps; keep two.

    The folder is made if need be. Where writing fails, nothing that was there is changed. Raises
    `TypeError` or `ValueError` when `step` is not an integer of 0 or more.
    """
    require_integer(0, step=step)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"step-{step:08}.part"
    try:
        with open(part, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        path = folder / f"step-{step:08}.{_digest(part)}.pt"
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _force_to_disk(folder)
    others = [old for old in checkpoints(folder) if old != path]
    before = [old for old in others if _steps(old) < step]  # a later one was broken: passed over
    for file in {*others, *folder.glob("step-*.part")} - {*before[: KEPT - 1]}:
        file.unlink(missing_ok=True)
    return path


def load_checkpoint(folder: str | os.PathLike, device=None) -> dict | None:
    """The newest checkpoint in `folder` that is whole, or None where there never was one.

    Warns of each that is not. Raises `ValueError` when there are some and none is whole.
    """
    found = checkpoints(folder)
    for path in found:
        problem = None
        try:
            if _digest(path) != NAME.fullmatch(path.name)[2]:
                problem = "its bytes are not those that were written (cut short, or altered)"
            else:
                return torch.load(path, map_location=device, weights_only=True)
        except OSError as error:
            problem = f"it can't be read ({error.strerror})"
        warnings.warn(f"{path} is not used: {problem}; trying the one before.", stacklevel=2)
    if found:
        raise ValueError(
            f"no checkpoint in {folder} is whole ({len(found)} tried); bring back a copy, or empty "
            "the folder to start at step 0."
        )
    return None


def checkpoints(folder: str | os.PathLike) -> list[Path]:
    """The checkpoints in `folder`, the newest first, whole or not."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    named = [path for path in folder.iterdir() if NAME.fullmatch(path.name)]
    return sorted(named, key=lambda path: (_steps(path), path.stat().st_mtime_ns), reverse=True)


def _steps(path: Path) -> int:
    return int(NAME.fullmatch(path.name)[1])


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _force_to_disk(folder: Path) -> None:
    """The folder's list of names too, where the system lets a folder be opened."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
