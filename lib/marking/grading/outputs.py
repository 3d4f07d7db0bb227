"""What a grade cell says once the sandbox has judged it.

The cell's outputs are written here and nowhere else, by `nbgrader autograde` and by `clearhead
grade` alike: a text for the student, and a number that nbgrader reads as the points. Whatever the
student's own cells printed is not looked at.
"""

import builtins
import re
from collections.abc import Container, Iterable
from dataclasses import dataclass

from nbformat import NotebookNode
from nbformat.v4 import new_output

from marking.grading.python_source import checked

OUR_FAULT = "OurFault"
UNBOXED = "Graded without a sandbox."
COUNTED = re.compile(r"\d+ of \d+ hidden checks passed\. ")
ERRORS = {name for name, kind in vars(builtins).items() if isinstance(kind, type)}
PLACE = re.compile(r" \(line \d{1,5} of (?:its|another|(\w+)'s) cell\)$")


@dataclass(frozen=True)
class Verdict:
    """What one exercise is worth (`share` from 0 to 1, None: no score), and what is said of it."""

    exercise: str
    status: str
    share: float | None
    says: str
    sandbox: str  # "bubblewrap" or "none"

    @classmethod
    def of(cls, row, names: Container[str] = ()) -> "Verdict":
        """From a graded row; `names` are those of the notebook's exercises."""
        says = for_student(row.exercise, row.says, names) if row.cases else row.says
        return cls(row.exercise, row.status, row.share, says, row.sandbox)


def exercise_of(cell) -> str | None:
    """The exercise that a grade cell checks, or None when a person grades it."""
    data = cell["metadata"].get("nbgrader") or {}
    if not data.get("grade") or data.get("solution") or cell["cell_type"] != "code":
        return None
    return checked(cell["source"])


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
    says = verdict.says
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


def verdicts(rows: Iterable) -> dict[str, Verdict]:
    """By exercise, from the graded rows of one submission."""
    rows = list(rows)
    names = {row.exercise.partition(".")[2] for row in rows}
    return {row.exercise: Verdict.of(row, names) for row in rows}


def for_student(exercise: str, says: str, names: Container[str] = ()) -> str:
    """What was said after hidden inputs had been seen, without a word that student code chose.

    An error's message, or what a child names as forbidden, may spell out an input in any alphabet:
    only the kind and place of an error that Python knows, and the exercise's own forbidden names,
    are kept; of a place only the line, and the cell if it is that of an exercise in `names`.
    """
    counted = COUNTED.match(says)  # at its beginning: what follows may be a student's words
    count = counted[0] if counted else ""
    told = says.removeprefix(count)
    if told.startswith("It raised "):
        kind = told.removeprefix("It raised ").partition(":")[0]
        place = PLACE.search(told)
        where = place[0] if place and (place[1] is None or place[1] in names) else ""
        told = f"It raised {kind if kind in ERRORS else 'an error'}{where}."
    elif told.startswith("It calls "):
        name = told.removeprefix("It calls ").partition(", ")[0]
        shown = name if _is_forbidden(name, exercise) else "a function"
        told = f"It calls {shown}, which answers the exercise for you."
    return count + told


def _is_forbidden(name: str, exercise: str) -> bool:
    """A function of torch that the exercise's record forbids."""
    import torch  # the driver needs it for nothing else

    from marking.registry import find

    return hasattr(torch, name) and any(part in name for part in find(exercise).forbidden)
