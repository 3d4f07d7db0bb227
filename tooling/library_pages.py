"""A page of the book for each file of lib/clearhead: `python -m tooling.library_pages`.

A page is the module's docstring (MyST Markdown), then every public function and class: signature,
docstring, source. The pages are generated into chapters/library/ and never committed.
"""

import ast
import os
from pathlib import Path

from tooling.settings import ROOT, address_is_set, branch, repository

LIBRARY = ROOT / "lib" / "clearhead"
PAGES = ROOT / "chapters" / "library"
SHARED = "clearhead"  # the section for the files that belong to no chapter


def sources() -> list[Path]:
    """Every file of the library that has a page of its own."""
    return sorted(p for p in LIBRARY.rglob("*.py") if p.name != "__init__.py")


def page_of(source: Path) -> Path:
    """Where the page of this file stands."""
    relative = source.relative_to(LIBRARY).with_suffix(".md")
    return PAGES / (relative if len(relative.parts) > 1 else Path(SHARED) / relative)


def pages() -> dict[Path, str]:
    """Every page with its text."""
    texts = {page_of(source): file_page(source) for source in sources()}
    sections = sorted({page.parent.name for page in texts})
    for section in sections:
        inside = [page for page in texts if page.parent.name == section]
        folder = LIBRARY if section == SHARED else LIBRARY / section
        texts[PAGES / f"{section}.md"] = section_page(section, folder, inside)
    links = "".join(f"- [](/chapters/library/{section}.md)\n" for section in sections)
    texts[PAGES / "index.md"] = INDEX + links
    return texts


INDEX = """\
# The library

Every listing in this book comes from the package `clearhead`.
These pages show each of its files whole: what it computes, its equations, and its source.
The plain version always stands above the fast one, and a test proves the two equal.

## Files

"""


def section_page(section: str, folder: Path, inside: list[Path]) -> str:
    package = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    links = "".join(f"- [](/{page.relative_to(ROOT).as_posix()})\n" for page in sorted(inside))
    title = "Shared by all chapters" if section == SHARED else f"clearhead.{section}"
    return f"# {title}\n\n{_docstring(package)}\n\n## Files\n\n{links}"


def file_page(source: Path) -> str:
    text = source.read_text(encoding="utf-8")
    tree, page = ast.parse(text), page_of(source)
    name = ".".join(source.relative_to(LIBRARY).with_suffix("").parts)
    path = os.path.relpath(source, page.parent)
    parts = [f"# {name}", _docstring(tree), _source_line(source, path)]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            parts += _entry(node, path)
    parts += [
        "## The whole file",
        f":::{{dropdown}} `{source.name}`\n"
        f"```{{literalinclude}} {path}\n:language: python\n:linenos:\n```\n:::",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _docstring(node) -> str:
    return ast.get_docstring(node) or ""


def _source_line(source: Path, path: str) -> str:
    line = f"Source: {{download}}`{source.relative_to(ROOT).as_posix()} <{path}>`"
    if address_is_set():
        where = f"{repository()}/blob/{branch()}/{source.relative_to(ROOT).as_posix()}"
        line += f" · [in the repository]({where})"
    return line


def _entry(node, path: str) -> list[str]:
    """Heading, signature, docstring, and the source without the docstring just shown."""
    include = f"```{{literalinclude}} {path}\n:language: python\n:pyobject: {node.name}\n"
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    if ast.get_docstring(node) and len(node.body) > 1:
        text = node.body[0]
        before, after = text.lineno - first, text.end_lineno - first + 2
        include += f":lines: 1-{before},{after}-\n"
    return [
        f"## {node.name}",
        f"```python\n{signature(node)}\n```",
        _docstring(node),
        include + "```",
    ]


def signature(node) -> str:
    """How it is called: names and defaults, without the annotations that the source shows."""
    if isinstance(node, ast.ClassDef):
        start = next((n for n in node.body if getattr(n, "name", "") == "__init__"), None)
        if start is not None:
            return f"{node.name}({_arguments(start.args, skip_first=True)})"
        fields = [n.target.id for n in node.body if isinstance(n, ast.AnnAssign)]
        return f"{node.name}({', '.join(fields)})" if fields else f"class {node.name}"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{node.name}({_arguments(node.args)}){returns}"


def _arguments(args: ast.arguments, *, skip_first: bool = False) -> str:
    bare = ast.parse(f"def f({ast.unparse(args)}): pass").body[0].args
    for argument in [*bare.posonlyargs, *bare.args, *bare.kwonlyargs, bare.vararg, bare.kwarg]:
        if argument is not None:
            argument.annotation = None
    if skip_first and bare.args:
        bare.args = bare.args[1:]
    return ast.unparse(bare)


def write() -> None:
    """Write the pages that changed, and remove those whose file is gone."""
    wanted = pages()
    for path, text in wanted.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for path in PAGES.rglob("*.md"):
        if path not in wanted:
            path.unlink()


if __name__ == "__main__":
    write()
