"""A quiz question as data: what `{quiz}` reads, checked, with the line of any mistake."""

from dataclasses import dataclass

import yaml


class QuizError(ValueError):
    """What is wrong with a quiz, and on which line of its YAML (0 is the first)."""

    def __init__(self, problem: str, line: int = 0):
        super().__init__(problem)
        self.line = line


@dataclass(frozen=True)
class Option:
    text: str
    why: str
    correct: bool
    line: int
    why_line: int


@dataclass(frozen=True)
class Quiz:
    question: str
    options: tuple[Option, ...]
    line: int  # of the question, within the YAML

    @property
    def answer(self) -> int:
        """The position of the right option."""
        return next(i for i, option in enumerate(self.options) if option.correct)


def parse_quiz(text: str) -> Quiz:
    """The quiz that this YAML describes; QuizError says what is wrong with it and where."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        hint = " (put quotes around a text that contains ': ' or starts with a quote or a dash)"
        raise QuizError(f"this is not YAML: {problem}{hint}", mark.line if mark else 0) from error
    if not isinstance(data, dict):
        raise QuizError("expected 'question:' and 'options:'")
    unknown = set(data) - {"question", "options"}
    if unknown:
        raise QuizError(f"unknown key {sorted(map(str, unknown))[0]!r}: use question and options")
    lines = {key.value: value for key, value in root.value}
    question = _text(data, "question", "the quiz", lines.get("question", root).start_mark.line)
    options = data.get("options")
    if not isinstance(options, list) or not 2 <= len(options) <= 8:
        raise QuizError("'options:' must be a list of 2 to 8 options")
    parsed = tuple(
        _option(option, node, position)
        for position, (option, node) in enumerate(
            zip(options, lines["options"].value, strict=True), 1
        )
    )
    right = [option for option in parsed if option.correct]
    if len(right) != 1:
        raise QuizError(
            f"exactly one option must be 'correct: true', and {len(right)} are",
            right[1].line if right else lines["options"].start_mark.line,
        )
    return Quiz(question, parsed, _body_line(lines["question"]))


def _option(option, node, position: int) -> Option:
    line, name = node.start_mark.line, f"option {position}"
    if not isinstance(option, dict):
        raise QuizError(f"{name} must have 'text:' and 'why:'", line)
    unknown = set(option) - {"text", "why", "correct"}
    if unknown:
        raise QuizError(f"{name} has an unknown key {sorted(map(str, unknown))[0]!r}", line)
    correct = option.get("correct", False)
    if not isinstance(correct, bool):
        raise QuizError(f"{name}: 'correct:' must be true or false, not {correct!r}", line)
    text, why = _text(option, "text", name, line), _text(option, "why", name, line)
    lines = {key.value: _body_line(value) for key, value in node.value}
    return Option(text, why, correct, lines["text"], lines["why"])


def _body_line(node) -> int:
    """The line on which a value's text starts: after the `|` or `>` of a block."""
    return node.start_mark.line + (node.style in ("|", ">"))


def _text(data: dict, key: str, name: str, line: int) -> str:
    value = data.get(key)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise QuizError(f"{name} has no '{key}:'", line)
    if isinstance(value, (dict, list)):
        raise QuizError(f"{name}: '{key}:' must be text, so put it in quotes", line)
    return str(value).strip()


def lint(quizzes: list[Quiz]) -> list[str]:
    """What would let a reader guess the answers of these questions without knowing."""
    problems = []
    for quiz in quizzes:
        right = len(quiz.options[quiz.answer].text)
        wrong = max(len(o.text) for o in quiz.options if not o.correct)
        if right > 1.75 * wrong + 10:
            problems.append(f"the right option is far longer than the others: {quiz.question!r}")
    if len(quizzes) < 3:
        return problems
    places = [quiz.answer for quiz in quizzes]
    for place in sorted(set(places)):
        if places.count(place) > max(2, 0.6 * len(places)):
            problems.append(
                f"the right option stands in place {place + 1} in {places.count(place)} of "
                f"{len(places)} questions"
            )
    longest = sum(
        all(len(q.options[q.answer].text) > len(o.text) for o in q.options if not o.correct)
        for q in quizzes
    )
    if longest > max(2, 0.6 * len(quizzes)):
        problems.append(f"the right option is the longest in {longest} of {len(quizzes)} questions")
    return problems
