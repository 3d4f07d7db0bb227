"""Worker processes on this machine, and what happens when one dies.

A task whose worker dies goes to another; the third time it is marked *needs a look* and the rest go
on. Only the task that was running is to blame: a worker takes them in order.
"""

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait

from marking.grading.bubblewrap import NO_SOCKETS, SandboxError
from marking.grading.graded import Graded, Task

JOB = "marking.grading.job:grade_task"
DEATHS = 3  # of a worker by one task, before a person looks at it
AHEAD = 2  # tasks given to a worker at a time: it need not wait for the driver between two
TASKS_A_WORKER = 5000  # then a fresh process
LATE_SECONDS = 900.0  # for one task; the judge's own limits come to four minutes, starts aside
STOP_SECONDS = 5.0


class Nursery:
    """The process that loads the grader once and forks the workers."""

    def __init__(self, job: str, sandbox: str):
        try:
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError:
            raise SandboxError(NO_SOCKETS) from None
        with theirs:
            command = [sys.executable, "-m", "marking.grading.pool_worker"]
            self._process = subprocess.Popen(
                [*command, str(os.getpid()), str(theirs.fileno()), job, sandbox],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            )
        self._names = itertools.count()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def start(self, connection: socket.socket) -> str:
        """A worker at the other end of this connection; its name."""
        name = str(next(self._names))
        with contextlib.suppress(OSError):  # it has just died: the end of the connection says so
            socket.send_fds(self._control, [f"start {name}".encode()], [connection.fileno()])
        return name

    def end(self, name: str, seconds: float) -> None:
        """Let a worker end by itself; after `seconds` kill it."""
        try:
            self._control.settimeout(seconds + STOP_SECONDS)
            self._control.send(f"end {name} {seconds}".encode())
            heard = self._control.recv(16)
        except OSError:
            heard = b""
        if not heard:
            self.close()

    def close(self) -> None:
        """End it, and with it every worker that it forked."""
        self._control.close()
        self._process.kill()
        self._process.wait()


class Worker:
    """One process and the tasks that it has; the first of them is the one that it runs."""

    def __init__(self, nursery: Nursery):
        ours, theirs = socket.socketpair()
        with theirs:
            self._nursery, self._name = nursery, nursery.start(theirs)
        self.connection = Connection(ours.detach())
        self.tasks: deque[Task] = deque()
        self.ready = False
        self.finished = 0
        self._since = time.monotonic()

    @property
    def late(self) -> bool:
        return time.monotonic() - self._since > LATE_SECONDS

    @property
    def busy(self) -> bool:
        return bool(self.tasks) or not self.ready

    def give(self, task: Task) -> None:
        if not self.tasks:
            self._since = time.monotonic()
        self.tasks.append(task)
        with contextlib.suppress(OSError):  # it has just died: the end of its connection says so
            self.connection.send(task)

    def take(self) -> Graded | None:
        """What it says: a row, or None for its first word. Raises `EOFError`, `OSError`, and
        `SandboxError` if its sandbox does not hold."""
        said = self.connection.recv()
        self._since = time.monotonic()
        if isinstance(said, str) and said != "ready":
            raise SandboxError(said)
        if said == "ready":
            self.ready = True
            return None
        self.tasks.popleft()
        self.finished += 1
        return said

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Let it end by itself; after `seconds` kill it. Its containers end with it."""
        self.connection.close()
        self._nursery.end(self._name, seconds)


class Pool:
    """`workers` processes that run `job` (named "module:function") on tasks."""

    def __init__(self, workers: int = 2, *, job: str = JOB, sandbox: str = "bubblewrap"):
        if workers < 1:
            raise ValueError(f"A pool needs at least one worker, not {workers}.")
        self._job, self._sandbox = job, sandbox
        self._deaths: Counter[str] = Counter()
        self._still_born = 0
        self._nursery = Nursery(job, sandbox)
        self._workers = [Worker(self._nursery) for _ in range(workers)]

    def run(self, tasks: Iterable[Task]) -> Iterator[Graded | None]:
        """A row for every task, in the order in which they are done; None now and then, when
        nothing was done for a while. Raises `SandboxError` if no worker starts, or no sandbox."""
        waiting = deque(tasks)
        while True:
            self._hand_out(waiting)
            if not waiting and not any(worker.tasks for worker in self._workers):
                return
            links = {worker.connection: worker for worker in self._workers}
            ready = wait(links, timeout=0.2)
            for link in ready:
                yield from self._hear(links[link], waiting)
            for worker in [w for w in self._workers if w.late and w.connection not in ready]:
                yield from self._bury(worker, waiting)
            if not ready:
                yield None

    def close(self) -> None:
        """End every process, politely where it is idle and at once where it is not."""
        if not all(worker.ready for worker in self._workers):
            self._nursery.close()
        for worker in sorted(self._workers, key=lambda one: not one.busy):
            worker.stop(0.0 if worker.busy else STOP_SECONDS)
        self._workers = []
        self._nursery.close()

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _hand_out(self, waiting: deque[Task]) -> None:
        for worker in list(self._workers):
            if worker.finished >= TASKS_A_WORKER and not worker.tasks:
                self._replace(worker)
            elif worker.ready and worker.finished < TASKS_A_WORKER:
                while waiting and len(worker.tasks) < AHEAD:
                    worker.give(waiting.popleft())

    def _hear(self, worker: Worker, waiting: deque[Task]) -> Iterator[Graded]:
        try:
            row = worker.take()
        except (EOFError, OSError):
            yield from self._bury(worker, waiting)
            return
        if row is not None:
            yield row

    def _bury(self, worker: Worker, waiting: deque[Task]) -> Iterator[Graded]:
        """It died, or is late: its tasks go back, and the one that it ran is remembered."""
        if not worker.ready:
            self._still_born += 1
            if self._still_born >= DEATHS * len(self._workers):
                raise SandboxError(
                    "The grader's worker processes end before they are ready: run "
                    f"'{sys.executable} -c \"import {self._job.partition(':')[0]}\"' to see why."
                )
        tasks = list(worker.tasks)
        self._replace(worker)
        if tasks:
            running = tasks[0]
            self._deaths[running.key] += 1
            if self._deaths[running.key] >= DEATHS:
                tasks.pop(0)
                yield running.unscored("needs a look", f"It ended its worker {DEATHS} times.")
        waiting.extendleft(reversed(tasks))

    def _replace(self, worker: Worker) -> None:
        worker.stop(0.0 if worker.tasks else STOP_SECONDS)
        if not self._nursery.alive:  # its workers have died with it, and are replaced one by one
            self._nursery.close()
            self._nursery = Nursery(self._job, self._sandbox)
        self._workers[self._workers.index(worker)] = Worker(self._nursery)
