"""Tasks that wait for a worker, grouped by the container that they need.

A container takes seconds to start, so a worker goes on with the groups whose containers it has; it
opens a group that nobody has, and joins another's group only where many tasks are left.
"""

from collections import defaultdict, deque
from collections.abc import Collection, Iterable

from marking.grading.graded import Task
from marking.registry import find

WORTH_JOINING = 30  # tasks left: about as long as a container takes to start

Group = tuple[str, ...]


def group_of(task: Task) -> Group:
    """The built-ins that its exercise forbids: the container that it needs."""
    return find(task.exercise).forbidden


class Waiting:
    """The tasks that no worker has."""

    def __init__(self, tasks: Iterable[Task]):
        self._groups: dict[Group, deque[Task]] = defaultdict(deque)
        for task in tasks:
            self._groups[group_of(task)].append(task)

    def __bool__(self) -> bool:
        return any(self._groups.values())

    def put_back(self, tasks: Iterable[Task]) -> None:
        """Tasks whose worker has died come first again."""
        for task in reversed(list(tasks)):
            self._groups[group_of(task)].appendleft(task)

    def take(self, mine: Collection[Group], others: Collection[Group]) -> Task | None:
        """The next task for a worker that has `mine` while the other workers have `others`."""
        full = {group: tasks for group, tasks in self._groups.items() if tasks}
        fresh = [group for group in full if group not in others]
        worth = [group for group, tasks in full.items() if len(tasks) >= WORTH_JOINING]
        for choice in ([g for g in full if g in mine], fresh, worth):
            if choice:
                return full[max(choice, key=lambda group: len(full[group]))].popleft()
        return None
