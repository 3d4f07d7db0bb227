"""The `{quiz}` directive: what it accepts, what it refuses, its page; and the lessons' quizzes."""

import io
import re

import pytest
from bs4 import BeautifulSoup
from tooling.quiz_data import Quiz, QuizError, lint, parse_quiz
from tooling.sync import lessons

GOOD = """\
question: Why divide by $\\sqrt{D}$?
options:
  - text: To be *fast*
    why: It costs time.
  - text: To keep the spread at 1
    correct: true
    why: |
      The variance is $D$.

      See `softmax`.
"""
LESSONS = lessons()

BAD = {
    "not YAML": ("question: a: b", 0, "not YAML"),
    "a list": ("- a", 0, "expected 'question:' and 'options:'"),
    "no question": (GOOD.replace("question", "query"), 0, "unknown key 'query'"),
    "an empty question": (
        GOOD.replace("Why divide by $\\sqrt{D}$?", '""'),
        0,
        "has no 'question:'",
    ),
    "one option": ("question: a\noptions:\n  - {text: a, why: b}", 0, "2 to 8 options"),
    "no right option": (GOOD.replace("true", "false"), 2, "exactly one .* and 0 are"),
    "two right options": (
        GOOD.replace("    why: It", "    correct: true\n    why: It"),
        5,
        "2 are",
    ),
    "no why": (GOOD.replace("    why: It costs time.\n", ""), 2, "option 1 has no 'why:'"),
    "an unknown key": (GOOD.replace("why: It", "reason: It"), 2, "unknown key 'reason'"),
    "correct: yes please": (GOOD.replace("true", "maybe"), 4, "true or false, not 'maybe'"),
    "a colon that makes a mapping": (GOOD.replace("To be *fast*", "{a: b}"), 2, "in quotes"),
}


def test_a_good_quiz_is_read():
    quiz = parse_quiz(GOOD)
    assert quiz.answer == 1
    assert [option.text for option in quiz.options] == ["To be *fast*", "To keep the spread at 1"]


@pytest.mark.parametrize(("text", "line", "says"), BAD.values(), ids=BAD)
def test_a_mistake_is_named_with_its_line(text, line, says):
    with pytest.raises(QuizError, match=says) as caught:
        parse_quiz(text)
    assert caught.value.line == line


# -- the page ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def build(tmp_path_factory, root):
    """`build(yaml)` → the page that Sphinx makes of one quiz on line 5, and what it warned of."""
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace

    def make(text: str) -> tuple[BeautifulSoup, str]:
        folder = tmp_path_factory.mktemp("page")
        (folder / "index.md").write_text(
            f"# Page\n\n## Part\n\n```{{quiz}}\n{text}```\n", encoding="utf-8"
        )
        warnings = io.StringIO()
        settings = {
            "extensions": ["myst_parser", "sphinx.ext.mathjax", "tooling.quiz"],
            "myst_enable_extensions": ["dollarmath"],
        }
        with docutils_namespace():
            app = Sphinx(
                folder, None, folder / "out", folder / "trees", "html", settings,
                status=None, warning=warnings,
            )  # fmt: skip
            app.build()
        html = (folder / "out" / "index.html").read_text(encoding="utf-8")
        return BeautifulSoup(html, "html.parser"), warnings.getvalue()

    return make


def test_the_page_holds_native_radio_buttons_with_labels(build):
    page, warnings = build(GOOD)
    assert warnings == ""
    box = page.select_one("fieldset.quiz")
    assert box.legend.get_text().startswith("Why divide by")
    buttons = box.select("input[type=radio]")
    assert len({button["name"] for button in buttons}) == 1
    ids = [button["id"] for button in buttons]
    assert len(set(ids)) == 2
    assert [label["for"] for label in box.select("label")] == ids
    assert page.select("script[src*=quiz]") == []


def test_each_explanation_says_right_or_wrong_in_words(build):
    page, _ = build(GOOD)
    verdicts = [v.get_text().strip() for v in page.select(".quiz-why > .quiz-verdict")]
    assert verdicts == ["✗ Not this.", "✓ Right."]


def test_maths_code_and_paragraphs_are_rendered_inside(build):
    page, _ = build(GOOD)
    assert page.select_one("legend .math")
    assert page.select_one("label em").get_text() == "fast"
    right = page.select_one(".quiz-right")
    assert right.select_one(".math") and right.select_one("code")
    assert len(right.select("p")) == 3  # the verdict and two paragraphs


def test_two_quizzes_of_a_page_share_no_id(build):
    page, _ = build(GOOD + "```\n\n```{quiz}\n" + GOOD)
    ids = [tag["id"] for tag in page.select("fieldset.quiz [id], fieldset.quiz")]
    assert len(ids) == len(set(ids)) == 6


def test_a_mistake_fails_the_build_with_file_and_line(build):
    page, warnings = build(GOOD.replace("    why: It costs time.\n", ""))
    assert "index.md:8: WARNING: quiz: option 1 has no 'why:'" in warnings
    assert not page.select("fieldset")


# -- the lessons' quizzes ------------------------------------------------------------------------


def quizzes_in(page: str) -> list[Quiz]:
    """Every quiz of a page's Markdown, in order."""
    blocks = re.finditer(r"^(`{3,}|:{3,})\{quiz\}[^\n]*\n(.*?)^\1\s*$", page, re.M | re.S)
    return [parse_quiz(block[2]) for block in blocks]


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda p: p.stem)
def test_a_lesson_asks_three_questions_whose_answers_cannot_be_guessed(lesson):
    quizzes = quizzes_in(lesson.read_text(encoding="utf-8"))
    assert len(quizzes) >= 3
    assert lint(quizzes) == []


def test_over_a_chapter_the_answers_cannot_be_guessed():
    chapters: dict = {}
    for lesson in LESSONS:
        quizzes = quizzes_in(lesson.read_text(encoding="utf-8"))
        chapters.setdefault(lesson.parent.name, []).extend(quizzes)
    assert [problem for quizzes in chapters.values() for problem in lint(quizzes)] == []


def made(answer: int, right: str = "aaaa", wrong: str = "bbbb"):
    options = [f"  - {{text: {wrong}, why: w}}"] * 3
    options[answer] = f"  - {{text: {right}, why: w, correct: true}}"
    return parse_quiz("question: q\noptions:\n" + "\n".join(options))


def test_the_lint_sees_an_answer_that_always_stands_in_one_place():
    assert any("place 2 in 3 of 3" in p for p in lint([made(1)] * 3))
    assert lint([made(0), made(1), made(2)]) == []


def test_the_lint_sees_an_answer_that_is_far_longer():
    assert any("far longer" in p for p in lint([made(0, right="a" * 40)]))
    assert any("longest in 3 of 3" in p for p in lint([made(i, right="aaaaa") for i in range(3)]))
