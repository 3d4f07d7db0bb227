"""The image for macOS and Windows: nobody builds it here, but what it copies makes a package."""

import re
import shlex
import subprocess
import sys
import tomllib
import zipfile

import pytest
from tests.plugin_requirements import ROOT

TEXT = (ROOT / "Containerfile").read_text(encoding="utf-8")
LINES = [
    shlex.split(line)
    for line in re.sub(r"\\\n", " ", TEXT).splitlines()
    if line and not line.startswith("#")
]


def of(instruction: str) -> list[list[str]]:
    return [words for word, *words in LINES if word == instruction]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> set[str]:
    """The files of the package, built from what the Containerfile copies and nothing else."""
    folder = tmp_path_factory.mktemp("image")
    for *names, target in of("COPY"):
        for name in names:
            subprocess.run(["cp", "-r", ROOT / name, folder / target], check=True)
    options = ["--no-deps", "--no-build-isolation", "--disable-pip-version-check", "-q"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "-w", "made", "."]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    (made,) = (folder / "made").glob("clearhead-*.whl")
    with zipfile.ZipFile(made) as archive:
        return set(archive.namelist())


def test_what_it_copies_is_the_whole_package(wheel):
    ours = {
        path.relative_to(ROOT / "lib").as_posix()
        for path in (ROOT / "lib").rglob("*.py")
        if not any(part.endswith(".egg-info") for part in path.parts)
    }
    assert "marking/grading/container/forkserver.py" in ours
    assert ours <= wheel


def test_it_installs_the_extra_by_the_same_versions_as_everybody():
    install = next(words for words in of("RUN") if words[:2] == ["pip", "install"])
    assert install[install.index("-c") + 1] == "constraints.txt"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert install[-1] == ".[grade]" and "grade" in extras["optional-dependencies"]
    pinned = {line.partition("==")[0].lower() for line in _constraints()}
    needed = extras["dependencies"] + extras["optional-dependencies"]["grade"]
    assert {re.match(r"[\w-]+", need)[0].lower() for need in needed} <= pinned


def _constraints() -> list[str]:
    return (ROOT / "constraints.txt").read_text("utf-8").splitlines()


def test_it_has_what_the_sandbox_needs_of_the_system():
    (apt,) = (words for words in of("RUN") if words[0] == "apt-get")
    assert {"bubblewrap", "libseccomp2"} <= set(apt)


def test_nobody_in_it_is_root_and_its_python_is_one_that_we_take():
    assert of("USER")[-1] != ["root"]
    version = re.match(r"python:(\d+)\.(\d+)-", of("FROM")[0][0])
    assert (int(version[1]), int(version[2])) >= (3, 11)


def test_its_first_lines_say_that_it_is_untested_and_so_does_the_book():
    assert "UNTESTED" in TEXT.partition("FROM")[0]
    assert "has not been tried" in (ROOT / "chapters" / "teaching.md").read_text("utf-8")
