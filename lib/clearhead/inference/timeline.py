"""Write down a replay as it goes: tokens, steps, and each request's spans without a hole."""

from collections.abc import Sequence

from .served import Replay, Served, Span, StepTimes
from .workload import Arrival


class Timeline:
    """The record of one replay; spans of one phase that touch become one."""

    def __init__(self, trace: Sequence[Arrival]):
        self._trace = trace
        self._times: list[list[float]] = [[] for _ in trace]
        self._spans: list[list[Span]] = [[] for _ in trace]
        self._idle = ["waiting"] * len(trace)  # what a request does while it does not run
        self._steps: list[StepTimes] = []

    def add(self, work, start: float, end: float) -> None:
        """A step from `start` to `end`: see `replay.Work`."""
        rows = dict(prefill=0, decode=0)
        for n, phase in zip(work.new, work.phases.values(), strict=True):
            rows["prefill" if phase == "prefill" else "decode"] += n
        self._steps.append(StepTimes(start, end, **rows))
        for id in work.preempted:
            self._fill(id, start)
            self._idle[id] = "waiting"
        for id, phase in work.phases.items():
            self._fill(id, start)
            self._put(id, phase, start, end)
            self._idle[id] = "stalled"
        for id in work.emits:
            self._times[id].append(end)

    def replay(self) -> Replay:
        """All of it, when every request has ended."""
        requests = zip(self._trace, self._times, strict=True)
        served = tuple(Served(id, a, tuple(times)) for id, (a, times) in enumerate(requests))
        return Replay(served, tuple(s for own in self._spans for s in own), tuple(self._steps))

    def _fill(self, id: int, until: float) -> None:
        """The time since its last span, or since it came, in which it did not run."""
        since = self._spans[id][-1].end if self._spans[id] else self._trace[id].time
        if until > since:
            self._put(id, self._idle[id], since, until)

    def _put(self, id: int, phase: str, start: float, end: float) -> None:
        own = self._spans[id]
        if own and own[-1].phase == phase and own[-1].end == start:
            own[-1] = own[-1]._replace(end=end)
        else:
            own.append(Span(id, phase, start, end))
