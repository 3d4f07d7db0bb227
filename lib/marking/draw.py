"""Random inputs for a check: shapes and values drawn from a seed, small ones on request."""

import hashlib
import random
from collections.abc import Callable
from typing import Any

import torch


class Draw:
    """Draws the inputs of one case.

    `seed` is any string or number: the same seed gives the same case. With `level` given, sizes
    stay within `level` of their lower bound and values are rounded to one decimal, so that a
    person can follow the case by hand: that is how a smallest counter-example is looked for.
    """

    def __init__(self, seed, dtype: torch.dtype = torch.float64, level: int | None = None):
        digest = hashlib.sha256(str(seed).encode()).digest()
        self.dtype = dtype
        self.level = level
        self._ints = random.Random(digest)
        self._generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))

    def size(self, low: int, high: int, *, small: int | None = None) -> int:
        """A size from low to high, both included; `small` is the lower bound of a small case."""
        if self.level is not None:
            low = low if small is None else small
            high = min(high, low + self.level)
        return self._ints.randint(low, high)

    def sizes(self, n: int, low: int, high: int, *, small: int | None = None) -> list[int]:
        """n sizes, all different, so that a transposed axis cannot go unnoticed."""
        if self.level is not None:
            low = low if small is None else small
            high = min(high, low + max(self.level, n - 1))
        return self._ints.sample(range(low, high + 1), n)

    def choice(self, *options):
        return self._ints.choice(options)

    def number(self, low: float, high: float) -> float:
        """A float from low to high; one decimal when small."""
        value = self._ints.uniform(low, high)
        return round(value, 1) if self.level is not None else value

    def normal(self, *shape: int, scale: float = 1.0) -> torch.Tensor:
        """Normal values of standard deviation `scale`."""
        x = torch.randn(shape, generator=self._generator, dtype=torch.float64) * scale
        return (x.mul(10).round().div(10) if self.level is not None else x).to(self.dtype)

    def integers(self, low: int, high: int, *shape: int) -> torch.Tensor:
        """Integers from low to high − 1."""
        return torch.randint(low, high, shape, generator=self._generator)

    def chance(self, p: float, *shape: int) -> torch.Tensor:
        """Booleans, True with probability p."""
        return torch.rand(shape, generator=self._generator) < p

    def until(self, make: Callable[[], Any], holds: Callable[[Any], bool], most: int = 1000) -> Any:
        """What `make` draws, drawn again until it holds; a small case is taken as it comes.

        So that a mistake shows in every draw or in none: `holds` looks at the inputs alone.
        """
        made = make()
        for _ in range(most if self.level is None else 0):
            if holds(made):
                break
            made = make()
        return made

    def increasing(self, rows: int, n: int, *, start: int = 0, gap: int = 5) -> torch.Tensor:
        """Integer positions (rows, n), growing by uneven steps from 1 to `gap`."""
        steps = self.integers(1, gap + 1, rows, n)
        return steps.cumsum(dim=1) + start - 1
