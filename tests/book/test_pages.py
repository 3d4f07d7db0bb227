"""The book's sources and its built pages: complete, linked, and with a text for every picture."""

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup
from docutils.nodes import make_id
from tooling import build, library_pages
from tooling.settings import PLACEHOLDER, ROOT, address_is_set

HTML = ROOT / "_build" / "html"
CHAPTERS = ROOT / "chapters"


def toc_entries() -> tuple[set[str], set[str]]:
    """The files and the globs that `_toc.yml` names."""
    text = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    found: dict[str, set[str]] = {"file": set(), "glob": set(), "root": set()}

    def walk(node):
        if isinstance(node, dict):
            for key, value in node.items():
                if key in found:
                    found[key].add(value)
                else:
                    walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(yaml.safe_load(text))
    return found["file"] | found["root"], found["glob"]


def test_every_page_and_exercise_notebook_is_in_the_table_of_contents():
    written = [p for p in CHAPTERS.rglob("*.md") if "library" not in p.parts]
    written += CHAPTERS.glob("exercises/*/*.ipynb")
    names = {p.relative_to(ROOT).with_suffix("").as_posix() for p in written}
    files, _ = toc_entries()
    assert names - files == set()
    assert {f for f in files if not f.startswith("chapters/library")} - names == set()


def test_every_library_file_has_a_page_in_the_table_of_contents():
    files, globs = toc_entries()
    pages = {p.relative_to(ROOT).with_suffix("").as_posix() for p in library_pages.pages()}
    unlisted = {p for p in pages if p not in files and str(Path(p).parent) + "/*" not in globs}
    assert unlisted == set()
    sources = {p for p in (ROOT / "lib/clearhead").rglob("*.py") if p.name != "__init__.py"}
    assert {library_pages.page_of(p) for p in sources} <= set(library_pages.pages())


def test_a_library_page_shows_every_public_name_with_its_real_source():
    text = library_pages.file_page(ROOT / "lib/clearhead/attention/softmax.py")
    assert "## softmax\n\n```python\nsoftmax(x, dim=-1)" in text
    assert ":pyobject: softmax" in text
    assert "lib/clearhead/attention/softmax.py" in text


def test_a_library_page_links_to_the_repository_once_it_has_an_address(address):
    softmax = ROOT / "lib/clearhead/attention/softmax.py"
    address(PLACEHOLDER)
    assert "/blob/" not in library_pages.file_page(softmax)
    address("https://github.com/someone/course")
    link = "https://github.com/someone/course/blob/main/lib/clearhead/attention/softmax.py"
    assert link in library_pages.file_page(softmax)


def test_the_repositorys_address_stands_in_one_place():
    from tooling.settings import repository

    tracked = [*ROOT.glob("*.*"), *ROOT.glob(".github/**/*.yml")]
    tracked += [p for f in ("lib", "tooling", "benchmarks") for p in (ROOT / f).rglob("*.py")]
    tracked += [p for p in CHAPTERS.rglob("*.md") if "library" not in p.parts]
    named = {
        p.relative_to(ROOT).as_posix()
        for p in tracked
        if p.is_file() and repository() in p.read_text(encoding="utf-8", errors="ignore")
    }
    assert named - {"tooling/settings.py"} == {"_config.yml"}  # settings.py knows the placeholder


# -- where the exercises send a learner --------------------------------------------------------


def reading_links() -> list[str]:
    try:
        from marking.registry import exercises
    except ImportError:
        return []
    records = exercises().values()
    return sorted({mistake.read for record in records for mistake in record.mistakes})


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the built page has them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return {make_id(title) for title in re.findall(r"^#+ (.+?)\s*$", text, re.M)}


@pytest.mark.parametrize("link", reading_links())
def test_a_check_sends_the_learner_to_a_page_that_exists(link):
    page, _, anchor = link.partition("#")
    path = CHAPTERS / f"{page}.md"
    assert path.exists()
    assert not anchor or anchor in anchors(path)


# -- the built pages ---------------------------------------------------------------------------


def built_pages() -> list[Path]:
    if not HTML.exists():
        return []
    pages = HTML.glob("chapters/**/*.html")
    return sorted(pages)


@pytest.fixture(scope="module")
def parsed():
    """`parsed(path)` → the page, read once."""
    seen: dict[Path, BeautifulSoup] = {}

    def read(path: Path) -> BeautifulSoup:
        if path not in seen:
            seen[path] = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        return seen[path]

    return read


@pytest.mark.site
def test_every_page_of_the_table_of_contents_is_built():
    files, _ = toc_entries()
    wanted = files | {p.relative_to(ROOT).with_suffix("").as_posix() for p in library_pages.pages()}
    assert [name for name in sorted(wanted) if not (HTML / f"{name}.html").exists()] == []


@pytest.mark.site
def test_every_internal_link_and_anchor_resolves(parsed):
    dead = []
    anchors = cache(lambda page: {tag["id"] for tag in parsed(page).select("[id]")})
    for page in built_pages():
        for link in parsed(page).select("a[href]"):
            address = urlsplit(link["href"])
            if address.scheme or address.netloc:
                continue
            target = (page.parent / unquote(address.path)).resolve() if address.path else page
            if not target.exists():
                dead.append(f"{page.name}: {link['href']}")
            elif address.fragment and target.suffix == ".html":
                if unquote(address.fragment) not in anchors(target):
                    dead.append(f"{page.name}: {link['href']}")
    assert dead == []


@pytest.mark.site
def test_every_picture_has_an_alternative_text(parsed):
    silent = [
        f"{page.name}: {image.get('src')}"
        for page in built_pages()
        for image in parsed(page).select("article img")
        if len(image.get("alt", "").strip()) < 5 or image["alt"].endswith(".png")
    ]
    assert silent == []


def test_the_buttons_appear_with_the_address(address, monkeypatch, tmp_path):
    monkeypatch.setattr(build, "BUILD", tmp_path)
    for url, there in ((PLACEHOLDER, False), ("https://github.com/someone/course", True)):
        address(url)
        config = yaml.safe_load(build.write_config().read_text(encoding="utf-8"))
        assert ("repository" in config) == there
        assert ("colab_url" in config["launch_buttons"]) == there
        buttons = ("use_repository_button", "use_edit_page_button", "use_issues_button")
        assert {config["html"][button] for button in buttons} == {there}


@pytest.mark.site
def test_pages_lead_to_notebooks_on_colab_or_without_an_address_nowhere(parsed):
    links = [link["href"] for page in built_pages() for link in parsed(page).select("a[href]")]
    assert not any(PLACEHOLDER in link for link in links)
    colab = [link for link in links if "colab.research.google.com/github" in link]
    if not address_is_set():
        assert colab == []
        return
    paths = [urlsplit(link).path.split("/blob/main/")[1] for link in colab]
    assert all(path.endswith(".ipynb") and (ROOT / path).exists() for path in paths), paths
    lessons = list(CHAPTERS.glob("*/[0-9][0-9]_*.md"))
    assert len(paths) >= len(lessons) + len(list(CHAPTERS.glob("exercises/*/*.ipynb")))


@pytest.mark.site
def test_pages_load_nothing_from_another_host(parsed):
    loaded = [
        f"{page.name}: {address}"
        for page in built_pages()
        for tag in parsed(page).select("script[src], link[rel=stylesheet], img[src], iframe[src]")
        if urlsplit(address := tag.get("src") or tag.get("href")).netloc
    ]
    assert loaded == []
