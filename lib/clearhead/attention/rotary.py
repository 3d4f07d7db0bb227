r"""Rotary position embedding turns each query and key by an angle that grows with its position.

The D features of a head are taken as D/2 points in the plane. Pair $i$ of a token at position $p$
is turned by

$$
\phi_{p,i} = p \, \theta^{-2i/D}, \qquad i = 0 \dots D/2 - 1 \tag{1}
$$

$$
\begin{pmatrix} a' \\ b' \end{pmatrix} =
\begin{pmatrix} \cos\phi & -\sin\phi \\ \sin\phi & \cos\phi \end{pmatrix}
\begin{pmatrix} a \\ b \end{pmatrix} \tag{2}
$$

Two rotations multiply to the rotation by the difference, so a score depends on positions only
through their distance:

$$
(R_p\, q) \cdot (R_{p'}\, k) = q \cdot (R_{p' - p}\, k) \tag{3}
$$

**Pairs.** The paper (and GPT-J) pairs neighbours, features $2i$ and $2i+1$: `interleaved=True`.
Llama, Qwen and SmolLM2 in Hugging Face layout pair feature $i$ with $i + D/2$, the default here.
The two differ by a fixed order of the features, so a checkpoint works with one of them only.

**Shapes.** `x` is `(B, H, T, D)` with D even; `positions` is `(B, T)`, any integers, in any order.

**Numerics.** Angles are computed in fp64 (in fp32 on Apple's MPS, which has no fp64): neighbouring
fp32 numbers near 100,000 are 0.008 apart, and so would be the angles at that position. The rotation
is done in fp32 or better and rounded once to the dtype of `x`.

**Source.** Su et al., 2021, section 3.2.2 and equation 34.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clearhead._checks import require_floating


def rotary(
    x: Float[Tensor, "B H T D"],
    positions: Int[Tensor, "B T"],
    *,
    theta: float = 10000.0,
    interleaved: bool = False,
) -> Float[Tensor, "B H T D"]:
    """Turn each pair of features of `x` by its angle, equation (2).

    Raises `TypeError` for a wrong dtype and `ValueError` when D is odd or the shapes do not fit.
    """
    require_floating(x=x)
    if x.ndim != 4:
        raise ValueError(f"x has shape {tuple(x.shape)}; expected (B, H, T, D).")
    _require_positions(positions, x)
    D = x.shape[-1]
    precise = torch.promote_types(x.dtype, torch.float32)
    angles = rotary_angles(positions, D, theta=theta)[:, None]  # B 1 T D/2: one for all heads
    cos, sin = angles.cos().to(precise), angles.sin().to(precise)
    return rotate(x, cos, sin, interleaved=interleaved)


def rotate(
    x: Float[Tensor, "B H T D"],
    cos: Float[Tensor, "B #H T half"],
    sin: Float[Tensor, "B #H T half"],
    *,
    interleaved: bool = False,
) -> Float[Tensor, "B H T D"]:
    """Equation (2) with the cosines and sines given: layers that share positions share them."""
    if interleaved:
        a, b = x[..., 0::2], x[..., 1::2]
    else:
        a, b = x.chunk(2, dim=-1)
    turned = (a * cos - b * sin, a * sin + b * cos)
    if interleaved:
        return torch.stack(turned, dim=-1).flatten(-2).to(x.dtype)
    return torch.cat(turned, dim=-1).to(x.dtype)


def rotary_angles(
    positions: Int[Tensor, "B T"], D: int, *, theta: float = 10000.0
) -> Float[Tensor, "B T {D//2}"]:
    """The angle of each pair at each position, equation (1), in radians, in fp64 (fp32 on MPS).

    Raises `TypeError` when `positions` are not integers and `ValueError` when D is odd or `theta`
    is not positive.
    """
    if not isinstance(positions, Tensor) or positions.is_floating_point():
        kind = positions.dtype if isinstance(positions, Tensor) else type(positions).__name__
        raise TypeError(f"positions are {kind}; give an integer tensor of shape (B, T).")
    if D < 2 or D % 2:
        raise ValueError(f"The head size D is {D}; rotary needs an even one, to form D/2 pairs.")
    if not theta > 0:
        raise ValueError(f"theta is {theta}; give a positive number (10000 in the paper).")
    precise = torch.float32 if positions.device.type == "mps" else torch.float64
    pair = torch.arange(D // 2, dtype=precise, device=positions.device)
    return positions[..., None].to(precise) * theta ** (-2 * pair / D)


def _require_positions(positions: Tensor, x: Tensor) -> None:
    wanted = (x.shape[0], x.shape[2])
    if isinstance(positions, Tensor) and tuple(positions.shape) != wanted:
        raise ValueError(
            f"positions have shape {tuple(positions.shape)}; expected (B, T) = {wanted} for x of "
            f"shape {tuple(x.shape)} (use .expand to share one row of positions)."
        )
    if isinstance(positions, Tensor) and positions.device != x.device:
        raise ValueError(
            f"positions are on {positions.device} and x is on {x.device}; move both to one device."
        )
