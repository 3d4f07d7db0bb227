r"""One batch, many adapters: every row of the batch has its own low-rank update on a shared weight.

$$
y_b = W x_b + s\, B_{n(b)} A_{n(b)} x_b \tag{1}
$$

where $n(b)$ is the adapter of row $b$, and $n(b) = -1$ means none. Merging can't do this: a merged
weight holds one adapter. Unmerged, the large product $W x$ is done once for the whole batch, and
each row adds its own small one.

**The fast form** gathers $A$ and $B$ row by row into `(B, R, I)` and `(B, O, R)` and does all the
small products in two batched ones:

$$
H_b = X_b A_{n(b)}^\top, \qquad Y_b = X_b W^\top + s\, H_b B_{n(b)}^\top \tag{2}
$$

The gather copies B adapters. For generation, with one token a row, those must be read from memory
anyway; with long rows the copy is small beside the product. Adapters of different ranks go into one
stack when the smaller are filled up with zero rows of $A$ and zero columns of $B$: $BA$ stays the
same, but give `alpha` such that $s = \alpha / R$ is the one you want. The serving systems named
below read each adapter where it lies instead of gathering, in CUDA kernels of their own.

**Shapes.** `x` is `(B, T, I)`, `weight` `(O, I)`, `A` `(N, R, I)`, `B` `(N, O, R)` for N adapters;
`which` is `(B,)`, integers from −1 to N − 1. The output is `(B, T, O)`.

**Source.** Hu et al., 2021, section 4.2, names the limit of merging; Chen et al., 2023 (Punica) and
Sheng et al., 2023 (S-LoRA) serve thousands of adapters by (1).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clearhead._checks import require_finite, require_floating, require_integer

from .forward import forward, scale

INTEGERS = (torch.int64, torch.int32)


def per_row(
    x: Float[Tensor, "B T I"],
    weight: Float[Tensor, "O I"],
    A: Float[Tensor, "N R I"],
    B: Float[Tensor, "N O R"],
    alpha: float | int,
    which: Int[Tensor, " B"],
) -> Float[Tensor, "B T O"]:
    """The plain version: equation (1), one row after the other.

    Raises `TypeError` for a wrong dtype and `ValueError` for shapes that do not fit or an adapter
    that is not there.
    """
    _require_batch(x, weight, A, B, alpha, which)
    rows = []
    for row, n in zip(x, which.tolist(), strict=True):
        rows.append(row @ weight.mT if n < 0 else forward(row, weight, A[n], B[n], alpha))
    return torch.stack(rows) if rows else x.new_zeros(*x.shape[:-1], len(weight))


def batched_adapters(
    x: Float[Tensor, "B T I"],
    weight: Float[Tensor, "O I"],
    A: Float[Tensor, "N R I"],
    B: Float[Tensor, "N O R"],
    alpha: float | int,
    which: Int[Tensor, " B"],
) -> Float[Tensor, "B T O"]:
    """The fast version: one large product and two batched small ones, equation (2).

    A row without an adapter borrows the first one and is set back to zero before the sum, so that
    the shapes do not depend on the data. Raises as `per_row` does.
    """
    _require_batch(x, weight, A, B, alpha, which)
    y = x @ weight.mT
    if len(A) == 0:
        return y
    mine = which.clamp(min=0)
    hidden = torch.bmm(x, A[mine].mT)  # B T R
    update = torch.bmm(hidden, B[mine].mT).masked_fill((which < 0)[:, None, None], 0.0)
    return torch.add(y, update, alpha=scale(alpha, A.shape[1]))


def _require_batch(
    x: Tensor, weight: Tensor, A: Tensor, B: Tensor, alpha: float | int, which: Tensor
) -> None:
    require_floating(x=x, weight=weight, A=A, B=B)
    require_finite(alpha=alpha)
    if (x.ndim, weight.ndim, A.ndim, B.ndim) != (3, 2, 3, 3):
        raise ValueError(
            f"Given x {tuple(x.shape)}, weight {tuple(weight.shape)}, A {tuple(A.shape)}, "
            f"B {tuple(B.shape)}; expected (B, T, I), (O, I), (N, R, I), (N, O, R)."
        )
    N, R, _ = A.shape
    require_integer(1, rank=R)
    wanted = {
        "weight": (len(weight), x.shape[2]),
        "A": (N, R, x.shape[2]),
        "B": (N, len(weight), R),
    }
    for (name, shape), given in zip(wanted.items(), (weight, A, B), strict=True):
        if tuple(given.shape) != shape:
            raise ValueError(
                f"{name} has shape {tuple(given.shape)}; with x {tuple(x.shape)}, {len(weight)} "
                f"outputs and {N} adapters of rank {R} it must be {shape}."
            )
    if not isinstance(which, Tensor) or which.dtype not in INTEGERS:
        kind = which.dtype if isinstance(which, Tensor) else f"a {type(which).__name__}"
        raise TypeError(f"which is {kind}; give a tensor of integers, one for each row.")
    if tuple(which.shape) != (len(x),):
        raise ValueError(
            f"which has shape {tuple(which.shape)}; give one index for each of the {len(x)} rows."
        )
    if which.numel() and not (-1 <= int(which.min()) and int(which.max()) < N):
        raise ValueError(
            f"which holds {int(which.min())} to {int(which.max())}; the {N} adapters are 0 to "
            f"{N - 1}, and -1 means none."
        )
