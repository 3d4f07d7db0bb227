r"""A task for a model that trains in seconds: say from which part of Python's help an excerpt is.

The text is five long topics of `pydoc_data`, which come with Python and copy nothing from each
other. The last seventh of each is kept apart, so that there is text to be held out and there are
excerpts that nobody trained on. A conversation has an excerpt as its question; the answer is one of
four sentences, `This is about classes.` and the like.
"""

from random import Random
from typing import NamedTuple

from clearhead._checks import require_integer

KINDS = {
    "statements": ("compound",),
    "classes": ("specialnames",),
    "strings": ("string-methods", "formatstrings"),
    "debugging": ("debugger",),
}
KEPT_APART = 7  # one part in so many

Chat = list[dict[str, str]]


class Excerpts(NamedTuple):
    """Text and conversations, to train on and kept apart."""

    text: list[str]
    held_out: list[str]
    chats: list[Chat]
    unseen: list[Chat]


def excerpts(*, words: int = 8, longest: int = 80) -> Excerpts:
    """The four parts; an excerpt is so many words, of at most so many characters together.

    Raises `TypeError` or `ValueError` when a number is not a positive integer.
    """
    from pydoc_data.topics import topics

    require_integer(1, words=words, longest=longest)
    found = Excerpts([], [], [], [])
    for kind, names in KINDS.items():
        for name in names:
            whole = topics[name].strip()
            cut = len(whole) - len(whole) // KEPT_APART
            for part, text, talks in (
                (whole[:cut], found.text, found.chats),
                (whole[cut:], found.held_out, found.unseen),
            ):
                text.append(part)
                talks += [chat(e, kind) for e in _cut(part, words) if len(e) <= longest]
    Random(0).shuffle(found.chats)
    Random(0).shuffle(found.unseen)
    return found


def chat(excerpt: str, kind: str) -> Chat:
    """The conversation about one excerpt."""
    return [
        {"role": "user", "content": excerpt},
        {"role": "assistant", "content": f"This is about {kind}."},
    ]


def _cut(text: str, words: int) -> list[str]:
    parts = text.split()
    return [" ".join(parts[i : i + words]) for i in range(0, len(parts) - words + 1, words)]
