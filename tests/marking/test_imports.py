"""What is loaded when: grading starts without torch, a notebook gets its functions."""

import subprocess
import sys

import pytest

from marking.grading.quick import GRAMMAR, quick_imports


def python(code: str) -> str:
    """What a fresh Python prints."""
    command = [sys.executable, "-W", "error::ImportWarning", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_driver_needs_no_torch():
    modules = "marking.cli marking.grading.intake marking.grading.driver marking.grading.gradebook"
    code = f"import sys, {', '.join(modules.split())}; print('torch' in sys.modules)"
    assert python(code) == "False"


@pytest.mark.parametrize("before", ["", "import marking.check; ", "import marking.grading.seed; "])
def test_the_notebooks_functions_are_functions_whatever_was_imported_before(before):
    code = before + "from marking import check, hint, status; import marking.check as again; "
    code += "print([f.__name__ for f in (check, hint, status)], again is check)"
    assert python(code) == "['check', 'hint', 'status'] True"


def test_jsonschema_is_imported_without_its_grammar_of_addresses_and_nothing_is_left_behind():
    code = "import gc, sys; from marking.grading.quick import GRAMMAR, quick_imports\n"
    code += "with quick_imports():\n    import nbformat\n"
    code += "print('nbformat' in sys.modules, GRAMMAR in sys.modules, gc.isenabled())"
    assert python(code) == "True False True"


def test_the_grammar_stays_where_it_was_loaded_before(monkeypatch):
    there = object()
    monkeypatch.setitem(sys.modules, GRAMMAR, there)
    with quick_imports():
        assert sys.modules[GRAMMAR] is there
    assert sys.modules[GRAMMAR] is there
