"""The canary: it passes the container as it is, and refuses every worse one by name."""

import shutil
import sys

import pytest

from marking.grading import bubblewrap as recipe
from marking.grading import canary, sandbox
from marking.grading.sandbox import LIMITS, Container, SandboxError

HOLDS = pytest.mark.bubblewrap


@pytest.fixture(scope="module")
def container():
    container = Container()
    yield container
    container.stop()


@HOLDS
def test_the_canary_finds_nothing_wrong_with_the_container(container, tmp_path):
    canary.prove(container, tmp_path)
    assert list(tmp_path.iterdir()) == []


def without(*words):
    """The bubblewrap command with these words cut out of it, where they stand together."""
    command = recipe.bubblewrap()
    size = len(words)
    at = [i for i in range(len(command)) if tuple(command[i : i + size]) == words]
    assert at, words
    del command[at[-1] : at[-1] + size]
    return command


def plus(*words):
    command = recipe.bubblewrap()
    end = command.index("--")
    return [*command[:end], *words, *command[end:]]


@HOLDS
@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda here: without("--unshare-net"), "net namespace"),
        (lambda here: without("--unshare-ipc"), "ipc namespace"),
        (lambda here: without("--remount-ro", "/"), "write outside"),
        (lambda here: without("--remount-ro", "/dev"), "write outside"),
        (
            lambda here: without("--size", recipe.SMALL, "--tmpfs", "/tmp")[:-5],
            "own test|not start",
        ),
        (lambda here: plus("--ro-bind", here, here), "read a file beside the gradebook"),
        (lambda here: plus("--bind", here, here), "write outside"),
    ],
    ids="net ipc root dev tmp shows-the-gradebook shares-the-gradebook".split(),
)
def test_the_canary_says_what_a_worse_container_lets_through(change, seen, tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "bubblewrap", lambda: change(str(tmp_path)))
    container = Container()
    with pytest.raises(SandboxError, match=seen):
        canary.prove(container, tmp_path)
    container.stop()


@HOLDS
def test_the_canary_refuses_a_container_without_system_call_filter(tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "NEEDED", ("torch", "safetensors", "numpy"))
    container = Container()
    with pytest.raises(SandboxError, match=r"start a process.*libseccomp2"):
        canary.prove(container, tmp_path)
    container.stop()


@HOLDS
def test_the_canary_sees_that_a_limit_is_missing(tmp_path, monkeypatch, container):
    limits = {name: value for name, value in LIMITS.items() if name != "AS"}
    limits["AS"] = 1 << 42
    real = canary.talk
    monkeypatch.setattr(
        canary,
        "talk",
        lambda c, m, t, s: real(c, m | {"limits": limits} if "limits" in m else m, t, s),
    )
    with pytest.raises(SandboxError, match="take more memory"):
        canary.prove(container, tmp_path)


# --- refusals --------------------------------------------------------------------------------


def test_no_bubblewrap_is_refused_with_how_to_get_it(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SandboxError, match="apt-get install bubblewrap"):
        Container().start()


def test_blocked_user_namespaces_are_told_in_one_sentence():
    said = recipe.explain("bwrap: setting up uid map: Permission denied")
    assert "AppArmor" in said
    assert "Permission denied" in said


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("import time; time.sleep(60)", "not ready after 0.5 s: does this machine do much else"),
        ("import sys; sys.exit(7)", "did not start: it ended with status 7"),
        (
            "import os, sys, time; os.close(int(sys.argv[-1])); time.sleep(0.2); sys.exit(7)",
            "did not start: it ended with status 7",  # the connection ends before the process does
        ),
        ("raise OSError('no room')", "did not start: OSError: no room"),
    ],
)
def test_a_container_that_does_not_start_is_told_in_one_sentence(program, says, monkeypatch):
    monkeypatch.setattr(sandbox, "START_SECONDS", 0.5 if "sleep(60)" in program else 30.0)
    container = Container()
    monkeypatch.setattr(container, "_command", lambda: [sys.executable, "-c", program])
    with pytest.raises(SandboxError, match=says):
        container.start()


def test_the_canary_tells_no_sandbox_from_a_sandbox(tmp_path):
    container = Container(sandboxed=False)
    with pytest.raises(SandboxError, match="read a file beside the gradebook"):
        canary.prove(container, tmp_path)
    container.stop()
