"""Author-year text for `{cite}` outside the book: from references.bib, by pybtex."""

import re
from functools import cache

from pybtex.database import parse_file
from pybtex.richtext import Text

from tooling.settings import ROOT


@cache
def bibliography():
    return parse_file(str(ROOT / "references.bib"), "bibtex").entries


def cite(keys: str, *, textual: bool = False) -> str:
    """`a,b` → "([Vaswani et al., 2017](…); …)"; KeyError names a key that is not there."""
    parts = []
    for key in (k.strip() for k in keys.split(",")):
        entry = bibliography()[key]
        authors, year = _authors(entry), entry.fields.get("year", "n.d.")
        label = f"{authors} ({year})" if textual else f"{authors}, {year}"
        address = _address(entry.fields)
        parts.append(f"[{label}]({address})" if address else label)
    return "; ".join(parts) if textual else f"({'; '.join(parts)})"


def _authors(entry) -> str:
    names = [_plain(" ".join(p.prelast_names + p.last_names)) for p in entry.persons["author"]]
    if len(names) > 2:
        return f"{names[0]} et al."
    return " and ".join(names)


def _plain(text: str) -> str:
    """Without TeX's braces and accents."""
    return str(Text.from_latex(text))


def _address(fields) -> str:
    if "url" in fields:
        return fields["url"]
    if "doi" in fields:
        return f"https://doi.org/{fields['doi']}"
    if "eprint" in fields and re.fullmatch(r"\d{4}\.\d{4,5}", fields["eprint"]):
        return f"https://arxiv.org/abs/{fields['eprint']}"
    return ""
