r"""SimPO: no reference; an answer's score is its mean log-probability a token.

$$
\text{loss} = -\frac{1}{N} \sum_i \ln \sigma\Big(
\frac{\beta}{|y_{w,i}|} \ln \pi(y_{w,i}) - \frac{\beta}{|y_{l,i}|} \ln \pi(y_{l,i}) - \gamma
\Big) \tag{1}
$$

The mean is what generation looks at, and a long answer is not worse for being long. Without a
reference nothing says how far the policy may go: γ, the margin asked for, and few steps do. As
scores are means, β is larger than DPO's: 2 or 2.5 in the authors' models, with γ from 0.25 to 1.6;
with a larger β (they suggest 10) γ/β is what to tune, from 0 to 1.

**Shapes.** Log-probabilities of whole answers and their numbers of tokens, each `(N,)`.

**Source.** Meng, Xia and Chen, 2024 (arXiv 2405.14734), equation 6. trl's `simpo_gamma` is γ: its
code divides it by β and multiplies by β again.
"""

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from clearhead._checks import require_finite

from ._checks import precise, require_counts, require_positive, require_row


def simpo_loss(
    chosen: Float[Tensor, "N"],
    rejected: Float[Tensor, "N"],
    chosen_tokens: Int[Tensor, "N"],
    rejected_tokens: Int[Tensor, "N"],
    *,
    beta: float | int = 2.0,
    gamma: float | int = 1.0,
) -> Float[Tensor, ""]:
    """Equation (1).

    Raises `TypeError` for a wrong dtype and `ValueError` when shapes differ, β is not positive, γ
    is negative, an answer has no token, or a log-probability is not finite.
    """
    require_row(chosen=chosen, rejected=rejected)
    require_counts(chosen, chosen_tokens=chosen_tokens, rejected_tokens=rejected_tokens)
    require_positive(beta=beta)
    require_finite(gamma=gamma)
    if gamma < 0:
        raise ValueError(f"gamma is {gamma}; give 0 (no margin) or more.")
    better = beta * precise(chosen) / chosen_tokens
    worse = beta * precise(rejected) / rejected_tokens
    return -F.logsigmoid(better - worse - gamma).mean()
