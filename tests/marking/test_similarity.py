"""The report on nearly equal answers: it finds copies, and is silent where nothing can be told."""

import csv
import io
import json
from types import SimpleNamespace

import pytest
from rich.console import Console
from tooling import demo_class
from tooling.settings import ROOT

pytest.importorskip("copydetect", reason="pip install -e '.[grade]'")
pytestmark = pytest.mark.filterwarnings("ignore")

from marking.errors import CourseError  # noqa: E402
from marking.grading import similarity, similarity_report  # noqa: E402

MASTER = ROOT / "solutions/attention/attention.ipynb"
RELEASE = ROOT / "chapters/exercises/attention/attention.ipynb"


def submission(name: str, answers: dict) -> SimpleNamespace:
    book = json.loads(json.dumps(demo_class.notebook(answers)))
    return SimpleNamespace(student=name, notebook=book)


def found(*submissions) -> similarity.Similar:
    return similarity.similar(submissions, MASTER, RELEASE)


def pairs(result, exercise: str) -> set[frozenset]:
    return {frozenset((p.first, p.second)) for p in result.pairs if p.exercise == exercise}


@pytest.fixture(scope="module")
def result():
    by_class = {s.id: s for s in demo_class.students()}
    chosen = ("right-02", "right-03", "right-10-copy", "right-01", "unfinished-01")
    made = [
        SimpleNamespace(student=name, notebook=json.loads(by_class[name].data)) for name in chosen
    ]
    return found(*made)


def test_a_copy_with_other_names_meets_its_original_in_every_exercise_that_is_compared(result):
    count, *who = result.together()[0]
    assert who == ["right-03", "right-10-copy"]
    near_master = {g.exercise for g in result.groups() if "right-03" in g.students and g.references}
    assert count == len(set(result.compared) - near_master)


def test_the_masters_answers_are_said_to_be_the_masters(result):
    assert frozenset({"right-01", similarity.MASTER}) in pairs(result, "flash_forward")


def test_an_untouched_notebook_is_like_nobody(result):
    assert not any("unfinished-01" in (p.first, p.second) for p in result.pairs)


def test_short_exercises_are_left_out_and_the_report_says_so(result):
    assert set(result.too_short) == {"causal_mask", "grouped_query", "sliding_window_mask"}
    assert not any(p.exercise in result.too_short for p in result.pairs)
    assert "causal_mask" in similarity_report.said(result)
    assert "Advice" in similarity_report.said(result)


def test_a_master_that_is_not_there_is_a_sentence(tmp_path):
    release = ROOT / "chapters" / "exercises" / "attention" / "attention.ipynb"
    with pytest.raises(CourseError, match=r"no notebook that can be read at .*master.ipynb: put"):
        similarity.similar([], tmp_path / "master.ipynb", release)


def test_different_right_answers_are_no_pair():
    (_, one), (_, other), *_ = demo_class.right_answers("rotary")
    assert one != other
    result = found(submission("ada", {"rotary": one}), submission("bob", {"rotary": other}))
    assert not pairs(result, "rotary")


def test_what_the_release_gives_does_not_count_as_copied():
    text = demo_class.master_answers()["flash_forward"]
    alone = similarity._fingerprint(text)
    assert alone.token_coverage > similarity.SHORTEST
    assert similarity._fingerprint(text, alone).token_coverage == 0


def test_an_answer_that_is_no_python_is_read_all_the_same():
    text = demo_class.right_answers("rotary")[0][1].replace("):", ":") + "\n('never closed"
    with pytest.raises(SyntaxError):
        compile(text, "answer", "exec")
    result = found(submission("ada", {"rotary": text}), submission("bob", {"rotary": text}))
    assert frozenset({"ada", "bob"}) in pairs(result, "rotary")


def test_students_cannot_write_html_or_formulas_into_the_report(tmp_path):
    text = demo_class.master_answers()["rotary"] + "\n# <script>alert(1)</script>"
    result = found(submission("=cmd()", {"rotary": text}), submission("<b>", {"rotary": text}))
    page, table = similarity_report.write(result, tmp_path, "attention")
    html = page.read_text(encoding="utf-8")
    assert "<script" not in html and "<b>" not in html and "&lt;script&gt;" in html
    rows = list(csv.reader(table.open(encoding="utf-8")))
    assert rows[0][:3] == ["exercise", "one", "other"] and len(rows) > 1
    assert not any(cell.startswith("=") for row in rows for cell in row)


def test_the_table_names_the_group_and_gives_no_score(result):
    console = Console(file=io.StringIO(), width=160)
    console.print(similarity_report.table(result))
    shown = console.file.getvalue()
    assert "right-10-copy" in shown and "points" not in shown


def test_links_join_into_groups():
    groups = similarity._joined([("a", "b"), ("c", "d"), ("b", "c"), ("e", "f")])
    assert sorted(map(sorted, groups)) == [["a", "b", "c", "d"], ["e", "f"]]
