r"""What came out of a replay: each request's times, and who ran when.

With arrival $a$, tokens at times $t_1 \dots t_n$, over all requests $r$:

$$
\text{TTFT} = t_1 - a, \qquad
\text{TPOT} = \frac{t_n - t_1}{n - 1}, \qquad
\text{latency} = t_n - a \tag{1}
$$

$$
\text{throughput} = \frac{\sum_r n_r}{\max_r t_{r,n} - \min_r a_r} \tag{2}
$$

A user who reads along notices the *worst gap*, $\max_i (t_{i+1} - t_i)$, which an average hides.

**Source.** The two times and the share of requests that keep limits on both: Zhong et al., 2024
(DistServe), section 2. The worst gap: Agrawal et al., 2024 (Sarathi-Serve), section 2.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from clearhead._checks import require_finite

from .workload import Arrival


@dataclass(frozen=True)
class Served:
    """One request: when it came, and when each of its tokens did."""

    id: int
    arrival: Arrival
    times: tuple[float | int, ...]

    @property
    def ttft(self) -> float:
        """Seconds to the first token, waiting included."""
        return self.times[0] - self.arrival.time

    @property
    def tpot(self) -> float:
        """Seconds a token after the first; 0 where there is one token only."""
        return (self.times[-1] - self.times[0]) / max(len(self.times) - 1, 1)

    @property
    def worst_gap(self) -> float:
        """The longest time between two tokens."""
        return max((b - a for a, b in pairwise(self.times)), default=0.0)

    @property
    def latency(self) -> float:
        """Seconds to the last token."""
        return self.times[-1] - self.arrival.time


class Span(NamedTuple):
    """A request was in one phase from `start` to `end`, in seconds.

    `phase` is `"waiting"` (not started, or preempted), `"prefill"`, `"decode"`, `"stalled"` (it has
    started, and steps ran without it) or `"padding"` (it has ended, and its row is computed on).
    """

    request: int
    phase: str
    start: float
    end: float


class StepTimes(NamedTuple):
    """One step: how long, and how many rows it computed of each kind, padding included."""

    start: float
    end: float
    prefill: int
    decode: int


@dataclass(frozen=True)
class Replay:
    """A trace that was served: requests in order of arrival, spans by request and time, steps."""

    served: tuple[Served, ...]
    spans: tuple[Span, ...]
    steps: tuple[StepTimes, ...]

    @property
    def seconds(self) -> float:
        """From the first arrival to the last token."""
        first = min(s.arrival.time for s in self.served)
        return max(s.times[-1] for s in self.served) - first

    @property
    def throughput(self) -> float:
        """Generated tokens a second, equation (2); infinite when no time has passed."""
        tokens = sum(len(s.times) for s in self.served)
        return tokens / self.seconds if self.seconds else math.inf

    @property
    def waste(self) -> float:
        """The share of computed rows that nobody needed: padding, and rows computed again."""
        needed = sum(s.arrival.prompt + s.arrival.generated - 1 for s in self.served)
        return 1 - needed / sum(step.prefill + step.decode for step in self.steps)

    def quantile(self, name: str, q: float | int) -> float:
        """The value of `"ttft"`, `"tpot"`, `"worst_gap"` or `"latency"` that a share q stays under.

        It is one of the measured values: the least with at least q of all at or below it.
        """
        require_finite(q=q)
        if not 0 < q <= 1:
            raise ValueError(f"q is {q}; give a share above 0, up to 1 (0.5 is the median).")
        values = sorted(getattr(s, name) for s in self.served)
        return next(v for i, v in enumerate(values, 1) if i / len(values) >= q)

    def attained(self, *, ttft: float | int, tpot: float | int) -> float:
        """The share of requests that keep both limits."""
        return sum(s.ttft <= ttft and s.tpot <= tpot for s in self.served) / len(self.served)
