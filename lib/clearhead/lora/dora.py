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

from clearhead.attention._checks import require_floating


def dora_weight(
    weight: Float[Tensor, "O I"],
    A: Float[Tensor, "R I"],
    B: Float[Tensor, "O R"],
    magnitude: Float[Tensor, " O"],
    alpha: float,
    *,
    rank_stabilized: bool = False,
) -> Float[Tensor, "O I"]:
    """The merged weight W' of equation (1), in the dtype of `weight`.

    Raises `TypeError` for a wrong dtype and `ValueError` for shapes that do not fit.
    """
    _require_factors(weight, A, B, magnitude)
    precise = torch.promote_types(weight.dtype, torch.float32)
    update = _scale(alpha, A, rank_stabilized) * (B.to(precise) @ A.to(precise))
    V = weight.to(precise) + update  # O I
    lengths = torch.linalg.vector_norm(V, dim=1).detach()  # a constant to the gradient
    return (_per_length(magnitude.to(precise), lengths)[:, None] * V).to(weight.dtype)


def dora_forward(
    x: Float[Tensor, "*batch I"],
    weight: Float[Tensor, "O I"],
    A: Float[Tensor, "R I"],
    B: Float[Tensor, "O R"],
    magnitude: Float[Tensor, " O"],
    alpha: float,
    bias: Float[Tensor, " O"] | None = None,
    *,
    rank_stabilized: bool = False,
) -> Float[Tensor, "*batch O"]:
    """The plain version: write W' out, equation (1), and apply it.

    Raises `TypeError` for a wrong dtype and `ValueError` for shapes that do not fit.
    """
    merged = dora_weight(weight, A, B, magnitude, alpha, rank_stabilized=rank_stabilized)
    _require_input(x, weight)
    return F.linear(x, merged, bias)


def dora_fast(
    x: Float[Tensor, "*batch I"],
    weight: Float[Tensor, "O I"],
    A: Float[Tensor, "R I"],
    B: Float[Tensor, "O R"],
    magnitude: Float[Tensor, " O"],
    alpha: float,
    bias: Float[Tensor, " O"] | None = None,
    *,
    rank_stabilized: bool = False,
) -> Float[Tensor, "*batch O"]:
    """The fast version, equation (3): no second matrix of the size of `weight` in either direction.

    Raises as `dora_forward` does.
    """
    _require_factors(weight, A, B, magnitude)
    _require_input(x, weight)
    lengths = row_lengths(weight, A, B, alpha, rank_stabilized=rank_stabilized)
    factor = _per_length(magnitude.to(lengths.dtype), lengths).to(x.dtype)  # O
    y = F.linear(x, weight) + _scale(alpha, A, rank_stabilized) * F.linear(F.linear(x, A), B)
    return y * factor if bias is None else torch.addcmul(bias, y, factor)


@torch.no_grad()
def row_lengths(
    weight: Float[Tensor, "O I"],
    A: Float[Tensor, "R I"],
    B: Float[Tensor, "O R"],
    alpha: float,
    *,
    rank_stabilized: bool = False,
) -> Float[Tensor, " O"]:
    """The length of each row of W + s B A by equation (4), in fp32 or better, without a gradient.

    This is also the magnitude that DoRA starts from. Where the update nearly undoes a row, the
    three terms cancel and the length loses digits.
    """
    precise = torch.promote_types(weight.dtype, torch.float32)
    A, B = A.to(precise), B.to(precise)
    s = _scale(alpha, A, rank_stabilized)
    own = torch.linalg.vector_norm(weight, dim=1, dtype=precise).square()
    cross = (weight @ A.to(weight.dtype).mT).to(precise)  # O R
    return (own + (B * (2 * s * cross + s**2 * (B @ (A @ A.mT)))).sum(1)).clamp(min=0).sqrt()


def _per_length(magnitude: Tensor, lengths: Tensor) -> Tensor:
    """m / ‖V‖, and 0 for a row of zeros."""
    empty = lengths == 0
    return (magnitude / lengths.masked_fill(empty, 1.0)).masked_fill(empty, 0.0)


def _scale(alpha: float, A: Tensor, rank_stabilized: bool) -> float:
    r = A.shape[0]
    return alpha / (r**0.5 if rank_stabilized else r)


def _require_factors(weight: Tensor, A: Tensor, B: Tensor, magnitude: Tensor) -> None:
    for name, tensor in (("weight", weight), ("A", A), ("B", B), ("magnitude", magnitude)):
        require_floating(**{name: tensor})
    O, I = weight.shape  # noqa: E741
    R = A.shape[0]
    shapes = {"A": A.shape, "B": B.shape, "magnitude": magnitude.shape}
    wanted = {"A": (R, I), "B": (O, R), "magnitude": (O,)}
    for name, shape in shapes.items():
        if tuple(shape) != wanted[name]:
            raise ValueError(
                f"{name} has shape {tuple(shape)}; with weight {(O, I)} and rank {R} it must be "
                f"{wanted[name]}."
            )


def _require_input(x: Tensor, weight: Tensor) -> None:
    require_floating(x=x)
    if x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"x has shape {tuple(x.shape)} and weight {tuple(weight.shape)}; the last axis of x "
            "must be the second of weight."
        )
