"""A class that never was: right, wrong in named ways, unfinished, malformed, hostile.

Thirty for attention, some less for a chapter with fewer attacks of its own. Made from the master,
the records' own mistakes and other right answers, and the collected attempts of learners, all as
text. The same files each time, to the byte.
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
from tooling.as_text import ATTEMPTS, NoText, as_text
from tooling.demo_attacks import ATTACKS
from tooling.settings import ROOT

ASSIGNMENT = "attention"
CHAPTERS = ("attention", "lora", "inference", "training", "preference")
ESSAYS = {
    "attention": (
        "why_faster",
        "It moves fewer bytes: the T × S scores never leave the chip. Little gain at small T.",
    ),
    "lora": ("why_zero", "At B = 0 the model starts as the base; A's noise lets B move at once."),
    "inference": (
        "why_batching",
        "A batch shares the weights, not the caches: those give H / K operations a byte at any B.",
    ),
    "training": (
        "why_tuning",
        "One loss, other labels: only answers count, and their end token is one of them.",
    ),
    "preference": (
        "why_dapo",
        "It samples groups of answers and rewards them by a rule; pairs of images are another's.",
    ),
}


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
    filename: str = ""  # the assignment's own where it is empty
    right: tuple[str, ...] = ()
    not_right: tuple[str, ...] = ()
    named: dict[str, str] = field(default_factory=dict)  # exercise: the mistake to be named
    refused: bool = False


def students(chapter: str = ASSIGNMENT) -> list[Student]:
    """The class, in alphabetical order."""
    kinds = (_right, _wrong, _unfinished, _malformed, _hostile)
    made = [student for kind in kinds for student in kind(chapter)]
    return sorted(made, key=lambda student: student.id)


@cache
def names(chapter: str = ASSIGNMENT) -> tuple[str, ...]:
    return tuple(exercise.name for exercise in exercises(chapter).values())


# --- notebooks ---------------------------------------------------------------------------------


@cache
def _read(folder: str, chapter: str) -> str:
    return (ROOT / folder / chapter / f"{chapter}.ipynb").read_text(encoding="utf-8")


def master_answers(chapter: str = ASSIGNMENT) -> dict[str, str]:
    """Name → the master's answer, without nbgrader's marks."""
    cells = json.loads(_read("solutions", chapter))["cells"]
    texts = {cell["id"]: "".join(cell["source"]).splitlines() for cell in cells}
    marks = ("### BEGIN SOLUTION", "### END SOLUTION")
    return {
        name: "\n".join(line for line in texts[f"{name}-answer"] if line.strip() not in marks)
        for name in names(chapter)
    }


def notebook(answers: dict[str, str], chapter: str = ASSIGNMENT, essay: str = "") -> dict:
    """The released notebook with these answers filled in."""
    question, words = ESSAYS[chapter]
    book = json.loads(_read("chapters/exercises", chapter))
    for name, source in {**answers, question: essay or words}.items():
        cell = next(c for c in book["cells"] if c["id"] == f"{name}-answer")
        cell["source"] = source
    return book


def packed(book: dict) -> bytes:
    return (json.dumps(book, ensure_ascii=False, indent=1) + "\n").encode()


# --- the class -----------------------------------------------------------------------------------


@cache
def _attempts() -> tuple:
    """The collected wrong answers of tests/marking."""
    found = []
    for stem in ATTEMPTS:
        if stem not in sys.modules:
            path = ROOT / "tests" / "marking" / f"{stem}.py"
            spec = importlib.util.spec_from_file_location(stem, path)
            sys.modules[stem] = module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        found += sys.modules[stem].ATTEMPTS
    return tuple(found)


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
def right_answers(name: str, chapter: str = ASSIGNMENT) -> list[tuple[str, str]]:
    record = exercises(chapter)[f"{chapter}.{name}"]
    return _texts([(f.__name__, f) for f in record.alternatives], name)


@cache
def wrong_answers(name: str, chapter: str = ASSIGNMENT) -> list[tuple[str, str]]:
    """(mistake, text): one answer a mistake, learners' own words before the record's."""
    record = exercises(chapter)[f"{chapter}.{name}"]
    pairs = [
        (a.mistakes[0], a.answer)
        for a in _attempts()
        if a.exercise == record.id and len(a.mistakes) == 1
    ]
    pairs += [(m.id, m.impl) for m in record.mistakes]
    texts = _texts(pairs, name)
    return [pair for i, pair in enumerate(texts) if pair[0] not in {x for x, _ in texts[:i]}]


def own_answers(k: int, chapter: str = ASSIGNMENT) -> dict[str, str]:
    """Right answers in a mixture of their own for student k."""
    own = random.Random(f"student {k}")
    return {
        name: own.choice([text, *(other for _, other in right_answers(name, chapter))])
        for name, text in master_answers(chapter).items()
    }


def _right(chapter: str):
    yield Student(
        "right-01",
        "right",
        "the master's answers",
        packed(notebook(master_answers(chapter), chapter)),
    )
    for k in range(2, 9):
        data = packed(notebook(own_answers(k, chapter), chapter))
        yield Student(f"right-{k:02}", "right", "right in other ways", data, right=names(chapter))
    noisy = own_answers(9, chapter)
    first = names(chapter)[0]
    noisy[first] = (
        "import sys\nimport warnings\n\nwarnings.warn('a library warns')\n"
        "print('a line on stderr', file=sys.stderr)\n\n\n" + master_answers(chapter)[first]
    )
    data = packed(notebook(noisy, chapter))
    yield Student(
        "right-09-noisy", "right", "right, and warns on stderr", data, right=names(chapter)
    )
    names_changed = {"weights": "shares", "total": "whole", "position": "place", "out": "result"}
    names_changed |= {"hidden": "inner", "factor": "ratio", "distance": "gap"}
    copied = own_answers(3, chapter)
    for old, new in names_changed.items():
        copied = {k: renamed(text, old, new) for k, text in copied.items()}
    data = packed(notebook(copied, chapter))
    yield Student(
        "right-10-copy", "right", "right-03 with some names changed", data, right=names(chapter)
    )


NOT_TOLD = ("bytes-returned",)  # bytes do not leave the container: wrong, and not named there


def renamed(text: str, old: str, new: str) -> str:
    """The code with one name changed, unless it is a parameter: those are given."""
    parameters = re.search(r"def \w+\((.*?)\)", text, re.S)[1]
    if re.search(rf"\b{old}\b", parameters):
        return text
    return re.sub(rf"(?<!\.)\b{old}\b(?!=)", new, text)


def with_mistakes(
    k: int, how_many: int = 3, chapter: str = ASSIGNMENT
) -> tuple[dict[str, str], dict[str, str]]:
    """Answers of which some are wrong, and exercise → the mistake made in it."""
    answers, named, own = own_answers(k, chapter), {}, random.Random(f"mistakes {k}")
    for name in own.sample(names(chapter), how_many):
        told = [w for w in wrong_answers(name, chapter) if w[0] not in NOT_TOLD]
        mistake, answers[name] = own.choice(told)
        named[name] = mistake
    return answers, named


def _wrong(chapter: str):
    for k in range(1, 9):
        answers, named = with_mistakes(10 + k, chapter=chapter)
        what = "; ".join(f"{name}: {mistake}" for name, mistake in named.items())
        data = packed(notebook(answers, chapter))
        yield Student(f"wrong-{k:02}", "wrong", what, data, named=named, not_right=tuple(named))


def _unfinished(chapter: str):
    book = json.loads(_read("chapters/exercises", chapter))
    yield Student(
        "unfinished-01", "unfinished", "untouched", packed(book), not_right=names(chapter)
    )
    half = dict(list(master_answers(chapter).items())[:5])
    yield Student(
        "unfinished-02",
        "unfinished",
        "the first five",
        packed(notebook(half, chapter, essay="YOUR ANSWER HERE")),
        right=names(chapter)[:5],
        not_right=names(chapter)[5:],
    )
    third = names(chapter)[2]
    loops = own_answers(4, chapter) | {
        third: f"def {third}(**anything):\n    while True:\n        pass"
    }
    yield Student(
        "unfinished-03",
        "unfinished",
        "one answer never returns",
        packed(notebook(loops, chapter)),
        not_right=(third,),
    )


def _malformed(chapter: str):
    def cell(book, name):
        return next(c for c in book["cells"] if c["id"] == name)

    book = notebook(own_answers(5, chapter), chapter)
    book["cells"].insert(8, copy.deepcopy(cell(book, f"{names(chapter)[0]}-check")))
    yield Student(
        "malformed-01", "malformed", "a check cell twice", packed(book), right=names(chapter)
    )
    book = notebook(own_answers(6, chapter), chapter)
    for c in book["cells"]:
        c["metadata"].pop("nbgrader", None)
    what = "all metadata stripped"
    yield Student("malformed-02", "malformed", what, packed(book), right=names(chapter))
    book = notebook(own_answers(7, chapter), chapter)
    book["cells"] = [c for c in book["cells"] if not c["id"].endswith("-check")]
    book["metadata"] = {"colab": {"provenance": []}}
    yield Student(
        "malformed-03",
        "malformed",
        "Colab's copy, check cells deleted",
        packed(book),
        f"Copy of {chapter}.ipynb",
        right=names(chapter),
    )
    what = "half a file"
    data = packed(notebook(own_answers(8, chapter), chapter))
    yield Student("malformed-04", "malformed", what, data[: len(data) // 2], refused=True)


def _hostile(chapter: str):
    own = [attack for attack in ATTACKS if attack.exercise in names(chapter)]
    for k, attack in enumerate(own, 1):
        answers = master_answers(chapter) | {attack.exercise: attack.source}
        data = packed(notebook(answers, chapter))
        attacked = (attack.exercise,)
        yield Student(f"hostile-{k:02}", "hostile", attack.what, data, not_right=attacked)
