"""The pool's processes: one that loads the grader, and the workers that it forks.

A worker takes tasks from the driver, one at a time, and gives rows back. All end when the driver
does, however it ends: the kernel kills them (Linux), and they read the end of their connections
(anywhere). A worker's container ends with it, by bubblewrap's own rule. The fork is between trusted
processes alone: the container starts by exec, and nothing of the grader is in it.
"""

import contextlib
import ctypes
import gc
import importlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

from marking.grading.bubblewrap import SandboxError
from marking.grading.quick import quick_imports

PR_SET_PDEATHSIG = 1
LOOK_SECONDS = 0.01


def die_with(parent: int) -> None:
    """Have the kernel kill this process when `parent` ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we could ask
        os._exit(1)


def job_named(name: str) -> Callable:
    """The function that "package.module:function" names."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def loaded(name: str) -> Callable:
    """The job, with all that it imports in memory that the workers share."""
    with quick_imports():
        job = job_named(name)
    gc.collect()
    gc.freeze()
    return job


def nurse(control: socket.socket) -> Connection:
    """Fork a worker for each connection that the driver sends, and end one when it says so.

    Returns in a worker alone, with its connection; otherwise never.
    """
    workers: dict[str, int] = {}
    here = os.getpid()
    while True:
        data, fds, _, _ = socket.recv_fds(control, 1024, 1)
        if not data:  # the driver has ended, or is done
            os._exit(0)
        what, name, *seconds = data.decode().split()
        if what == "start":
            workers[name] = os.fork()
            if workers[name] == 0:
                die_with(here)
                os.setsid()
                control.close()
                return Connection(fds[0])
            os.close(fds[0])
        else:
            if pid := workers.pop(name, None):  # Ctrl-C may have come while it was ended
                end(pid, float(seconds[0]))
            control.send(b"ended")


def end(pid: int, seconds: float) -> None:
    """Let a worker end by itself; after so many seconds kill it."""
    until = time.monotonic() + seconds
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        if time.monotonic() >= until:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return
        time.sleep(LOOK_SECONDS)


def work(connection: Connection, job: Callable, sandbox: str) -> None:
    """Do the tasks that come, until the driver closes the connection."""
    prepare = getattr(sys.modules[job.__module__], "prepare", None)
    try:
        if prepare:
            prepare(sandbox)
    except SandboxError as error:
        connection.send(str(error))
        return
    connection.send("ready")
    while True:
        connection.send(job(connection.recv()))


def main() -> None:
    parent, descriptor, name, sandbox = sys.argv[1:]
    die_with(int(parent))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    control = socket.socket(fileno=int(descriptor))
    job = loaded(name)
    with contextlib.suppress(EOFError, OSError):  # the driver has ended, or wants us to
        work(nurse(control), job, sandbox)


if __name__ == "__main__":
    main()
