"""Pages that show a student's notebook: feedback for students, formgrader for graders.

nbconvert passes on whatever HTML a student wrote, and its template loads MathJax from elsewhere.
Here a page holds text, code and pictures that were drawn anew, and asks nobody for anything.
nbgrader_config.py wires it in: `PlainOutputs` and `safe_markdown` into every HTML page of nbgrader,
`FeedbackExporter` into `nbgrader generate_feedback`.
"""

import base64
import html
import io
import re
import warnings

import bleach
from jinja2 import pass_context
from nbconvert.exporters import HTMLExporter
from nbconvert.filters import strip_ansi
from nbformat.v4 import new_output
from nbgrader.preprocessors import NbGraderPreprocessor
from PIL import Image

from marking.grading.formulas import rendered
from marking.grading.headings import named, titles, waiting

TAGS = frozenset(
    "a abbr b blockquote br caption code dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i img "
    "ins kbd li ol p pre s samp small span strong sub summary sup table tbody td tfoot th thead "
    "tr tt u ul var".split()
)
ATTRIBUTES = {
    "a": lambda tag, name, value: name == "href" and not IMAGE_ONLY.match(value),
    "img": lambda tag, name, value: name == "alt" or (name == "src" and _is_picture(value)),
    "*": ["title", "align"],
}
IMAGE_ONLY = re.compile(r"[\s\x00-\x20]*d\s*a\s*t\s*a\s*:", re.IGNORECASE)  # as an address
MOST_TEXT, MOST_PIXELS, MOST_BYTES = 20_000, 4_000_000, 4 << 20  # of one output
POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'\" />"
)
EMBEDDED = re.compile(r'\bsrc="data:image/(?:png|jpeg);base64,([^"]*)"')
HIDDEN = re.compile(r"[^\n]*BEGIN HIDDEN TESTS.*?(END HIDDEN TESTS[^\n]*|\Z)", re.DOTALL)
SCRIPT = re.compile(r"<script\b.*?</script\s*>", re.DOTALL | re.IGNORECASE)
ALIGNED = (  # what browsers no longer read from the attribute itself
    '<style type="text/css">mtd[columnalign=left] { text-align: left }\n'
    "mtd[columnalign=right] { text-align: right }\n"
    "pre { white-space: pre-wrap !important; overflow-wrap: anywhere }\n"
    # nbgrader's headings are one line high, and its lists number what has a number already
    "div.nbgrader_cell .panel-heading { height: auto !important; overflow: hidden }\n"
    "#toc ol { list-style: none; padding-left: 0 }\n"
    "@media (max-width: 600px) { body .container, body .panel-body, body #notebook-container, "
    "body div.cell { padding-left: 3px; padding-right: 3px; margin-left: 0; margin-right: 0 } "
    "body h1 { font-size: 26px } body h2 { font-size: 22px } "
    "body .rendered_html { overflow-wrap: anywhere } }</style>"
)
LINK = re.compile(r"<link\b[^>]*>", re.IGNORECASE)
STYLE = re.compile(r"(<style\b[^>]*>)(.*?)(</style\s*>)", re.DOTALL | re.IGNORECASE)
FONT = re.compile(r"@font-face\s*\{[^}]*\}|@import[^;]*;", re.IGNORECASE)
ADDRESS = re.compile(r"url\(\s*(?!['\"]?data:)[^)]*\)", re.IGNORECASE)


def _is_picture(address: str) -> bool:
    return address.startswith(("data:image/png;base64,", "data:image/jpeg;base64,"))


def clean(page: str) -> str:
    """HTML of which only text, its structure and embedded pictures are left; the rest is shown as
    the characters it was written with."""
    return bleach.clean(
        page,
        tags=TAGS,
        attributes=ATTRIBUTES,
        protocols=["http", "https", "mailto", "data"],
        strip_comments=True,
    )


@pass_context
def safe_markdown(context, source: str) -> str:
    """nbconvert's `markdown2html`, cleaned. What is embedded is redrawn or left out; formulas are
    MathML."""
    attachments = (context.get("cell") or {}).get("attachments") or {}
    page = rendered(source[: 10 * MOST_TEXT], attachments, clean)
    return EMBEDDED.sub(_redrawn, page)


def _redrawn(found: re.Match) -> str:
    picture = redraw(found[1])
    return f'src="data:image/png;base64,{picture}"' if picture else ""


def redraw(picture) -> str | None:
    """A PNG (base64) with the same pixels and nothing else; None if it is no picture we draw."""
    if not isinstance(picture, str) or len(picture) > MOST_BYTES:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(io.BytesIO(base64.b64decode(picture)), formats=("PNG", "JPEG")) as seen:
                if seen.width * seen.height > MOST_PIXELS:
                    return None
                plain = Image.new("RGBA", seen.size)
                plain.paste(seen.convert("RGBA"))
    except Exception:  # a decoder's surprise: the picture is left out
        return None
    made = io.BytesIO()
    plain.save(made, "PNG")
    return base64.b64encode(made.getvalue()).decode()


class PlainOutputs(NbGraderPreprocessor):
    """Outputs become text and redrawn pictures, raw cells text; hidden tests are taken out."""

    def preprocess_cell(self, cell, resources, index):
        if cell.cell_type == "raw":
            cell.cell_type, cell.source = "markdown", f"<pre>{html.escape(cell.source)}</pre>"
        elif cell.cell_type == "code":
            cell.source = HIDDEN.sub("# (hidden)", cell.source)
            cell.outputs = [plain for output in cell.outputs if (plain := plain_output(output))]
        return cell, resources


def plain_output(output):
    """The output with text and pictures only, or None if nothing is left of it."""
    if output.output_type == "stream":
        return new_output("stream", name="stdout", text=_text(output.text))
    if output.output_type == "error":
        told = _text(f"{output.ename}: {output.evalue}")
        return new_output("error", ename=_text(output.ename), evalue="", traceback=[told])
    data = output.get("data") or {}
    kept = {"text/plain": _text(data["text/plain"])} if data.get("text/plain") else {}
    picture = redraw(data.get("image/png") or data.get("image/jpeg"))
    kept |= {"image/png": picture} if picture else {}
    return new_output("display_data", data=kept) if kept else None


def _text(text) -> str:
    text = text if isinstance(text, str) else "".join(map(str, text))
    return strip_ansi(text)[:MOST_TEXT]


class FeedbackExporter(HTMLExporter):
    """Feedback without a script, a font or a picture from anywhere else, and a policy that
    forbids the browser to run or load one."""

    def from_notebook_node(self, nb, resources=None, **kw):
        names, waits = titles(nb), waiting((resources or {}).get("nbgrader") or {})
        page, resources = super().from_notebook_node(nb, resources, **kw)
        return named(sealed(page), names, waits), resources


def sealed(page: str) -> str:
    """The template's own scripts and addresses taken out; students' text has been escaped."""
    page = LINK.sub("", SCRIPT.sub("", page))
    page = STYLE.sub(lambda m: m[1] + ADDRESS.sub("none", FONT.sub("", m[2])) + m[3], page)
    return re.sub(r"(<head[^>]*>)", lambda m: f"{m[1]}\n{POLICY}\n{ALIGNED}", page, count=1)
