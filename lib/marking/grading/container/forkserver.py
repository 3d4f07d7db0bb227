"""Inside the container: a fresh Python that has torch loaded and forks a child an exercise.

It is started by exec, never forked from the grader, and knows only the files that lie beside it.
The grader sends the child's end of a connection; the server forks, waits for the child or for the
word to stop, kills whatever is left in the container, and reports. The job itself goes over that
connection, from the grader to the child.
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import types

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, "/course/site"]


def load(forbidden: list[str]) -> None:
    """Everything that a child will need, so that it imports nothing itself."""
    import confine
    import numpy  # noqa: F401  torch's bridge to it is loaded with it or never
    import stub
    import torch
    import tripwire
    import worker  # noqa: F401

    torch.set_num_threads(1)
    marking = types.ModuleType("marking")
    marking.check, marking.hint, marking.status = stub.check, stub.hint, stub.status
    sys.modules["marking"] = marking
    confine.load()
    tripwire.arm(forbidden)
    sys.path.remove(HERE)


def child(connection: socket.socket) -> None:
    """One exercise; never returns."""
    import confine
    import wire
    import worker

    try:
        worker.silence()
        job, _ = wire.receive(connection, most_json=wire.MOST_JOB)
        worker.limit(job["limits"])
        confine.confine()
        worker.serve(connection, job)
    except BaseException:  # the grader sees a closed connection, which counts as no answer
        pass
    os._exit(0)


def run(control: socket.socket, connection: socket.socket) -> None:
    """Fork, wait for the child or for the word to stop, and leave nothing running."""
    pid = os.fork()
    if pid == 0:
        control.close()
        child(connection)
    connection.close()
    watched = os.pidfd_open(pid)
    select.select([watched, control], [], [])
    os.close(watched)
    control.send(json.dumps({"done": True, "left": sweep()}).encode())


def sweep() -> int:
    """Kill everything in the container but ourselves and its first process; how many stayed."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    mine = {1, os.getpid()}
    return sum(1 for name in os.listdir("/proc") if name.isdigit() and int(name) not in mine)


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    load(json.loads(sys.argv[2]))
    gc.collect()
    gc.freeze()
    control.send(b'{"ready": true}')
    while True:
        data, fds, _, _ = socket.recv_fds(control, 1024, 1)
        if not data:
            return
        if fds:  # a word to stop may arrive when the child has already ended: nothing to do then
            run(control, socket.socket(fileno=fds[0]))


if __name__ == "__main__":
    main()
