"""A class of thirty that never was: right, wrong in named ways, unfinished, malformed, hostile.

Made from the master, the records' own mistakes and other right answers, and the collected attempts
of learners, all as text. The same files each time, to the byte.
"""

import copy
import importlib.util
import json
import random
import re
import sys
from dataclasses import dataclass, field
from functools import cache

from marking.registry import exercises
from tooling.as_text import NoText, as_text
from tooling.demo_attacks import ATTACKS
from tooling.settings import ROOT

ASSIGNMENT = "attention"
ESSAY = "It moves fewer bytes: the T × S scores never leave the chip. Little gain at small T."


@dataclass(frozen=True)
class Student:
    """One submission, and what an honest grader makes of it.

    `right` and `not_right` name the exercises that must, and must not, get full marks; the file is
    refused where `refused` says so. Exercises in neither list are free.
    """

    id: str
    kind: str  # right, wrong, unfinished, malformed or hostile
    what: str
    data: bytes
    filename: str = f"{ASSIGNMENT}.ipynb"
    right: tuple[str, ...] = ()
    not_right: tuple[str, ...] = ()
    named: dict[str, str] = field(default_factory=dict)  # exercise: the mistake to be named
    refused: bool = False


def students() -> list[Student]:
    """The class, in alphabetical order."""
    made = [*_right(), *_wrong(), *_unfinished(), *_malformed(), *_hostile()]
    return sorted(made, key=lambda student: student.id)


@cache
def names() -> tuple[str, ...]:
    return tuple(exercise.name for exercise in exercises(ASSIGNMENT).values())


# --- notebooks ---------------------------------------------------------------------------------


@cache
def _read(folder: str) -> str:
    return (ROOT / folder / ASSIGNMENT / f"{ASSIGNMENT}.ipynb").read_text(encoding="utf-8")


def master_answers() -> dict[str, str]:
    """Name → the master's answer, without nbgrader's marks."""
    cells = json.loads(_read("solutions"))["cells"]
    texts = {cell["id"]: "".join(cell["source"]).splitlines() for cell in cells}
    marks = ("### BEGIN SOLUTION", "### END SOLUTION")
    return {
        name: "\n".join(line for line in texts[f"{name}-answer"] if line.strip() not in marks)
        for name in names()
    }


def notebook(answers: dict[str, str], essay: str = ESSAY) -> dict:
    """The released notebook with these answers filled in."""
    book = json.loads(_read("chapters/exercises"))
    for name, source in {**answers, "why_faster": essay}.items():
        cell = next(c for c in book["cells"] if c["id"] == f"{name}-answer")
        cell["source"] = source
    return book


def packed(book: dict) -> bytes:
    return (json.dumps(book, ensure_ascii=False, indent=1) + "\n").encode()


# --- the class -----------------------------------------------------------------------------------


@cache
def _attempts() -> tuple:
    """The collected wrong answers of tests/marking/learner_attempts.py."""
    if "learner_attempts" not in sys.modules:
        path = ROOT / "tests" / "marking" / "learner_attempts.py"
        spec = importlib.util.spec_from_file_location("learner_attempts", path)
        sys.modules["learner_attempts"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return tuple(sys.modules["learner_attempts"].ATTEMPTS)


def _texts(pairs, name: str) -> list[tuple[str, str]]:
    """(label, text) of the functions that can be written down."""
    found = []
    for label, function in pairs:
        try:
            found.append((label, as_text(function, name)))
        except NoText:
            continue
    return found


@cache
def right_answers(name: str) -> list[tuple[str, str]]:
    record = exercises(ASSIGNMENT)[f"{ASSIGNMENT}.{name}"]
    return _texts([(f.__name__, f) for f in record.alternatives], name)


@cache
def wrong_answers(name: str) -> list[tuple[str, str]]:
    """(mistake, text): one answer a mistake, learners' own words before the record's."""
    record = exercises(ASSIGNMENT)[f"{ASSIGNMENT}.{name}"]
    pairs = [
        (a.mistakes[0], a.answer)
        for a in _attempts()
        if a.exercise == record.id and len(a.mistakes) == 1
    ]
    pairs += [(m.id, m.impl) for m in record.mistakes]
    texts = _texts(pairs, name)
    return [pair for i, pair in enumerate(texts) if pair[0] not in {x for x, _ in texts[:i]}]


def own_answers(k: int) -> dict[str, str]:
    """Right answers in a mixture of their own for student k."""
    own = random.Random(f"student {k}")
    return {
        name: own.choice([text, *(other for _, other in right_answers(name))])
        for name, text in master_answers().items()
    }


def _right():
    yield Student("right-01", "right", "the master's answers", packed(notebook(master_answers())))
    for k in range(2, 9):
        data = packed(notebook(own_answers(k)))
        yield Student(f"right-{k:02}", "right", "right in other ways", data, right=names())
    noisy = own_answers(9)
    noisy["softmax"] = (
        "import sys\nimport warnings\n\nwarnings.warn('a library warns')\n"
        "print('a line on stderr', file=sys.stderr)\n\n\n" + master_answers()["softmax"]
    )
    data = packed(notebook(noisy))
    yield Student("right-09-noisy", "right", "right, and warns on stderr", data, right=names())
    names_changed = {"weights": "shares", "total": "whole", "position": "place", "out": "result"}
    copied = own_answers(3)
    for old, new in names_changed.items():
        copied = {k: re.sub(rf"(?<!\.)\b{old}\b(?!=)", new, text) for k, text in copied.items()}
    data = packed(notebook(copied))
    yield Student("right-10-copy", "right", "right-03 with some names changed", data, right=names())


def with_mistakes(k: int, how_many: int = 3) -> tuple[dict[str, str], dict[str, str]]:
    """Answers of which some are wrong, and exercise → the mistake made in it."""
    answers, named, own = own_answers(k), {}, random.Random(f"mistakes {k}")
    for name in own.sample(names(), how_many):
        mistake, answers[name] = own.choice(wrong_answers(name))
        named[name] = mistake
    return answers, named


def _wrong():
    for k in range(1, 9):
        answers, named = with_mistakes(10 + k)
        what = "; ".join(f"{name}: {mistake}" for name, mistake in named.items())
        data = packed(notebook(answers))
        yield Student(f"wrong-{k:02}", "wrong", what, data, named=named, not_right=tuple(named))


def _unfinished():
    book = json.loads(_read("chapters/exercises"))
    yield Student("unfinished-01", "unfinished", "untouched", packed(book), not_right=names())
    half = dict(list(master_answers().items())[:5])
    yield Student(
        "unfinished-02",
        "unfinished",
        "the first five",
        packed(notebook(half, essay="YOUR ANSWER HERE")),
        right=names()[:5],
        not_right=names()[5:],
    )
    loops = own_answers(4) | {
        "causal_mask": "def causal_mask(T, S):\n    while True:\n        pass"
    }
    yield Student(
        "unfinished-03",
        "unfinished",
        "one answer never returns",
        packed(notebook(loops)),
        not_right=("causal_mask",),
    )


def _malformed():
    def cell(book, name):
        return next(c for c in book["cells"] if c["id"] == name)

    book = notebook(own_answers(5))
    book["cells"].insert(8, copy.deepcopy(cell(book, "softmax-check")))
    yield Student("malformed-01", "malformed", "a check cell twice", packed(book), right=names())
    book = notebook(own_answers(6))
    for c in book["cells"]:
        c["metadata"].pop("nbgrader", None)
    what = "all metadata stripped"
    yield Student("malformed-02", "malformed", what, packed(book), right=names())
    book = notebook(own_answers(7))
    book["cells"] = [c for c in book["cells"] if not c["id"].endswith("-check")]
    book["metadata"] = {"colab": {"provenance": []}}
    yield Student(
        "malformed-03",
        "malformed",
        "Colab's copy, check cells deleted",
        packed(book),
        f"Copy of {ASSIGNMENT}.ipynb",
        right=names(),
    )
    what = "half a file"
    data = packed(notebook(own_answers(8)))
    yield Student("malformed-04", "malformed", what, data[: len(data) // 2], refused=True)


def _hostile():
    for k, attack in enumerate(ATTACKS, 1):
        answers = master_answers() | {attack.exercise: attack.source}
        data = packed(notebook(answers))
        attacked = (attack.exercise,)
        yield Student(f"hostile-{k:02}", "hostile", attack.what, data, not_right=attacked)
