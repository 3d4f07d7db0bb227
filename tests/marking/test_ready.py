"""A student's cells on their way into the container: named, and compiled at most once."""

import marshal

import pytest

from marking.grading import forbidden
from marking.grading.judge import judge
from marking.grading.ready import CODE, ready
from marking.grading.sandbox import Container
from marking.registry import find

RIGHT = "def causal_mask(T, S):\n    return torch.ones(T, S, dtype=torch.bool).tril(S - T)"
HELPED = "def causal_mask(T, S):\n    return mask(T, S)"
NESTED = (
    "".join(f"{'  ' * k}try: pass\n{'  ' * k}finally:\n" for k in range(18)) + "  " * 18 + "x=1"
)


@pytest.fixture(scope="module")
def container():
    container = Container(sandboxed=False)
    yield container
    container.stop()


def told(container, *cells: str) -> str:
    return judge(container, find("attention.causal_mask"), ["import torch", *cells], "seed").says


def test_a_cell_is_named_after_the_exercise_that_it_defines():
    cells = ("import torch", RIGHT, "def softmax(:", "mask = 1")
    assert [name for name, _ in ready(cells)[0]] == ["", "causal_mask", "softmax", ""]


def test_what_can_be_compiled_travels_as_code_and_the_rest_as_its_source():
    sources, tensors = ready(("x = 1", "x = (", "x = '\0'", "try: pass\nfinally: pass", "y = 2"))
    assert [source is None for _, source in sources] == [True, False, False, False, True]
    codes = marshal.loads(bytes(tensors[CODE].tolist()))
    assert [code.co_names for code in codes] == [("x",), ("y",)]


def test_nothing_is_compiled_that_would_take_the_graders_memory():
    assert ready((NESTED,))[0] == [["", NESTED]]


def test_functions_too_deep_to_travel_are_sent_as_their_source():
    deep = f"x = {'lambda: ' * 1_100}0"
    assert ready((deep, "y = 2"))[0] == [["", deep], ["", None]]


def test_a_warning_of_the_compiler_is_not_the_graders(recwarn):
    ready((r"x = '\d'",))
    assert not recwarn.list


def test_the_cells_of_a_submission_are_compiled_once_for_all_exercises(monkeypatch, container):
    cells = ("import torch", RIGHT, "# of this test alone")
    ready.cache_clear()
    for _ in range(3):
        assert told(container, *cells[1:]).startswith("All")
    assert ready.cache_info().misses == 1
    assert forbidden.read(RIGHT).tree is not None


@pytest.mark.parametrize(
    ("cells", "place"),
    [
        ([HELPED.replace("return", "return 1 / 0 or")], "(line 2 of its cell)"),
        (["def mask(T, S):\n\n    return 1 / 0", HELPED], "(line 3 of another cell)"),
        (["def softmax(x, dim): pass\n\ndef mask(T, S): 1 / 0", HELPED], "of softmax's cell)"),
        (["try:\n    def mask(T, S): 1 / 0\nfinally: pass", HELPED], "(line 2 of another cell)"),
        (["x = 1 / 0"], "(line 1 of another cell)"),
        (["def causal_mask(T, S):\n    return ("], "(line 2 of its cell)"),
        (["\n\ndef softmax(x, dim): return ("], "(line 3 of softmax's cell)"),
    ],
)
def test_an_errors_line_comes_with_the_cell_that_it_is_in(container, cells, place):
    assert place in told(container, *cells)


def test_a_forbidden_call_in_another_cell_is_placed_there():
    helper = "def helper(x, dim):\n    return torch.softmax(x, dim)"
    own = "def softmax(x, dim):\n    return helper(x, dim)"
    cells = ["import torch", helper, own]
    assert "line 2 of the cell of helper" in forbidden.call(find("attention.softmax"), cells)
    assert "line 2 of its cell" in forbidden.call(
        find("attention.softmax"), ["import torch", helper + "\n\n" + own]
    )
