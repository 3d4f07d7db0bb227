r"""Predict a model's speed on a chip: time to the first token, and time between two.

A prefill of a prompt of $T$ tokens ends with the first token. Each of the $n - 1$ decode steps
after it has one cached token more to read. With $t(\text{new}, \text{past})$ the lower bound of
`roofline`, and $o$ the time that a program spends between operations in one forward pass:

$$
\text{TTFT} = t(T, 0) + o, \qquad
\text{TPOT} = \frac{1}{n - 1} \sum_{i=1}^{n-1} \bigl( t(1, T + i - 1) + o \bigr) \tag{1}
$$

$$
\text{request} = \text{TTFT} + (n - 1) \, \text{TPOT} \tag{2}
$$

**What is left out.** Waiting in a queue, sampling, and everything that `roofline` leaves out.

**Source.** The two times: Zhong et al., 2024 (DistServe), section 2.
"""

from dataclasses import dataclass
from typing import NamedTuple

from clearhead._checks import require_finite, require_integer
from clearhead.hardware import Chip
from clearhead.model import Config

from .roofline import phase_operations, time_lower_bound


@dataclass(frozen=True)
class Roof:
    """A machine's own peaks, measured: see `measure_roof`. Rates are a second.

    `flops` is of a product of two large matrices; `read` is of a product of a large matrix and a
    vector, the weights' bytes alone, and `copy` counts the bytes read and those written.
    """

    name: str
    dtype: str
    flops: float | int
    read: float | int
    copy: float | int

    @property
    def bandwidth(self) -> float | int:
        """The better of the two rates: a roof is the most that was seen."""
        return max(self.read, self.copy)

    @property
    def ridge(self) -> float:
        """Operations in the time that one byte takes."""
        return self.flops / self.bandwidth


class Prediction(NamedTuple):
    """Seconds to the first token, and on average between two (0 when there is one only)."""

    ttft: float
    tpot: float
    request: float


def step_seconds(
    config: Config,
    roof: Chip | Roof,
    new: list[int],
    past: list[int],
    *,
    bytes_per_weight: int = 2,
    bytes_per_value: int = 2,
    overhead: float | int = 0.0,
) -> float:
    """The least time of one forward pass, `overhead` added: the arguments of `phase_operations`."""
    require_finite(overhead=overhead)
    if overhead < 0:
        raise ValueError(f"overhead is {overhead}; give seconds, 0 or more.")
    operations = phase_operations(
        config, new, past, bytes_per_weight=bytes_per_weight, bytes_per_value=bytes_per_value
    )
    work = [(o.flops, o.bytes) for o in operations]
    return time_lower_bound(work, peak_flops(roof), roof.bandwidth).seconds + overhead


def predict(
    config: Config,
    roof: Chip | Roof,
    *,
    prompt: int,
    generated: int,
    batch: int = 1,
    bytes_per_weight: int = 2,
    bytes_per_value: int = 2,
    overhead: float | int = 0.0,
) -> Prediction:
    """Equations (1) and (2) for `batch` equal requests that run side by side.

    The average over the steps is that of the first and the last one, which is exact while no
    operation changes its limit on the way: the time is then linear in the cached tokens. Raises
    `TypeError` and `ValueError` for numbers that are not integers or too small.
    """
    require_integer(1, prompt=prompt, generated=generated, batch=batch)
    sizes = dict(
        bytes_per_weight=bytes_per_weight, bytes_per_value=bytes_per_value, overhead=overhead
    )
    ttft = step_seconds(config, roof, [prompt] * batch, [0] * batch, **sizes)
    steps = generated - 1
    first, last = (
        step_seconds(config, roof, [1] * batch, [prompt + past] * batch, **sizes)
        for past in (0, max(steps - 1, 0))
    )
    tpot = (first + last) / 2 if steps else 0.0
    return Prediction(ttft, tpot, ttft + steps * tpot)


def peak_flops(roof: Chip | Roof) -> float | int:
    """Operations a second of a data sheet's chip or of a measured machine."""
    return roof.bf16 if isinstance(roof, Chip) else roof.flops
