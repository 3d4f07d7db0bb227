"""The judge knows a mistake that raises by what it raises, as the learner's own check does."""

import pytest

from marking.grading.judge import judge
from marking.grading.sandbox import Container
from marking.registry import find

NOT_SHARED = """
def grouped_query(q, k, v, mask=None):
    scores = torch.einsum("bhtd,bhsd->bhts", q, k) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return torch.einsum("bhts,bhsd->bhtd", torch.softmax(scores, -1), v)
"""


@pytest.mark.bubblewrap
def test_a_mistake_that_raises_is_named_and_its_line_is_told():
    exercise = find("attention.grouped_query")
    container = Container(exercise.forbidden)
    try:
        result = judge(container, exercise, ["import math\nimport torch", NOT_SHARED], "seed")
    finally:
        container.stop()
    assert "not-shared" in result.mistakes, result.says
