"""The built site in headless Chromium, with every other host out of reach."""

import re
import threading
from dataclasses import dataclass, field

import pytest
from bs4 import BeautifulSoup
from tests.plugin_requirements import chromium
from tooling.serve import SITE, server

pytestmark = [pytest.mark.chromium, pytest.mark.site, pytest.mark.timeout(1800)]  # every page, once
PHONE = {"width": 360, "height": 800}
DESK = {"width": 1280, "height": 900}
PAGES = sorted(p.relative_to(SITE).as_posix() for p in SITE.glob("chapters/**/*.html"))
PAGES += [name for name in ("index.html", "search.html") if (SITE / name).exists()]
WITH_QUIZ = [p for p in PAGES if "<fieldset" in (SITE / p).read_text(encoding="utf-8")]


@pytest.fixture(scope="module")
def home():
    site = server()
    threading.Thread(target=site.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{site.server_port}/"
    site.shutdown()
    site.server_close()


@pytest.fixture(scope="module")
def headless():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_page(headless, home):
    """`open_page(path, **context)` → the page, loaded; other hosts are refused."""
    contexts = []

    def visit(path: str, **options):
        context = headless.new_context(**{"viewport": DESK, **options})
        contexts.append(context)
        context.route(
            lambda url: not url.startswith(home), lambda route: route.abort("internetdisconnected")
        )
        page = context.new_page()
        page.goto(home + path)
        return page

    yield visit
    for context in contexts:
        context.close()


@dataclass
class Visit:
    """What one page did when a phone loaded it."""

    elsewhere: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    width: int = 0
    rendered: int = 0
    text: str = ""


@pytest.fixture(scope="module")
def visits(headless, home):
    """Every page, loaded once at 360 px with the network blocked; a few load at a time."""
    context = headless.new_context(viewport=PHONE)
    context.route(
        lambda url: not url.startswith(home), lambda route: route.abort("internetdisconnected")
    )
    done = {}
    for few in batched(PAGES, 4):
        begun = [begin_visit(context, home, path) for path in few]
        for path, (visit, page) in zip(few, begun, strict=True):
            finish_visit(visit, page)
            done[path] = visit
    context.close()
    return done


def batched(items, size):
    return [items[i : i + size] for i in range(0, len(items), size)]


def begin_visit(context, home, path):
    visit, page = Visit(), context.new_page()
    page.on("request", lambda r: r.url.startswith(home) or visit.elsewhere.append(r.url))
    page.on("pageerror", lambda e: visit.errors.append(str(e)))
    page.on("console", lambda m: m.type == "error" and visit.errors.append(m.text))
    page.goto(home + path, wait_until="commit")
    return visit, page


def finish_visit(visit, page):
    page.wait_for_load_state("networkidle")
    if page.locator(".math").count():
        page.wait_for_selector("mjx-container", timeout=20_000, state="attached")
        page.evaluate("() => MathJax.startup.promise")
    visit.width = page.evaluate("() => document.documentElement.scrollWidth")
    visit.rendered = page.locator("mjx-container").count()
    visit.text = page.evaluate(
        "() => { const b = document.body.cloneNode(true);"
        " b.querySelectorAll('pre, code, script, style, mjx-container')"
        ".forEach(e => e.remove());"
        " return b.textContent }"
    )
    page.close()


@pytest.mark.parametrize("path", PAGES)
def test_a_page_asks_nothing_of_another_host(visits, path):
    assert visits[path].elsewhere == []


@pytest.mark.parametrize("path", PAGES)
def test_a_page_loads_without_an_error(visits, path):
    assert visits[path].errors == []


@pytest.mark.parametrize("path", PAGES)
def test_every_equation_is_drawn(visits, path):
    source = BeautifulSoup((SITE / path).read_text(encoding="utf-8"), "html.parser")
    assert visits[path].rendered >= len(source.select(".math"))
    assert not re.search(r"\$\$|\\\(|\\\[|\\begin\{", visits[path].text)


@pytest.mark.parametrize("path", PAGES)
def test_no_page_is_wider_than_a_phone(visits, path):
    assert visits[path].width <= PHONE["width"]


def test_the_lessons_hold_equations_and_quizzes(visits):
    lessons = [p for p in PAGES if re.search(r"/\d\d_\w+\.html$", p)]
    assert lessons
    assert all(visits[p].rendered > 0 for p in lessons)
    assert set(lessons) <= set(WITH_QUIZ)


@pytest.mark.parametrize("javascript", [True, False], ids=["with-javascript", "without"])
def test_a_quiz_works_by_keyboard(open_page, javascript):
    page = open_page(WITH_QUIZ[0], java_script_enabled=javascript)
    quiz = page.locator("fieldset.quiz").first
    buttons, answers = quiz.locator("input[type=radio]"), quiz.locator(".quiz-why")
    assert [answers.nth(i).is_visible() for i in range(buttons.count())] == [
        False
    ] * buttons.count()
    buttons.nth(0).focus()
    page.keyboard.press("Space")
    assert answers.nth(0).is_visible()
    page.keyboard.press("ArrowDown")
    assert not answers.nth(0).is_visible()
    assert answers.nth(1).is_visible()
    assert answers.nth(1).inner_text().split("\n")[0] in ("✓ Right.", "✗ Not this.")


def test_search_finds_a_term(open_page):
    page = open_page("search.html?q=softmax")
    page.wait_for_selector("#search-results li a", timeout=20_000)
    assert page.locator("#search-results li a").count() >= 3


CONTRAST = """
() => {
  const channels = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = c => {
    const f = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * f(c[0]) + 0.7152 * f(c[1]) + 0.0722 * f(c[2]);
  };
  const back = e => {
    for (; e; e = e.parentElement) {
      const c = channels(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const weak = [];
  for (const e of document.querySelectorAll(SELECTOR)) {
    if (!e.innerText || !e.innerText.trim() || !e.offsetParent) continue;
    const [a, b] = [light(channels(getComputedStyle(e).color)), light(back(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) weak.push(`${e.tagName} ${e.innerText.slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return weak;
}
"""
READ = "article p, article li, article a, article td, article th, article label, article h1"
READ += ", article h2, article h3, article code, article .quiz-verdict, .bd-sidebar-primary a"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_both_themes(open_page, scheme):
    page = open_page(WITH_QUIZ[0], color_scheme=scheme)
    assert page.locator("html").get_attribute("data-theme") == scheme
    page.add_style_tag(content=".quiz-why { display: block !important; }")
    assert page.evaluate(CONTRAST.replace("SELECTOR", repr(READ))) == []


def test_code_has_contrast_in_both_themes(open_page):
    for scheme in ("light", "dark"):
        page = open_page(WITH_QUIZ[0], color_scheme=scheme)
        tokens = "article .highlight pre span"
        assert page.evaluate(CONTRAST.replace("SELECTOR", repr(tokens))) == [], scheme
