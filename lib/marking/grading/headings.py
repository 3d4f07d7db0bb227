"""What nbgrader's feedback page calls "Test cell" and "Written response", by its own name.

nbgrader's template knows a cell's id alone. The name is that of the heading above the cell, which
the release has written; a cell that waits for a person says so in place of a score of 0.
"""

import html
import re

from nbgrader.api import Gradebook, MissingEntry

from marking.grading.gradebook_session import explained

HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*$", re.MULTILINE)
EXTRA = "extra-"  # how the id of a student's own cell begins
LONGEST = 100
SCORE = r"Score: (-?[\d.]+) / ([\d.]+)"


def titles(notebook) -> dict[str, str]:
    """For each cell that has points, by its grade id, the last heading of the release above it."""
    found, last = {}, ""
    for cell in notebook.cells:
        data = cell.metadata.get("nbgrader") or {}
        if data.get("grade"):
            found[data["grade_id"]] = last or data["grade_id"]
        elif cell.cell_type == "markdown" and not data and not is_extra(cell):
            headings = HEADING.findall(cell.source)
            last = headings[-1][:LONGEST] if headings else last
    return found


def is_extra(cell) -> bool:
    return str(cell.get("id", EXTRA)).startswith(EXTRA)


def waiting(names: dict) -> set[str]:
    """The cells of a submission that wait for a person, as the gradebook has it; `names` are those
    that nbgrader hands to an exporter."""
    if not {"db_url", "notebook", "assignment", "student"} <= set(names):
        return set()
    with explained(), Gradebook(names["db_url"]) as book:
        try:
            sent = book.find_submission_notebook(
                names["notebook"], names["assignment"], names["student"]
            )
        except MissingEntry:
            return set()
        return {grade.name for grade in sent.grades if grade.needs_manual_grade}


def named(page: str, titles: dict[str, str], waits: set[str]) -> str:
    """The page with the cells' names in its table and in their headings."""
    for cell, title in titles.items():
        title, cell_id = html.escape(title), re.escape(cell)

        def score(found: re.Match, cell=cell) -> str:
            given, most = float(found[1]), float(found[2])
            if cell in waits and not given:
                return f"{most:g} points, waits for a person"
            points = f"{given:g} of {most:g} points"
            return f"{points}, waits for a person" if cell in waits else points

        def line(found: re.Match, title=title, score=score) -> str:
            return found[1] + title + found[2] + re.sub(SCORE, score, found[3])

        def heading(found: re.Match, title=title, score=score) -> str:
            label = re.sub(r"Grade cell: <code>.*?</code>|Student's answer", title, found[1])
            return label + re.sub(SCORE, score, found[2])

        entry = rf'(<li><a href="#{cell_id}">)[^<]*(</a>\s*)(\({SCORE}\))'
        page = re.sub(entry, line, page, count=1)
        entry = rf'(<a name="{cell_id}"></a>\s*<div class="panel-heading">.*?)({SCORE})'
        page = re.sub(entry, heading, page, count=1, flags=re.DOTALL)
    return re.sub(rf"(<h4>[^<]*)\({SCORE}\)", lambda m: m[1] + _total(m, waits), page, count=1)


def _total(found: re.Match, waits: set[str]) -> str:
    points = f"({float(found[2]):g} of {float(found[3]):g} points"
    more = f"; {len(waits)} part{'s' * (len(waits) > 1)} still to be graded by a person"
    return f"{points}{more if waits else ''})"
