"""The container that student code runs in: bubblewrap around a forkserver.

No network, an empty read-only file system with Python and torch alone, no privileges, its own
process numbers, small private /tmp and /dev/shm. Inside, one child an exercise. The grader talks to
that child over a connection of its own and to the forkserver over another, and believes neither.
"""

import contextlib
import importlib.metadata
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

from marking.errors import CourseError
from marking.grading import wire

HERE = Path(__file__).parent
NEEDED = ("torch", "safetensors", "numpy", "pyseccomp")
START_SECONDS, STOP_SECONDS = 60.0, 5.0
LIMITS = {"AS": 6 << 30, "CPU": 60, "FSIZE": 16 << 20, "NOFILE": 64, "NPROC": 128}


class SandboxError(CourseError):
    """The container cannot be had, or did not behave: nothing may be graded with it."""


class Container:
    """One running container, for exercises with one set of forbidden built-ins."""

    def __init__(self, forbidden: tuple[str, ...] = (), *, sandboxed: bool = True):
        self.forbidden = forbidden
        self.sandboxed = sandboxed
        self._process: subprocess.Popen | None = None
        self._control: socket.socket | None = None

    def start(self) -> None:
        """Start it and wait until it is ready. Raises `SandboxError`."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        inside = [str(theirs.fileno()), json.dumps(self.forbidden)]
        command = bubblewrap() if self.sandboxed else [sys.executable, "-I", "-S"]
        server = "/course/forkserver.py" if self.sandboxed else str(plain_course())
        self._process = subprocess.Popen(
            [*command, server, *inside],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={"PATH": "/usr/bin:/bin"},
        )
        theirs.close()
        self._control = ours
        if self._word(START_SECONDS) != {"ready": True}:
            self._process.kill()
            said = self._process.stderr.read().decode(errors="replace").strip().splitlines()
            self.stop()
            raise SandboxError(f"The sandbox did not start: {said[-1] if said else 'no reason'}.")

    def stop(self) -> None:
        """End it, whatever it is doing; the kernel ends everything inside with it."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process.stderr.close()
            self._control.close()
        self._process = self._control = None

    @contextlib.contextmanager
    def child(self) -> Iterator[socket.socket]:
        """A connection to a fresh child; afterwards nothing of the child is left."""
        if self._process is None or self._process.poll() is not None:
            self.stop()
            self.start()
        ours, theirs = socket.socketpair()
        try:
            socket.send_fds(self._control, [b"job"], [theirs.fileno()])
            theirs.close()
            yield ours
        finally:
            ours.close()
            self._finish()

    def _finish(self) -> None:
        with contextlib.suppress(OSError):
            self._control.send(b"stop")
        word = self._word(STOP_SECONDS)
        if not isinstance(word, dict) or word.get("left") != 0:
            self.stop()  # it was killed, or lies, or cannot end its children: a fresh one next time

    def _word(self, seconds: float):
        self._control.settimeout(seconds)
        try:
            return json.loads(self._control.recv(4096) or b"null")
        except (OSError, ValueError):
            return None


def bubblewrap() -> list[str]:
    """The command that makes the container and starts Python in it. Raises `SandboxError`."""
    program = shutil.which("bwrap")
    if program is None:
        raise SandboxError(
            "Grading needs bubblewrap, which is not here: on Debian or Ubuntu run 'sudo apt-get "
            "install bubblewrap'; on macOS and Windows use the container image (Containerfile)."
        )
    command = [program, "--unshare-user", "--disable-userns", "--unshare-pid", "--unshare-ipc"]
    command += ["--unshare-uts", "--unshare-cgroup-try", "--unshare-net", "--die-with-parent"]
    command += ["--new-session", "--uid", "65534", "--gid", "65534", "--hostname", "sandbox"]
    command += ["--cap-drop", "ALL", "--clearenv", "--setenv", "PATH", "/usr/bin"]
    command += ["--setenv", "HOME", "/tmp", "--setenv", "OMP_NUM_THREADS", "1"]
    for folder in ("/usr", "/lib", "/lib64", "/bin"):
        path = Path(folder)
        if path.is_symlink():
            command += ["--symlink", os.readlink(path), folder]
        elif path.exists():
            command += ["--ro-bind", folder, folder]
    base = sys.base_prefix
    if not base.startswith("/usr/") or base.startswith("/usr/local"):
        command += ["--ro-bind", base, base]
    for site in hidden_site_packages():
        command += ["--tmpfs", site]
    for source, name in site_entries():
        command += ["--ro-bind", source, f"/course/site/{name}"]
    for file in sorted((HERE / "container").glob("*.py")):
        command += ["--ro-bind", str(file), f"/course/{file.name}"]
    for shared in (HERE / "wire.py", HERE.parent / "limits.py"):  # torch and nothing of ours
        command += ["--ro-bind", str(shared), f"/course/{shared.name}"]
    command += ["--proc", "/proc", "--dev", "/dev", "--size", str(64 << 20), "--tmpfs", "/dev/shm"]
    command += ["--size", str(64 << 20), "--tmpfs", "/tmp", "--remount-ro", "/", "--chdir", "/tmp"]
    return [*command, "--", os.path.realpath(sys.executable), "-I", "-S", "-B"]


def hidden_site_packages() -> list[str]:
    """Every folder of installed packages that the container would otherwise see."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    base = Path(sys.base_prefix)
    candidates = {base / "lib" / version / "site-packages", Path("/usr/lib/python3/dist-packages")}
    candidates |= {Path(f"/usr/local/lib/{version}/dist-packages")}
    candidates |= {Path(sysconfig.get_path("purelib", vars={"base": sys.base_prefix}))}
    return sorted(str(folder) for folder in candidates if folder.is_dir())


def site_entries() -> list[tuple[str, str]]:
    """(path, name) of everything that torch, safetensors and what they need installed."""
    entries: dict[str, str] = {}
    for name in requirement_closure(NEEDED):
        distribution = importlib.metadata.distribution(name)
        for file in distribution.files or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not top.endswith(".pth"):
                entries[top] = str(distribution.locate_file(top))
    return sorted((path, top) for top, path in entries.items() if Path(path).exists())


def requirement_closure(names) -> list[str]:
    """The installed distributions that these need, themselves included, extras aside."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in found:
            continue
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(name)
        todo += [re.match(r"[\w.-]+", need)[0] for need in needs if "extra ==" not in need]
    return sorted(found)


def talk(connection, message: dict, tensors: dict, seconds: float) -> tuple[dict, dict]:
    """Send one frame and wait for the answer. Raises `wire.WireError`."""
    deadline = time.monotonic() + seconds
    connection.settimeout(seconds)
    try:
        wire.send(connection, message, tensors, most_json=wire.MOST_JOB)
    except OSError as error:
        raise wire.WireError(f"the connection broke: {error.strerror}") from None
    return wire.receive(connection, deadline)
