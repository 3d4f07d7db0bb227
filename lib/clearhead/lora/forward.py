r"""LoRA: a frozen matrix plus a trained product of two thin ones, and the gradients of the two.

The layer adds to its frozen output what $A$ reads and $B$ writes, times a scale:

$$
y = W_0 x + b + s \, B A x \tag{1}
$$

$$
s = \frac{\alpha}{r}, \qquad \text{rank-stabilised:}\quad s = \frac{\alpha}{\sqrt r} \tag{2}
$$

Write the inputs of all tokens as the rows of $X$, and the gradient of the loss with respect to the
outputs as the rows of $G$. Then $Y = X W_0^\top + s\,(X A^\top) B^\top$, and the chain rule gives

$$
\frac{\partial L}{\partial B} = s \, G^\top (X A^\top) \tag{3}
$$

$$
\frac{\partial L}{\partial A} = s \, (G B)^\top X = s \, B^\top G^\top X \tag{4}
$$

At the start $B = 0$: equation (4) is zero and (3) is not, so the first step moves $B$ alone. The
full gradient $\bar W = G^\top X$, of size $O \times I$, is never formed; from it the two would be
$s \bar W A^\top$ and $s B^\top \bar W$.

**Shapes.** `x` is `(…, I)` with any leading axes, `weight` is `(O, I)` as `nn.Linear` stores it,
`A` is `(R, I)` ("down"), `B` is `(O, R)` ("up"), as loralib and PEFT store them; `bias` is `(O)`.

**Source.** Equation (1) and the first of (2): Hu et al., 2021, section 4.1. The second of (2):
Kalajdzievski, 2023, section 3.
"""

import math

from jaxtyping import Float
from torch import Tensor

from clearhead._checks import require_finite, require_floating, require_integer

from ._checks import require_factors


def scale(alpha: float | int, r: int, *, rank_stabilized: bool = False) -> float:
    """The factor s on the product of B and A, equation (2).

    Raises `TypeError` when one is not a number and `ValueError` when `alpha` is not finite or `r`
    is less than 1.
    """
    require_finite(alpha=alpha)
    require_integer(1, r=r)
    return alpha / math.sqrt(r) if rank_stabilized else alpha / r


def forward(
    x: Float[Tensor, "*batch I"],
    weight: Float[Tensor, "O I"],
    A: Float[Tensor, "R I"],
    B: Float[Tensor, "O R"],
    alpha: float | int,
    bias: Float[Tensor, " O"] | None = None,
    *,
    rank_stabilized: bool = False,
) -> Float[Tensor, "*batch O"]:
    """The layer's output, equation (1), term by term.

    Raises `TypeError` for a wrong dtype and `ValueError` for shapes that do not fit.
    """
    _require_layer(x, weight, A, B, alpha, bias)
    base = x @ weight.mT
    if bias is not None:
        base = base + bias
    down = x @ A.mT  # *batch R
    return base + scale(alpha, A.shape[0], rank_stabilized=rank_stabilized) * (down @ B.mT)


def gradients(
    x: Float[Tensor, "*batch I"],
    A: Float[Tensor, "R I"],
    B: Float[Tensor, "O R"],
    alpha: float | int,
    d_output: Float[Tensor, "*batch O"],
    *,
    rank_stabilized: bool = False,
) -> tuple[Float[Tensor, "R I"], Float[Tensor, "O R"]]:
    """`(d_A, d_B)`, equations (4) and (3), summed over all leading axes of `x`.

    Raises `TypeError` for a wrong dtype and `ValueError` for shapes that do not fit.
    """
    require_floating(x=x, A=A, B=B, d_output=d_output)
    require_factors(A, B, alpha)
    if x.shape != (*d_output.shape[:-1], A.shape[1]) or d_output.shape[-1:] != B.shape[:1]:
        raise ValueError(
            f"Given x {tuple(x.shape)} and d_output {tuple(d_output.shape)}; expected (…, I) and "
            f"(…, O) with equal leading axes, I = {A.shape[1]} and O = {B.shape[0]}."
        )
    s = scale(alpha, A.shape[0], rank_stabilized=rank_stabilized)
    X, G = x.reshape(-1, A.shape[1]), d_output.reshape(-1, B.shape[0])  # one row a token
    d_B = s * (G.mT @ (X @ A.mT))
    d_A = s * ((G @ B).mT @ X)
    return d_A, d_B


def _require_layer(x, weight, A, B, alpha, bias) -> None:
    require_floating(x=x, weight=weight, A=A, B=B)
    if weight.ndim != 2 or x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"Given x {tuple(x.shape)} and weight {tuple(weight.shape)}; expected (…, I) and "
            "(O, I) with one I."
        )
    O, I = weight.shape
    require_factors(A, B, alpha, out_features=O, in_features=I)
    if bias is not None:
        require_floating(x=x, bias=bias)
        if bias.shape != (O,):
            raise ValueError(f"bias has shape {tuple(bias.shape)}; expected ({O},).")
