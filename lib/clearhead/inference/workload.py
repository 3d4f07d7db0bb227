r"""A trace of requests: when each comes, how long its prompt is, and how much it will generate.

Requests come independently of each other at $\lambda$ a second on average (a Poisson process), so
that the times between them are exponential; lengths are log-normal, most of them short and a few
very long, with *median* $m$ and *spread* $\sigma$:

$$
t_{i+1} - t_i \sim \operatorname{Exp}(\lambda), \qquad
\ln(\text{length}) \sim \mathcal{N}(\ln m, \sigma^2) \tag{1}
$$

Lengths are rounded to integers, 1 at least. A rate of infinity lets all come at once.

**Source.** Poisson arrivals are what Kwon et al., 2023, section 6.1, Agrawal et al., 2024, and
Zhong et al., 2024, evaluate with; their lengths are those of recorded conversations and documents.
"""

import math
import random
from typing import NamedTuple

from clearhead._checks import require_integer


class Arrival(NamedTuple):
    """A request of a trace; it generates exactly `generated` tokens."""

    time: float | int  # seconds
    prompt: int
    generated: int


def draw_trace(
    n: int,
    *,
    rate: float | int,
    prompt_median: float | int,
    generated_median: float | int,
    prompt_spread: float | int = 1.0,
    generated_spread: float | int = 1.0,
    most_prompt: int = 10**9,
    most_generated: int = 10**9,
    seed: int = 0,
) -> list[Arrival]:
    """`n` requests by equation (1), the first at time 0; the same for the same arguments.

    A longer draw is cut to `most_prompt` or `most_generated`. Raises `TypeError` and `ValueError`
    for sizes that are not positive, and a median or a spread that is not finite.
    """
    require_integer(0, n=n, seed=seed)
    require_integer(1, most_prompt=most_prompt, most_generated=most_generated)
    medians = dict(prompt_median=prompt_median, generated_median=generated_median)
    for name, value in {"rate": rate, **medians}.items():
        if not value > 0:
            raise ValueError(f"{name} is {value}; give a positive number.")
        if value == math.inf and name != "rate":
            raise ValueError(f"{name} is {value}; give a finite number.")
    for name, value in dict(prompt=prompt_spread, generated=generated_spread).items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name}_spread is {value}; give 0 (all alike) or more.")
    source = random.Random(seed)

    def length(median: float | int, spread: float | int, most: int) -> int:
        logarithm = source.normalvariate(math.log(median), spread)
        return max(1, min(most, round(math.exp(min(logarithm, 700.0)))))  # exp(710) overflows

    trace, now = [], 0.0
    for _ in range(n):
        prompt = length(prompt_median, prompt_spread, most_prompt)
        generated = length(generated_median, generated_spread, most_generated)
        trace.append(Arrival(now, prompt, generated))
        now += source.expovariate(rate)
    return trace
