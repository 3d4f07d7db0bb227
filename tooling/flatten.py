r"""Flatten one page of MyST Markdown to the plain Markdown that Jupyter, Colab and GitHub render.

Directives become blockquotes, code blocks, tables or `<details>`; roles become text; `{cite}`
becomes author and year; labels become numbers. An unknown directive or role is an error with file
and line: better than raw `:::` in front of a reader.
"""

import os
import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import yaml

from tooling.citations import cite
from tooling.quiz_data import QuizError, parse_quiz
from tooling.settings import ROOT

LIBRARY_PAGES = ROOT / "chapters" / "library"  # written by tooling/library_pages.py
FENCE = re.compile(r"^(\s*)(`{3,}|~{3,}|:{3,})\s*(.*?)\s*$")
DIRECTIVE = re.compile(r"^\{([\w:.-]+)\}\s*(.*)$")
LABEL = re.compile(r"^\(([\w:.-]+)\)=\s*$")
MATH_END = re.compile(r"\$\$\s*(?:\(([\w:.-]+)\))?\s*$")
INLINE = re.compile(
    r"\{(?P<role>[a-z][\w:.+-]*)\}(?P<q>`+)(?P<body>.+?)(?P=q)"
    r"|(?P<code>(?P<c>`+)(?!`).+?(?<!`)(?P=c)(?!`))"
    r"|(?P<math>\$\$.+?\$\$|(?<![\\$])\$(?!\s).+?(?<![\\\s])\$(?!\$))"
    r"|(?P<bang>!?)\[(?P<text>(?:[^\[\]`]|`[^`]*`|\[[^\[\]]*\])*)\]"
    r"\((?P<target><[^>]*>|[^()\s]*(?:\([^()]*\))?[^()\s]*)(?P<title>\s+\"[^\"]*\")?\)"
    r"|\[\^(?P<note>[\w-]+)\](?P<colon>:?)",
    re.DOTALL,
)
ADMONITIONS = {
    "attention", "caution", "danger", "error", "hint", "important", "margin", "note", "seealso",
    "sidebar", "tip", "warning",
}  # fmt: skip
TITLED = {"admonition", "card", "grid-item-card", "tab-item", "topic"}
FOLDED = {"dropdown", "toggle", "solution"}
DROPPED = {"bibliography", "contents", "tableofcontents", "raw"}
TRANSPARENT = {"grid", "grid-item", "tab-set", "div", "container"}
KNOWN = ADMONITIONS | TITLED | FOLDED | TRANSPARENT | {"table"}
CODE = {"code", "code-block", "sourcecode"}


class FlattenError(Exception):
    """A page that cannot be shown as plain Markdown; the message names the file and the line."""


@dataclass
class Page:
    """A page being flattened: where it stands, and the labels of the whole book."""

    path: Path
    labels: dict[str, str] = field(default_factory=dict)  # label -> what a reference to it reads
    titles: dict[Path, str] = field(default_factory=dict)  # page -> title
    twins: set[Path] = field(default_factory=set)  # lessons that have an .ipynb beside them
    line: int = 0

    def error(self, problem: str) -> FlattenError:
        return FlattenError(f"{os.path.relpath(self.path, ROOT)}:{self.line}: {problem}")


def flatten(text: str, page: Page, first_line: int = 1) -> str:
    """The page's Markdown (a cell of it, or a directive's body) as plain Markdown."""
    lines, out, paragraph = text.split("\n"), [], []
    at = 0

    def flush() -> None:
        if paragraph:
            out.append(inline("\n".join(paragraph), page))
            paragraph.clear()

    while at < len(lines):
        line = lines[at]
        page.line = first_line + at
        fence = FENCE.match(line)
        if fence and not (fence[2][0] == "`" and "`" in fence[3]):
            flush()
            end = _closing(lines, at, fence[2])
            body = lines[at + 1 : end]
            out.append(_fenced(fence, body, page, first_line + at + 1))
            at = end + 1
        elif line.strip().startswith("$$"):
            flush()
            end = _math_end(lines, at)
            out.append(_numbered("\n".join(lines[at : end + 1]), page))
            at = end + 1
        else:
            if LABEL.match(line) or line.startswith("% "):
                flush()
            elif line.strip():
                paragraph.append(line)
            else:
                flush()
                out.append("")
            at += 1
    flush()
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)).strip("\n")


def _closing(lines: list[str], start: int, fence: str) -> int:
    """The line that closes the fence opened at `start` (the last line where none does)."""
    closing = re.compile(rf"^\s*{re.escape(fence[0])}{{{len(fence)},}}\s*$")
    for at in range(start + 1, len(lines)):
        if closing.match(lines[at]):
            return at
    return len(lines)


def _math_end(lines: list[str], start: int) -> int:
    first = lines[start].strip()
    if len(first) > 2 and MATH_END.search(first[2:]):
        return start
    for at in range(start + 1, len(lines)):
        if MATH_END.search(lines[at]):
            return at
    return len(lines) - 1


def _numbered(block: str, page: Page) -> str:
    """A `$$` block; its label, if any, becomes the number that the book prints."""
    label = MATH_END.search(block)[1] if MATH_END.search(block) else None
    if not label:
        return block
    block = MATH_END.sub("$$", block)
    number = page.labels.get(label, "?").strip("()")
    return re.sub(r"\s*\$\$$", rf" \\tag{{{number}}}\n$$", block)


# -- directives ------------------------------------------------------------------------------


def _fenced(fence: re.Match, body: list[str], page: Page, line: int) -> str:
    """A code block verbatim, or a directive flattened."""
    indent, marks, info = fence.groups()
    directive = DIRECTIVE.match(info)
    if not directive:
        return "\n".join([indent + marks + info, *body, indent + marks])
    name, argument = directive.groups()
    text = textwrap.dedent("\n".join(body))
    options, text, skipped = _options(text, page)
    flat = _directive(name, argument, options, text, page, line + skipped)
    return textwrap.indent(flat, indent)


def _options(text: str, page: Page) -> tuple[dict, str, int]:
    """The options that open a directive's body (`:key: value` or a YAML block), and the rest."""
    lines = text.split("\n")
    if lines and lines[0].strip() == "---":
        end = next((i for i in range(1, len(lines)) if lines[i].strip() == "---"), len(lines))
        block, rest = "\n".join(lines[1:end]), end + 1
        try:
            return yaml.safe_load(block) or {}, "\n".join(lines[rest:]), rest
        except yaml.YAMLError as error:
            raise page.error(f"the directive's options are not YAML: {error}") from error
    options, at = {}, 0
    while at < len(lines) and (match := re.match(r"^:([\w-]+):\s*(.*)$", lines[at])):
        options[match[1]] = match[2]
        at += 1
    return options, "\n".join(lines[at:]), at


def _directive(name, argument, options, text, page: Page, line: int) -> str:
    if name in CODE:
        return f"```{argument}\n{text}\n```"
    if name == "literalinclude":
        return _literal(argument, options, page)
    if name == "math":
        return _numbered(f"$$\n{text.strip()}\n$$" + _label(options), page)
    if name == "quiz":
        return _quiz(text, page, line)
    if name in ("figure", "image"):
        return _figure(argument, options, text, page, line)
    if name in DROPPED:
        return ""
    if name not in KNOWN and not name.startswith("prf:"):
        raise page.error(
            f"tooling/flatten.py does not know how to show {{{name}}} outside the book"
        )
    body = flatten(text, page, line)
    if name in ADMONITIONS:
        return _quoted(name.replace("seealso", "see also").capitalize(), body, argument, page)
    if name in TITLED or name.startswith("prf:"):
        title = argument or name.removeprefix("prf:").capitalize()
        return _quoted(inline(title, page), body, "", page)
    if name in FOLDED:
        return _folded(inline(argument or "Show", page), body)
    if name in TRANSPARENT:
        return body
    return f"**{inline(argument, page)}**\n\n{body}" if argument else body  # {table} caption


def _label(options: dict) -> str:
    return f" ({options['label']})" if "label" in options else ""


def _quoted(title: str, body: str, first: str, page: Page) -> str:
    """A bold title and the body as a blockquote."""
    if first:  # `{note} text on the first line`
        body = f"{inline(first, page)}\n{body}".strip()
    quoted = [f"> {line}" if line else ">" for line in f"**{title}**\n\n{body}".split("\n")]
    return "\n".join(quoted)


def _folded(summary: str, body: str) -> str:
    return f"<details>\n<summary>{summary}</summary>\n\n{body}\n\n</details>"


def _literal(argument: str, options: dict, page: Page) -> str:
    """The real code, read by the reader that Sphinx itself uses."""
    from sphinx.directives.code import LiteralIncludeReader

    path = (page.path.parent / argument).resolve()
    if not path.is_file():
        raise page.error(f"literalinclude of {argument}, which does not exist")
    settings = SimpleNamespace(source_encoding="utf-8-sig")
    reader_options = {k: v for k, v in options.items() if k not in ("language", "caption")}
    if "dedent" in reader_options:
        reader_options["dedent"] = int(reader_options["dedent"] or 0) or None
    try:
        code, _ = LiteralIncludeReader(str(path), reader_options, settings).read()
    except ValueError as error:
        raise page.error(f"literalinclude of {argument}: {error}") from error
    shown = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
    language = options.get("language", "python" if path.suffix == ".py" else "")
    return f"From `{shown}`:\n\n```{language}\n{code.rstrip()}\n```"


def _figure(argument: str, options: dict, text: str, page: Page, line: int) -> str:
    image = f"![{options.get('alt', '')}]({argument})"
    caption = flatten(text, page, line).strip()
    return f"{image}\n\n{caption}" if caption else image


def _quiz(text: str, page: Page, line: int) -> str:
    """The question, the lettered options, and the explanations folded away."""
    try:
        quiz = parse_quiz(text)
    except QuizError as error:
        page.line = line + error.line
        raise page.error(f"quiz: {error}") from error
    letters = "ABCDEFGH"
    asked = [
        f"- **{letter}.** {_one_line(option.text, page)}"
        for letter, option in zip(letters, quiz.options, strict=False)
    ]
    told = [
        f"- **{letter}. {'Right' if option.correct else 'Wrong'}.** {_one_line(option.why, page)}"
        for letter, option in zip(letters, quiz.options, strict=False)
    ]
    question = flatten(quiz.question, page, line)
    return (
        f"**Question.** {question}\n\n" + "\n".join(asked) + "\n\n"
        + _folded("Answer, with the reason for each option", "\n".join(told))
    )  # fmt: skip


def _one_line(text: str, page: Page) -> str:
    return inline(" ".join(text.split()), page)


# -- inside a paragraph ----------------------------------------------------------------------


def inline(text: str, page: Page) -> str:
    """Roles, links and footnotes of one paragraph; code and maths are left as they are."""

    def replace(match: re.Match) -> str:
        if match["role"]:
            return _role(match["role"], match["body"], page)
        if match["note"]:
            return f"<sup>{match['note']}</sup>" + (" " if match["colon"] else "")
        if match["target"] is None or match["bang"]:
            return match[0]
        return _link(match["text"], match["target"].strip("<>"), page)

    return INLINE.sub(replace, text)


def _role(name: str, body: str, page: Page) -> str:
    if name in ("cite", "cite:p", "cite:t", "cite:alp", "cite:ps", "cite:ts"):
        try:
            return cite(body, textual=name in ("cite:t", "cite:ts"))
        except KeyError as error:
            raise page.error(f"references.bib has no entry {error}") from error
    if name == "math":
        return f"${body}$"
    if name in ("sub", "sup", "kbd"):
        return f"<{name}>{body}</{name}>"
    explicit = re.match(r"^(.*?)\s*<(.+)>$", body, re.DOTALL)
    if name == "doc":
        target = explicit[2] if explicit else body
        return _link(explicit[1] if explicit else "", target + ".md", page)
    if name in ("eq", "ref", "numref", "numref:figure"):
        if explicit and "%s" not in explicit[1]:
            return explicit[1]
        label = explicit[2] if explicit else body
        if label not in page.labels:
            raise page.error(f"{{{name}}} of {label}, a label that no page has")
        return page.labels[label]
    if name in ("term", "abbr", "guilabel", "emphasis", "strong", "download", "any"):
        return explicit[1] if explicit else body
    if name in ("py:func", "func", "py:class", "class", "py:mod", "mod", "code", "file", "command"):
        return f"`{body.lstrip('~').split('.')[-1] if body.startswith('~') else body}`"
    raise page.error(f"tooling/flatten.py does not know how to show the role {{{name}}}")


def _link(text: str, target: str, page: Page) -> str:
    """A link that works beside the twin: lessons by their twins, anchors as text."""
    text = inline(text, page)
    if re.match(r"^[a-z][a-z+.-]*:", target):
        return f"[{text or target}]({target})"
    target, _, anchor = target.partition("#")
    if not target:
        return text or page.labels.get(anchor, anchor.replace("-", " "))
    path = (page.path.parent / target).resolve()
    if path.is_relative_to(LIBRARY_PAGES):  # generated, and not there beside a twin: its source is
        source = ROOT / "lib" / "clearhead" / path.relative_to(LIBRARY_PAGES).with_suffix(".py")
        if not source.is_file():
            source = source.with_suffix("") / "__init__.py"
        text, target = text or f"`{source.name}`", os.path.relpath(source, page.path.parent)
        path = source
    if not path.exists():
        if target in page.labels:
            return text or page.labels[target]
        raise page.error(f"a link to {target}, which does not exist")
    text = text or page.titles.get(path, path.stem)
    if path in page.twins:
        target = target.removesuffix(".md") + ".ipynb"
    return f"[{text}]({target})"
