r"""NF4 stores a weight as one of sixteen fixed numbers, times the largest weight of its block.

Cut the N weights into blocks of 64. Each block keeps its largest absolute value, and each of its
weights the index of the nearest code point $c_k$:

$$
a_b = \max_{i \in b} |w_i|, \qquad k_i = \arg\min_k \left| \frac{w_i}{a_b} - c_k \right|,
\qquad \hat w_i = a_b\, c_{k_i} \tag{1}
$$

**The code points** are quantiles of the normal distribution, because the weights of a trained layer
look normal: the idea is that each then serves equally many weights. With $\Phi^{-1}$ the normal
quantile function and $p_{\max} = 1 - \tfrac{1}{2}(\tfrac{1}{32} + \tfrac{1}{30}) = 0.9677$,

$$
c = \frac{1}{\Phi^{-1}(p_{\max})} \Big\{
\underbrace{-\Phi^{-1}(p)}_{7 \text{ values}},\; 0,\;
\underbrace{\Phi^{-1}(p)}_{8 \text{ values}} \Big\}, \tag{2}
$$

with $p$ evenly spaced from $p_{\max}$ towards ½, ½ itself left out. Zero is a code point, so that a
weight of zero stays zero. That leaves an odd fifteen for the two signs: the positive side has one
more. `normal_float_code()` computes (2); `NF4` is the table in use, which agrees with it to 2e-7.

Equal shares it does not reach. Equation (2) puts 1 at $\Phi^{-1}(p_{\max}) = 1.85$ standard
deviations, but the largest of 64 normal weights is near 2.6. After the division by $a_b$ the
weights crowd towards 0: the points beside it serve five times as many as those at the ends.

**Shapes.** `values` is `(N,)`: flatten a matrix row by row first. The indices are `(N,)` and the
largest values `(⌈N/64⌉,)`: the last block may be short. Two indices fit in one byte (`pack`).

**Cost.** $4 + 32/64 = 4.5$ bits a parameter with `absmax` in fp32;
`clearhead.lora.double_quantisation` brings that to 4.127.

**Numerics.** A block of zeros keeps `absmax` 0 and the index of 0. A weight halfway between two
code points takes the lower one. 16-bit input is quantised in fp32, fp64 in fp64.

**Source.** Dettmers et al., 2023 (QLoRA), section 3 and appendix E; (2) is `create_normal_map` of
bitsandbytes, whose table `NF4` repeats; Yoshida, 2023, on the shares.
"""

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from clearhead._checks import require_floating, require_integer

NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)


def normal_float_code() -> Float[Tensor, "16"]:
    """The sixteen code points, equation (2), computed in fp64, in rising order."""
    furthest = 1 - (1 / 32 + 1 / 30) / 2

    def quantiles(count: int) -> Tensor:
        p = torch.linspace(furthest, 0.5, count + 1, dtype=torch.float64)[:-1]
        return torch.special.ndtri(p)

    points = torch.cat([-quantiles(7), torch.zeros(1, dtype=torch.float64), quantiles(8)])
    return (points / points.max()).sort().values


def nf4(
    values: Float[Tensor, " N"], code: Float[Tensor, " K"], block_size: int
) -> tuple[Int[Tensor, " N"], Float[Tensor, " blocks"]]:
    """The plain version: equation (1), block by block. Returns indices into `code` and absmax.

    Any `code` serves, in any order. Raises `TypeError` for a wrong dtype and `ValueError` for wrong
    shapes or values that are not finite.
    """
    _require_values(values, block_size)
    if code.ndim != 1 or not len(code):
        raise ValueError(f"code has shape {tuple(code.shape)}; give one axis of code points.")
    precise = torch.promote_types(values.dtype, torch.float32)
    indices, largest = [], []
    for block in values.to(precise).split(block_size) if len(values) else ():
        absmax = block.abs().max()
        scaled = block / absmax if absmax > 0 else block  # a block of zeros stays zero
        distance = (scaled[:, None] - code.to(precise)).abs()  # (block, 16)
        indices.append(distance.argmin(dim=1))
        largest.append(absmax)
    if not indices:
        return values.new_zeros(0, dtype=torch.int64), values.new_zeros(0, dtype=precise)
    return torch.cat(indices), torch.stack(largest)


def quantise(
    values: Float[Tensor, " N"], block_size: int = 64
) -> tuple[UInt8[Tensor, " N"], Float[Tensor, " blocks"]]:
    """The fast version of `nf4` with NF4's own code points: all blocks at once.

    The code points rise, so the nearest is found by counting the midpoints below a weight. Returns
    indices as bytes (`pack` puts two in one) and absmax. Raises as `nf4` does.
    """
    _require_values(values, block_size)
    precise = torch.promote_types(values.dtype, torch.float32)
    blocks = _in_blocks(values.to(precise), block_size)
    absmax = blocks.abs().amax(dim=1)
    scaled = blocks / absmax.masked_fill(absmax == 0, 1.0)[:, None]
    code = torch.tensor(NF4, dtype=precise, device=values.device)
    midpoints = (code[:-1] + code[1:]) / 2
    codes = torch.bucketize(scaled, midpoints, out_int32=True).to(torch.uint8)
    return codes.flatten()[: len(values)], absmax


def dequantise(
    codes: UInt8[Tensor, " N"], absmax: Float[Tensor, " blocks"], block_size: int = 64
) -> Float[Tensor, " N"]:
    """The weights that the indices stand for, the right of equation (1), in the dtype of `absmax`.

    Raises `ValueError` when the number of blocks does not fit the number of codes.
    """
    require_integer(1, block_size=block_size)
    if len(absmax) != -(-len(codes) // block_size):
        raise ValueError(
            f"{len(codes)} codes in blocks of {block_size} need {-(-len(codes) // block_size)} "
            f"values of absmax; given {len(absmax)}."
        )
    code = torch.tensor(NF4, dtype=absmax.dtype, device=absmax.device)
    blocks = _in_blocks(code[codes.int()], block_size)
    return (blocks * absmax[:, None]).flatten()[: len(codes)]


def pack(codes: UInt8[Tensor, " N"]) -> UInt8[Tensor, " {(len(codes)+1)//2}"]:
    """Two indices in a byte, the first in the high half; a last odd one is paired with 0."""
    if len(codes) % 2:
        codes = torch.cat([codes, codes.new_zeros(1)])
    return codes[0::2] << 4 | codes[1::2]


def unpack(packed: UInt8[Tensor, " bytes"], N: int) -> UInt8[Tensor, " {N}"]:
    """The N indices that `pack` was given."""
    return torch.stack([packed >> 4, packed & 15], dim=1).flatten()[:N]


def _in_blocks(values: Tensor, block_size: int) -> Tensor:
    """(N,) as (blocks, block_size); a short last block is filled up with zeros."""
    missing = -len(values) % block_size
    return torch.cat([values, values.new_zeros(missing)]).reshape(-1, block_size)


def _require_values(values: Tensor, block_size: int) -> None:
    require_floating(values=values)
    require_integer(1, block_size=block_size)
    if values.ndim != 1:
        raise ValueError(
            f"values has shape {tuple(values.shape)}; give one axis, for example weight.flatten()."
        )
    if not values.isfinite().all():
        raise ValueError(
            "values holds NaN or infinity; one such weight would spoil its whole block, so replace "
            "it first."
        )
