"""One mistake has one sentence, whichever exercise of the chapter it is made in."""

from collections import defaultdict

import pytest

from marking.exercises.attention._shared import MISTAKES
from marking.registry import exercises

SHARING = ("scaled_dot_product", "multi_head", "grouped_query")


def told() -> dict[str, dict[str, tuple[str, str]]]:
    """Mistake → exercise → what it says and where to read, for the shared ones."""
    found = defaultdict(dict)
    for exercise in exercises("attention").values():
        for mistake in exercise.mistakes if exercise.name in SHARING else ():
            if mistake.id in MISTAKES:
                found[mistake.id][exercise.name] = mistake.says, mistake.read
    return found


@pytest.mark.parametrize("name", MISTAKES)
def test_a_shared_mistake_is_told_in_the_same_words_everywhere(name):
    assert len(told()[name]) >= 2
    assert len(set(told()[name].values())) == 1, told()[name]
