"""What a grade cell says once the sandbox has judged it.

The cell's outputs are written here and nowhere else, by `nbgrader autograde` and by `clearhead
grade` alike: a text for the student, and a number that nbgrader reads as the points. Whatever the
student's own cells printed is not looked at.
"""

import builtins
import re
from dataclasses import dataclass

from nbformat import NotebookNode
from nbformat.v4 import new_output

OUR_FAULT = "OurFault"
LOOK = ("needs a look", "our fault")  # statuses that wait for a person
UNBOXED = "Graded without a sandbox."
CHECKED = re.compile(r"""\bcheck\(\s*["']([\w.]+)["']""")
PASSED = "hidden checks passed. "
PLACE = re.compile(r" \(line \d{1,5} of its cell\)$")


@dataclass(frozen=True)
class Verdict:
    """What one exercise is worth (`share` from 0 to 1, None: no score), and what is said of it."""

    exercise: str
    status: str
    share: float | None
    says: str
    sandbox: str  # "bubblewrap" or "none"

    @classmethod
    def of(cls, row) -> "Verdict":
        """From a graded row."""
        return cls(row.exercise, row.status, row.share, row.says, row.sandbox)


def exercise_of(cell) -> str | None:
    """The exercise that a grade cell checks, or None when a person grades it."""
    data = cell["metadata"].get("nbgrader") or {}
    if not data.get("grade") or data.get("solution") or cell["cell_type"] != "code":
        return None
    found = CHECKED.search(cell["source"])
    return found[1] if found else None


def fill(notebook: NotebookNode, verdicts: dict[str, Verdict]) -> None:
    """Write every grade cell's outputs, and take away all others.

    A cell of nbgrader's that no verdict stands for says so and waits for a person.
    """
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.outputs, cell.execution_count = [], None
        cell.metadata.pop("clearhead", None)
        data = cell.metadata.get("nbgrader") or {}
        if data.get("grade") and not data.get("solution"):
            _fill_cell(cell, verdicts.get(exercise_of(cell) or ""))


def _fill_cell(cell: NotebookNode, verdict: Verdict | None) -> None:
    if verdict is None:
        verdict = Verdict("", "our fault", None, "Nothing graded this cell.", "bubblewrap")
    most = float(cell.metadata.nbgrader["points"])
    cell.metadata["clearhead"] = {"status": verdict.status, "sandbox": verdict.sandbox}
    says = for_student(verdict.says)
    if verdict.sandbox == "none":
        says = f"{says} {UNBOXED}".strip()
    if verdict.share is None:
        told = "This exercise has no score yet: a person will look at it."
        cell.outputs = [new_output("error", ename=OUR_FAULT, evalue=told, traceback=[told])]
        return
    points = round(min(max(float(verdict.share), 0.0), 1.0) * most, 2)
    text = f"{verdict.status}: {says}\n"
    cell.outputs = [
        new_output("stream", name="stdout", text=text),
        new_output("execute_result", data={"text/plain": repr(points)}, execution_count=None),
    ]


def for_student(says: str) -> str:
    """The sentence without what student code put into it while it held hidden inputs.

    An error's message, or the name that a child gave as forbidden, may spell out an input: only the
    kind of an error that Python or torch knows, and its line, are kept.
    """
    before, found, told = says.partition(PASSED)
    if not found:
        return says
    if told.startswith("It raised "):
        kind = told.removeprefix("It raised ").partition(":")[0]
        known = isinstance(getattr(builtins, kind, None), type)
        place = PLACE.search(told)
        told = f"It raised {kind if known else 'an error'}{place[0] if place else ''}."
    elif told.startswith("It calls "):
        told = "It calls a function that answers the exercise."
    return before + found + told
