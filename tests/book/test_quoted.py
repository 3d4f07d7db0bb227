"""What pages quote from the code is what the code says: exercise tables, a report, a command."""

import re
from pathlib import Path

import jupytext
import pytest

from marking import check
from marking.errors import CourseError
from marking.registry import chapters, exercises

ROOT = Path(__file__).resolve().parents[2]
HEAD = "| exercise | what you write | level | minutes | points |"
RULE = "|---|---|---|---|---|"
CHAPTERS = chapters()


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


# -- the pages at the whiteboard -----------------------------------------------------------------

WHITEBOARDS = sorted(p.parent.name for p in (ROOT / "chapters").glob("*/whiteboard.md"))
WORDS = "zero one two three four five six seven eight nine ten".split()
POWERS = {"million": 10**6, "billion": 10**9, "万": 10**4, "亿": 10**8}


def answers(chapter: str) -> list[tuple[str, str]]:
    """English and Chinese text of each question, in order."""
    page = (ROOT / "chapters" / chapter / "whiteboard.md").read_text(encoding="utf-8")
    entries = re.split(r"^## .*\?$", page, flags=re.MULTILINE)[1:]
    halves = [entry.replace("{,}", ",").split("**中文") for entry in entries]
    return [(english, chinese.split("\n## ")[0]) for english, chinese in halves]


def numbers(text: str) -> set[float]:
    """What a text counts, without links, sources and years: "2.56 million" is 2.56 and 2560000."""
    text = re.sub(r"\]\([^)]*\)|\{cite\}`[^`]*`|，\d{4}）", " ", text)
    found = {float(n) for n, word in enumerate(WORDS) if re.search(rf"\b{word}\b", text, re.I)}
    figures = r"(?<![\d.A-Za-z])(\d[\d,]*(?:\.\d+)?)(?: *(million|billion|万|亿))?"
    for digits, power in re.findall(figures, text):
        value = float(digits.replace(",", ""))
        found |= {round(value * POWERS[power], 6)} if power else set()
        found |= {value} if power not in ("万", "亿") else set()
    return found


@pytest.mark.parametrize("chapter", WHITEBOARDS)
def test_every_number_that_a_whiteboard_page_asserts_stands_in_its_answer(chapter):
    path = ROOT / "chapters" / chapter / "whiteboard.md"
    names = {}
    for cell in jupytext.reads(path.read_text(encoding="utf-8"), fmt="md:myst").cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
    assert len(names["quote"].rows) > 50
    for question, what, printed in names["quote"].rows:
        english, _ = answers(chapter)[question - 1]
        found = re.search(rf"(?<![\d.]){re.escape(printed)}(?!\d)", english)
        assert found, (question, what, printed)


@pytest.mark.parametrize("chapter", WHITEBOARDS)
def test_a_chinese_answer_prints_no_number_that_the_english_one_does_not(chapter):
    for question, (english, chinese) in enumerate(answers(chapter), start=1):
        assert numbers(chinese) - numbers(english) == set(), question


@pytest.mark.parametrize("chapter", WHITEBOARDS)
def test_both_languages_ask_the_same_number_of_further_questions(chapter):
    for question, (english, chinese) in enumerate(answers(chapter), start=1):
        _, english = english.split("**They will ask next.**")
        _, chinese = chinese.split("**追问。**")
        assert chinese.count("\n- *") == english.count("\n- *") >= 3, question


@pytest.mark.parametrize("chapter", WHITEBOARDS)
def test_the_list_at_the_top_names_every_question_in_both_languages(chapter):
    page = (ROOT / "chapters" / chapter / "whiteboard.md").read_text(encoding="utf-8")
    listed = re.findall(rf"^\d+\. \[(.+)\]\(#.+\) · \[(.+)\]\(#zh-{chapter}-\d+\)$", page, re.M)
    asked = re.findall(r"^## (.*\?)$", page, re.M)
    chinese = re.findall(rf"^\(zh-{chapter}-\d+\)=\n\*\*中文 · \d+ · (.+)\*\*$", page, re.M)
    assert listed == list(zip(asked, chinese, strict=True))
