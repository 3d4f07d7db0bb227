"""The judge knows a mistake that raises by what it raises, as the learner's own check does."""

import pytest
import torch
from tests.marking.attacks.submission import honest_cells

from marking.exercise import suite
from marking.grading.judge import _bare, judge
from marking.grading.sandbox import Container
from marking.grading.verdict import verdict
from marking.outcome import Outcome
from marking.registry import chapters, exercises, find

NOT_SHARED = """
def grouped_query(q, k, v, mask=None):
    scores = q @ k.mT * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return torch.nan_to_num(torch.softmax(scores, -1)) @ v
"""


def test_what_was_raised_is_compared_without_the_line_it_was_raised_on():
    assert _bare("RuntimeError: sizes differ (line 3 of its cell)") == "RuntimeError: sizes differ"
    assert _bare("ZeroDivisionError: division by zero") == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize("told, shown", [("softmax", "softmax"), ("0.73 -1.25", "a function")])
def test_only_a_real_functions_name_is_repeated_from_the_container(told, shown):
    exercise = find("attention.softmax")
    cases = suite(exercise, 0, torch.float64)
    outcomes = [Outcome(fault="forbidden", message=told, error=told) for _ in cases]
    assert f"It calls {shown}, which" in verdict(exercise, cases, outcomes, []).says


@pytest.mark.bubblewrap
def test_a_mistake_that_raises_is_named():
    exercise = find("attention.grouped_query")
    container = Container()
    try:
        result = judge(container, exercise, ["import math\nimport torch", NOT_SHARED], "seed")
    finally:
        container.stop()
    assert "not-shared" in result.mistakes, result.says


@pytest.mark.bubblewrap
@pytest.mark.parametrize("chapter", chapters())
def test_the_courses_own_solutions_pass_every_hidden_check(chapter):
    container, cells = Container(), honest_cells(chapter)
    try:
        for exercise in exercises(chapter).values():
            result = judge(container, exercise, cells, "seed")
            assert (result.status, result.share) == ("right", 1.0), (exercise.id, result.says)
    finally:
        container.stop()
