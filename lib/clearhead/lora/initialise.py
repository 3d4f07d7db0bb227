r"""How A and B start: B at zero, so that the model starts as itself, A not, so that it can move.

The default of loralib and PEFT draws $A$ as `nn.Linear` draws a weight (`kaiming_uniform_` with
$a = \sqrt 5$, which is a uniform distribution):

$$
A_{ri} \sim U\!\left(-\tfrac{1}{\sqrt I},\; \tfrac{1}{\sqrt I}\right), \qquad B = 0 \tag{1}
$$

so that with $u$ uniform on $[0, 1)$, $A = (2u - 1) / \sqrt I$. The paper says "random Gaussian" and
no more; PEFT's reading of it is

$$
A_{ri} \sim N\!\left(0,\; \tfrac{1}{r^2}\right), \qquad B = 0 \tag{2}
$$

Both give $BA = 0$. With $A = 0$ as well, both gradients would be zero for ever.

PiSSA starts in the largest directions of the weight itself, and freezes what is left. With
$W_r = \sum_{k \le r} \sigma_k u_k v_k^\top$ and $s$ the scale of the layer:

$$
A = \bigl[\sqrt{\sigma_k / s}\; v_k\bigr]_{k \le r}^\top, \quad
B = \bigl[\sqrt{\sigma_k / s}\; u_k\bigr]_{k \le r}, \quad
W_\text{res} = W_0 - s B A \tag{3}
$$

so that $W_\text{res} + s B A = W_0$ at the start, up to rounding. The division by $s$ is PEFT's;
the paper has $s = 1$.

**Shapes.** `A` is `(R, I)`, `B` is `(O, R)`, `weight` is `(O, I)`.

**Source.** Hu et al., 2021, section 4.1. Equations (1) and (2): `loralib/layers.py` and
`peft/tuners/lora/layer.py`. Equation (3): Meng et al., 2024, section 3.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead._checks import require_integer

from ._checks import require_matrix, require_rank
from .forward import scale
from .low_rank import split

METHODS = ("kaiming", "gaussian")


def initialise(
    noise: Float[Tensor, "R I"], out_features: int
) -> tuple[Float[Tensor, "R I"], Float[Tensor, "O R"]]:
    """`(A, B)` of equation (1) from `noise` that is uniform on [0, 1).

    Raises `TypeError` for a wrong dtype and `ValueError` when the rank R is 0 or above min(O, I).
    """
    require_matrix(noise=noise)
    require_integer(1, out_features=out_features)
    r, in_features = noise.shape
    require_rank(r, out_features, in_features)
    return (2 * noise - 1) / in_features**0.5, noise.new_zeros(out_features, r)


def initial(
    r: int,
    in_features: int,
    out_features: int,
    *,
    method: str = "kaiming",
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> tuple[Float[Tensor, "{r} {in_features}"], Float[Tensor, "{out_features} {r}"]]:
    """`(A, B)` drawn by `method`: "kaiming", equation (1), or "gaussian", equation (2).

    Raises `TypeError` when a size is not an integer and `ValueError` for a rank that is 0 or above
    min(O, I) or a method that is neither.
    """
    require_integer(1, in_features=in_features, out_features=out_features)
    require_rank(r, out_features, in_features)
    given = {"generator": generator, "dtype": dtype, "device": device}
    if method == "kaiming":
        return initialise(torch.rand(r, in_features, **given), out_features)
    if method == "gaussian":
        A = torch.randn(r, in_features, **given) / r
        return A, A.new_zeros(out_features, r)
    raise ValueError(f"method is {method!r}; give one of {', '.join(map(repr, METHODS))}.")


def pissa(
    weight: Float[Tensor, "O I"], r: int, alpha: float | int, *, rank_stabilized: bool = False
) -> tuple[Float[Tensor, "{r} I"], Float[Tensor, "O {r}"], Float[Tensor, "O I"]]:
    """`(A, B, residual)` of equation (3), computed in fp32 or better, in the dtype of `weight`.

    Raises `TypeError` for a wrong dtype and `ValueError` for a rank that is 0 or above min(O, I) or
    an `alpha` that is not positive.
    """
    require_matrix(weight=weight)
    require_rank(r, *weight.shape)
    s = scale(alpha, r, rank_stabilized=rank_stabilized)
    if s <= 0:
        raise ValueError(f"alpha is {alpha}; PiSSA divides by the scale, so give a positive one.")
    precise = weight.detach().to(torch.promote_types(weight.dtype, torch.float32))
    A, B = (factor / s**0.5 for factor in split(precise, r))
    residual = precise - s * (B @ A)
    return A.to(weight.dtype), B.to(weight.dtype), residual.to(weight.dtype)
