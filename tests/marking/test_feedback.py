"""Feedback for students: no script, nothing from elsewhere, no hidden value; Chromium agrees."""

import base64
import io
import json
import re

import pytest

pytest.importorskip("nbgrader", reason="pip install -e '.[grade]'")

from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, new_raw_cell
from PIL import Image, PngImagePlugin
from tests.plugin_requirements import ROOT, chromium

from marking.grading import feedback, formulas

EXERCISES = ROOT / "chapters" / "exercises"
HOSTILE = [
    "<script>alert(1)</script>",
    "<ScRiPt src=//evil.example/x.js></sCrIpT >",
    "<img src=x onerror=alert(1)>",
    "<img src='data:image/svg+xml;base64,PHN2Zy8+'>",
    "<svg><script>alert(1)</script></svg>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href=' DATA:text/html,<script>alert(1)</script>'>x</a>",
    "<a href='d&#97;ta&colon;text/html,<script>alert(1)</script>'>x</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "[x](javascript:alert(1))",
    "![x](https://evil.example/x.png)",
    "[![x](//evil.example/x.png)](//evil.example)",
    "<style>@import '//evil.example/x.css'; *{background:url(//evil.example/x)}</style>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<base href=//evil.example/>",
    "<form action=//evil.example><input type=submit></form>",
    "<object data=//evil.example></object><embed src=//evil.example>",
    "<video poster=//evil.example/x autoplay src=//evil.example/y></video>",
    "$\\href{javascript:alert(1)}{x}$ $$<script>alert(1)</script>$$",
    "<div style='background:url(//evil.example/x)'>x</div>",
    "`<script>alert(1)</script>` and\n\n    <script>alert(1)</script>",
    "<!-- <script>alert(1)</script> --><![CDATA[<script>alert(1)</script>]]>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'></noscript>",
    "$\\text{<script>alert(1)</script><img src=x onerror=alert(1)>}$",
    "$\\text{&lt;script&gt;alert(1)&lt;/script&gt;}$",
    "$\\style{background:url(//evil.example/x)}{y}$ $\\class{x}{y}$ $\\id{x}{y}$",
    "$\\boxed{x}$ $\\cancel{x}$ $\\mathring{x}$",
    "$\\href{//evil.example}{x}$ $\\color{red}{x}$ $\\hspace{99999em}x$",
    '![$\\text{" onerror=alert(1) x="}$](data:image/png;base64,x)',
    '[x](https://a.example/$\\text{"onclick=alert(1)}$ "$\\text{\' onclick=alert(1)}$")',
    '# $\\text{" onclick=alert(1) }$',
    "\\begin{align}\\text{<style>*{background:url(//evil.example/x)}</style>}\\end{align}",
    "<math><mi onclick=alert(1)>x</mi></math>",
]
FORMULA = set(
    "math mrow mi mn mo ms mtext mspace mfrac msqrt mroot msub msup msubsup munder mover "
    "munderover mmultiscripts mprescripts none mtable mtr mtd mstyle mpadded mphantom".split()
)


def assert_harmless(page: str) -> None:
    soup = BeautifulSoup(page, "html.parser")
    names = {tag.name for tag in soup.find_all()}
    assert not names & set("script iframe object embed link base form svg video audio".split())
    for part in soup.find_all("math"):
        for tag in [part, *part.find_all()]:
            assert tag.name in FORMULA, tag
            assert all(re.fullmatch(r"[-\w.]{1,12}", value) for value in tag.attrs.values()), tag
            assert not set(tag.attrs) & {"href", "style", "class", "id", "mathcolor"}, tag
    for tag in soup.find_all():
        assert not [name for name in tag.attrs if name.startswith("on")], tag
        for name in ("src", "data", "action", "poster", "srcset", "background"):
            assert str(tag.get(name, "data:image/png;")).startswith("data:image/"), tag
        if tag.name == "a":
            address = str(tag.get("href", "")).strip().lower()
            assert not address.startswith(("javascript:", "data:", "vbscript:")), tag
        if tag.name == "style":
            assert "//" not in re.sub(r"/\*.*?\*/", "", tag.text, flags=re.DOTALL)
            assert "@import" not in tag.text
        assert "url(" not in str(tag.get("style", ""))


def shown(markdown: str) -> str:
    return feedback.safe_markdown({"cell": {}}, markdown)


@pytest.mark.parametrize("markdown", HOSTILE)
def test_no_markdown_of_a_student_runs_or_loads_anything(markdown):
    assert_harmless(shown(markdown))


def test_ordinary_markdown_is_still_formatted():
    page = shown(
        "# Title\n\n* **one**\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n`code` [x](https://a.example)"
    )
    soup = BeautifulSoup(page, "html.parser")
    assert {"h1", "li", "strong", "table", "td", "code"} <= {tag.name for tag in soup.find_all()}
    assert "https://a.example" in [link["href"] for link in soup.find_all("a")]


READ = {
    r"$x_i^2$": "x i 2",
    r"$\frac{q \cdot k}{\sqrt{D}}$": "q · k D",
    r"$$\operatorname{softmax}(QK^\top)$$": "softmax ( Q K ⊤ )",
    r"\begin{aligned}a &= b \\ c &= d\end{aligned}": "a = b c = d",
    r"$a < b$": "a < b",
}


@pytest.mark.parametrize("tex", READ)
def test_a_formula_is_mathml(tex):
    soup = BeautifulSoup(shown(f"Before {tex} after"), "html.parser")
    block = tex.startswith(("$$", "\\"))
    assert soup.math["display"] == ("block" if block else "inline")
    assert soup.math.get_text(" ").split() == READ[tex].split()
    assert soup.text.startswith("Before ") and soup.text.strip().endswith(" after")


DOUBTFUL = [
    r"$\unheard{x}$",
    r"$\frac$",
    "$" + "x" * 2001 + "$",
    "$" + "x^{" * 600 + "}" * 600 + "$",
]


@pytest.mark.parametrize("tex", DOUBTFUL)
def test_a_formula_that_is_not_understood_stays_as_it_was_typed(tex):
    soup = BeautifulSoup(shown(f"Before {tex} after"), "html.parser")
    assert soup.math is None and soup.text.strip() == f"Before {tex} after"


def test_a_formula_ends_no_attribute_that_it_may_come_to_stand_in():
    made = formulas.mathml(r"""\left(\text{" onclick=alert(1) ' x="}\right)\hspace{1em}""")
    assert "onclick" in made and "stretchy=true" in made and "width=1em" in made
    assert not set(made) & set("\"'`")


@pytest.mark.parametrize("size", ["99999em", "-9em", "100vw", "calc(9em)"])
def test_a_formula_cannot_push_itself_across_the_page(size):
    assert "width" not in (formulas.mathml(rf"\hspace{{{size}}}x") or "")


def test_a_cell_of_thousands_of_formulas_is_shown():
    soup = BeautifulSoup(shown("$x$ " * 3000), "html.parser")
    assert len(soup.find_all("math")) == 500 and soup.text.count("x") == 3000


@pytest.mark.parametrize("path", sorted(EXERCISES.glob("*/*.ipynb")), ids=lambda path: path.stem)
def test_every_formula_of_ours_is_understood(path):
    cells = json.loads(path.read_text("utf-8"))["cells"]
    page = "".join(shown("".join(c["source"])) for c in cells if c["cell_type"] == "markdown")
    assert "<math" in page
    left = BeautifulSoup(page, "html.parser")
    for code in left.find_all(["code", "pre", "math"]):
        code.decompose()
    assert "\\" not in left.text and "$" not in left.text


def test_a_picture_that_is_not_attached_costs_nothing_else():
    soup = BeautifulSoup(shown("![x](attachment:nowhere.png) and **more**"), "html.parser")
    assert soup.strong.text == "more" and not soup.img.get("src")


def picture(kind: str = "PNG") -> str:
    made, notes = io.BytesIO(), PngImagePlugin.PngInfo()
    notes.add_text("comment", "<script>alert(1)</script>")
    image = Image.new("RGB", (3, 2), "red")
    image.save(made, kind, **({"pnginfo": notes} if kind == "PNG" else {}))
    return base64.b64encode(made.getvalue() + b"<script>trailing</script>").decode()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_is_drawn_anew_and_carries_nothing_else(kind):
    redrawn = base64.b64decode(feedback.redraw(picture(kind)))
    assert b"script" not in redrawn
    with Image.open(io.BytesIO(redrawn)) as image:
        assert image.size == (3, 2) and image.format == "PNG" and image.info == {}


def test_a_picture_that_is_none_or_is_enormous_is_left_out():
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    assert feedback.redraw(base64.b64encode(bomb.getvalue()).decode()) is None
    svg = base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'/>").decode()
    assert [feedback.redraw(x) for x in (svg, "not base64", "", None, ["x"])] == [None] * 5


def test_an_attached_picture_is_shown_redrawn():
    cell = {"attachments": {"a.png": {"image/png": picture()}}}
    page = feedback.safe_markdown({"cell": cell}, "![x](attachment:a.png)")
    source = BeautifulSoup(page, "html.parser").img["src"]
    assert base64.b64decode(source.partition(",")[2]) == base64.b64decode(
        feedback.redraw(picture())
    )


def exported(cells) -> str:
    notebook = new_notebook(cells=cells)
    plain = feedback.PlainOutputs()
    notebook, _ = plain.preprocess(notebook, {})
    exporter = feedback.FeedbackExporter(filters={"markdown2html": feedback.safe_markdown})
    return exporter.from_notebook_node(notebook)[0]


def test_outputs_are_text_and_pictures_only():
    bundle = {
        "text/html": "<script>alert(1)</script>",
        "application/javascript": "alert(1)",
        "image/svg+xml": "<svg onload='alert(1)'/>",
        "text/latex": "$x$",
        "text/markdown": "![x](//evil.example/y)",
        "text/plain": "<b>plain</b> \x1b[31mred\x1b[0m",
    }
    drawn = {"image/png": picture(), "text/html": "<script>alert(1)</script>"}
    error = new_output("error", ename="<script>", evalue="<img src=//e.example>", traceback=["x"])
    cell = new_code_cell(
        "print(1)  # <script>",
        outputs=[
            *(new_output("display_data", data=d) for d in (bundle, drawn)),
            error,
            new_output("stream", text="<i>"),
        ],
    )
    page = exported([cell, new_raw_cell("<script>alert(1)</script>", metadata={"format": "html"})])
    assert_harmless(page)
    soup = BeautifulSoup(page, "html.parser")
    assert "<b>plain</b> red" in soup.text and "<script>alert(1)</script>" in soup.text
    assert len(soup.find_all("img")) == 1


def test_hidden_tests_in_a_grade_cell_are_taken_out():
    source = "check()\n### BEGIN HIDDEN TESTS\nassert f(3) == 1.2345\n### END HIDDEN TESTS\n1.0"
    page = exported([new_code_cell(source)])
    assert "1.2345" not in page and "(hidden)" in page


@pytest.mark.bubblewrap
def test_the_feedback_of_a_class_loads_and_runs_nothing(graded_course):
    for student in ("master", "hostile", "scripts"):
        page = graded_course.page(student)
        assert_harmless(page)
        assert "default-src 'none'" in page


@pytest.mark.bubblewrap
@pytest.mark.chromium
def test_chromium_asks_nobody_for_anything_and_runs_no_script(graded_course):
    from playwright.sync_api import sync_playwright

    asked, dialogs, refused = [], [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = browser.new_context(offline=True).new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        page.on("console", lambda line: refused.append(line.text))
        for student in ("scripts", "hostile"):
            name = f"_grading/feedback/{student}/attention/attention.html"
            page.goto((graded_course.folder / name).as_uri())
            assert "points" in page.inner_text("h4")
            page.set_viewport_size({"width": 360, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
            cut = "all => all.filter(e => e.scrollHeight > e.clientHeight + 1).length"
            assert page.eval_on_selector_all("div.panel-heading", cut) == 0, "a heading is cut off"
        browser.close()
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert dialogs == []
    assert refused == [], "the page asks for nothing that its policy must refuse"


FORMULAS = r"""
In a line $x_i^2$, and by itself:

$$\operatorname{softmax}\left(\frac{Q K^\top}{\sqrt{D}}\right) V$$

\begin{align}a &= b \\ c &= d\end{align}
"""
PLACES = """() => {
    const at = (name) => document.querySelector(name).getBoundingClientRect().toJSON();
    return {math: at("math"), above: at("mfrac > :first-child"), below: at("mfrac > :last-child"),
            base: at("msubsup > :nth-child(1)"), over: at("msubsup > :nth-child(3)")};
}"""


@pytest.mark.chromium
def test_chromium_lays_out_a_formula_without_script_or_network(tmp_path):
    from playwright.sync_api import sync_playwright

    (tmp_path / "page.html").write_text(exported([new_markdown_cell(FORMULAS)]), encoding="utf-8")
    asked = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = browser.new_context(offline=True, java_script_enabled=True).new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path / "page.html").as_uri())
        places, text = page.evaluate(PLACES), page.inner_text("body")
        browser.close()
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert places["math"]["width"] > 5 and places["math"]["height"] > 5
    assert places["above"]["bottom"] < places["below"]["top"], "a fraction has two floors"
    assert places["over"]["top"] < places["base"]["top"], "an exponent is raised"
    assert "$" not in text and "\\" not in text
