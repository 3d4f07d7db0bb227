"""What a worker does with one task: find the container, judge, give back a row.

The same function runs in a process of the pool and in a Dask worker. Both are trusted: they hold
the reference. Student code runs only in the containers that this process keeps, one for each set
of forbidden built-ins, started when it is first needed.
"""

import atexit
from collections import Counter

from marking.errors import CourseError
from marking.grading.graded import Graded, Task
from marking.grading.judge import VERSION, judge
from marking.grading.sandbox import Container
from marking.registry import find

CHILDREN_A_CONTAINER = 500  # then a fresh one: what one child left behind cannot add up

_containers: dict[tuple, Container] = {}
_children: Counter = Counter()


def grade_task(task: Task) -> Graded:
    """Grade one exercise of one submission. Whatever goes wrong here is our fault, not a score."""
    if task.version != VERSION:
        return task.unscored("our fault", f"This worker has grader {VERSION}, not {task.version}.")
    try:
        exercise = find(task.exercise)
        container = container_for(exercise.forbidden, sandboxed=task.sandbox == "bubblewrap")
        return task.graded(judge(container, exercise, list(task.cells), task.seed))
    except CourseError as error:
        return task.unscored("our fault", str(error))
    except Exception as error:
        return task.unscored("our fault", f"The grader raised {type(error).__name__}: {error}")


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
    from marking.grading import canary

    canary.prove(container)


@atexit.register
def stop_containers() -> None:
    """End every container of this process."""
    for container in _containers.values():
        container.stop()
    _containers.clear()
