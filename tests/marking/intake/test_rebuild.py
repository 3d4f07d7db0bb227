"""What a rebuilt submission holds: the student's own words in order, and a hash of them alone."""

import base64
import json

import pytest
from tests.marking.intake.class_work import (
    ESSAY,
    NAME,
    answer,
    as_bytes,
    at,
    code,
    place,
    release,
    right,
    source,
    text,
)

from marking.grading.intake import Unreadable, rebuild
from marking.grading.python_source import without_magics

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"0" * 50).decode()


def built(notebook):
    return rebuild(as_bytes(notebook), release(), "ada", NAME)


def ids(submission) -> list[str]:
    return [cell["id"] for cell in submission.notebook["cells"]]


def test_other_metadata_leaves_the_hash_as_it_was():
    changed = right()
    for number, cell in enumerate(changed["cells"]):
        cell["metadata"]["execution"] = {"at": number}
        cell["metadata"]["colab"] = {"base_uri": "x"}
        cell["source"] = source(cell).replace("\n", "\r\n") + "\n"
        if cell["cell_type"] == "code":
            cell |= {"execution_count": number, "outputs": [{"output_type": "stream"}]}
    changed |= {"nbformat_minor": 4, "metadata": {"kernelspec": {"name": "conda"}}}
    assert built(changed).hash == built(right()).hash


def test_ids_and_locked_text_leave_the_hash_as_it_was():
    changed = right()
    at(changed, "softmax-check")["source"] = "1"
    at(changed, "softmax-answer")["id"] = "other"
    assert built(changed).hash == built(right()).hash


def test_a_notebook_without_any_metadata_becomes_the_same_again():
    stripped = right()
    for cell in stripped["cells"]:
        cell["metadata"] = {}
        del cell["id"]
    again = built(stripped)
    assert again.hash == built(right()).hash and again.notebook == built(right()).notebook


def test_colabs_button_and_empty_cells_are_nothing_of_the_students():
    changed = right()
    button = "[![Open](https://colab.research.google.com/assets/colab-badge.svg)](https://x)"
    changed["cells"][:0] = [text(button), code(""), text(" \n")]
    assert built(changed).notebook == built(right()).notebook
    assert built(changed).hash == built(right()).hash


def test_an_older_try_with_the_same_id_is_kept_in_front_of_the_answer():
    changed = right()
    older = at(changed, "softmax-answer") | {"source": "def softmax(x, dim):\n    return x"}
    changed["cells"].insert(place(changed, "softmax-answer"), older)
    names = ids(built(changed))
    assert names[names.index("softmax-answer") - 1] == "extra-1"
    assert source(at(built(changed).notebook, "extra-1")) == older["source"]


@pytest.mark.parametrize("cell", ["softmax-answer", "why_faster-answer"])
def test_another_answer_changes_the_hash(cell):
    changed = right()
    at(changed, cell)["source"] = source(at(changed, cell)) + " # more"
    assert built(changed).hash != built(right()).hash


def test_a_helper_cell_changes_the_hash():
    changed = right()
    other = right()
    changed["cells"].append(code("x = 1"))
    other["cells"].append(code("x = 2"))
    assert len({built(work).hash for work in (changed, other, right())}) == 3


def test_the_judge_gets_given_cells_and_the_students_code_in_order_and_no_check():
    notebook = right()
    notebook["cells"].insert(place(notebook, "softmax-answer"), code("before = 1"))
    notebook["cells"].insert(place(notebook, "softmax-check"), code("behind = 1"))
    notebook["cells"].append(code("last = 1"))
    cells = built(notebook).cells
    assert cells[0] == source(at(release(), "given"))
    assert cells[1] == "before = 1" and cells[2].startswith("def softmax")
    assert cells[3] == "behind = 1" and cells[-2:] == ('status("attention")', "last = 1")
    assert len(cells) == 12 + 3 and not any("check(" in cell for cell in cells)


def test_extra_cells_stand_where_they_stood():
    notebook = right()
    notebook["cells"].insert(place(notebook, "causal_mask-task"), text("my thoughts"))
    notebook["cells"].insert(place(notebook, "causal_mask-task"), code("a = 1"))
    names = ids(built(notebook))
    at_check = names.index("scaled_dot_product-check")
    assert names[at_check + 1 : at_check + 4] == ["extra-1", "extra-2", "causal_mask-task"]


def test_extra_cells_above_the_given_cell_run_behind_it():
    notebook = right()
    notebook["cells"].insert(0, code("zeros = torch.zeros(2)"))
    assert built(notebook).cells[1] == "zeros = torch.zeros(2)"


def test_extra_cells_follow_their_answer_when_answers_changed_places():
    notebook = right()
    cells = notebook["cells"]
    moved = cells.pop(place(notebook, "flash_forward-answer"))
    cells[place(notebook, "softmax-task") : place(notebook, "softmax-task")] = [
        moved,
        code("f = 1"),
    ]
    names = ids(built(notebook))
    assert names[names.index("flash_forward-answer") + 1] == "extra-1"


def test_an_untouched_notebook_holds_nothing_of_the_students():
    untouched = built(release())
    assert untouched.notes == () and len(untouched.cells) == 12
    emptied = release()
    answer(emptied, "softmax", "")
    answer(emptied, "causal_mask", "def causal_mask(T, S):\n    raise NotImplementedError")
    assert built(emptied).hash == untouched.hash and built(emptied).cells == untouched.cells


def test_an_essay_left_below_the_untouched_answer_cell_is_found():
    notebook = right()
    at(notebook, "why_faster-answer")["source"] = "YOUR ANSWER HERE"
    notebook["cells"].insert(place(notebook, "end"), text(ESSAY))
    submission = built(notebook)
    assert at(submission.notebook, "why_faster-answer")["source"] == ESSAY
    assert "why_faster-answer was found by its place behind the task" in submission.notes


def test_text_written_into_a_task_is_kept_behind_it():
    notebook = right()
    at(notebook, "why_faster-task")["source"] = ["Because of tiles."]
    names = ids(built(notebook))
    assert names[names.index("why_faster-task") + 1] == "extra-1"


def test_an_essay_written_into_its_task_is_found():
    notebook = right()
    at(notebook, "why_faster-answer")["source"] = "YOUR ANSWER HERE"
    at(notebook, "why_faster-task")["source"] = ESSAY
    submission = built(notebook)
    assert at(submission.notebook, "why_faster-answer")["source"] == ESSAY


def test_only_pictures_are_kept_of_attachments():
    notebook = right()
    at(notebook, "why_faster-answer")["attachments"] = {
        "photo.png": {"image/png": PNG},
        "fake.png": {"image/png": base64.b64encode(b"<svg onload=1>").decode()},
        "x.svg": {"image/svg+xml": "<svg/>"},
        'a"><b.png': {"image/png": PNG},
    }
    kept = at(built(notebook).notebook, "why_faster-answer")["attachments"]
    assert sorted(kept) == ["a---b.png", "photo.png"]


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "</div><iframe src=//a.example>",
        "<!-- x",
        "[x](javascript:alert(1))",
        "[x]( JavaScript&colon;alert(1))",
        "[x](data:text/html;base64,AAAA)",
        "[x]: javascript:alert(1)",
        "![x](http://a.example/pixel.png)",
        "![x][remote]\n\n[remote]: http://a.example/p.png",
        "![x [y] z](http://a.example/pixel.png)",
    ],
)
def test_nothing_in_a_text_runs_or_is_fetched(hostile):
    from nbconvert.filters import markdown2html

    notebook = right()
    at(notebook, "why_faster-answer")["source"] = f"Mine: {hostile}\n\n{hostile}"
    notebook["cells"].append({"cell_type": "raw", "metadata": {}, "source": hostile})
    submission = built(notebook)
    for cell in [at(submission.notebook, "why_faster-answer"), submission.notebook["cells"][-1]]:
        assert cell["cell_type"] == "markdown"
        html = markdown2html(cell["source"]).lower()
        for bad in ("<script", "<img", "<iframe", "<!--", "</div><", "javascript:", "data:text"):
            assert bad not in html


def test_mathematics_and_code_in_a_text_stay_as_they_are():
    words = "For $i<j$ and $a < b$, `x<y`: $$O(T^2)$$ ![mine](attachment:photo.png) [a](b.md)"
    notebook = right()
    at(notebook, "why_faster-answer")["source"] = words
    submission = built(notebook)
    assert at(submission.notebook, "why_faster-answer")["source"] == words
    assert submission.notes == ()


@pytest.mark.parametrize(
    "before, after",
    [
        ("x = 1\n%time f()\n", "x = 1\npass  # %time f()\n"),
        ("if x:\n    !ls\n", "if x:\n    pass  # !ls\n"),
        ("files = !ls", "pass  # files = !ls"),
        ("torch.tensor?", "pass  # torch.tensor?"),
        ("%%capture out\nx = 1", "x = 1"),
        ("%%time\n%%capture\nx = 1", "x = 1"),
        ("%%html\n<b>", "# %%html\n# <b>"),
        ("x = (7\n  % 3)", "x = (7\n  % 3)"),
        ("s = '''\n%time\n'''", "s = '''\n%time\n'''"),
        ("def f(:\n%time", "def f(:\n%time"),
        ("get_ipython().system('ls')", "get_ipython().system('ls')"),
    ],
)
def test_magics_are_taken_out_and_python_is_left_alone(before, after):
    changed, note = without_magics(before)
    assert changed == after and bool(note) == (before != after)


@pytest.mark.parametrize(
    "tangled",
    ["-" * 200_000 + "1", "f" + "()" * 100_000, "a" + ".b" * 100_000, "x = " + "[" * 5000],
)
def test_code_too_tangled_to_parse_is_kept_as_it_is(tangled):
    assert tangled in built(answer(right(), "softmax", tangled)).cells


def test_bytes_that_hold_no_text_are_refused():
    for data in (b"\0" * 100, b"\xff" * 100, json.dumps("\ud800").encode(), b"null"):
        with pytest.raises(Unreadable):
            rebuild(data, release(), "ada", NAME)


def test_what_cells_printed_is_dropped_the_students_and_the_releases():
    printed = {"outputs": [{"output_type": "stream", "name": "stdout", "text": "full marks"}]}
    notebook, ours = right(), release()
    notebook["cells"].append(code("x = 1"))
    for cell in [*notebook["cells"], *ours["cells"]]:
        if cell["cell_type"] == "code":
            cell |= printed | {"execution_count": 3}
    made = rebuild(as_bytes(notebook), ours, "ada", NAME).notebook["cells"]
    kept = [(c["outputs"], c["execution_count"]) for c in made if c["cell_type"] == "code"]
    assert kept == [([], None)] * len(kept) and len(kept) > 20


def test_a_cell_of_the_students_never_takes_an_id_of_the_release():
    notebook, ours = right(), release()
    at(ours, "end")["id"] = "extra-1"
    notebook["cells"].append(code("x = 1"))
    made = rebuild(as_bytes(notebook), ours, "ada", NAME).notebook["cells"]
    assert len({cell["id"] for cell in made}) == len(made) == len(ours["cells"]) + 1


def test_changing_one_rebuilt_notebook_changes_no_other():
    ours = release()
    made = rebuild(as_bytes(right()), ours, "ada", NAME).notebook
    made["metadata"]["kernelspec"]["name"] = "changed"
    for cell in made["cells"]:
        cell["metadata"].setdefault("nbgrader", {})["points"] = 99
    assert ours == release()


def test_what_was_repaired_in_many_cells_is_said_once():
    notebook = right()
    notebook["cells"] += [code("%time f()"), code("%time g()")]
    assert built(notebook).notes == ("an extra cell: 1 line magic was taken out",)
