"""Where to read on, said so that a learner can open it."""

import re
from functools import cache
from pathlib import Path

CHAPTERS = Path(__file__).resolve().parents[2] / "chapters"


@cache
def place(target: str) -> str:
    """`"attention/02_scale#slug"` as a notebook's path and the heading of the section."""
    page, _, slug = target.partition("#")
    section = f", section “{_heading(page, slug)}”" if slug else ""
    return f"chapters/{page}.ipynb{section}"


def slug_of(heading: str) -> str:
    """The anchor that the book gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower().replace(" ", "-"))


def _heading(page: str, slug: str) -> str:
    """The heading as the page has it; its words alone where the pages are not installed."""
    file = CHAPTERS / f"{page}.md"
    if file.is_file():
        for heading in re.findall(r"^#{1,3} (.+)$", file.read_text(encoding="utf-8"), re.M):
            if slug_of(heading) == slug:
                return heading.replace("`", "")
    return slug.replace("-", " ")
