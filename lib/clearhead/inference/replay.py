r"""Replay a trace under a policy: who runs in each step, and what that does to everybody's times.

A clock stands at $t$. All who have come by then are handed to the policy; it says who takes in how
many tokens in the next step, and the clock goes on by the time of that step:

$$
t \leftarrow t + \text{seconds}(\text{new}, \text{past}) \tag{1}
$$

for sequences with `past[s]` cached tokens that take in `new[s]` more. `seconds` may be a model of a
chip, `functools.partial(step_seconds, config, H100)`; a policy that runs a real model tells the
time that it measured itself. A token is there when its step ends. When nobody is there, the clock
jumps to the next arrival.

**Source.** Agrawal et al., 2024 (Sarathi-Serve), section 2, for steps as the unit of time.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from clearhead._checks import require_finite

from .served import Replay
from .timeline import Timeline
from .workload import Arrival


class Work(NamedTuple):
    """One step of a policy: each sequence's new and cached tokens, who does what, who gets a token.

    `new`, `past` and `phases` (see `served.Span`) have one entry a row of the batch, in one order.
    `seconds` is None where the step is not run but modelled.
    """

    new: list[int]
    past: list[int]
    phases: dict[int, str]
    emits: list[int]
    preempted: Sequence[int] = ()
    seconds: float | None = None


@runtime_checkable
class Policy(Protocol):
    """What `replay` asks of a policy."""

    @property
    def busy(self) -> bool:
        """A step can be made."""

    def add(self, id: int, arrival: Arrival) -> None:
        """A request has come."""

    def step(self) -> Work:
        """Make one step."""


def replay(
    trace: Sequence[Arrival],
    policy: Policy,
    seconds: Callable[[list[int], list[int]], float] | None = None,
) -> Replay:
    """Serve the whole trace, equation (1); request i of the result is `trace[i]`.

    `seconds(new, past)` is not asked where the policy has measured. Raises `ValueError` when the
    trace is empty, out of order, has a time that is not finite, or a request without a prompt or
    without an answer; `TypeError` when `seconds` is needed and not given.
    """
    _require_trace(trace)
    times, pending, now = Timeline(trace), deque(enumerate(trace)), trace[0].time
    while pending or policy.busy:
        while pending and pending[0][1].time <= now:
            policy.add(*pending.popleft())
        if not policy.busy:
            now = pending[0][1].time
            continue
        work = policy.step()
        took = _seconds_of(work, seconds)
        times.add(work, now, now + took)
        now += took
    return times.replay()


def _seconds_of(work: Work, seconds: Callable | None) -> float:
    if work.seconds is not None:
        return work.seconds
    if seconds is None:
        raise TypeError(
            "This policy measures no time; give `seconds`, such as functools.partial(step_seconds, "
            "config, H100)."
        )
    return seconds(work.new, work.past)


def _require_trace(trace: Sequence[Arrival]) -> None:
    if not trace:
        raise ValueError("The trace is empty; give one request at least.")
    for i, (time, prompt, generated) in enumerate(trace):
        require_finite(**{f"trace[{i}].time": time})
        if prompt < 1 or generated < 1:
            raise ValueError(
                f"Request {i} has {prompt} prompt tokens and generates {generated}; give at least "
                "one of each."
            )
        if i and time < trace[i - 1].time:
            raise ValueError(
                f"Request {i} comes at {time} s, before the one that it follows; sort by time."
            )
