r"""Who runs and who waits: the scheduler's rule carried out on a pool of blocks that can be shared.

`schedule_step` counts blocks: it takes it that each has one holder, and that a newcomer starts
from nothing. With shared prefixes neither holds. A block that a victim gives back stays in use
where another holds it too; and a newcomer may find the beginning of its prompt in the cache. So the
plan is made in parts, each from what the pool says then: one victim at a time, and one newcomer at
a time. Without sharing, this is what one call of `schedule_step` gives.

**A prefix is looked up** when a request starts, over all of its known tokens but the last one,
which must be computed in any case: its logits choose the next token. After a preemption a request
often finds its own blocks again.
"""

from collections import deque

from clearhead._checks import require_integer

from .paged_cache import PagedCache
from .pool import prefix_names
from .request import Request
from .schedule import schedule_step
from .steps import Step


class Planner:
    """Two queues, oldest first; everybody who runs came before everybody who waits."""

    def __init__(self, cache: PagedCache, *, budget: int, share_prefixes: bool):
        require_integer(1, budget=budget)
        self.cache, self.budget, self.share_prefixes = cache, budget, share_prefixes
        self.running: list[Request] = []
        self.waiting: deque[Request] = deque()

    def plan(self) -> Step:
        """Plan one step and reserve its blocks; newcomers run and victims wait from here on."""
        preempted = []
        while True:
            granted, victims = self._ask(self.running, [], self.budget)
            if not victims:
                break
            preempted.append(victims[0])
            self._preempt(self.running[-1])
        for request in self.running:
            self.cache.reserve(request.sequence, granted.get(request.id, 0))
        decode = {r.id: 1 for r in self.running if r.decodes and r.id in granted}
        prefill = {id: n for id, n in granted.items() if id not in decode}

        left, shared = self.budget - sum(granted.values()), {}
        while self.waiting and left > 0 and not preempted:
            request = self.waiting[0]
            found = self._find_prefix(request)
            granted, _ = self._ask([], [request], left)
            if not granted:
                self.cache.release(request.sequence)
                break
            self._start(request, granted[request.id])
            prefill |= granted
            left -= granted[request.id]
            if found:
                shared[request.id] = found
        past = {r.id: r.sequence.length for r in self.running if r.id in decode | prefill}
        return Step(decode, prefill, past, preempted, shared, self.cache.pool.used)

    def advance(self, request: Request, n: int) -> None:
        """A step is done for this request: count its tokens as cached, or let go of all."""
        request.sequence.length += n
        if self.share_prefixes:
            full = request.sequence.length // self.cache.pool.block
            self.cache.pool.publish(request.sequence.table, self._names(request)[:full])
        if request.ended:
            self.remove(request)

    def remove(self, request: Request) -> None:
        """Give back its blocks and take it out of its queue."""
        self.cache.release(request.sequence)
        for queue in (self.running, self.waiting):
            if request in queue:
                queue.remove(request)

    def _ask(
        self, running: list[Request], waiting: list[Request], budget: int
    ) -> tuple[dict[int, int], list[int]]:
        pool = self.cache.pool
        plan = schedule_step(
            [request.row for request in running],
            [request.row for request in waiting],
            free_blocks=pool.free,
            block=pool.block,
            budget=budget,
        )
        return plan["tokens"], plan["preempted"]

    def _start(self, request: Request, n: int) -> None:
        self.cache.reserve(request.sequence, n)
        self.running.append(self.waiting.popleft())
        request.state = "running"

    def _preempt(self, request: Request) -> None:
        request.to_wait_again()
        self.cache.release(request.sequence)
        self.running.remove(request)
        self.waiting.appendleft(request)

    def _find_prefix(self, request: Request) -> int:
        """Hold the blocks of its known tokens that are in the cache, but not the last token's."""
        if self.share_prefixes:
            m = self.cache.pool.block
            most = (len(request.known) - 1) // m
            request.sequence.table = self.cache.pool.match(self._names(request)[:most])
            request.sequence.length = m * len(request.sequence.table)
        return request.sequence.length

    def _names(self, request: Request) -> list[bytes]:
        request.names = prefix_names(request.known, self.cache.pool.block, request.names)
        return request.names
