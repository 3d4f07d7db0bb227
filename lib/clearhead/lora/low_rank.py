r"""The best matrix of a given rank, and how much of a matrix a given rank can hold.

Every matrix is a sum of its singular directions, the largest first, and the best approximation of
rank $r$ keeps the first $r$ of them:

$$
W = \sum_{k} \sigma_k \, u_k v_k^\top, \qquad \sigma_1 \ge \sigma_2 \ge \dots \ge 0 \tag{1}
$$

$$
W_r = \sum_{k \le r} \sigma_k \, u_k v_k^\top, \qquad
\lVert W - W_r \rVert_F^2 = \sum_{k > r} \sigma_k^2 \tag{2}
$$

No other matrix of rank $r$ is nearer to $W$. A matrix of rank $r$ is a product of a tall and a wide
matrix. Giving each of them the square root of every $\sigma_k$ makes the two equally large:

$$
W_r = B A, \qquad
B = \bigl[\sqrt{\sigma_1}\, u_1, \dots, \sqrt{\sigma_r}\, u_r\bigr], \quad
A = \bigl[\sqrt{\sigma_1}\, v_1, \dots, \sqrt{\sigma_r}\, v_r\bigr]^\top \tag{3}
$$

By (2), the share of the squared Frobenius norm that the first $r$ directions hold is

$$
E_r = \frac{\sum_{k \le r} \sigma_k^2}{\sum_{k} \sigma_k^2} \tag{4}
$$

**Shapes.** `matrix` is `(O, I)`, `A` is `(r, I)`, `B` is `(O, r)`.

**Numerics.** The decomposition is done in fp32 or better and rounded once to the dtype of `matrix`.
The factors of (3) are unique up to the sign of each pair and, where singular values are equal, a
rotation among them; their product (2) does not depend on that choice.

**Source.** Equation (2): Eckart and Young, 1936. Equation (3): Meng et al., 2024 (PiSSA),
section 3.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead._checks import require_finite, require_floating

from ._checks import require_matrix, require_rank


def best_rank_r(matrix: Float[Tensor, "O I"], r: int) -> Float[Tensor, "O I"]:
    """The matrix of rank `r` that is nearest to `matrix`, equation (2).

    Raises `TypeError` for a wrong dtype and `ValueError` when `r` is not from 1 to min(O, I).
    """
    u, sigma, v = _decompose(matrix, r)
    return ((u * sigma) @ v).to(matrix.dtype)


def split(
    matrix: Float[Tensor, "O I"], r: int
) -> tuple[Float[Tensor, "{r} I"], Float[Tensor, "O {r}"]]:
    """`(A, B)` with `B @ A == best_rank_r(matrix, r)`, equation (3).

    Raises what `best_rank_r` raises.
    """
    u, sigma, v = _decompose(matrix, r)
    root = sigma.sqrt()
    return (root[:, None] * v).to(matrix.dtype), (u * root).to(matrix.dtype)


def energy(singular_values: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
    """Entry r − 1 is $E_r$, equation (4): what the best approximation of rank r keeps.

    `singular_values` are the largest first. A matrix of zeros has nothing to lose: all ones.
    Raises `TypeError` for a wrong dtype and `ValueError` when there are none.
    """
    require_floating(singular_values=singular_values)
    if singular_values.ndim != 1 or len(singular_values) == 0:
        shape = tuple(singular_values.shape)
        raise ValueError(f"singular_values have shape {shape}; give one axis, not empty.")
    largest = singular_values.max()
    if largest == 0:
        return torch.ones_like(singular_values)
    kept = (singular_values / largest).square().cumsum(0)  # a square cannot overflow below 1
    return kept / kept[-1]


def rank_for_energy(singular_values: Float[Tensor, " K"], share: float | int) -> int:
    """The smallest rank whose $E_r$, equation (4), is at least `share`, a number from 0 to 1.

    Raises `ValueError` when `share` is outside that range, and what `energy` raises.
    """
    require_finite(share=share)
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; give a number from 0 to 1.")
    too_small = energy(singular_values)[:-1] < share  # the last rank keeps everything
    return 1 + int(too_small.sum())


def _decompose(matrix: Tensor, r: int) -> tuple[Tensor, Tensor, Tensor]:
    require_matrix(matrix=matrix)
    require_rank(r, *matrix.shape)
    precise = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
    u, sigma, v = torch.linalg.svd(precise, full_matrices=False)
    return u[:, :r], sigma[:r], v[:r]
