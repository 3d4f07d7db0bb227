r"""Double quantisation stores the scales of NF4's blocks in eight bits as well.

Each block of 64 weights keeps one number, its largest absolute value $a_b$. In fp32 that is half a
bit a weight. These numbers are positive and near each other, so subtract their mean, and quantise
what is left in blocks of 256 against 256 code points $d_k$:

$$
\mu = \operatorname{mean}(a), \qquad A_j = \max_{b \in j} |a_b - \mu|, \qquad
\hat a_b = \mu + A_j\, d_{k_b} \tag{1}
$$

$$
\text{bits a parameter} = 4 + \frac{8}{64} + \frac{32}{64 \cdot 256} = 4.127 \tag{2}
$$

**Which eight bits.** The paper says "8-bit floats"; bitsandbytes, its implementation, uses
Dettmers' *dynamic* type, and so do we, to give the same weights. For each sign it has seven decades
between $10^{-7}$ and 1: the top one is cut into 64 steps, each lower one into half as many, and
every step is stood for by its middle. 0 and 1 are added: 256 code points. Steps near 1 are 0.014
wide, and far narrower near 0, so a scale near the mean loses least.

**Shapes.** `absmax` is `(blocks,)`. The codes are `(blocks,)` bytes, the second absmax is
`(⌈blocks/256⌉,)` and the mean one number.

**Source.** Dettmers et al., 2023 (QLoRA), section 3, "Double Quantization"; the dynamic type is
`create_dynamic_map` of bitsandbytes, after Dettmers, 2015.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from clearhead._checks import require_floating, require_integer


class QuantisedScales(NamedTuple):
    """NF4's absmax in eight bits: equation (1)."""

    codes: UInt8[Tensor, " blocks"]
    absmax: Float[Tensor, " superblocks"]
    mean: Float[Tensor, ""]


def dynamic_code() -> Float[Tensor, "256"]:
    """The 256 code points of the dynamic type, in rising order."""
    points = [torch.tensor([0.0, 1.0])]
    for i in range(7):
        edges = torch.linspace(0.1, 1, 2**i + 1)
        middles = 10 ** (i - 6) * (edges[:-1] + edges[1:]) / 2.0
        points += [middles, -middles]
    return torch.cat(points).sort().values


def quantise_scales(absmax: Float[Tensor, " blocks"], block_size: int = 256) -> QuantisedScales:
    """Equation (1): eight bits for each scale.

    Raises `TypeError` for a wrong dtype and `ValueError` when `absmax` is empty or has more than
    one axis.
    """
    require_floating(absmax=absmax)
    require_integer(1, block_size=block_size)
    if absmax.ndim != 1 or not len(absmax):
        raise ValueError(
            f"absmax has shape {tuple(absmax.shape)}; give one axis with one value a block."
        )
    mean = absmax.mean()
    missing = -len(absmax) % block_size
    centred = torch.cat([absmax - mean, absmax.new_zeros(missing)]).reshape(-1, block_size)
    largest = centred.abs().amax(dim=1)
    scaled = centred / largest.masked_fill(largest == 0, 1.0)[:, None]
    code = dynamic_code().to(absmax)
    codes = torch.bucketize(scaled, (code[:-1] + code[1:]) / 2).to(torch.uint8)
    return QuantisedScales(codes.flatten()[: len(absmax)], largest, mean)


def dequantise_scales(scales: QuantisedScales, block_size: int = 256) -> Float[Tensor, " blocks"]:
    """The scales that the codes stand for, the right of equation (1)."""
    codes, absmax, mean = scales
    code = dynamic_code().to(absmax)
    return mean + code[codes.int()] * absmax.repeat_interleave(block_size)[: len(codes)]


def bits_per_parameter(
    block_size: int = 64, scale_block_size: int | None = 256, scale_bits: int = 32
) -> float:
    """Equation (2): what one weight costs in NF4, scales included.

    `scale_block_size=None` is without double quantisation: one fp32 number a block, 4.5 bits.
    """
    require_integer(1, block_size=block_size, scale_bits=scale_bits)
    if scale_block_size is None:
        return 4 + scale_bits / block_size
    require_integer(1, scale_block_size=scale_block_size)
    return 4 + 8 / block_size + scale_bits / (block_size * scale_block_size)
