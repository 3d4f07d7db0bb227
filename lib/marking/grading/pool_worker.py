"""A process of the pool: takes tasks from the driver, one at a time, and gives rows back.

It ends when the driver does, however the driver ends: the kernel kills it (Linux), and it reads
the end of the connection (anywhere). Its containers end with it, by bubblewrap's own rule.
"""

import ctypes
import importlib
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection

from marking.grading.sandbox import SandboxError

PR_SET_PDEATHSIG = 1


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


def main() -> None:
    parent, descriptor, job_name, sandbox = sys.argv[1:]
    die_with(int(parent))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    connection = Connection(int(descriptor))
    job = job_named(job_name)
    prepare = getattr(sys.modules[job.__module__], "prepare", None)
    try:
        try:
            if prepare:
                prepare(sandbox)
        except SandboxError as error:
            connection.send(str(error))
            return
        connection.send("ready")
        while True:
            connection.send(job(connection.recv()))
    except (EOFError, OSError):  # the driver has ended, or wants us to
        pass


if __name__ == "__main__":
    main()
