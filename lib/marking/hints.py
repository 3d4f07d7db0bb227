"""Hints, one at a time: the third is never the formula."""

from marking.registry import find

_given: dict[str, int] = {}


class Hint(str):
    """A hint, shown as its text."""

    def __repr__(self) -> str:
        return str(self)


def hint(exercise_id: str) -> Hint:
    """The next hint for an exercise; after the third, the third again and where to read."""
    exercise = find(exercise_id)
    n = _given.get(exercise_id, 0)
    _given[exercise_id] = n + 1
    text = exercise.hints[min(n, 2)]
    after = f" There are no more hints. Read: {exercise.read}." if n >= 2 else ""
    return Hint(f"Hint {min(n, 2) + 1} of 3: {text}{after}")
