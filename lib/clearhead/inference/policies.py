r"""Three ways to batch requests: who runs in the next step.

- **Static batching.** A batch starts when the one before has ended, with those who wait then. It is
  padded to its longest prompt and runs on until its longest answer is complete.
- **Continuous batching, prompts first.** Whoever has come starts with the next step, while there is
  a place. A step that starts somebody takes in whole prompts and nothing else; the others stall.
- **Continuous batching with chunked prefill.** `schedule_step`: one token of everybody who decodes,
  and what is left of a budget for prompts, cut where it ends. Nobody stalls.

All hold `batch` requests at most, which stands for the memory of their caches. A static batch of B
requests with prompts $T_r$ and answers $n_r$ computes

$$
B \, \bigl( \max_r T_r + \max_r n_r - 1 \bigr) \ge \sum_r (T_r + n_r - 1) \tag{1}
$$

rows, where the right side is what the two others compute.

**Source.** Yu et al., 2022 (Orca), section 3, for static batching and for scheduling by step;
Agrawal et al., 2024 (Sarathi-Serve), for prompts first, as vLLM then had it, and section 4 for
chunks that leave no stall.
"""

from collections import deque
from dataclasses import dataclass, field

from clearhead._checks import require_integer

from .replay import Work
from .schedule import schedule_step
from .workload import Arrival


@dataclass
class _Job:
    id: int
    arrival: Arrival
    done: int = 0  # tokens in the cache
    sent: int = 0  # tokens generated

    @property
    def ended(self) -> bool:
        return self.sent == self.arrival.generated


@dataclass
class _Queue:
    batch: int
    waiting: deque[_Job] = field(default_factory=deque, init=False)
    running: list[_Job] = field(default_factory=list, init=False)

    def __post_init__(self):
        require_integer(1, batch=self.batch)

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.running)

    def add(self, id: int, arrival: Arrival) -> None:
        self.waiting.append(_Job(id, arrival))

    def start(self) -> list[_Job]:
        """Move who waits to who runs while there is a place."""
        places = self.batch - len(self.running)
        started = [self.waiting.popleft() for _ in range(min(places, len(self.waiting)))]
        self.running += started
        return started

    def run(self, tokens: dict[int, int]) -> Work:
        """One step without padding: this many tokens of each; who is done leaves."""
        jobs = [job for job in self.running if job.id in tokens]
        new, past = [tokens[job.id] for job in jobs], [job.done for job in jobs]
        phases = {j.id: "decode" if j.done >= j.arrival.prompt else "prefill" for j in jobs}
        for job in jobs:
            job.done += tokens[job.id]
            job.sent += job.done >= job.arrival.prompt
        emits = [job.id for job in jobs if job.done >= job.arrival.prompt]
        self.running = [job for job in self.running if not job.ended]
        return Work(new, past, phases, emits)


@dataclass
class StaticBatching(_Queue):
    """A batch runs until its longest answer is complete, padded to its longest prompt."""

    def step(self) -> Work:
        jobs = self.running or self.start()
        longest, n = max(job.arrival.prompt for job in jobs), len(jobs)
        step = max(job.sent for job in jobs)
        alive = [job for job in jobs if not job.ended]
        phase = "decode" if step else "prefill"
        phases = {job.id: "padding" if job.ended else phase for job in jobs}
        for job in alive:
            job.sent += 1
        if all(job.ended for job in jobs):
            self.running = []
        new, past = ([1] * n, [longest + step - 1] * n) if step else ([longest] * n, [0] * n)
        return Work(new, past, phases, [job.id for job in alive])


@dataclass
class ContinuousBatching(_Queue):
    """A step takes in the whole prompts of all who start, or else one token of all who run."""

    def step(self) -> Work:
        started = self.start()
        prompts = {job.id: job.arrival.prompt for job in started}
        return self.run(prompts or {job.id: 1 for job in self.running})


@dataclass
class ChunkedPrefill(_Queue):
    """A step takes in `budget` tokens at most: decodes first, then prompts, cut at the budget."""

    budget: int

    def step(self) -> Work:
        places = self.batch - len(self.running)
        rows = [[(job.id, job.arrival.prompt, job.done) for job in self.running]]
        rows += [[(job.id, job.arrival.prompt, 0) for job in list(self.waiting)[:places]]]
        room = sum(prompt + 1 for queue in rows for _, prompt, _ in queue)
        plan = schedule_step(*rows, free_blocks=room, block=1, budget=self.budget)
        while self.waiting and self.waiting[0].id in plan["tokens"]:
            self.running.append(self.waiting.popleft())
        return self.run(plan["tokens"])
