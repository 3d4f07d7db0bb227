r"""DoRA learns how long each row of a weight is apart from where it points.

Write the weight with its low-rank update as $V$. Its row $o$, the weights of output feature $o$,
has a direction; a learned magnitude $m_o$ gives it its length:

$$
V = W + s B A, \qquad
W'_{o,:} = m_o \frac{V_{o,:}}{\lVert V_{o,:} \rVert}, \qquad y = W' x + b \tag{1}
$$

with $s = \alpha / r$. At the start $B = 0$ and $m_o = \lVert W_{o,:} \rVert$, so $W' = W$. The
paper observes that LoRA changes length and direction together, more of one with more of the other,
and that full fine-tuning does not; with $m$ apart, DoRA need not either.

**The gradient.** With $G = \partial L / \partial y$ summed over tokens, and the norm in (1) taken
as a constant, as section 4.3 of the paper proposes to save memory:

$$
\frac{\partial L}{\partial m_o} = \frac{V_{o,:}}{\lVert V_{o,:} \rVert} \cdot (G^\top X)_{o,:},
\qquad
\frac{\partial L}{\partial V_{o,:}} = \frac{m_o}{\lVert V_{o,:} \rVert} (G^\top X)_{o,:} \tag{2}
$$

The exact gradient would also take away the part of (2) that lies along $V_{o,:}$. PEFT leaves it
in, and so do we: `torch.autograd` gives (2).

**The fast form** never writes $V$, which is as large as $W$. The update goes through the layer as
in LoRA, and the norms come from three small products:

$$
y = \frac{m}{\lVert V \rVert} \odot \left( W x + s B A x \right) + b \tag{3}
$$

$$
\lVert V_{o,:} \rVert^2 = \lVert W_{o,:} \rVert^2 + 2 s\, B_{o,:} (W A^\top)_{o,:}^\top
+ s^2\, B_{o,:} (A A^\top) B_{o,:}^\top \tag{4}
$$

**Shapes.** `x` is `(…, I)`, `weight` `(O, I)` as `nn.Linear` stores it, `A` `(R, I)`, `B` `(O, R)`,
`magnitude` `(O,)`. An embedding `(V, C)` or a `Conv1D` weight `(I, O)` goes in transposed.

**Rows or columns.** The paper takes the norm of each *column* of $W \in \mathbb{R}^{d \times k}$.
The authors' code and PEFT take the norm of each *row* of the weight that `nn.Linear` stores: one
magnitude an output feature. That is (1).

**Numerics.** Norms are computed in fp32 or better. A row of zeros points nowhere: it gives zero,
where PEFT gives NaN.

**Source.** Liu et al., 2024 (DoRA), equation 5 and section 4.3; `DoraLinearLayer` of PEFT.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from clearhead._checks import require_floating

from ._checks import require_factors, require_matrix
from .forward import scale


def dora_weight(
    weight: Float[Tensor, "O I"],
    A: Float[Tensor, "R I"],
    B: Float[Tensor, "O R"],
    magnitude: Float[Tensor, " O"],
    alpha: float | int,
    *,
    rank_stabilized: bool = False,
) -> Float[Tensor, "O I"]:
    """The merged weight W' of equation (1), in the dtype of `weight`.

    Raises `TypeError` for a wrong dtype and `ValueError` for shapes that do not fit.
    """
    _require_layer(weight, A, B, magnitude, alpha)
    precise = torch.promote_types(weight.dtype, torch.float32)
    s = scale(alpha, len(A), rank_stabilized=rank_stabilized)
    V = weight.to(precise) + s * (B.to(precise) @ A.to(precise))  # O I
    lengths = torch.linalg.vector_norm(V, dim=1).detach()  # a constant to the gradient
    return (per_length(magnitude.to(precise), lengths)[:, None] * V).to(weight.dtype)


def dora_forward(
    x: Float[Tensor, "*batch I"],
    weight: Float[Tensor, "O I"],
    A: Float[Tensor, "R I"],
    B: Float[Tensor, "O R"],
    magnitude: Float[Tensor, " O"],
    alpha: float | int,
    bias: Float[Tensor, " O"] | None = None,
    *,
    rank_stabilized: bool = False,
) -> Float[Tensor, "*batch O"]:
    """The plain version: write W' out, equation (1), and apply it.

    Raises `TypeError` for a wrong dtype and `ValueError` for shapes that do not fit.
    """
    merged = dora_weight(weight, A, B, magnitude, alpha, rank_stabilized=rank_stabilized)
    _require_input(x, weight, bias)
    return F.linear(x, merged, bias)


def dora_fast(
    x: Float[Tensor, "*batch I"],
    weight: Float[Tensor, "O I"],
    A: Float[Tensor, "R I"],
    B: Float[Tensor, "O R"],
    magnitude: Float[Tensor, " O"],
    alpha: float | int,
    bias: Float[Tensor, " O"] | None = None,
    *,
    rank_stabilized: bool = False,
) -> Float[Tensor, "*batch O"]:
    """The fast version, equation (3): no second matrix of the size of `weight` in either direction.

    Raises as `dora_forward` does.
    """
    _require_layer(weight, A, B, magnitude, alpha)
    _require_input(x, weight, bias)
    lengths = row_lengths(weight, A, B, alpha, rank_stabilized=rank_stabilized)
    factor = per_length(magnitude.to(lengths.dtype), lengths).to(x.dtype)  # O
    s = scale(alpha, len(A), rank_stabilized=rank_stabilized)
    y = F.linear(x, weight) + s * F.linear(F.linear(x, A), B)
    return y * factor if bias is None else torch.addcmul(bias, y, factor)


@torch.no_grad()
def row_lengths(
    weight: Float[Tensor, "O I"],
    A: Float[Tensor, "R I"],
    B: Float[Tensor, "O R"],
    alpha: float | int,
    *,
    rank_stabilized: bool = False,
) -> Float[Tensor, " O"]:
    """The length of each row of W + s B A by equation (4), in fp32 or better, without a gradient.

    This is also the magnitude that DoRA starts from. Where the update nearly undoes a row, the
    three terms cancel and the length loses digits.
    """
    precise = torch.promote_types(weight.dtype, torch.float32)
    A, B = A.to(precise), B.to(precise)
    s = scale(alpha, len(A), rank_stabilized=rank_stabilized)
    own = torch.linalg.vector_norm(weight, dim=1, dtype=precise).square()
    cross = (weight @ A.to(weight.dtype).mT).to(precise)  # O R
    return (own + (B * (2 * s * cross + s**2 * (B @ (A @ A.mT)))).sum(1)).clamp(min=0).sqrt()


def per_length(magnitude: Float[Tensor, " O"], lengths: Float[Tensor, " O"]) -> Float[Tensor, " O"]:
    """The factor on each row, m / ‖V‖, and 0 for a row of zeros."""
    empty = lengths == 0
    return (magnitude / lengths.masked_fill(empty, 1.0)).masked_fill(empty, 0.0)


def _require_layer(
    weight: Tensor, A: Tensor, B: Tensor, magnitude: Tensor, alpha: float | int
) -> None:
    require_matrix(weight=weight)
    require_factors(A, B, alpha, out_features=weight.shape[0], in_features=weight.shape[1])
    require_floating(magnitude=magnitude)
    if magnitude.shape != weight.shape[:1]:
        raise ValueError(
            f"magnitude has shape {tuple(magnitude.shape)}; give one number for each of the "
            f"{weight.shape[0]} rows of weight."
        )


def _require_input(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    require_floating(x=x, weight=weight, **({} if bias is None else {"bias": bias}))
    if x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"Given x {tuple(x.shape)} and weight {tuple(weight.shape)}; expected (…, I) and "
            "(O, I)."
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias has shape {tuple(bias.shape)}; expected ({weight.shape[0]},).")
