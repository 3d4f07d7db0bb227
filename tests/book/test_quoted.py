"""What pages quote from the code is what the code says: exercise tables, a report, a command."""

import re
from pathlib import Path

import jupytext
import pytest

from marking import check
from marking.errors import CourseError
from marking.registry import exercises

ROOT = Path(__file__).resolve().parents[2]
HEAD = "| exercise | what you write | level | minutes | points |"
RULE = "|---|---|---|---|---|"
CHAPTERS = ["attention", "lora"]


def table(chapter: str) -> str:
    rows = [HEAD, RULE]
    for exercise in exercises(chapter).values():
        lesson = exercise.read.partition("#")[0].partition("/")[2]
        rows.append(
            f"| `{exercise.name}` | [{exercise.title}]({lesson}.md) | {exercise.difficulty} | "
            f"{exercise.minutes} | {exercise.points} |"
        )
    return "\n".join(rows)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_table_of_exercises_in_a_chapters_index_is_that_of_the_records(chapter):
    page = (ROOT / "chapters" / chapter / "index.md").read_text(encoding="utf-8")
    assert table(chapter) in page, f"put this into {chapter}/index.md:\n{table(chapter)}"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapters_index_states_the_total_of_minutes_and_points(chapter):
    records = exercises(chapter).values()
    page = (ROOT / "chapters" / chapter / "index.md").read_text(encoding="utf-8")
    minutes, points = sum(e.minutes for e in records), sum(e.points for e in records)
    said = f"{points} points, about {minutes} minutes"
    assert said in page, f"{chapter}/index.md must say: {said}"


def test_the_readme_quotes_a_report_that_check_gives_today(monkeypatch, tmp_path):
    monkeypatch.setenv("CLEARHEAD_PROGRESS", str(tmp_path / "progress.json"))

    def softmax(x, dim=-1):
        e = x.exp()
        return e / e.sum(dim=dim, keepdim=True)

    report = check("attention.softmax", softmax)
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert report.headline() in readme, report.headline()
    assert report.diagnosis() in readme, report.diagnosis()


def test_the_file_of_own_mistakes_shown_to_instructors_works(tmp_path):
    from marking import kill_matrix

    page = (ROOT / "chapters" / "using.md").read_text(encoding="utf-8")
    file = tmp_path / "seen_in_class.py"
    file.write_text(re.search(r"```python\n(# seen_in_class.*?)```", page, re.DOTALL)[1])
    record = exercises("attention")["attention.softmax"]
    (extended,) = kill_matrix.with_file([record], file)
    rows = [r for r in kill_matrix.kill_matrix([extended], seeds=1).rows if "also:" in r.id]
    assert len(rows) == 2 and all(row.good for row in rows)
    file.write_text("")
    with pytest.raises(CourseError, match="marks nothing"):
        kill_matrix.with_file([record], file)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_number_that_a_whiteboard_page_asserts_stands_in_its_answer(chapter):
    page = (ROOT / "chapters" / chapter / "whiteboard.md").read_text(encoding="utf-8")
    cells = jupytext.reads(page, fmt="md:myst").cells
    names = {}
    for cell in cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
    answers = re.split(r"^## .*\?$", page, flags=re.MULTILINE)[1:]
    assert len(names["quoted"]) > 50
    for question, what, printed in names["quoted"]:
        english = answers[question - 1].split("**中文")[0].replace("{,}", ",")
        assert re.search(rf"(?<![\d.]){re.escape(printed)}(?!\d)", english), (
            question,
            what,
            printed,
        )
