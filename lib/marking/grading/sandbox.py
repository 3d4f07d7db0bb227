"""The container that student code runs in: bubblewrap around a forkserver.

No network, an empty read-only file system with Python and torch alone, no privileges, its own
process numbers, small private /tmp and /dev/shm. Inside, one child an exercise. The grader talks to
that child over a connection of its own and to the forkserver over another, and believes neither.

Without bubblewrap (`sandboxed=False`, which a person must type each time) the same forkserver runs
as an ordinary process: it keeps the grader's memory out of reach, and nothing else.
"""

import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from marking.grading import wire
from marking.grading.bubblewrap import (
    NO_SOCKETS,
    SandboxError,
    bubblewrap,
    course_files,
    explain,
    interpreter,
    site_entries,
)

__all__ = ["LIMITS", "Container", "SandboxError", "talk"]

START_SECONDS, STOP_SECONDS = 180.0, 5.0  # a start takes 2 s where nothing else runs
LATE = (
    "The sandbox was not ready after {:g} s: does this machine do much else? Start the same "
    "command again when it is quieter; what is graded is kept."
)
# AS counts from what Python and torch take already, which differs between builds of torch.
LIMITS = {"AS": 2 << 30, "CPU": 60, "FSIZE": 16 << 20, "NOFILE": 64, "NPROC": 128}


class Container:
    """One running container."""

    def __init__(self, *, sandboxed: bool = True):
        self.sandboxed = sandboxed
        self._process: subprocess.Popen | None = None
        self._control: socket.socket | None = None
        self._folder: str | None = None
        self.died = False  # did it end by itself during the last child's time?

    def start(self) -> None:
        """Start it and wait until it is ready. Raises `SandboxError`."""
        command = self._command()
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError:
            raise SandboxError(NO_SOCKETS) from None
        self._process = subprocess.Popen(
            [*command, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        )
        theirs.close()
        self._control = ours
        if self._word(START_SECONDS) != {"ready": True}:
            late = self._still_runs()
            self._process.kill()
            said = self._process.stderr.read().decode(errors="replace").strip().splitlines()
            ended = self._process.wait()
            self.stop()
            if late and not said:
                raise SandboxError(LATE.format(START_SECONDS))
            raise SandboxError(explain(said[-1] if said else f"it ended with status {ended}"))

    def _command(self) -> list[str]:
        if self.sandboxed:
            return [*bubblewrap(), "/course/forkserver.py"]
        self._folder = plain_course()
        return [interpreter(), "-I", "-S", "-B", f"{self._folder}/course/forkserver.py"]

    def stop(self) -> None:
        """End it, whatever it is doing; the kernel ends everything inside with it."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process.stderr.close()
            self._control.close()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._process = self._control = self._folder = None

    @contextlib.contextmanager
    def child(self, forbidden: tuple[str, ...] = ()) -> Iterator[socket.socket]:
        """A connection to a fresh child, in which a call of a forbidden built-in raises; afterwards
        nothing of the child is left.

        `died` then says whether the container was killed meanwhile, by something outside it.
        """
        if not self._alive():
            self.stop()
            self.start()
        self.died = False
        ours, theirs = socket.socketpair()
        try:
            with theirs, contextlib.suppress(OSError):  # a broken connection shows at once below
                word = json.dumps(sorted(forbidden)).encode()
                socket.send_fds(self._control, [word], [theirs.fileno()])
            yield ours
        finally:
            ours.close()
            self._finish()

    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _still_runs(self) -> bool:
        """Does it run? One that ends closes its connection a moment before it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        return self._alive()

    def _finish(self) -> None:
        if self._control is None:
            return
        with contextlib.suppress(OSError):
            self._control.send(b"stop")
        word = self._word(STOP_SECONDS)
        if word != {"done": True, "left": 0}:
            if word is None:
                self._still_runs()
            # done is False: its server ended, which student code has no means to bring about
            self.died = not self._alive() or (word or {}).get("done") is False
            self.stop()  # it was killed, or cannot clear up: a fresh one next time

    def _word(self, seconds: float):
        self._control.settimeout(seconds)
        try:
            return json.loads(self._control.recv(4096) or b"null")
        except (OSError, ValueError):
            return None


def plain_course() -> str:
    """A folder like the container's /course: copies of the files, links to torch and its needs."""
    folder = tempfile.mkdtemp(prefix="clearhead-no-sandbox-")
    course = Path(folder, "course")
    (course / "site").mkdir(parents=True)
    Path(folder, "tmp").mkdir()
    for file in course_files():
        shutil.copy(file, course / file.name)
    for source, name in site_entries():
        (course / "site" / name).symlink_to(Path(source).resolve())
    return folder


def talk(connection, message: dict, tensors: dict, seconds: float) -> tuple[dict, dict]:
    """Send one frame and wait for the answer. Raises `wire.WireError`."""
    deadline = time.monotonic() + seconds
    connection.settimeout(seconds)
    try:
        wire.send(connection, message, tensors, most_json=wire.MOST_JOB)
    except TimeoutError:
        raise wire.WireError("no answer in time") from None
    except OSError as error:
        raise wire.WireError(f"the connection broke: {error.strerror}") from None
    return wire.receive(connection, deadline)
