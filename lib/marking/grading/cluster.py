"""The same tasks on other machines, by Dask distributed: `pip install clearhead[cluster]`.

Workers give rows back and write nothing. A task carries its row's key, so doing one twice is
harmless: a worker that is killed costs time, never a row. Dask's protocol is not encrypted unless
you set up TLS: keep the scheduler on a private network.
"""

import contextlib
import itertools
import logging
import queue
import time
from collections.abc import Iterable, Iterator

from marking.errors import CourseError
from marking.grading.graded import Graded, Task
from marking.grading.pool_worker import job_named

REACH_SECONDS = 10.0
IDLE_SECONDS = 60.0  # without any worker, before we say so
AHEAD = 2  # tasks a worker thread; few, because a worker's death is held against all that it has
RETRIES = 3  # of a task that raises or is lost; a grading task itself never raises
GPU = {"GPU": 1}  # the resource tag of an exercise that needs one: `dask worker --resources GPU=1`


class ClusterError(CourseError):
    """Dask is not installed, its scheduler cannot be reached, or it has no workers."""


class Cluster:
    """A Dask scheduler somewhere, with workers that have this course installed."""

    def __init__(self, scheduler: str, *, job: str):
        try:
            import distributed
        except ImportError:
            raise ClusterError(
                "Grading on several machines needs Dask: pip install 'clearhead[cluster]'."
            ) from None
        self._job = job_named(job)
        self._dask = distributed
        self._suspects: list[Task] = []
        try:
            with _quiet():
                self._client = distributed.Client(
                    scheduler, timeout=REACH_SECONDS, set_as_default=False
                )
        except (OSError, ValueError) as error:
            raise ClusterError(
                f"No Dask scheduler answers at {scheduler} ({type(error).__name__}): start one "
                "with 'dask scheduler', and give the address that it prints."
            ) from None

    def run(self, tasks: Iterable[Task]) -> Iterator[Graded | None]:
        """A row for every task, as they are done; None now and then. Raises `ClusterError`.

        What Dask gives up, because workers died under it, is tried again by itself at the end:
        another task may have been the killer. Given up twice, it is marked *needs a look*.
        """
        yield from self._run(iter(tasks), self._suspects.append, alone=False)
        for task in self._suspects:
            guilty: list[Task] = []
            yield from self._run(iter([task]), guilty.append, alone=True)
            for task in guilty:
                yield task.unscored("needs a look", "Its workers in the cluster died each time.")

    def close(self) -> None:
        """Leave the cluster as it is and forget our tasks."""
        with _quiet(), contextlib.suppress(Exception):
            self._client.close(timeout=REACH_SECONDS)

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _run(self, tasks: Iterator[Task], give_up, *, alone: bool) -> Iterator[Graded | None]:
        running: dict = {}
        done: queue.SimpleQueue = queue.SimpleQueue()
        seen = time.monotonic()
        while True:
            for future, task in self._submit(tasks, len(running), alone):
                running[future] = task
                future.add_done_callback(done.put)
            if not running:
                return
            try:
                future = done.get(timeout=0.5)
            except queue.Empty:
                seen = time.monotonic() if self._able(running.values()) else seen
                if time.monotonic() - seen > IDLE_SECONDS:
                    raise ClusterError(
                        "No worker of the Dask scheduler can take what is left: start some, with "
                        "'--resources GPU=1' for exercises that need a GPU."
                    ) from None
                yield None
                continue
            row = self._row(running.pop(future), future, give_up)
            if row:
                yield row

    def _workers(self) -> list[dict]:
        return list(self._client.scheduler_info(n_workers=-1)["workers"].values())

    def _able(self, tasks: Iterable[Task]) -> bool:
        """Is there a worker for at least one of these?"""
        tags = [worker.get("resources") or {} for worker in self._workers()]
        return any(not task.gpu or "GPU" in tag for task in tasks for tag in tags)

    def _submit(self, tasks: Iterator[Task], running: int, alone: bool) -> Iterator[tuple]:
        threads = sum(worker["nthreads"] for worker in self._workers())
        room = 1 if alone else AHEAD * max(threads, 1)
        for task in itertools.islice(tasks, max(room - running, 0)):
            key = f"grade-{task.key}" + ("-alone" if alone else "")
            tag = GPU if task.gpu else None
            future = self._client.submit(
                self._job, task, key=key, resources=tag, retries=RETRIES, pure=False
            )
            yield future, task

    def _row(self, task: Task, future, give_up) -> Graded | None:
        if future.status == "finished":
            return future.result()
        error = future.exception() if future.status == "error" else None
        if error is None or isinstance(error, self._dask.scheduler.KilledWorker):
            give_up(task)
            return None
        return task.unscored("our fault", f"A worker raised {type(error).__name__}: {error}")


@contextlib.contextmanager
def _quiet():
    """Dask logs to the terminal what we say in a sentence ourselves."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
