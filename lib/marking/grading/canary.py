"""Proof, at every start of grading, that student code reaches nothing of this machine.

A probe runs where student code will run, in a child of the same container with the same limits, and
tries what no submission may do. What it managed is refused by name. Nothing is taken on trust: a
configuration that was not read, an argument that a system ignores, a missing library all show here.
"""

import contextlib
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from marking.grading import wire
from marking.grading.sandbox import LIMITS, Container, SandboxError, talk

PROBE = Path(__file__).parent / "container" / "probe.py"
NAMESPACES = ("ipc", "mnt", "net", "pid", "user", "uts")
# What the probe reports, in the words of the refusal.
WORDS = {
    "read": "read a file beside the gradebook",
    "write": "write outside its own /tmp",
    "connect": "connect to a server on this machine",
    "processes": "see other processes of this machine",
    "packages": "import the course's own packages",
    "socket": "open a network socket",
    "fork": "start a process",
    "exec": "start another program",
    "signal": "signal another process",
    "allocate": "take more memory than its limit",
    "disk": "write more than its limit",
    "privileges": "keep privileges",
}


def prove(container: Container, beside: Path | None = None) -> None:
    """Try the container. Raises `SandboxError` naming everything that student code could do.

    `beside` is the folder that holds the gradebook; the present folder if it is not given.
    """
    with _token(beside or Path.cwd()) as (token, secret), _listener() as listener:
        said = _probe(container, token, listener.getsockname()[1])
        managed = [WORDS.get(name, name) for name in said["managed"]]
        managed += [WORDS["read"]] if said["token"] == secret else []
        changed = token.with_suffix(".written").exists() or not token.exists()
        managed += [WORDS["write"]] if changed else []
        managed += [WORDS["connect"]] if _was_called(listener) else []
    for name in _shared_namespaces(said["namespaces"]):
        managed.append(f"share this machine's {name} namespace")
    if not managed:
        return
    advice = ""
    if {WORDS["fork"], WORDS["exec"], WORDS["socket"]} & set(managed):
        advice = (
            " If libseccomp is missing (Debian: sudo apt-get install libseccomp2), or pyseccomp "
            "(pip install pyseccomp), install it."
        )
    raise SandboxError(
        f"The sandbox does not hold: student code could {'; '.join(dict.fromkeys(managed))}. "
        f"Nothing was graded.{advice}"
    )


def _probe(container: Container, token: Path, port: int) -> dict:
    """What the probe says of itself. Raises `SandboxError` if it says nothing."""
    inputs = {"token": str(token), "port": port, "pid": os.getpid(), "most": LIMITS["AS"]}
    described = {name: wire.encode(value)[0] for name, value in inputs.items()}
    cells = [PROBE.read_text()]
    try:
        with container.child() as connection:
            job = {"cells": cells, "name": "probe", "limits": LIMITS}
            talk(connection, job, {}, 30.0)
            answer, tensors = talk(connection, {"id": "canary", "inputs": described}, {}, 30.0)
        said = wire.decode(answer["value"], tensors)
        if answer["fault"] or said["alive"] is not True:
            raise SandboxError(f"The sandbox's own test failed: {answer.get('error')}.")
        return said
    except (wire.WireError, KeyError, TypeError) as error:
        raise SandboxError(f"The sandbox's own test gave no answer: {error}.") from None


@contextlib.contextmanager
def _token(folder: Path) -> Iterator[tuple[Path, str]]:
    """A file that only the grader may read, and its words."""
    name = f".clearhead-canary-{secrets.token_hex(8)}"
    if not os.access(folder, os.W_OK):  # then it holds no gradebook of ours either
        folder = Path(tempfile.gettempdir())
    path = folder.resolve() / name
    secret = secrets.token_hex(16)
    path.write_text(secret)
    try:
        yield path, secret
    finally:
        path.unlink(missing_ok=True)
        path.with_suffix(".written").unlink(missing_ok=True)


@contextlib.contextmanager
def _listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield server


def _was_called(server: socket.socket) -> bool:
    try:
        server.accept()[0].close()
        return True
    except OSError:
        return False


def _shared_namespaces(inside: dict) -> list[str]:
    """The namespaces that the child shares with us."""
    if not sys.platform.startswith("linux"):
        return []
    ours = {n: os.readlink(f"/proc/self/ns/{n}") for n in NAMESPACES}
    return [name for name, link in ours.items() if inside.get(name, link) == link]
