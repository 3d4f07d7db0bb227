r"""Online softmax: the weighted average of attention, one block of keys at a time.

Three running quantities for each query are enough: the largest score so far $m$, the sum of
exponentials $\ell$, and the un-normalised output $a$. When a block brings scores $s_j$ with values
$v_j$, first the new maximum, then everything old is rescaled to it and the block added:

$$
m' = \max\bigl(m,\; \max_j s_j\bigr) \tag{1}
$$

$$
\ell' = e^{m - m'} \ell + \sum_j e^{s_j - m'} \tag{2}
$$

$$
a' = e^{m - m'} a + \sum_j e^{s_j - m'} v_j \tag{3}
$$

Start with $m = -\infty$, $\ell = 0$, $a = 0$. After the last block the output is $a / \ell$ and the
log-sum-exp of the row is $m + \ln \ell$. The result does not depend on how the keys were cut.

**Shapes.** `m` and `l` are `(…, T)`, `acc` is `(…, T, Dv)`, `scores` is `(…, T, S)`, `values` is
`(…, S, Dv)`, where S is the number of keys in the block (at least one).

**Numerics.** A score of $-\infty$ is a masked key. While a row has seen nothing else, $m'$ is
$-\infty$ and $-\infty - (-\infty)$ would be NaN: such a row subtracts 0 instead, and stays at
$\ell = 0$, $a = 0$.

**Source.** Equations (1) and (2): Milakov and Gimelshein, 2018, Algorithm 3. Equation (3): Rabe and
Staats, 2021, section 3; Dao et al., 2022, section 3.1.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead._checks import require_floating


def online_softmax_update(
    m: Float[Tensor, "*batch T"],
    l: Float[Tensor, "*batch T"],  # noqa: E741
    acc: Float[Tensor, "*batch T Dv"],
    scores: Float[Tensor, "*batch T S"],
    values: Float[Tensor, "*batch S Dv"],
) -> tuple[
    Float[Tensor, "*batch T"],
    Float[Tensor, "*batch T"],
    Float[Tensor, "*batch T Dv"],
]:
    """Take in one block of scores and values, equations (1) to (3). Returns the new (m, l, acc).

    Raises `TypeError` for a wrong dtype and `ValueError` for shapes that do not fit.
    """
    _require_state(m, l, acc, scores, values)
    new_m = torch.maximum(m, scores.amax(-1))
    shift = new_m.masked_fill(new_m == -torch.inf, 0.0)
    rescale = torch.exp(m - shift)
    weights = torch.exp(scores - shift[..., None])
    new_l = rescale * l + weights.sum(-1)
    new_acc = rescale[..., None] * acc + weights @ values
    return new_m, new_l, new_acc


def _require_state(m: Tensor, l: Tensor, acc: Tensor, scores: Tensor, values: Tensor) -> None:  # noqa: E741
    require_floating(m=m, l=l, acc=acc, scores=scores, values=values)
    rows, Dv = m.shape, acc.shape[-1]
    S = scores.shape[-1] if scores.ndim else 0
    fits = (
        m.ndim >= 1
        and l.shape == rows
        and acc.shape == (*rows, Dv)
        and scores.shape == (*rows, S)
        and values.shape == (*rows[:-1], S, Dv)
    )
    if not fits or S == 0:
        given = {"m": m, "l": l, "acc": acc, "scores": scores, "values": values}
        shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in given.items())
        raise ValueError(
            f"Given {shapes}; expected m and l (…, T), acc (…, T, Dv), scores (…, T, S) and "
            "values (…, S, Dv) with S of 1 or more."
        )
