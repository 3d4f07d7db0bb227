r"""How long is a mean? Three ways to make one number of the losses of answers of unequal length.

Answer $i$ of $B$ has the losses $\ell_{i,t}$ of its $|y_i|$ tokens.

*sequence* (GRPO): each answer counts the same, so a token of a long answer counts less:

$$
\frac{1}{B} \sum_i \frac{1}{|y_i|} \sum_t \ell_{i,t} \tag{1}
$$

*token* (DAPO; trl's "bnpo" and "dapo"): each token counts the same, so a long answer counts more:

$$
\frac{1}{\sum_i |y_i|} \sum_i \sum_t \ell_{i,t} \tag{2}
$$

*constant* (Dr. GRPO): the divisor does not depend on what was written at all:

$$
\frac{1}{B \cdot \text{length}} \sum_i \sum_t \ell_{i,t} \tag{3}
$$

**Shapes.** `losses` and `mask` `(B, T)`; True = a token of an answer. The whole batch at once: the
mean of the means of micro-batches is another number in (2).

**Edges.** An answer without counted tokens (filtered, say) adds 0 to (1) and still counts in $B$,
as in trl. If nothing at all counts, the loss is 0 and so is its gradient. Losses that do not count
are never read: a NaN there stays there.

**Source.** Shao et al., 2024 (arXiv 2402.03300), equation 3; Yu et al., 2025 (DAPO, arXiv
2503.14476), equation 12; Liu et al., 2025 (Dr. GRPO, arXiv 2503.20783), section 3.2.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clearhead._checks import require_floating, require_integer

from ._checks import precise
from ._rl_checks import require_axes, require_mask, require_real

HOW = ("sequence", "token", "constant")


def aggregate_loss(
    losses: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    how: Literal["sequence", "token", "constant"],
    *,
    length: int | None = None,
) -> Float[Tensor, ""]:
    """Equation (1), (2) or (3). `length` is the divisor of (3), usually the limit of an answer.

    Raises `TypeError` for a wrong dtype and `ValueError` for unequal shapes, an empty batch,
    another `how`, (3) without `length`, and a loss that counts and is not finite.
    """
    require_floating(losses=losses)
    require_axes("B T", losses=losses)
    require_mask(losses.shape, mask=mask)
    require_how(how)
    if len(losses) == 0:
        raise ValueError("There are no answers: losses has shape (0, T); give one answer or more.")
    counted = torch.where(mask, precise(losses), 0.0)
    require_real(losses=counted)
    if how == "sequence":
        return (counted.sum(1) / mask.sum(1).clamp(min=1)).mean()
    if how == "token":
        return counted.sum() / mask.sum().clamp(min=1)
    if length is None:
        raise ValueError(
            "how='constant' divides by B times a length that the answers do not change: give "
            "length, for example the limit of an answer."
        )
    require_integer(1, length=length)
    return counted.sum() / (len(losses) * length)


def require_how(how: str) -> None:
    if how not in HOW:
        raise ValueError(f"how is {how!r}; give one of {', '.join(map(repr, HOW))}.")
