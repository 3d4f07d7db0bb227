"""The canary's cell: it tries everything that no submission may do, and says what it managed.

It runs exactly as a student's cell does, and imports what it needs as a student would.
"""

import errno
import mmap
import os
import signal
import socket
import time

SPACES = ("ipc", "mnt", "net", "pid", "user", "uts")


def managed(action) -> bool:
    """Did it work? An error means that it did not."""
    try:
        return action() is not False
    except BaseException:
        return False


def read(path: str) -> str:
    with open(path) as file:
        return file.read()


def write(path: str) -> None:
    with open(path, "w") as file:
        file.write("x")


def connect(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), timeout=1).close()


def fork() -> None:
    if os.fork() == 0:
        os._exit(0)
    os.wait()


def run_program() -> bool:
    """An exec that is allowed fails because there is no such program, not for want of a right."""
    try:
        os.execv("/nonexistent", ["x"])
    except OSError as error:
        return error.errno != errno.EPERM


def fill_disk() -> None:
    for number in range(8):
        with open(f"/tmp/{number}", "wb") as file:
            file.write(bytes(12 << 20))


def import_packages() -> None:
    import clearhead  # noqa: F401


def import_grader() -> None:
    import marking.grading  # noqa: F401


def processes() -> bool:
    """More than the forkserver, its server and this one?"""
    own = {1, os.getppid(), os.getpid()}
    deadline = time.monotonic() + 1  # one that is being ended may take a moment
    while {int(n) for n in os.listdir("/proc") if n.isdigit()} - own:
        if time.monotonic() > deadline:
            return True
    return False


def privileged() -> bool:
    status = dict(line.split(":", 1) for line in read("/proc/self/status").splitlines())
    return int(status["CapEff"], 16) != 0 or int(status["NoNewPrivs"]) != 1


def probe(token: str, port: int, pid: int, most: int) -> dict:
    """What was managed, by name; the token if it could be read; the namespaces."""
    beside, alive = token + ".written", managed(lambda: write("/tmp/alive"))
    tries = {
        "write": [lambda p=p: write(p) for p in ("/usr/lib/x", "/course/x", "/dev/x", "/x")],
        "connect": [lambda: connect(port)],
        "processes": [processes],
        "packages": [import_packages, import_grader],
        "socket": [socket.socket, socket.socketpair],
        "fork": [fork],
        "exec": [run_program],
        "signal": [lambda: os.kill(os.getppid(), 0), lambda: os.kill(pid, signal.SIGWINCH)],
        "allocate": [lambda: mmap.mmap(-1, most + (64 << 20)).close()],
        "disk": [fill_disk],
        "privileges": [privileged],
    }
    done = [name for name, actions in tries.items() if any([managed(a) for a in actions])]
    managed(lambda: write(beside))  # the grader sees for itself whether it is there
    text = ""
    if managed(lambda: read(token)):
        text = read(token)
    spaces = {name: os.readlink(f"/proc/self/ns/{name}") for name in SPACES}
    return {"alive": alive, "managed": done, "token": text, "namespaces": spaces}
