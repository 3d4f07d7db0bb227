"""The sample class: thirty different submissions, the same each time, and what they should get."""

import ast
import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tooling import demo_class, grade_demo
from tooling.as_text import NoText, as_text
from tooling.settings import ROOT

from marking import check
from marking.exercises.lora._given import LoRALinear
from marking.registry import exercises

KINDS = {"right": 10, "wrong": 8, "unfinished": 3, "malformed": 4, "hostile": 5}
LIST = "import hashlib; from tooling.demo_class import students; " + (
    "print(*(f'{s.id} {hashlib.sha256(s.data).hexdigest()}' for s in students()))"
)


@pytest.fixture(scope="module")
def class_():
    return demo_class.students()


def test_the_class_has_thirty_students_of_five_kinds(class_):
    kinds = [student.kind for student in class_]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == KINDS
    assert len({student.id for student in class_}) == 30


def test_no_two_students_hand_in_the_same_bytes(class_):
    assert len({student.data for student in class_}) == 30


@pytest.mark.parametrize("chapter", demo_class.CHAPTERS[1:])
def test_another_chapter_has_a_class_of_every_kind_too(chapter):
    class_ = demo_class.students(chapter)
    kinds = [student.kind for student in class_]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == KINDS | {"hostile": 2}
    assert len({student.data for student in class_}) == len(class_)


def test_another_process_with_another_hash_seed_makes_the_same_bytes():
    listed = [
        subprocess.run(
            [sys.executable, "-c", LIST],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT / "lib")},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert listed[0] == listed[1] and listed[0].count("\n") == 1


def test_every_notebook_but_the_refused_one_can_be_read_and_its_answers_compile(class_):
    for student in class_:
        if student.refused:
            with pytest.raises(ValueError):
                json.loads(student.data)
            continue
        for cell in json.loads(student.data)["cells"]:
            if cell["id"].endswith("-answer") and cell["cell_type"] == "code":
                ast.parse("".join(cell["source"]))


EVERY = [(chapter, name) for chapter in demo_class.CHAPTERS for name in demo_class.names(chapter)]


@pytest.mark.parametrize(("chapter", "name"), EVERY)
def test_a_wrong_answer_written_down_is_still_that_mistake(chapter, name):
    mistake, text = demo_class.wrong_answers(name, chapter)[0]
    report = check(f"{chapter}.{name}", defined(name, text))
    assert report.share < 1
    assert mistake in {m.id for m in report.mistakes}


@pytest.mark.parametrize(("chapter", "name"), EVERY)
def test_another_right_answer_written_down_is_still_right(chapter, name):
    assert demo_class.right_answers(name, chapter)
    for _, text in demo_class.right_answers(name, chapter):
        assert check(f"{chapter}.{name}", defined(name, text)).share == 1


def defined(name: str, text: str):
    space: dict = {"LoRALinear": LoRALinear}
    exec("import math\n\nimport torch\n\n" + text, space)
    return space[name]


def test_a_function_that_needs_the_library_is_not_written_down():
    with pytest.raises(NoText):
        as_text(functools.partial(exercises()["attention.softmax"].reference, dim=0), "softmax")


# --- what is expected -------------------------------------------------------------------------


def student(**fields) -> demo_class.Student:
    return demo_class.Student("ada", fields.pop("kind", "right"), "", b"", **fields)


def row(share: float | None = 1.0, mistakes=(), status="right"):
    return SimpleNamespace(share=share, mistakes=mistakes, status=status)


@pytest.mark.parametrize(
    ("one", "found"),
    [
        (student(right=("softmax",)), {"softmax": row(0.9)}),
        (student(not_right=("softmax",)), {"softmax": row(1.0)}),
        (student(named={"softmax": "no-max"}), {"softmax": row(0.5, ("global-max",))}),
        (student(kind="hostile", not_right=("softmax",)), {"softmax": row(0.1)}),
        (student(), {"softmax": row(None, status="our fault")}),
        (student(), {}),
        (student(refused=True), {"softmax": row()}),
    ],
)
def test_a_score_that_is_not_as_expected_is_said(one, found):
    assert len(grade_demo.unexpected(one, found)) == 1


def test_a_score_as_expected_is_not_mentioned():
    wrong = student(named={"softmax": "no-max"}, not_right=("softmax",), right=("rotary",))
    assert not grade_demo.unexpected(wrong, {"softmax": row(0.5, ("no-max",)), "rotary": row()})
    assert not grade_demo.unexpected(student(refused=True), {})


def test_the_demo_does_not_empty_a_folder_that_is_not_its_own(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(SystemExit, match="not the demo's"):
        grade_demo.make_course(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_a_chapter_that_is_none_is_refused_in_a_sentence():
    assert grade_demo.asked([]) == (None, "attention")
    assert grade_demo.asked(["lora", "here"]) == (Path("here"), "lora")
    for words in (["lorra"], ["lorra", "here"]):
        with pytest.raises(SystemExit, match="no chapter 'lorra': name one of attention, lora"):
            grade_demo.asked(words)


def test_the_demo_begins_from_nothing_each_time(tmp_path):
    folder = tmp_path / "demo"
    grade_demo.make_course(folder)
    (folder / "left_over.txt").write_text("from an earlier run")
    grade_demo.make_course(folder)
    assert not (folder / "left_over.txt").exists()
    grade_demo.hand_in(folder, [student(filename="Copy of attention.ipynb")])
    assert (folder / "_grading/submitted/ada/attention/Copy of attention.ipynb").exists()
