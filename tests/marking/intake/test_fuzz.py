"""Fuzzing: whatever the bytes are, intake answers with a submission or with `Unreadable`."""

import copy
import io
import json
import resource
import zipfile

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.marking.intake.class_work import NAME, RELEASE_FILE, as_bytes, code, release, right

from marking.grading.intake import Unreadable, collect, rebuild
from marking.grading.markdown_text import harmless
from marking.grading.python_source import without_magics

# A case is cut off at `timeout` of pytest alone: a deadline would time the machine.
CALM = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None)
MANY = settings(CALM, max_examples=60)
FEW = settings(CALM, max_examples=25)
MOST_MEMORY = 1 << 20  # KiB that all of a test's cases together may add to the process

WORK = as_bytes(right())
RELEASE = release()
SOURCE = as_bytes({"cells": [code("%%time\nx = !ls"), *right()["cells"][:6]]})

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)
keys = st.sampled_from(
    "cells cell_type source metadata nbgrader grade_id id attachments worksheets input level "
    "nbformat outputs code markdown heading raw softmax-answer softmax-check".split()
)
notebook_like = st.recursive(
    json_values | keys,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=30,
)
snippets = st.lists(
    st.sampled_from(
        ["%%", "%", "!", "?", "\n", "    ", "(", "'''", "def f():", "x", "=", "<", "![", "]("]
    )
    | st.text(max_size=4),
    max_size=40,
).map("".join)


def survives(data: bytes) -> None:
    try:
        submission = rebuild(data, RELEASE, "ada", NAME)
    except Unreadable as error:
        assert str(error).endswith((".", "?")) and "\n" not in str(error)
    else:
        json.dumps(submission.notebook).encode()
        "".join(submission.cells).encode()
        assert len(submission.notebook["cells"]) >= len(RELEASE["cells"])


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@MANY
@given(st.binary(max_size=2000))
def test_random_bytes(data):
    survives(data)


@MANY
@given(st.data())
def test_a_notebook_with_bytes_changed(data):
    changed = bytearray(SOURCE)
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(changed) - 1))
        length = data.draw(st.integers(0, 40))
        changed[at : at + length] = data.draw(st.binary(max_size=20))
    survives(bytes(changed))


@MANY
@given(st.data())
def test_a_notebook_with_values_changed(data):
    notebook = copy.deepcopy(json.loads(SOURCE))
    for _ in range(data.draw(st.integers(1, 6))):
        here = notebook
        while True:
            inside = list(here) if isinstance(here, dict) else list(range(len(here)))
            if not inside:
                break
            key = data.draw(st.sampled_from(inside))
            if not isinstance(here[key], dict | list) or data.draw(st.booleans()):
                here[key] = data.draw(notebook_like)
                break
            here = here[key]
    survives(json.dumps(notebook).encode())


@MANY
@given(notebook_like)
def test_json_that_resembles_a_notebook(value):
    survives(json.dumps(value).encode())
    survives(json.dumps({"cells": value if isinstance(value, list) else [value]}).encode())


@MANY
@given(snippets)
def test_sources_of_odd_pieces(source):
    without_magics(source)
    text, _ = harmless(source)
    assert "<script" not in text
    survives(as_bytes({"cells": [*RELEASE["cells"][:6], code(source)]}))


def test_the_longest_files_stay_within_memory():
    before = peak()
    size = 31 << 20
    for start, piece in [
        (b'{"cells": [', b"{},"), (b'"', b'\\"'), (b"", b"["), (b'{"a":', b"1,"), (b"", b'"",'),
        (b'{"cells": [{"cell_type": "code", "source": "', b"%a\\n"), (b"", b" "), (b"", b"\x80"),
    ]:  # fmt: skip
        survives((start + piece * (size // len(piece)))[:size])
    assert peak() - before < MOST_MEMORY


def test_the_longest_lines_take_no_quadratic_time():
    for piece in ("![", "](", "](  ", "<a", " ", "-1", "x, ", "a?", "%\n", "```", "\\"):
        source = piece * (100_000 // len(piece))
        harmless(source)
        without_magics(source)


def archive_of(names: list[str]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, WORK)
    return stream.getvalue()


ARCHIVE = archive_of([f"ada/{NAME}.ipynb", f"bob_1_2_{NAME}.ipynb"])


def collect_bytes(folder, data: bytes) -> None:
    source = folder / "export.zip"
    source.write_bytes(data)
    submissions, refused = collect(source, NAME, RELEASE_FILE)
    for student in [s.student for s in submissions] + [r.student for r in refused]:
        assert student.isascii() and "/" not in student and student.strip(".")
    for one in refused:
        one.path.encode()
        one.why.encode()


@FEW
@given(st.data())
def test_an_archive_with_bytes_changed(tmp_path_factory, data):
    changed = bytearray(ARCHIVE)
    places = st.integers(0, 80) | st.integers(len(changed) - 250, len(changed) - 1)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(places | st.integers(0, len(changed) - 1))
        changed[at] = data.draw(st.integers(0, 255))
    collect_bytes(tmp_path_factory.mktemp("zip"), bytes(changed))


@FEW
@given(
    names=st.lists(st.text(min_size=1, max_size=60).filter(lambda n: n.isprintable()), max_size=6)
)
def test_an_archive_with_odd_names(tmp_path_factory, names):
    odd = list(dict.fromkeys(name + ".ipynb" for name in names))
    collect_bytes(tmp_path_factory.mktemp("zip"), archive_of(odd))


@FEW
@given(st.binary(max_size=400))
def test_random_bytes_for_an_archive(tmp_path_factory, data):
    collect_bytes(tmp_path_factory.mktemp("zip"), b"PK\x03\x04" + data + ARCHIVE[-120:])
