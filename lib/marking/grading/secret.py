"""The course's secret: with it and a submission's hash, the hidden inputs can be drawn again.

Who has it can work out every student's inputs, so it stays with the graders: a file that git
ignores, readable by its owner alone.
"""

import os
import secrets
from pathlib import Path

from marking.errors import CourseError

SIZE = 32
VARIABLE = "CLEARHEAD_SECRET_FILE"


def course_secret(root: Path) -> bytes:
    """The secret of the course in `root`, made at first use.

    It lies in `_grading/secret`, or where $CLEARHEAD_SECRET_FILE says. Raises `CourseError` if it
    cannot be read or made, or is too short to keep anything secret.
    """
    path = Path(os.environ.get(VARIABLE) or Path(root) / "_grading" / "secret")
    try:
        if not path.exists():
            _make(path)
        found = path.read_bytes()
    except OSError as error:
        raise CourseError(f"The course's secret, {path.name}: {error.strerror}.") from None
    if len(found) < SIZE:
        raise CourseError(f"The course's secret, {path.name}, holds fewer than {SIZE} bytes.")
    return found


def _make(path: Path) -> None:
    """Write a fresh one under another name and give it this one, unless somebody was first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(SIZE))
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
