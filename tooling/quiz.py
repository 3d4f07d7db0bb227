"""The `{quiz}` directive: one question, its options, and why each is right or wrong.

YAML in, plain HTML out: a fieldset of radio buttons whose explanations CSS reveals (`:checked`),
so it works by keyboard, offline and without JavaScript. A mistake in the YAML is a warning with
file and line, which `make book` turns into a failure. Texts are MyST: maths, code and emphasis
work in all of them.
"""

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from tooling.quiz_data import QuizError, parse_quiz

LOGGER = logging.getLogger(__name__)


class quiz(nodes.General, nodes.Element):
    """The fieldset."""


class quiz_question(nodes.General, nodes.TextElement):
    """Its legend."""


class quiz_option(nodes.General, nodes.Element):
    """A radio button with its label and its explanation."""


class quiz_label(nodes.General, nodes.TextElement):
    """What the option says."""


class quiz_why(nodes.General, nodes.Element):
    """Why it is right or wrong; shown once the option is chosen."""


class QuizDirective(SphinxDirective):
    has_content = True

    def run(self) -> list[nodes.Node]:
        try:
            return [self._quiz()]
        except QuizError as error:
            line = self._line(error.line)
            LOGGER.warning("quiz: %s", error, location=(self.env.docname, line), type="quiz")
            return []

    def _quiz(self) -> quiz:
        data = parse_quiz("\n".join(self.content))
        number = self.env.new_serialno("quiz") + 1
        name = f"quiz-{self.env.docname.rsplit('/', 1)[-1].replace('_', '-').lower()}-{number}"
        box = quiz(ids=[name])
        question = self._parse(data.question, data.line)
        box += quiz_question("", "", *_sentence(question, "the question", data.line))
        box.extend(question[1:])
        for position, option in enumerate(data.options, 1):
            choice = f"{name}-{position}"
            item = quiz_option(ids=[choice], group=name)
            label = self._parse(option.text, option.line)
            if len(label) > 1:
                raise QuizError(f"option {position}: 'text:' must be one paragraph", option.line)
            words = _sentence(label, f"option {position}", option.line)
            item += quiz_label("", "", *words, choice=choice)
            item += quiz_why("", *self._parse(option.why, option.why_line), correct=option.correct)
            box += item
        return box

    def _line(self, offset: int) -> int:
        """The line of the page, given a line of the YAML."""
        return self.lineno + 1 + offset

    def _parse(self, text: str, line: int) -> list[nodes.Node]:
        parsed = nodes.Element()
        source = StringList(text.splitlines(), source=self.get_source_info()[0])
        self.state.nested_parse(source, self._line(line) - 1, parsed)
        return list(parsed.children)


def _sentence(parsed: list, what: str, line: int) -> list:
    """The inside of the first paragraph: what a label or a legend may hold."""
    if not parsed or not isinstance(parsed[0], nodes.paragraph):
        raise QuizError(f"{what} must start with a sentence", line)
    return list(parsed[0].children)


# -- HTML --------------------------------------------------------------------------------------


def visit_quiz(self, node):
    self.body.append(self.starttag(node, "fieldset", CLASS="quiz", role="radiogroup"))


def depart_quiz(self, node):
    self.body.append("</fieldset>\n")


def visit_question(self, node):
    self.body.append("<legend>")


def depart_question(self, node):
    self.body.append("</legend>\n")


def visit_option(self, node):
    choice, group = node["ids"][0], node["group"]
    self.body.append(
        f'<div class="quiz-option"><input type="radio" autocomplete="off" '
        f'id="{choice}" name="{group}" />'
    )


def depart_option(self, node):
    self.body.append("</div></div>\n")


def visit_label(self, node):
    self.body.append(f'<label for="{node["choice"]}">')


def depart_label(self, node):
    self.body.append('</label><div aria-live="polite" class="quiz-answer">')


def visit_why(self, node):
    kind, mark, word = ("right", "✓", "Right.") if node["correct"] else ("wrong", "✗", "Not this.")
    self.body.append(
        f'<div class="quiz-why quiz-{kind}"><p class="quiz-verdict">'
        f'<span aria-hidden="true">{mark}</span> {word}</p>'
    )


def depart_why(self, node):
    self.body.append("</div>")


def passed(self, node):
    """Other builders print the words in order and nothing else."""


def setup(app):
    html = {
        quiz: (visit_quiz, depart_quiz),
        quiz_question: (visit_question, depart_question),
        quiz_option: (visit_option, depart_option),
        quiz_label: (visit_label, depart_label),
        quiz_why: (visit_why, depart_why),
    }
    for node, visitors in html.items():
        others = {b: (passed, passed) for b in ("latex", "text", "man", "texinfo")}
        app.add_node(node, html=visitors, **others)
    app.add_directive("quiz", QuizDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
