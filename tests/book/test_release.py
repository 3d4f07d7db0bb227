"""What learners get: generated notebooks and nothing else, with no solution in them."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from tooling.settings import ROOT

MASTERS = sorted((ROOT / "solutions").glob("*/*.ipynb"))
RELEASES = ROOT / "chapters" / "exercises"
HIDDEN = re.compile(r"### BEGIN (SOLUTION|HIDDEN TESTS)\n(.*?)### END \1", re.S)


def released(master):
    return RELEASES / master.parent.name / master.name


def sources(path) -> list[str]:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"]]


def test_there_is_something_to_release():
    assert MASTERS


@pytest.mark.parametrize("master", MASTERS, ids=lambda p: p.parent.name)
def test_no_solution_reaches_a_learner(master):
    release = "\n".join(sources(released(master)))
    assert "SOLUTION" not in release
    assert "HIDDEN TESTS" not in release
    hidden = [m[2].strip() for source in sources(master) for m in HIDDEN.finditer(source)]
    assert hidden, "the master has no solution region: the release would show everything"
    for region in hidden:
        for line in (line.strip() for line in region.splitlines()):
            assert len(line) < 25 or line not in release, line


def test_only_generated_notebooks_are_released():
    files = [p for p in RELEASES.rglob("*") if p.is_file() and ".ipynb_checkpoints" not in p.parts]
    assert {p.relative_to(RELEASES).as_posix() for p in files} == {
        f"{master.parent.name}/{master.name}" for master in MASTERS
    }


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A copy of what nbgrader needs: its configuration and the masters, nothing built."""
    folder = tmp_path_factory.mktemp("course")
    shutil.copy(ROOT / "nbgrader_config.py", folder)
    shutil.copytree(ROOT / "solutions", folder / "solutions")
    return folder


def nbgrader(course, *arguments):
    command = [sys.executable, "-m", "nbgrader", *arguments]
    run = subprocess.run(command, cwd=course, text=True, capture_output=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return run.stderr


@pytest.mark.parametrize("master", MASTERS, ids=lambda p: p.parent.name)
def test_the_committed_release_is_what_nbgrader_generates(course, master):
    name = master.parent.name
    for secret in ("notes.md", "answers.py", "data.csv", "plain", ".hidden"):
        (course / "solutions" / name / secret).write_text("the answer", encoding="utf-8")
    nbgrader(course, "generate_assignment", name, "--force")
    fresh = course / "chapters" / "exercises" / name
    assert [p.name for p in fresh.iterdir()] == [master.name], "a file beside the master got out"
    assert (fresh / master.name).read_bytes() == released(master).read_bytes(), "run `make release`"
