"""One merge, and the ways in which it goes wrong: what both exercises on byte pairs share.

`apply_mistakes(function, read)` makes one mistake of each wrong way, as a `functools.partial` of a
function that takes `apply=`; so two made at once are recognised too.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from marking.exercise import Mistake

# --- situations ------------------------------------------------------------------------------


def letters(draw, names: str) -> dict[str, int]:
    """A byte for each letter, in the order of the alphabet; small ones are a, b, c themselves.

    None below 30, so that no number of a merge is one of them, and none above 240.
    """
    if draw.level is not None:
        return {name: ord(name) for name in names}
    return dict(zip(sorted(names), sorted(draw.sizes(len(names), 30, 240)), strict=True))


# --- one merge -------------------------------------------------------------------------------


def merged(ids: list[int], pair: tuple[int, int], new: int) -> list[int]:
    """`new` in the place of each pair, from left to right, without overlap."""
    out, i = [], 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == pair:
            out.append(new)
            i += 2
        else:
            out.append(ids[i])
            i += 1
    return out


def from_the_right(ids, pair, new):
    return merged(ids[::-1], pair[::-1], new)[::-1]


def first_place(ids, pair, new):
    for i in range(len(ids) - 1):
        if (ids[i], ids[i + 1]) == pair:
            return [*ids[:i], new, *ids[i + 2 :]]
    return ids


def overlapping(ids, pair, new):
    """The last of three equal ones is used twice."""
    starts = {i for i in range(len(ids) - 1) if (ids[i], ids[i + 1]) == pair}
    return [
        new if i in starts else x for i, x in enumerate(ids) if i in starts or i - 1 not in starts
    ]


def second_stays(ids, pair, new):
    starts = {i for i in range(len(ids) - 1) if (ids[i], ids[i + 1]) == pair}
    return [new if i in starts else x for i, x in enumerate(ids)]


def last_lost(ids, pair, new):
    """A loop to the one before the last, which has no right neighbour."""
    out, i = [], 0
    while i < len(ids) - 1:
        if (ids[i], ids[i + 1]) == pair:
            out.append(new)
            i += 2
        else:
            out.append(ids[i])
            i += 1
    return out


def either_way_round(ids, pair, new):
    out, i = [], 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) in (pair, pair[::-1]):
            out.append(new)
            i += 2
        else:
            out.append(ids[i])
            i += 1
    return out


def shrinking(ids, pair, new):
    """`range` was told the length before anything was joined."""
    ids = list(ids)
    for i in range(len(ids) - 1):
        if ids[i] == pair[0] and ids[i + 1] == pair[1]:
            ids[i : i + 2] = [new]
    return ids


def shrinking_pairs(ids, pair, new):
    ids = list(ids)
    for i in range(len(ids) - 1):
        if (ids[i], ids[i + 1]) == pair:
            ids[i : i + 2] = [new]
    return ids


# id → the ways, what to say.
WAYS = {
    "from-the-right": (
        (from_the_right,),
        "a word is read from its right end, which cuts a run such as aaa in the other place; a "
        "merge goes from left to right.",
    ),
    "overlapping": (
        (overlapping,),
        "in a run such as aaa one byte is used for two new tokens; once a pair is joined, go on "
        "behind it.",
    ),
    "second-left-behind": (
        (second_stays,),
        "the new token is put in and the second of the pair stays as well; after a match go on by "
        "two places.",
    ),
    "last-token-lost": (
        (last_lost,),
        "the loop ends before the last token, which has no right neighbour, and so drops it.",
    ),
    "list-shrinks-in-the-loop": (
        (shrinking, shrinking_pairs),
        "the list becomes shorter while `range` still counts to its old length, so the index runs "
        "over the end; build a new list.",
    ),
}


def apply_mistakes(
    function: Callable, read: str, also: Mapping[str, tuple[Callable, ...]] = MappingProxyType({})
) -> tuple[Mistake, ...]:
    """These mistakes, made in `function`, which takes `apply=`; `also` has more code for some."""
    return tuple(
        Mistake(
            name,
            partial(function, apply=ways[0]),
            says,
            read,
            also=(*(partial(function, apply=way) for way in ways[1:]), *also.get(name, ())),
        )
        for name, (ways, says) in WAYS.items()
    )
