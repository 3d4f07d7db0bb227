r"""What fixes a training run, in one place that can be stored, compared and printed.

`Recipe` has the numbers that a paper's table of hyper-parameters has. `Step` is what a run reports
of each of its steps, and `progress` prints one line for some of them.

**Source.** The defaults of AdamW, decay and clipping: Brown et al., 2020, appendix B.
"""

import dataclasses
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from clearhead._checks import require_integer

from ._checks import require_positive
from .adamw import require_rates
from .schedule import learning_rate, warmup_stable_decay

ROUNDING = ("micro_batch", "chunk")  # change in what order sums are taken, and nothing else


@dataclass(frozen=True)
class Recipe:
    """`batch` rows a step, over all processes; `micro_batch` of them at a time on each.

    The learning rate rises to `peak` in `warmup` steps and falls to `floor` at the last: by a
    cosine, or straight over the last `decay` steps if that is given. Raises `TypeError` or
    `ValueError` when a number is out of range.
    """

    steps: int
    batch: int
    peak: float
    micro_batch: int | None = None  # a process's whole share at a time, unless given
    warmup: int = 0
    decay: int | None = None
    floor: float = 0.0
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    clip: float = 1.0  # the longest gradient
    seed: int = 0
    chunk: int = 256  # tokens whose logits exist at a time
    dtype: torch.dtype | None = None  # of products, for example torch.bfloat16; weights keep theirs

    def __post_init__(self):
        require_integer(1, steps=self.steps, batch=self.batch, chunk=self.chunk)
        require_integer(0, seed=self.seed)
        if self.micro_batch is not None:
            require_integer(1, micro_batch=self.micro_batch)
        require_positive(peak=self.peak, clip=self.clip)
        require_rates(self.peak, self.beta1, self.beta2, self.eps, self.weight_decay)
        if self.dtype not in (None, torch.bfloat16):
            raise ValueError(
                f"dtype is {self.dtype}; give torch.bfloat16, or None for that of the weights."
            )
        self.rate(0)

    def rate(self, step: int) -> float:
        """The learning rate of step `step`, which counts from 0."""
        numbers = dict(peak=self.peak, warmup=self.warmup, total=self.steps, floor=self.floor)
        if self.decay is None:
            return learning_rate(step, **numbers)
        return warmup_stable_decay(step, decay=self.decay, **numbers)

    def trajectory(self) -> dict[str, str]:
        """What another value of would give other numbers, as text: to store and compare."""
        fields = dataclasses.asdict(self)
        return {name: repr(value) for name, value in fields.items() if name not in ROUNDING}


class Step(NamedTuple):
    """One step of a run, as `train` reports it."""

    done: int  # steps made, this one included
    steps: int  # steps of the whole run
    loss: float  # before the step, in nats a label, over all processes
    norm: float  # length of the gradient, before clipping
    learning_rate: float
    labels: int  # that the loss is the mean of
    seconds: float


def progress(every: int = 10, write: Callable[[str], object] = print) -> Callable[[Step], None]:
    """A `watch` for `train` that writes a line every `every` steps and at the last.

    The line has the loss before the step, the learning rate, and the labels a second since the line
    before, whatever else was done in that time. Of several processes the first alone writes.
    """
    require_integer(1, every=every)
    since = {"labels": 0, "time": None}

    def watch(step: Step) -> None:
        if int(os.environ.get("RANK", 0)):
            return
        if since["time"] is None:
            since["time"] = time.perf_counter() - step.seconds
        since["labels"] += step.labels
        if step.done % every and step.done < step.steps:
            return
        now = time.perf_counter()
        speed = since["labels"] / max(now - since["time"], 1e-9)
        since.update(labels=0, time=now)
        write(
            f"step {step.done:>{len(str(step.steps))}} of {step.steps}  loss {step.loss:.4f}  "
            f"gradient {step.norm:.2f}  rate {step.learning_rate:.2e}  {speed:,.0f} labels/s"
        )

    return watch
