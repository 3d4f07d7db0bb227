"""TeX formulas as MathML, which a browser shows by itself: no script, no font, no network.

latex2mathml translates. What it made is taken apart and written anew from a list of tags and
attributes, because it passes on what a formula says (`\\href`, `\\style`, a tag in `\\text`).
"""

import html
import re
import secrets
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert_to_element
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

MOST_TEX = 2_000  # characters of a formula
MOST_FORMULAS = 500  # of one cell; the rest stay as they were typed
TAGS = frozenset(
    "math mrow mi mn mo ms mtext mspace mfrac msqrt mroot msub msup msubsup munder mover "
    "munderover mmultiscripts mprescripts none mtable mtr mtd mstyle mpadded mphantom".split()
)
_SIZE = re.compile(r"(?:-0?\.\d{1,4}|\d{1,2}(?:\.\d{1,4})?)(?:em|ex|px|pt)|0")
_WORD = re.compile(r"true|false|prefix|infix|postfix|left|center|right|normal|block|inline|[01]")
ATTRIBUTES = dict.fromkeys(("width", "height", "depth", "linethickness", "lspace", "rspace"), _SIZE)
ATTRIBUTES |= dict.fromkeys(
    "display displaystyle scriptlevel stretchy fence separator form accent accentunder largeop "
    "movablelimits symmetric columnalign mathvariant".split(),
    _WORD,
)
# What latex2mathml does not know, by the name of what it does.
_AGAIN = {"{aligned}": "{split}", "{equation}": "{displaylines}", "{gather}": "{displaylines}"}
_NOT_UNDERSTOOD = re.compile(r"\\|^&$")


def mathml(tex: str, *, block: bool = False) -> str | None:
    """The formula as MathML, or None where it is not understood."""
    for name, known in _AGAIN.items():
        tex = tex.replace(name, known).replace(name.replace("}", "*}"), known)
    if len(tex) > MOST_TEX:
        return None
    try:
        made = convert_to_element(tex.strip(), display="block" if block else "inline")
        return _written(made)
    except (_Unknown, RecursionError):
        return None
    except Exception:  # latex2mathml has many of its own, and IndexError
        return None


class _Unknown(Exception):
    """A command that latex2mathml left as it was."""


def _written(element: Element) -> str:
    """The element with listed tags and attributes alone. No quotation mark is in it, so that it
    ends no attribute, wherever it may come to stand."""
    name = element.tag if element.tag in TAGS else "mrow"
    text = html.unescape(element.text or "")
    if _NOT_UNDERSTOOD.search(text) and name != "mtext":
        raise _Unknown(text)
    kept = "".join(
        f" {key}={value}"
        for key, value in element.attrib.items()
        if key in ATTRIBUTES and ATTRIBUTES[key].fullmatch(value)
    )
    inside = html.escape(text) + "".join(_written(child) for child in element)
    return f"<{name}{kept}>{inside}</{name}>"


class Renderer(IPythonRenderer):
    """nbconvert's renderer with a word in each formula's place, which no student can know.

    `formulas` gives the MathML for each word, to be put in once the page is clean.
    """

    def __init__(self, attachments: dict):
        super().__init__(escape=False, attachments=attachments, exclude_anchor_links=True)
        self.formulas: dict[str, str] = {}
        self._word = f"formula{secrets.token_hex(8)}n"

    def block_math(self, body: str) -> str:
        return self._place(body, block=True) or super().block_math(body)

    def inline_math(self, body: str) -> str:
        return self._place(body) or super().inline_math(body)

    def latex_environment(self, name: str, body: str) -> str:
        tex = f"\\begin{{{name}}}{body}\\end{{{name}}}"
        return self._place(tex, block=True) or super().latex_environment(name, body)

    def _place(self, tex: str, *, block: bool = False) -> str:
        made = mathml(tex, block=block) if len(self.formulas) < MOST_FORMULAS else None
        if made is None:
            return ""
        word = f"{self._word}{len(self.formulas)}e"
        self.formulas[word] = made
        return word

    def _embed_image_or_attachment(self, src: str) -> str:
        """A picture that is not there is left out; nbconvert would give the whole page up."""
        if src.startswith("attachment:") and not self.attachments.get(src[len("attachment:") :]):
            return ""
        return super()._embed_image_or_attachment(src)


def rendered(source: str, attachments: dict, clean) -> str:
    """Markdown as HTML that `clean` has been over, with its formulas."""
    renderer = Renderer(attachments)
    page = clean(MarkdownWithMath(renderer=renderer).render(source))
    return re.sub(rf"{renderer._word}\d+e", lambda found: renderer.formulas.get(found[0], ""), page)
