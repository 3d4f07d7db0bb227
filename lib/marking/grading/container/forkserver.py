"""Inside the container: a fresh Python that has torch loaded and forks a child an exercise.

It is started by exec, never forked from the grader, and knows only the files that lie beside it.
The grader sends the child's end of a connection; the server forks, waits for the child or for the
word to stop, kills and clears away whatever is left in the container, and reports. The job itself
goes over that connection, from the grader to the child.
"""

import contextlib
import gc
import json
import os
import select
import shutil
import signal
import socket
import sys
import types

HERE = os.path.dirname(os.path.abspath(__file__))
ALONE = os.getpid() == 1  # process 1 of a container: all that runs or lies here is the child's
TMP = "/tmp" if ALONE else os.path.join(os.path.dirname(HERE), "tmp")
MOST_THREADS = 256  # of a child; RLIMIT_NPROC does not bind one that root started
sys.path[:0] = [HERE, os.path.join(HERE, "site")]


def load(forbidden: list[str]) -> None:
    """Everything that a child will need, so that it imports nothing itself."""
    import confine
    import limits
    import numpy  # noqa: F401  torch's bridge to it is loaded with it or never
    import stub
    import torch
    import tripwire
    import worker

    torch.set_num_threads(1)
    limits.load_watch()  # what torch loads the first time is not counted against a student
    marking = types.ModuleType("marking")
    marking.check, marking.hint, marking.status = stub.check, stub.hint, stub.status
    sys.modules["marking"] = marking
    confine.load()
    confine.hide()
    tripwire.arm(forbidden)
    worker.warm()
    for name in ("tripwire", "stub"):  # no student need find these by name
        del sys.modules[name]
    sys.path.remove(HERE)


def child(connection: socket.socket) -> None:
    """One exercise; never returns."""
    import confine
    import wire
    import worker

    try:
        os.setsid()
        os.chdir(TMP)
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
    alive, held = os.pipe()
    pid = os.fork()
    if pid == 0:
        control.close()
        os.close(alive)
        child(connection)
    connection.close()
    os.close(held)  # now the child alone holds it: its end closes the pipe
    while not select.select([alive, control], [], [], 0.1)[0]:
        if threads(pid) > MOST_THREADS:
            break
    os.close(alive)
    left = sweep(pid)
    control.send(json.dumps({"done": True, "left": left + clear()}).encode())


def threads(pid: int) -> int:
    """How many threads a process has."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[17])
    except (OSError, IndexError, ValueError):
        return 0


def sweep(pid: int) -> int:
    """Kill everything in the container but ourselves; how many stayed.

    Outside a container, where others' processes run: the child and its group alone.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(-1, signal.SIGKILL) if ALONE else os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    return sum(1 for name in os.listdir("/proc") if name.isdigit() and name != "1") if ALONE else 0


def clear() -> int:
    """Empty what the child could write to; how many things would not go."""
    for folder in (TMP, "/dev/shm") if ALONE else (TMP,):
        with os.scandir(folder) as entries:
            for entry in list(entries):
                if entry.is_dir(follow_symlinks=False):
                    with contextlib.suppress(OSError, RecursionError):
                        shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)
    return len(os.listdir(TMP)) + (len(os.listdir("/dev/shm")) if ALONE else 0)


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # short of memory, the system ends this before anything of the host
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
