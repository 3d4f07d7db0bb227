"""Inside the container: a fresh Python that has torch loaded and forks a child an exercise.

It is started by exec, never forked from the grader, and knows only the files that lie beside it.
For each set of forbidden built-ins it forks one *server*, which arms the tripwire for that set and
then forks the children. The grader sends the child's end of a connection; the server forks, waits
for the child or for the word to stop, and kills it; the first process, which never runs student
code, sees that nothing but servers is left, clears away what was written, and reports. The job
itself goes over that connection, from the grader to the child.
"""

import contextlib
import ctypes
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
SWEEPS = 20  # looks at what still runs, before we say that it will not go
HUGE, MADV_COLLAPSE = 2 << 20, 25
sys.path[:0] = [HERE, os.path.join(HERE, "site")]


def load() -> None:
    """Everything that a child will need, so that it imports nothing itself."""
    gc.disable()  # nothing that is imported is ever collected: a fifth of the time to import torch
    import confine
    import limits
    import numpy  # noqa: F401  torch's bridge to it is loaded with it or never
    import stub
    import torch
    import worker

    torch.set_num_threads(1)
    limits.load_watch()  # what torch loads the first time is not counted against a student
    marking = types.ModuleType("marking")
    marking.check, marking.hint, marking.status = stub.check, stub.hint, stub.status
    sys.modules["marking"] = marking
    confine.load()
    confine.hide()
    worker.warm()
    del sys.modules["stub"]
    gc.enable()
    gc.collect()
    gc.freeze()
    huge_pages()


def huge_pages() -> None:
    """Gather this process's memory in pages of 2 MB where the kernel can (Linux 6.1): a fork copies
    one entry a page, and this halves what a child costs. A system that cannot loses nothing."""
    madvise = getattr(ctypes.CDLL(None), "madvise", None)
    if madvise is None or not os.path.exists("/proc/self/maps"):
        return
    with open("/proc/self/maps") as file:
        lines = [line.split() for line in file]
    own = [line[0] for line in lines if line[1] == "rw-p" and line[5:] in ([], ["[heap]"])]
    for start, end in (map(lambda text: int(text, 16), span.split("-")) for span in own):
        first, last = -(-start // HUGE) * HUGE, end // HUGE * HUGE
        for address in range(first, last, HUGE):
            madvise(ctypes.c_void_p(address), ctypes.c_size_t(HUGE), MADV_COLLAPSE)


class Server:
    """A process that forks the children whose exercises forbid the same built-ins."""

    def __init__(self, forbidden: list[str], held: list[socket.socket]):
        """`held` are the connections of this process, which the server is to close."""
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            for connection in (self.socket, *held):
                connection.close()
            serve(theirs, forbidden)
        theirs.close()

    def run(self, connection: socket.socket, control: socket.socket) -> bool:
        """One child, until it ends or the grader says stop; is the server still there?"""
        with connection, contextlib.suppress(OSError):
            socket.send_fds(self.socket, [b"job"], [connection.fileno()])
        while True:
            ready = select.select([self.socket, control], [], [])[0]
            if self.socket in ready:
                return bool(self.socket.recv(16))
            if not control.recv(1024):  # the grader has ended
                os._exit(0)
            with contextlib.suppress(OSError):
                self.socket.send(b"stop")


def serve(control: socket.socket, forbidden: list[str]) -> None:
    """Arm the tripwire, then fork a child for every connection that comes; never returns."""
    import tripwire

    if forbidden:
        tripwire.arm(forbidden)
    del sys.modules["tripwire"], tripwire  # no student need find it by name
    sys.path.remove(HERE)
    gc.collect()
    gc.freeze()
    while True:
        data, fds, _, _ = socket.recv_fds(control, 1024, 1)
        if not data:
            os._exit(0)
        if fds:  # a word to stop may arrive when the child has already ended: nothing to do then
            run(control, socket.socket(fileno=fds[0]))
            control.send(b"done")


def child(connection: socket.socket) -> None:
    """One exercise; never returns."""
    import confine
    import wire
    import worker

    try:
        os.setsid()
        os.chdir(TMP)
        worker.silence()
        job, tensors = wire.receive(connection, most_json=wire.MOST_JOB)
        worker.limit(job["limits"])
        confine.confine()
        worker.serve(connection, job, tensors)
    except BaseException:  # the grader sees a closed connection, which counts as no answer
        pass
    os._exit(0)


def run(control: socket.socket, connection: socket.socket) -> None:
    """Fork, wait for the child or for the word to stop, and end it."""
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
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def threads(pid: int) -> int:
    """How many threads a process has."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[17])
    except (OSError, IndexError, ValueError):
        return 0


def sweep(servers: set[int]) -> int:
    """Kill what runs in the container beside the servers and ourselves; how many stayed.

    Outside a container, where others' processes run, each server has ended its child itself.
    """
    strays: list[int] = []
    for _ in range(SWEEPS if ALONE else 0):
        there = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        strays = sorted(there - servers - {1})
        if not strays:
            break
        for pid in strays:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(OSError):
                os.waitpid(pid, 0)
    return len(strays)


def clear() -> int:
    """Empty what the child could write to; how many things would not go."""
    return sum(map(empty, (TMP, "/dev/shm") if ALONE else (TMP,)))


def empty(folder: str) -> int:
    """Empty one folder, which the child may have locked; how many things would not go."""
    try:
        os.chmod(folder, 0o755)
        for entry in list(os.scandir(folder)):
            with contextlib.suppress(OSError, RecursionError):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)
        return len(os.listdir(folder))
    except OSError:
        return 1


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # short of memory, the system ends this before anything of the host
    load()
    control.send(b'{"ready": true}')
    servers: dict[str, Server] = {}
    while True:
        data, fds, _, _ = socket.recv_fds(control, 1024, 1)
        if not data:
            return
        if not fds:  # a word to stop for a child that has already ended
            continue
        forbidden, connection = data.decode(), socket.socket(fileno=fds[0])
        if forbidden not in servers:
            held = [control, connection, *(server.socket for server in servers.values())]
            servers[forbidden] = Server(json.loads(forbidden), held)
        there = servers[forbidden].run(connection, control)
        left = sweep({server.pid for server in servers.values()}) + clear()
        control.send(json.dumps({"done": there, "left": left}).encode())


if __name__ == "__main__":
    main()
