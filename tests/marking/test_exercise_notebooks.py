"""The masters under solutions/: clean files, true examples, points that agree with the records."""

import ast
import doctest
import inspect
import json
import re
import symtable
from pathlib import Path

import nbformat
import pytest

from marking.exercises.inference._given import rotary
from marking.exercises.lora._given import LoRALinear
from marking.registry import exercises

ROOT = Path(__file__).resolve().parents[2]
MASTERS = sorted((ROOT / "solutions").glob("*/*.ipynb"))
RELEASES = sorted((ROOT / "chapters" / "exercises").glob("*/*.ipynb"))
BOTH = [*MASTERS, *RELEASES]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def read(path: Path):
    return nbformat.read(path, as_version=4)


def grade_id(cell) -> str | None:
    return cell.metadata.get("nbgrader", {}).get("grade_id")


def is_given(cell) -> bool:
    """The imports at the top, and whatever an exercise is given besides."""
    return cell.cell_type == "code" and (grade_id(cell) or "").split("-")[-1] == "given"


def answers(path: Path) -> dict:
    """The code cells that a learner writes, by the name of the function."""
    return {
        cell.id.removesuffix("-answer"): cell
        for cell in read(path).cells
        if cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("solution")
    }


def solved(path: Path) -> dict:
    """What a learner has after running the given cells and every answer of a master."""
    space: dict = {}
    for cell in read(path).cells:
        if is_given(cell) or cell in answers(path).values():
            exec(cell.source, space)
    return space


def test_there_are_masters_and_each_has_its_release():
    assert MASTERS
    pairs = {(p.parent.name, p.name) for p in MASTERS}
    assert pairs == {(p.parent.name, p.name) for p in RELEASES}


@pytest.mark.parametrize("path", BOTH, ids=name)
def test_a_notebook_is_stored_clean(path):
    text = path.read_text(encoding="utf-8")
    notebook = read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    assert text == json.dumps(json.loads(text), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    for cell in notebook.cells:
        assert grade_id(cell) in (None, cell.id)
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None


@pytest.mark.parametrize("path", RELEASES, ids=name)
def test_a_release_holds_no_solution(path):
    text = path.read_text(encoding="utf-8")
    assert "SOLUTION" not in text and "Rubric" not in text
    for cell in answers(path).values():
        function = ast.parse(cell.source).body[0]
        assert len(ast.parse(cell.source).body) == 1
        assert isinstance(function.body[0], ast.Expr), "a docstring says what to write"
        assert ast.unparse(function.body[1:]) == "raise NotImplementedError()"


@pytest.mark.parametrize("path", BOTH, ids=name)
def test_only_the_answer_cells_define_what_a_learner_writes(path):
    written = set(answers(path))
    assert written == {e.name for e in exercises(path.parent.name).values()}
    for cell in read(path).cells:
        if cell.cell_type != "code" or cell.id.removesuffix("-answer") in written:
            continue
        symbols = symtable.symtable(cell.source, cell.id, "exec").get_symbols()
        bound = {s.get_name() for s in symbols if s.is_assigned() or s.is_imported()}
        assert not bound & written, f"{cell.id} would overwrite an answer"


@pytest.mark.parametrize("path", BOTH, ids=name)
def test_every_exercise_stands_in_the_books_order_with_the_points_of_its_record(path):
    cells = {cell.id: cell for cell in read(path).cells}
    records = exercises(path.parent.name).values()
    checks = [key for key in cells if key.endswith("-check")]
    assert checks == [f"{e.name}-check" for e in records]
    for e in records:
        check, task = cells[f"{e.name}-check"], cells[f"{e.name}-task"].source
        assert check.source == f'check("{e.id}", {e.name}).points({e.points})'
        data = check.metadata.nbgrader
        assert (data.points, data.grade, data.locked, data.solution) == (
            e.points,
            True,
            True,
            False,
        )
        dots = "●" * e.difficulty + "○" * (3 - e.difficulty)
        assert e.title in task
        points = "1 point" if e.points == 1 else f"{e.points} points"
        assert f"{dots} · {e.minutes} minutes · {points} · read " in task


@pytest.mark.parametrize("path", BOTH, ids=name)
def test_given_cells_are_locked_and_run_before_the_answers_that_need_them(path):
    space: dict = {}
    for cell in filter(is_given, read(path).cells):
        data = cell.metadata.nbgrader
        assert (data.locked, data.grade, data.solution) == (True, False, False)
        exec(cell.source, space)
    assert {"math", "torch", "check", "hint", "status"} <= space.keys()


GIVEN = {"lora": ("lora_linear-given", LoRALinear), "inference": ("rotary-given", rotary)}


@pytest.mark.parametrize("path", [p for p in BOTH if p.stem in GIVEN], ids=name)
def test_what_a_chapter_gives_is_what_its_records_know(path):
    place, given = GIVEN[path.stem]
    (cell,) = [c for c in read(path).cells if grade_id(c) == place]
    assert inspect.getsource(given).strip() in cell.source


@pytest.mark.parametrize("path", MASTERS, ids=name)
def test_the_worked_examples_are_true(path):
    text = "\n".join(
        re.sub(r"^```.*$", "", cell.source, flags=re.MULTILINE)
        for cell in read(path).cells
        if cell.cell_type == "markdown"
    )
    examples = doctest.DocTestParser().get_doctest(text, solved(path), name(path), name(path), 0)
    assert len(examples.examples) >= len(answers(path))
    shown: list[str] = []
    doctest.DocTestRunner(verbose=False).run(examples, out=shown.append)
    assert not shown, "".join(shown)


@pytest.mark.parametrize("path", RELEASES, ids=name)
def test_links_to_lessons_lead_somewhere(path):
    text = "\n".join(c.source for c in read(path).cells if c.cell_type == "markdown")
    targets = set(re.findall(r"\]\((?!https?:)([^)#]+)", text))
    assert targets
    for target in targets:
        assert (path.parent / target).is_file(), target


@pytest.mark.parametrize("exercise", exercises().values(), ids=lambda e: e.id)
def test_where_to_read_is_a_page_and_a_heading_that_exist(exercise):
    for target in {exercise.read, *(mistake.read for mistake in exercise.mistakes)}:
        page, _, anchor = target.partition("#")
        text = (ROOT / "chapters" / f"{page}.md").read_text(encoding="utf-8")
        headings = re.findall(
            r"^#{1,3} (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M
        )
        slugs = {re.sub(r"[^\w\- ]", "", h.lower().replace(" ", "-")) for h in headings}
        assert not anchor or anchor in slugs, target
