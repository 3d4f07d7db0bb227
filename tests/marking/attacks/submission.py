"""Reading an attack: a docstring that says what it tries and what must happen, then its cells."""

import ast
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from tests.plugin_requirements import ROOT

FOLDER = Path(__file__).parent / "submissions"
GIVEN = "import math\n\nimport torch\n\nfrom marking import check, hint, status"


@dataclass(frozen=True)
class Attack:
    """One file. `facts` are the lines "Name: value" of its docstring."""

    name: str
    cells: list[str]
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def honest(self) -> bool:
        return self.facts["Score"] == "1"


def read(path: Path, planted: str = "", port: int = 0) -> Attack:
    """The attack in a file, aimed at a planted file and a listening port."""
    source = path.read_text()
    docstring = source.split('"""')[1]
    body = source.split('"""', 2)[2]
    for word, value in {
        "PLANTED": planted,
        "LISTENER": str(port),
        "BRACKETS": "(" * 10_000,
        "MINUSES": "-" * 500_000 + "1",
        "LAMBDAS": "lambda: " * 1_100 + "0",
        "NULLBYTE": "\0",
    }.items():
        body = body.replace(word, value)
    facts = dict(line.split(": ", 1) for line in docstring.splitlines() if ": " in line)
    return Attack(path.stem, [GIVEN, *body.split("\n# %%\n")], facts)


def attacks() -> list[Path]:
    return sorted(FOLDER.glob("*.py"))


def honest_cells(chapter: str = "attention") -> list[str]:
    """The course's own solutions of a chapter, cell by cell, without the checks."""
    notebook = nbformat.read(ROOT / "solutions" / chapter / f"{chapter}.ipynb", 4)
    cells = [c.source for c in notebook.cells if c.cell_type == "code"]
    return [c for c in cells if not c.startswith(("check(", "status("))]


def says(fact: str) -> str:
    """A value that stands for a character, such as an escape."""
    return ast.literal_eval(f'"{fact}"')
