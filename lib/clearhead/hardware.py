r"""The constants of hardware that the book uses, each once, with its source and its date.

A chip's *ridge* is the arithmetic it can do in the time that one byte takes to arrive,

$$
\text{ridge} = \frac{\text{FLOP/s}}{\text{bytes/s}} \tag{1}
$$

in FLOPs a byte: work with fewer FLOPs a byte than that waits for memory.

**Units.** FLOP/s (a multiply-add is two), bytes/s, bytes; decimal prefixes, as data sheets use.

**Source.** Equation (1): Williams, Waterman and Patterson, 2009, section 3 (the ridge point).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chip:
    """A chip by its data sheet: peaks that no program reaches.

    `bf16` is dense matrix arithmetic in FLOP/s, `bandwidth` the memory's in bytes/s, `memory` its
    size in bytes.
    """

    name: str
    bf16: float
    bandwidth: float
    memory: float
    source: str
    date: str

    @property
    def ridge(self) -> float:
        """Equation (1), in FLOPs a byte."""
        return self.bf16 / self.bandwidth


H200 = Chip(
    name="NVIDIA H200 SXM",
    bf16=989e12,
    bandwidth=4.8e12,
    memory=141e9,
    source="NVIDIA H200 Tensor Core GPU, data sheet (half of the figure with sparsity)",
    date="2024",
)
