"""An answer that calls another answer of its notebook which is not right itself."""

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from marking.grading import earlier, judge
from marking.grading.outputs import Verdict, fill
from marking.grading.sandbox import Container
from marking.grading.verdict import Result, after_another
from marking.registry import find

GIVEN = "import math\nimport torch"
NO_MAX = """
def softmax(x, dim):
    return x.exp() / x.exp().sum(dim=dim, keepdim=True)
"""
RIGHT_SOFTMAX = """
def softmax(x, dim):
    top = x.amax(dim=dim, keepdim=True)
    e = (x - torch.where(top.isinf(), torch.zeros_like(top), top)).exp()
    total = e.sum(dim=dim, keepdim=True)
    return torch.where(total == 0, torch.zeros_like(e), e / total)
"""
CALLS_IT = """
def scaled_dot_product(q, k, v, mask):
    scores = q @ k.mT * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = softmax(scores, -1)
    return weights @ v, weights
"""
HELPER = "def helper(x):\n    return softmax(x, -1)"
IN_A_CLASS = "class A:\n    f = staticmethod(lambda *x: softmax(*x))"
LOCAL = "    softmax = torch.softmax\n    scores = q"
NO_SCALE = CALLS_IT.replace(" * q.shape[-1] ** -0.5", "")


@pytest.fixture(scope="module")
def container():
    container = Container()
    yield container
    container.stop()


def called(name, *cells):
    return [one.name for one in earlier.called(find(name), [GIVEN, *cells])]


@pytest.mark.parametrize(
    "cells",
    [
        (NO_MAX, CALLS_IT),
        (CALLS_IT, NO_MAX),
        (NO_MAX, HELPER, CALLS_IT.replace("softmax(", "helper(")),
        (NO_MAX, "mine = softmax", CALLS_IT.replace("softmax(", "mine(")),
        (NO_MAX, "mine = lambda x, d: softmax(x, d)", CALLS_IT.replace("softmax(", "mine(")),
        (NO_MAX, IN_A_CLASS, CALLS_IT.replace("softmax(", "A.f(")),
        (NO_MAX, CALLS_IT.replace("softmax(scores, -1)", "list(map(softmax, [scores], [-1]))[0]")),
        (NO_MAX, "softmax = torch.no_grad()(softmax)", CALLS_IT),
        (NO_MAX, CALLS_IT, "scaled_dot_product = torch.no_grad()(scaled_dot_product)"),
    ],
)  # fmt: skip
def test_what_an_answer_reaches_is_found(cells):
    assert called("attention.scaled_dot_product", *cells) == ["softmax"]


@pytest.mark.parametrize(
    "cells",
    [
        (NO_MAX, CALLS_IT.replace("softmax(scores, -1)", "torch.softmax(scores, -1)")),
        (NO_MAX, CALLS_IT.replace("    scores = q", LOCAL, 1)),
        (NO_MAX, CALLS_IT.replace("mask):", "mask, softmax=torch.softmax):")),
        (NO_MAX, CALLS_IT, "def scaled_dot_product(q, k, v, mask):\n    return q, k"),
        (CALLS_IT,),
        (NO_MAX,),
        (NO_MAX, "def scaled_dot_product(:"),
        ("(" * 10_000, "-" * 500_000 + "1", "\0", "x = " + "[" * 150 + "]" * 150),
        ("def scaled_dot_product(q):\n    global q\n    softmax(q)", NO_MAX),
    ],
)  # fmt: skip
def test_a_name_of_its_own_or_of_torch_is_none(cells):
    assert called("attention.scaled_dot_product", *cells) == []


@pytest.mark.parametrize("depth", [100, 1_000, 100_000])
def test_functions_in_functions_do_not_stop_it(depth):
    deep = "def scaled_dot_product(q):\n    return " + "lambda: " * depth + "softmax(q)"
    assert called("attention.scaled_dot_product", NO_MAX, deep) in ([], ["softmax"])


def test_a_chain_is_found_in_the_books_order_and_a_circle_ends():
    many = "def multi_head(x):\n    return scaled_dot_product(x, x, x, None)"
    cells = (many, CALLS_IT, NO_MAX.replace("x.exp()", "multi_head(x)"))
    assert called("attention.multi_head", *cells) == ["softmax", "scaled_dot_product"]
    assert called("attention.softmax", *cells) == ["scaled_dot_product", "multi_head"]


@pytest.mark.bubblewrap
def test_the_other_is_told_and_a_person_looks(container):
    exercise = find("attention.scaled_dot_product")
    result = judge.judge(container, exercise, [GIVEN, NO_MAX, CALLS_IT], "seed")
    alone = judge._judge_alone(container, exercise, [GIVEN, NO_MAX, CALLS_IT], "seed", (30, 5, 60))
    assert alone.status == "partly right" and alone.mistakes, "the mistake that it did not make"
    assert (result.status, result.mistakes) == ("needs a look", ())
    assert result.share == alone.share and result.cases == alone.cases
    assert "softmax, which this answer calls, is not right itself" in result.says
    assert not any(f"“{name}”" in result.says for name in alone.mistakes)
    assert "no-max" in result.note and "partly right" in result.note


@pytest.mark.bubblewrap
@pytest.mark.parametrize(
    "cells",
    [
        [GIVEN, RIGHT_SOFTMAX, NO_SCALE],
        [GIVEN, NO_MAX, NO_SCALE.replace("softmax(scores, -1)", "torch.softmax(scores, -1)")],
    ],
    ids=["the other is right", "the other is not called"],
)
def test_a_mistake_of_its_own_is_its_own(container, cells):
    result = judge.judge(container, find("attention.scaled_dot_product"), cells, "seed")
    assert result.status == "partly right"
    assert "no-scale" in result.mistakes and "no-scale" in result.says


@pytest.mark.bubblewrap
@pytest.mark.parametrize("body", ["return softmax", "if 0: softmax(q, 0)\n    return q, k"])
def test_to_name_a_wrong_answer_earns_nothing(container, body):
    cells = [GIVEN, NO_MAX, f"def scaled_dot_product(q, k, v, mask):\n    {body}"]
    result = judge.judge(container, find("attention.scaled_dot_product"), cells, "seed")
    assert (result.status, result.share) == ("needs a look", 0.0)


def test_the_answers_that_it_calls_have_one_limit_together(monkeypatch):
    exercise, clock, judged = find("attention.multi_head"), [0.0], []

    def alone(_, one, *__):
        judged.append(one.name)
        clock[0] += 40.0
        status = "wrong" if one is exercise else "right"
        return Result(one.id, status, 0.0, "0 of 9 hidden checks passed. It raised x")

    monkeypatch.setattr(judge.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(judge, "_judge_alone", alone)
    others = [find(f"attention.{name}") for name in ("softmax", "causal_mask", "rotary")]
    monkeypatch.setattr(earlier, "called", lambda *_: others)
    result = judge.judge(None, exercise, [], "seed")
    assert judged == ["multi_head", "softmax", "causal_mask"]
    assert (result.status, result.share, result.mistakes) == ("needs a look", 0.0, ())
    assert result.says.startswith("0 of 9 hidden checks passed. The answers that it calls took")
    assert "x" not in result.says and "within 60 s" in result.note


@pytest.mark.bubblewrap
def test_for_a_right_answer_nothing_is_read_or_run(container, monkeypatch):
    monkeypatch.setattr(earlier, "called", lambda *_: pytest.fail("looked"))
    cells = [GIVEN, RIGHT_SOFTMAX, CALLS_IT]
    result = judge.judge(container, find("attention.scaled_dot_product"), cells, "seed")
    assert (result.status, result.share) == ("right", 1.0), result.says


@pytest.mark.bubblewrap
def test_a_forbidden_call_stays_one(container):
    whole = "torch.nn.functional.scaled_dot_product_attention(q, k, v)"
    cells = [GIVEN, NO_MAX, CALLS_IT.replace("weights @ v, weights", f"{whole}, weights")]
    result = judge.judge(container, find("attention.scaled_dot_product"), cells, "seed")
    assert (result.status, result.share) == ("forbidden", 0.0)


def test_the_students_own_words_are_not_passed_on():
    """What an error says is the student's to choose, and could be an input."""
    told = "1 of 10 hidden checks passed. It raised ValueError: checks passed. 0.25 is x[0]"
    result = Result("attention.multi_head", "partly right", 0.1, told)
    says = after_another(result, Result("attention.softmax", "wrong", 0.0)).says
    assert says.startswith("1 of 10 hidden checks passed. softmax, which") and "x[0]" not in says
    crashed = Result("attention.multi_head", "crashed", 0.0, "It raised ValueError: 0.25")
    assert after_another(crashed, Result("attention.softmax", "wrong", 0.0)).says.startswith("soft")


def test_the_page_shows_the_points_so_far_and_says_that_a_person_looks():
    cell = new_code_cell('check("attention.multi_head", multi_head).points(5)')
    cell.metadata["nbgrader"] = {"grade": True, "solution": False, "points": 5}
    fill(
        new_notebook(cells=[cell]),
        {
            "attention.multi_head": Verdict(
                "attention.multi_head", "needs a look", 0.4, "softmax, which …", "bubblewrap"
            )
        },
    )
    text, number = cell.outputs
    assert "softmax, which" in text.text and number.data["text/plain"] == "2.0"
    assert cell.metadata["clearhead"]["status"] == "needs a look"
