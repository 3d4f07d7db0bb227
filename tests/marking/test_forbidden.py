"""What is read off a submission before anything runs: certain calls, and smells without a price."""

import pytest
from tests.marking.attacks.submission import honest_cells

from marking.grading import forbidden
from marking.registry import chapters, exercises, find

SOFTMAX = find("attention.softmax")


def call(source: str) -> str:
    return forbidden.call(SOFTMAX, ["import torch", source])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def softmax(x, dim):\n    return torch.softmax(x, dim)", "torch.softmax in line 2"),
        (
            "import torch.nn.functional as F\ndef softmax(x, dim):\n    return F.softmax(x, dim)",
            "torch.nn.functional.softmax in line 3",
        ),
        ("from torch import softmax as s\ndef softmax(x, dim): return s(x, dim)", "torch.softmax"),
        ("def softmax(x, dim): return x.softmax(dim)", "the method .softmax()"),
        ("def h(x): return x.log_softmax(0)\ndef softmax(x, dim): return h(x)", ".log_softmax()"),
        ("def softmax(x, dim): return (x + 1).softmax(dim)", "the method .softmax()"),
    ],
)
def test_a_call_of_the_built_in_is_named_with_its_line(source, said):
    assert said in call(source)
    assert "Write that part yourself." in call(source)


@pytest.mark.parametrize(
    "source",
    [
        '"""torch.softmax(x)"""\n# torch.softmax(x)\ndef softmax(x, dim): return "x.softmax(0)"',
        "def other(x): return torch.softmax(x, 0)\ndef softmax(x, dim): return x",
        "def my(x): return x\ndef softmax(x, dim): return my(x)",
        "class A:\n    def softmax(self): return 1\ndef softmax(x, dim): return A().softmax()",
        "import mine as m\ndef softmax(x, dim): return m.softmax(x)",
        "def softmax(x, dim):\n    def softmin(y): return y\n    return softmin(x)",
        "def softmax(x, dim): return torch.softmax",
        "def softmax(x, dim): return torch.softmax(x, dim)\ndef softmax(x, dim): return x",
        "def softmax(x, dim): return x.softmax(",
        "(" * 10_000,
        "x = '\0'",
    ],
    ids="strings another-exercise helper own-class other-module nested-name no-call replaced "
    "broken brackets null".split(),
)
def test_what_is_not_certainly_a_forbidden_call_is_left_alone(source):
    assert call(source) == ""


@pytest.mark.parametrize("chapter", chapters())
def test_the_solutions_of_the_course_call_nothing_forbidden_and_smell_of_nothing(chapter):
    cells = honest_cells(chapter)
    for exercise in exercises(chapter).values():
        assert forbidden.call(exercise, cells) == "", exercise.id
    assert forbidden.smells(cells) == ()


@pytest.mark.parametrize(
    ("source", "smell"),
    [
        ("import gc", "gc"),
        ("from ctypes import CDLL", "ctypes"),
        ("import os.path as p", "os"),
        ("import socket, subprocess, threading", "subprocess"),
        ("eval('1')", "eval()"),
        ("open('x')", "open()"),
        ("import sys\nsys._getframe()", "sys._getframe"),
        ("import sys\nsys.settrace(None)", "sys.settrace"),
        ("import sys\nsys.modules['wire']", "sys.modules"),
        ("getattr(torch, 'x')", "getattr on torch"),
        ("torch._C._x", "torch._C"),
        ("torch.library.Library('aten', 'IMPL')", "torch.library"),
        ("f.__globals__", "__globals__"),
        ("from torch.autograd import forward_ad", "torch.autograd.forward_ad"),
        ("torch.autograd.Variable._execution_engine", "torch.autograd.Variable"),
        ("y.grad_fn.next_functions", "next_functions"),
    ],
)
def test_a_smell_is_named_with_its_cell_and_line(source, smell):
    found = forbidden.smells(["x = 1", source])
    line = source.count("\n") + 1
    assert f"{smell} (cell 2, line {line})" in found


def test_a_question_about_loaded_modules_is_no_smell():
    assert forbidden.smells(["import sys\nif 'google.colab' in sys.modules: pass"]) == ()


def test_notebook_magics_are_left_out_and_lines_keep_their_numbers():
    source = "%matplotlib inline\nx = 1\n!pip install y\nif x:\n    %timeit x\ny = 7 \\\n  % 4"
    space: dict = {}
    plain = forbidden.without_magics("%load_ext z\nx = 1\nif x:\n    !ls\ny = x")
    exec(plain, space)
    assert space["y"] == 1
    assert plain.count("\n") == 4
    assert forbidden.without_magics("%%bash\nrm -r /") == "#%%bash\n#rm -r /"
    assert forbidden.without_magics("y = (7\n% 4)") == "y = (7\n% 4)"
    assert "%timeit" in forbidden.without_magics(source)
