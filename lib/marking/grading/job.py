"""What a worker does with one task: find the container, judge, give back a row.

The same function runs in a process of the pool and in a Dask worker. Both are trusted: they hold
the reference. Student code runs only in the containers that this process keeps, one for each set
of forbidden built-ins, started when it is first needed.
"""

import atexit
from collections import Counter

from marking.errors import CourseError
from marking.grading import canary
from marking.grading.graded import Graded, Task
from marking.grading.judge import VERSION, judge
from marking.grading.sandbox import Container
from marking.registry import find

TRIES = 3  # a container that is killed from outside must not cost a student anything
ENDED = "its container ended, which student code has no means to do"
CHILDREN_A_CONTAINER = 500  # then a fresh one: what one child left behind cannot add up

_containers: dict[tuple, Container] = {}
_children: Counter = Counter()


def grade_task(task: Task) -> Graded:
    """Grade one exercise of one submission. Whatever goes wrong here is our fault, not a score."""
    if task.version != VERSION:
        return task.unscored("our fault", f"This worker has grader {VERSION}, not {task.version}.")
    told = ""
    for _ in range(TRIES):
        try:
            exercise = find(task.exercise)
            container = container_for(exercise.forbidden, sandboxed=task.sandbox == "bubblewrap")
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


def container_for(forbidden: tuple[str, ...], *, sandboxed: bool = True) -> Container:
    """This process's container for that set of built-ins; the first of all is proven first."""
    name = (forbidden, sandboxed)
    container = _containers.get(name)
    if container is None:
        container = Container(forbidden, sandboxed=sandboxed)
        if sandboxed and not _containers:
            prove(container)
        _containers[name] = container
    _children[name] += 1
    if _children[name] % CHILDREN_A_CONTAINER == 0:
        container.stop()  # it starts again by itself
    return container


def prove(container: Container) -> None:
    """See that student code in this container reaches nothing. Raises `SandboxError`."""
    canary.prove(container)


def prove_here() -> None:
    """Prove a container on this machine and end it. Raises `SandboxError`: then grade nothing."""
    container = Container()
    try:
        container.start()
        prove(container)
    finally:
        container.stop()


@atexit.register
def stop_containers() -> None:
    """End every container of this process."""
    for container in _containers.values():
        container.stop()
    _containers.clear()
