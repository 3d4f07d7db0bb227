r"""The constants of hardware that the book uses, each once, with its source and its date.

A chip's *ridge* is the arithmetic it can do in the time that one byte takes to arrive,

$$
\text{ridge} = \frac{\text{FLOP/s}}{\text{bytes/s}} \tag{1}
$$

in FLOPs a byte: work with fewer FLOPs a byte than that waits for memory.

**Units.** FLOP/s (a multiply-add is two), bytes/s, bytes; decimal prefixes, as data sheets use.

**Sparsity.** From Ampere on, NVIDIA's sheets often print the rate for matrices of which half the
numbers are zero in a fixed pattern (*with sparsity*). The rates here are for dense matrices, half
of that.

**What is left out.** Processors and laptops, Apple's among them: their makers publish no rate for
matrix products in 16 bits. Measure yours (`clearhead.inference.measure_roof`).

**Source.** Equation (1): Williams, Waterman and Patterson, 2009, section 3 (the ridge point).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chip:
    """A chip by its data sheet: peaks that no program reaches.

    `bf16` is dense matrix arithmetic in 16 bits, added up in fp32, in FLOP/s; `bandwidth` the
    memory's in bytes/s, `memory` its size in bytes.
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


T4 = Chip(
    name="NVIDIA T4",
    bf16=65e12,  # fp16: Turing has no bf16
    bandwidth=320e9,
    memory=16e9,
    source="NVIDIA T4 Tensor Core GPU, product brief",
    date="2018",
)
L4 = Chip(
    name="NVIDIA L4",
    bf16=121e12,
    bandwidth=300e9,
    memory=24e9,
    source="NVIDIA L4 Tensor Core GPU, data sheet (half of the figure with sparsity)",
    date="2023",
)
RTX_4090 = Chip(
    name="NVIDIA GeForce RTX 4090",
    bf16=165.2e12,
    bandwidth=1008e9,
    memory=24e9,
    source="NVIDIA Ada GPU architecture, white paper, appendix A (FP32 accumulation)",
    date="2022",
)
A100 = Chip(
    name="NVIDIA A100 80GB SXM",
    bf16=312e12,
    bandwidth=2039e9,
    memory=80e9,
    source="NVIDIA A100 Tensor Core GPU, data sheet",
    date="2021",
)
H100 = Chip(
    name="NVIDIA H100 SXM",
    bf16=989e12,
    bandwidth=3.35e12,
    memory=80e9,
    source="NVIDIA H100 Tensor Core GPU, data sheet (half of the figure with sparsity)",
    date="2023",
)
H200 = Chip(
    name="NVIDIA H200 SXM",
    bf16=989e12,
    bandwidth=4.8e12,
    memory=141e9,
    source="NVIDIA H200 Tensor Core GPU, data sheet (half of the figure with sparsity)",
    date="2024",
)
B200 = Chip(
    name="NVIDIA B200 SXM",
    bf16=2.25e15,
    bandwidth=8e12,
    memory=180e9,
    source="NVIDIA HGX and DGX B200, data sheets: an eighth of the system, and half of the figure "
    "with sparsity",
    date="2025",
)

CHIPS = (T4, L4, RTX_4090, A100, H100, H200, B200)
