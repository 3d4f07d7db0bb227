"""The container: what it is made of, that it holds, and that each part of it is needed."""

import itertools
import os
import secrets
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from marking.grading import bubblewrap as recipe
from marking.grading import sandbox, wire
from marking.grading.judge import judge
from marking.grading.sandbox import LIMITS, Container, talk
from marking.registry import find

HOLDS = pytest.mark.bubblewrap
HONEST = "def causal_mask(T, S): return torch.ones(T, S, dtype=torch.bool).tril(S - T)"
LOOK = """
import ctypes, sys
def f(token):
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # its own memory may be read, also by an ordinary user
    mine = [n for n in sys.modules if n.startswith(("marking.", "clearhead"))]
    found = 0
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            start, end = (int(v, 16) for v in line.split()[0].split("-"))
            if line.split()[1].startswith("rw") and end - start < 1 << 27:
                memory.seek(start)
                found += memory.read(end - start).count(bytes.fromhex(token[::-1]))
    return len(mine), found
"""


@pytest.fixture(scope="module")
def container():
    container = Container()
    yield container
    container.stop()


def ask(container: Container, cell: str, **inputs):
    """What a function f of a cell answers in a fresh child."""
    described = {name: wire.encode(value)[0] for name, value in inputs.items()}
    with container.child() as connection:
        talk(connection, {"cells": ["import os", cell], "name": "f", "limits": LIMITS}, {}, 20)
        answer, tensors = talk(connection, {"id": "1", "inputs": described}, {}, 20)
    assert not answer["fault"], answer
    return wire.decode(answer["value"], tensors)


def below(container: Container) -> list[psutil.Process]:
    return psutil.Process(container._process.pid).children(recursive=True)


# --- the forkserver --------------------------------------------------------------------------


@HOLDS
def test_the_forkserver_is_a_fresh_interpreter_never_forked_from_the_grader(container):
    token = secrets.token_bytes(24)  # lies in the grader's memory
    assert ask(container, LOOK, token=token.hex()[::-1])[0] == 0
    assert ask(container, LOOK, token=token.hex()[::-1])[1] == 0


def test_a_process_forked_from_the_grader_would_hold_its_modules_and_memory():
    token = secrets.token_bytes(24)
    space: dict = {}
    exec(LOOK, space)
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        modules, found = space["f"](token.hex()[::-1])
        os.write(write, f"{modules} {found} {'marking.grading.judge' in sys.modules}".encode())
        os._exit(0)
    os.waitpid(pid, 0)
    modules, found, judge_seen = os.read(read, 100).decode().split()
    os.close(read), os.close(write)
    assert int(modules) > 0
    assert int(found) > 0
    assert judge_seen == "True"


@HOLDS
def test_nothing_of_one_child_is_left_for_the_next(container):
    plant = """
import sys, torch
for folder in ("/tmp", "/dev/shm"):
    open(folder + "/left", "w").write("x")
torch.left = True
f = lambda: "planted"
"""
    look = """
import torch
f = lambda: [os.listdir("/tmp"), os.listdir("/dev/shm"), hasattr(torch, "left")]
"""
    assert ask(container, plant) == "planted"
    assert ask(container, look) == [[], [], False]


def test_the_end_of_a_servers_first_child_is_seen_at_once():
    container, exercise = Container(sandboxed=False), find("attention.causal_mask")
    cell = "import os\ndef causal_mask(T, S): os._exit(0)"
    results = [judge(container, exercise, [cell], "seed", case_seconds=1.0) for _ in range(2)]
    container.stop()
    assert [result.status for result in results] == ["crashed", "crashed"]


@HOLDS
def test_a_container_killed_during_a_submission_costs_time_and_no_score():
    container, exercise = Container(), find("attention.causal_mask")
    killed = []
    ask_one = sandbox.talk

    def kill_once(connection, message, *rest):
        if "inputs" in message and not killed:
            killed.append(container._process.pid)
            container._process.kill()
            container._process.wait()
        return ask_one(connection, message, *rest)

    from marking.grading import judge as judging

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "talk", kill_once)
        result = judge(container, exercise, ["import torch", HONEST], "seed")
    container.stop()
    assert killed
    assert (result.status, result.share) == ("right", 1.0)


@HOLDS
def test_a_server_killed_during_a_submission_costs_time_and_no_score(container, monkeypatch):
    """Short of memory, the system may end the server alone, and the container goes on."""
    from marking.grading import judge as judging

    exercise, killed = find("attention.causal_mask"), []

    def kill_once(connection, message, *rest):
        if "inputs" in message and not killed:
            (forkserver,) = psutil.Process(container._process.pid).children()
            killed.extend(server.pid for server in forkserver.children())
            for server in forkserver.children():
                server.kill()
        return talk(connection, message, *rest)

    monkeypatch.setattr(judging, "talk", kill_once)
    result = judge(container, exercise, ["import torch", HONEST], "seed")
    assert killed
    assert (result.status, result.share) == ("right", 1.0)


@HOLDS
def test_a_submission_that_twice_loses_its_container_needs_a_look(monkeypatch):
    container, exercise = Container(), find("attention.causal_mask")
    from marking.grading import judge as judging

    def kill(connection, message, *rest):
        if "inputs" in message:
            container._process.kill()
            container._process.wait()
        return talk(connection, message, *rest)

    monkeypatch.setattr(judging, "talk", kill)
    result = judge(container, exercise, ["import torch", HONEST], "seed")
    container.stop()
    assert (result.status, result.share) == ("needs a look", None)


@HOLDS
def test_everything_in_the_container_ends_with_the_process_that_started_it():
    code = (
        "import time; from marking.grading.sandbox import Container\n"
        "c = Container(); c.start(); print(c._process.pid, flush=True); time.sleep(60)"
    )
    grader = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(grader.stdout.readline())
    inside = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    grader.kill()
    grader.wait()
    grader.stdout.close()
    _, alive = psutil.wait_procs(inside, timeout=10)
    assert len(inside) == 2
    assert alive == []


# --- what is shown ---------------------------------------------------------------------------


@HOLDS
def test_only_torch_and_its_needs_can_be_imported(container):
    cell = """
def f(names):
    import importlib
    there = []
    for name in names:
        try:
            importlib.import_module(name)
            there.append(name)
        except ImportError:
            pass
    return there
"""
    names = ["clearhead", "marking.grading", "marking.exercises", "pytest", "nbgrader", "pip"]
    assert ask(container, cell, names=[*names, "setuptools", "torch", "numpy"])[-2:] == [
        "torch",
        "numpy",
    ]
    assert not set(ask(container, cell, names=names)) & set(names)


def fake_python(tmp_path: Path, monkeypatch, base: str, exe: str) -> list[str]:
    root = tmp_path / base
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for name in (f"lib/{version}/site-packages/clearhead", "bin", "envs/other/lib", "pkgs"):
        (root / name).mkdir(parents=True)
    (root / exe).touch()
    monkeypatch.setattr(sys, "base_prefix", str(root))
    monkeypatch.setattr(sys, "_base_executable", str(root / exe))
    monkeypatch.setattr(recipe.sysconfig, "get_path", lambda name: str(root / "lib" / version))
    return recipe.system_binds()


@pytest.mark.parametrize("base", ["opt/conda", "home/u/.pyenv/versions/3.12.1", "usr/local"])
def test_a_python_elsewhere_is_shown_without_what_is_installed_in_it(base, tmp_path, monkeypatch):
    command = fake_python(tmp_path, monkeypatch, base, "bin/python3")
    root = str(tmp_path / base)
    shown = [b for a, b in itertools.pairwise(command) if a == "--ro-bind"]
    hidden = [b for a, b in itertools.pairwise(command) if a == "--tmpfs"]
    assert f"{root}/lib" in shown
    assert f"{root}/bin/python3" in shown
    assert not {root, f"{root}/envs", f"{root}/pkgs", "/usr", "/usr/local", "/"} & set(shown)
    assert any(folder.startswith(root) and folder.endswith("site-packages") for folder in hidden)


# --- without a sandbox -----------------------------------------------------------------------


def test_without_a_sandbox_the_same_server_grades_and_leaves_nothing():
    container = Container(sandboxed=False)
    result = judge(container, find("attention.causal_mask"), ["import torch", HONEST], "seed")
    folder = Path(container._folder)
    assert folder.is_dir()
    sleeper = ["import torch, time", HONEST, "time.sleep(600)"]
    late = judge(container, find("attention.causal_mask"), sleeper, "seed", cells_seconds=0.5)
    (server,) = below(container)  # it forks the children; none is left
    container.stop()
    server.wait(5)
    assert (result.status, late.status) == ("right", "timed out")
    assert not folder.exists()


def test_every_folder_of_installed_packages_is_found_and_none_is_walked(tmp_path, monkeypatch):
    for name in ("site-packages/torch/site-packages", "lib/dist-packages", "lib/json"):
        (tmp_path / name).mkdir(parents=True)
    seen = []
    walk = os.walk

    def watched(folder):
        for row in walk(folder):
            seen.append(Path(row[0]).name)
            yield row

    monkeypatch.setattr(recipe.os, "walk", watched)
    found = recipe.installed_below(tmp_path)
    assert found == [str(tmp_path / "lib/dist-packages"), str(tmp_path / "site-packages")]
    assert "torch" not in seen


def test_what_a_distribution_installs_is_read_from_its_record():
    torch = recipe.importlib.metadata.distribution("torch")
    assert recipe.tops(torch) == {file.parts[0] for file in torch.files}
