r"""Bradley and Terry's model of a choice: the difference of two scores is the log-odds.

Each answer $y$ has a score $r$, and whoever compares two answers prefers the first with probability

$$
p(y_w \succ y_l) = \frac{e^{r_w}}{e^{r_w} + e^{r_l}} = \sigma(r_w - r_l),
\qquad \sigma(z) = \frac{1}{1 + e^{-z}} \tag{1}
$$

Only differences matter: a number added to all scores changes nothing. The loss of a set of choices
is their mean surprise. A margin $m$ asks for more than the right order where people said by how
much one answer is better:

$$
\text{loss} = -\frac{1}{N} \sum_i \ln \sigma(r_{w,i} - r_{l,i} - m_i) \tag{2}
$$

**Shapes.** Everything is `(N,)`, a number for each pair; the loss is a scalar.

**Numerics.** `logsigmoid`, not `log(sigmoid)`: in fp32 σ(−104) is 0, whose logarithm is −∞; the
true value is −104. In fp32, in fp64 for fp64.

**Sources.** Bradley and Terry, 1952; Christiano et al., 2017 (arXiv 1706.03741), equation 1;
Touvron et al., 2023 (Llama 2, arXiv 2307.09288), section 3.2.2, for the margin.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ._checks import precise, require_row


def preference_probability(
    first: Float[Tensor, "N"], second: Float[Tensor, "N"]
) -> Float[Tensor, "N"]:
    """Equation (1): how probably each answer of `first` is preferred to that of `second`.

    Raises `TypeError` for a wrong dtype and `ValueError` for shapes that differ or a score that is
    not finite.
    """
    require_row(first=first, second=second)
    return torch.sigmoid(precise(first) - precise(second))


def bradley_terry_loss(
    chosen: Float[Tensor, "N"], rejected: Float[Tensor, "N"], margin: Float[Tensor, "N"]
) -> Float[Tensor, ""]:
    """Equation (2); zeros for no margin. Raises as `preference_probability` does."""
    require_row("a pair", chosen=chosen, rejected=rejected, margin=margin)
    return -F.logsigmoid(precise(chosen) - precise(rejected) - precise(margin)).mean()
