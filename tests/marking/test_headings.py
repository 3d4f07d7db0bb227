"""A check on a feedback page goes by its exercise's name; what waits for a person says so."""

import itertools

import pytest

pytest.importorskip("nbgrader", reason="pip install -e '.[grade]'")

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from marking.grading.headings import named, titles

PAGE = """<h4>attention (Score: 3.5 / 9.0)</h4><ol>
<li><a href="#softmax-check">Test cell</a> (Score: 3.0 / 3.0)</li>
<li><a href="#rotary-check">Test cell</a> (Score: 0.5 / 4.0)</li>
<li><a href="#why-answer">Written response</a> (Score: 0.0 / 2.0)</li></ol>
<a name="softmax-check"></a>
<div class="panel-heading">
<span class="nbgrader-label">Grade cell: <code>softmax-check</code></span>
  <span class="pull-right">
      Score: 3.0 / 3.0 <a href="#top">(Top)</a></span></div>
<a name="why-answer"></a>
<div class="panel-heading"><span class="nbgrader-label">Student's answer</span>
  <span class="pull-right">
      Score: 0.0 / 2.0 <a href="#top">(Top)</a></span></div><p>Score: 0.0 / 2.0</p>"""
NUMBERS = itertools.count()
TITLES = {
    "softmax-check": "1 · Softmax",
    "rotary-check": "2 · <i>Rotary</i>",
    "why-answer": "3 · Why?",
}


def cell(kind, source, name="", **data):
    made = (new_code_cell if kind == "code" else new_markdown_cell)(
        source, id=name or f"c{next(NUMBERS)}"
    )
    made.metadata |= {"nbgrader": data} if data else {}
    return made


def test_a_check_is_named_after_the_releases_heading_above_it():
    notebook = new_notebook(
        cells=[
            cell("text", "# All\n\n## 1 · Softmax\n\nSome words."),
            cell("code", "def softmax(): ...", grade=False, solution=True, grade_id="s-answer"),
            cell("text", "# my own heading", "extra-1"),
            cell("code", "check()", grade=True, grade_id="softmax-check"),
            cell("code", "check()", grade=True, grade_id="again"),
            cell("text", "## 3 · Why?"),
            cell("text", "# mine", grade=True, solution=True, grade_id="why-answer"),
        ]
    )
    assert titles(notebook) == {
        "softmax-check": "1 · Softmax",
        "again": "1 · Softmax",
        "why-answer": "3 · Why?",
    }


def test_without_a_heading_the_cells_id_stays():
    assert titles(new_notebook(cells=[cell("code", "check()", grade=True, grade_id="x")])) == {
        "x": "x"
    }


def test_the_page_shows_names_and_points_and_what_waits():
    page = named(PAGE, TITLES, {"why-answer"})
    assert "Test cell" not in page and "Grade cell" not in page
    assert '<a href="#softmax-check">1 · Softmax</a> (3 of 3 points)' in page
    assert "2 · &lt;i&gt;Rotary&lt;/i&gt;</a> (0.5 of 4 points)" in page
    assert '<a href="#why-answer">3 · Why?</a> (2 points, waits for a person)' in page
    assert '<span class="nbgrader-label">1 · Softmax</span>' in page
    assert "\n      2 points, waits for a person <a" in page
    assert "<h4>attention (3.5 of 9 points; 1 part still to be graded by a person)</h4>" in page
    assert "<p>Score: 0.0 / 2.0</p>" in page, "what a student wrote stays"


def test_points_that_were_given_are_shown_though_the_cell_waits_again():
    assert "(0.5 of 4 points, waits for a person)" in named(PAGE, TITLES, {"rotary-check"})


def test_nothing_is_said_to_wait_once_it_is_graded():
    page = named(PAGE, TITLES, set())
    assert "person" not in page
    assert "<h4>attention (3.5 of 9 points)</h4>" in page
