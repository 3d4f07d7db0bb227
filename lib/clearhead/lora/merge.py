r"""Merging adds the trained product to the frozen matrix, and the adapter costs nothing to run.

$$
\Delta W = s \, B A \tag{1}
$$

$$
W' = W_0 + \Delta W, \qquad W_0 = W' - \Delta W \tag{2}
$$

$W' x = W_0 x + s B A x$ for every $x$, so the merged layer is a plain linear layer.

**Rounding.** In real numbers the second of (2) undoes the first. In floating point each of them
rounds. All is computed here in fp32 or better and rounded once to the dtype of the weight. In a
dtype of $p$ significant bits an entry of $\Delta W$ below $2^{-(p+1)}$ of the entry of $W_0$ to
which it is added is lost whole: $3 \cdot 10^{-8}$ in fp32 ($p = 24$), 1/512 in bf16 ($p = 8$),
where many an update is smaller than that. So `unmerge` gives back $W_0$ only nearly. Keep a copy
of the base if you need the base.

**Twice.** Neither function can see whether a weight has been merged already, and a second `merge`
adds the update a second time. The layers of `clearhead.lora.layers` keep count and refuse.

**Shapes.** `weight` is `(O, I)`, `A` is `(R, I)`, `B` is `(O, R)`. A layer that stores its weight
transposed, as GPT-2's `Conv1D` or an embedding, gets $\Delta W^\top$.

**Source.** Hu et al., 2021, section 4.1, "No Additional Inference Latency".
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ._checks import require_factors, require_matrix
from .forward import scale


def delta(
    A: Float[Tensor, "R I"],
    B: Float[Tensor, "O R"],
    alpha: float | int,
    *,
    rank_stabilized: bool = False,
) -> Float[Tensor, "O I"]:
    """The update, equation (1), in fp32, or in fp64 when A and B are.

    Raises `TypeError` for a wrong dtype and `ValueError` for shapes that do not fit.
    """
    require_factors(A, B, alpha)
    precise = torch.promote_types(A.dtype, torch.float32)
    s = scale(alpha, A.shape[0], rank_stabilized=rank_stabilized)
    return s * (B.to(precise) @ A.to(precise))


def merge(
    weight: Float[Tensor, "O I"],
    A: Float[Tensor, "R I"],
    B: Float[Tensor, "O R"],
    alpha: float | int,
    *,
    rank_stabilized: bool = False,
) -> Float[Tensor, "O I"]:
    """A new weight with the update in it, the first of (2), rounded once to the dtype of `weight`.

    `A` and `B` may have a dtype of their own. Raises what `delta` raises.
    """
    return _add(weight, A, B, alpha, rank_stabilized, sign=1)


def unmerge(
    merged: Float[Tensor, "O I"],
    A: Float[Tensor, "R I"],
    B: Float[Tensor, "O R"],
    alpha: float | int,
    *,
    rank_stabilized: bool = False,
) -> Float[Tensor, "O I"]:
    """A new weight without the update, the second of (2): $W_0$ up to the rounding of `merge`.

    Raises what `delta` raises.
    """
    return _add(merged, A, B, alpha, rank_stabilized, sign=-1)


def _add(weight, A, B, alpha, rank_stabilized, *, sign) -> Tensor:
    require_matrix(weight=weight)
    require_factors(A, B, alpha, out_features=weight.shape[0], in_features=weight.shape[1])
    update = delta(A, B, alpha, rank_stabilized=rank_stabilized)
    return (weight + sign * update).to(weight.dtype)  # the sum is in the wider of the two dtypes
