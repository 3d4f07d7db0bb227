"""What a worker does with one task: find the container, judge, give back a row.

The same function runs in a process of the pool and in a Dask worker. Both are trusted: they hold
the reference. Student code runs only in the container that this process keeps.
"""

import atexit
from collections import Counter

from marking.errors import CourseError
from marking.grading import canary
from marking.grading.graded import Graded, Task
from marking.grading.judge import judge
from marking.grading.sandbox import Container, SandboxError
from marking.grading.seed import VERSION
from marking.registry import find

TRIES = 3  # a container that is killed from outside must not cost a student anything
ENDED = "its container ended, which student code has no means to do"
CHILDREN_A_CONTAINER = 2000  # then a fresh one: what one child left behind cannot add up

_containers: dict[bool, Container] = {}  # with a sandbox, or without
_children: Counter = Counter()


def grade_task(task: Task) -> Graded:
    """Grade one exercise of one submission. Whatever goes wrong here is our fault, not a score."""
    if task.version != VERSION:
        return task.unscored("our fault", f"This worker has grader {VERSION}, not {task.version}.")
    told = ""
    for _ in range(TRIES):
        try:
            exercise = find(task.exercise)
            container = container_here(sandboxed=task.sandbox == "bubblewrap")
            result = judge(container, exercise, list(task.cells), task.seed)
        except Exception as error:
            told = (
                str(error) if isinstance(error, CourseError) else f"{type(error).__name__}: {error}"
            )
            continue
        if result.status != "our fault" and (result.status == "right" or not container.died):
            return task.graded(result)
        told = result.note if result.status == "our fault" else ENDED
    status = "needs a look" if told == ENDED else "our fault"
    return task.unscored(status, f"{TRIES} times: {told}")


def prepare(sandbox: str) -> None:
    """Start and prove this process's container. Raises `SandboxError`: then grade nothing."""
    container_here(sandboxed=sandbox == "bubblewrap")


def container_here(*, sandboxed: bool = True) -> Container:
    """This process's container, proven when it is first started."""
    _children[sandboxed] += 1
    if _children[sandboxed] % CHILDREN_A_CONTAINER == 0:
        _containers.pop(sandboxed).stop()
    container = _containers.get(sandboxed)
    if container is None:
        container = Container(sandboxed=sandboxed)
        if sandboxed:
            prove(container)
        _containers[sandboxed] = container
    return container


def prove(container: Container) -> None:
    """See that student code in this container reaches nothing. Raises `SandboxError`."""
    try:
        canary.prove(container)
    except SandboxError:
        container.stop()
        raise


@atexit.register
def stop_containers() -> None:
    """End every container of this process."""
    for container in _containers.values():
        container.stop()
    _containers.clear()
