"""The tools behind `make` where something is missing: one clear sentence, and nothing half done."""

import os
import shutil
import subprocess
import sys

import pytest
from tooling import build
from tooling.settings import PLACEHOLDER, ROOT


@pytest.fixture
def checkout(tmp_path):
    """A folder with the tools, the configuration and an empty PATH of its own, but no .venv."""
    shutil.copytree(ROOT / "tooling", tmp_path / "tooling")
    for name in ("_config.yml", "pyproject.toml", "constraints.txt", "Makefile"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "bin").mkdir()
    for tool in ("sh", "dirname", "make", "sed", "expand"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    return tmp_path


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def make(checkout, *arguments, **environment):
    return subprocess.run(
        ["make", *arguments],
        cwd=checkout,
        env={"PATH": str(checkout / "bin"), **environment},
        capture_output=True,
        text=True,
    )


def said(run) -> str:
    """The one line that it said, make's own last word aside."""
    assert run.returncode != 0
    lines = [line for line in run.stderr.splitlines() if not line.startswith("make")]
    assert len(lines) == 1, run.stderr
    return lines[0]


def test_without_python_make_says_what_to_install(checkout):
    line = said(make(checkout, "book"))
    assert line.startswith("Python 3.11 or newer is needed and this machine has no Python at all")
    assert "apt-get install python3 python3-venv" in line


def test_with_an_old_python_make_says_which_and_what_to_do(checkout):
    program(checkout / "bin/python3", '[ "$1" = --version ] && echo Python 3.9.2 && exit; exit 1')
    assert "this machine has Python 3.9.2: on Debian 12" in said(make(checkout, "test"))
    assert not (checkout / ".venv").exists()


def test_without_the_venv_module_make_says_which_package_has_it(checkout):
    program(
        checkout / "bin/python3",
        'case "$2" in *venv*) exit 1;; *print*) echo 3.11;; esac; exit 0',
    )
    assert "apt-get install python3.11-venv" in said(make(checkout, "book"))


def fake_pip(checkout, words):
    """A `.venv` whose pip fails with these words, and a `python` that is the real one."""
    program(
        checkout / ".venv/bin/python",
        f'case "$2" in pip) echo "{words}" >&2; exit 1;; esac; exec {sys.executable} "$@"',
    )


def test_without_a_network_make_says_so_in_one_sentence(checkout):
    fake_pip(checkout, "WARNING: NewConnectionError: Temporary failure in name resolution")
    line = said(make(checkout, "book"))
    assert line.startswith("The packages could not be installed because the Python package index")
    assert not (checkout / ".venv/course.json").exists()


def test_what_else_stops_pip_is_shown_in_its_own_words(checkout):
    fake_pip(checkout, "ERROR: No space left on device")
    run = make(checkout, "book")
    assert "No space left on device" in run.stderr
    assert "pip could not install" in run.stderr


def test_make_alone_lists_every_verb(checkout):
    listed = make(checkout).stdout
    for verb in ("book", "serve", "test", "check", "sync", "release", "bench", "clean"):
        assert f"make {verb} " in listed


# -- publishing and rebuilding -------------------------------------------------------------------


def publish_check(checkout):
    command = [sys.executable, "tooling/publish_check.py"]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True)


def test_publishing_refuses_the_placeholder_in_one_sentence(checkout):
    config = checkout / "_config.yml"
    text = config.read_text(encoding="utf-8")
    real = "https://github.com/someone/course"
    for address in (PLACEHOLDER, real):
        config.write_text(text.replace(PLACEHOLDER, address), encoding="utf-8")
        run = publish_check(checkout)
        if address == PLACEHOLDER:
            assert said(run).startswith("Not published: repository.url in _config.yml is still")
        elif PLACEHOLDER in text:
            assert run.returncode == 0


def test_an_edit_of_the_library_changes_the_name_of_the_execution_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "BUILD", tmp_path)
    (tmp_path / "lib").mkdir()
    source = tmp_path / "lib" / "softmax.py"
    source.write_text("scale = 1\n")
    before = build.cache_folder()
    before.mkdir()
    assert build.cache_folder() == before
    source.write_text("scale = 2\n")
    assert build.cache_folder() != before
    build.remove_older_caches()
    assert not before.exists()


@pytest.mark.parametrize(("strict", "outcome"), [("0", "1 skipped"), ("1", "1 error")])
def test_a_missing_browser_skips_here_and_fails_in_ci(tmp_path, strict, outcome):
    test = tmp_path / "test_needs.py"
    test.write_text("import pytest\n@pytest.mark.chromium\ndef test_it(): pass\n")
    options = [
        "-rs",
        "-p",
        "tests.plugin_requirements",
        "-c",
        os.devnull,
        "--rootdir",
        str(tmp_path),
    ]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(test)],
        cwd=ROOT,
        env={"PATH": "", "CLEARHEAD_STRICT": strict},
        capture_output=True,
        text=True,
    )
    assert outcome in run.stdout
    assert "apt-get install chromium" in run.stdout
