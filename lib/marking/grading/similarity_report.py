"""The report on similar answers: a table for the terminal, a CSV file, and one HTML page."""

import csv
import html
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from marking.grading.exports import no_formula
from marking.grading.similarity import NEAR, SHORTEST, Group, Similar

NOTE = (
    "Advice for a person, not a finding, and no score changes by it. A short exercise has few "
    "ways to be written, and two people who read the same page write the same lines."
)
STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#222;"
    "background:#fff}pre{overflow:auto;background:#f6f6f6;padding:.7rem;margin:0}"
    ".two{display:grid;grid-template-columns:repeat(auto-fit,minmax(20rem,1fr));gap:1rem}"
    "mark{background:#ffe08a}td,th{padding:.1rem .8rem;text-align:left}"
)


def table(found: Similar) -> Table:
    """The groups of near answers, as a table for the terminal."""
    title = f"Answers that are nearly the same, in {found.students} submissions"
    result = Table(title=title, caption=said(found), caption_justify="left")
    for name in ("exercise", "students", "who", "also near"):
        result.add_column(name, justify="right" if name == "students" else "left")
    for group in found.groups():
        who = [*group.students[:6], *(["…"] if len(group.students) > 6 else [])]
        near = ", ".join(group.references)
        result.add_row(group.exercise, str(len(group.students)), escape(", ".join(who)), near)
    return result


def said(found: Similar) -> str:
    """What was compared, what was not, and what it means."""
    left_out = ", ".join(found.too_short) or "none"
    return (
        f"Compared: {', '.join(found.compared) or 'nothing'}. Too short to tell anything "
        f"(a reference under {SHORTEST} characters, names shortened): {left_out}. "
        f"{together(found)}{NOTE}"
    )


def together(found: Similar, most: int = 5) -> str:
    """The students who meet in several exercises, in one sentence."""
    rows = found.together()
    if not rows:
        return ""
    named = "; ".join(f"{one} and {other} in {count}" for count, one, other in rows[:most])
    more = f"; and {len(rows) - most} more pairs" if len(rows) > most else ""
    return f"Near each other, and not the reference, in several exercises: {named}{more}. "


def write(found: Similar, folder: Path, assignment: str) -> tuple[Path, Path]:
    """Write `<assignment>.html` and `<assignment>.csv` into the folder; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    page, rows = folder / f"{assignment}.html", folder / f"{assignment}.csv"
    page.write_text(_page(found, assignment), encoding="utf-8")
    with rows.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["exercise", "one", "other", "share of one", "share of other"])
        for pair in found.pairs:
            names = (no_formula(pair.first), no_formula(pair.second))
            writer.writerow([pair.exercise, *names, *(f"{s:.3f}" for s in pair.shares)])
    return page, rows


def _page(found: Similar, assignment: str) -> str:
    name, groups = html.escape(assignment), found.groups()
    links = "".join(
        f'<tr><td><a href="#g{i}">{html.escape(group.exercise)}</a></td>'
        f"<td>{len(group.students)}</td><td>{html.escape(', '.join(group.students))}</td>"
        f"<td>{', '.join(group.references)}</td></tr>"
        for i, group in enumerate(groups)
    )
    sections = "".join(_section(i, group) for i, group in enumerate(groups))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        f"style-src 'unsafe-inline'\"><title>{name}: similar answers</title>"
        f"<style>{STYLE}</style></head><body><h1>{name}: answers that are nearly the same</h1>"
        f"<p>A group: at least {NEAR:.0%} of each answer is found in another of the group, names, "
        f"spaces and comments aside. {html.escape(said(found))}</p>"
        "<table><tr><th>exercise</th><th>students</th><th>who</th><th>also near</th></tr>"
        f"{links}</table>{sections}</body></html>\n"
    )


def _section(i: int, group: Group) -> str:
    pair = group.nearest
    columns = "".join(
        f"<div><h3>{html.escape(who)}</h3><pre>{_marked(text, spans)}</pre></div>"
        for who, text, spans in zip((pair.first, pair.second), pair.texts, pair.common, strict=True)
    )
    title = f"{html.escape(group.exercise)}: the nearest two, {pair.similarity:.0%}"
    return f'<h2 id="g{i}">{title}</h2><div class="two">{columns}</div>'


def _marked(text: str, spans) -> str:
    """The text, escaped, with the common parts marked."""
    out, at = [], 0
    for start, end in sorted(spans):
        start = max(start, at)
        if end > start:
            out += [html.escape(text[at:start]), f"<mark>{html.escape(text[start:end])}</mark>"]
            at = end
    return "".join([*out, html.escape(text[at:])])
