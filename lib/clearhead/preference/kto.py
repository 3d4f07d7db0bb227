r"""KTO: answers without a partner, each marked good or bad.

The reward of an answer is compared with what the policy has gained on average, $z_0$, an estimate
of its divergence from the reference; the value of a gain or a loss flattens out, as people's does:

$$
r_i = \ln \frac{\pi(y_i \mid x_i)}{\pi_\text{ref}(y_i \mid x_i)}, \qquad
z_0 = \max\Big(0,\; \frac{1}{M} \sum_j \ln \frac{\pi(y'_j \mid x_j)}{\pi_\text{ref}(y'_j \mid
x_j)}\Big) \tag{1}
$$

$$
\text{loss} = \frac{1}{N} \sum_i \begin{cases}
w_d\, \big(1 - \sigma(\beta (r_i - z_0))\big) & \text{desirable} \\
w_u\, \big(1 - \sigma(\beta (z_0 - r_i))\big) & \text{undesirable}
\end{cases} \tag{2}
$$

The $y'_j$ of (1) are answers to *other* prompts, put after $x_j$: of a pair that does not belong
together nobody has said anything. $z_0$ is a number, and no gradient flows through it.

The loss is bounded, so one answer that is marked wrong can't pull without end. The weights make up
for unequal numbers of good and bad answers.

**Shapes.** `policy`, `reference` and `desirable` are `(N,)`, `policy_kl` and `reference_kl` `(M,)`:
log-probabilities of whole answers.

**Source.** Ethayarajh et al., 2024 (arXiv 2402.01306), equations 7 and 8, and section 4.1 for z₀.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ._checks import precise, require_bools, require_positive, require_row


def kto_loss(
    policy: Float[Tensor, "N"],
    reference: Float[Tensor, "N"],
    desirable: Bool[Tensor, "N"],
    policy_kl: Float[Tensor, "M"],
    reference_kl: Float[Tensor, "M"],
    *,
    beta: float | int = 0.1,
    desirable_weight: float | int = 1.0,
    undesirable_weight: float | int = 1.0,
) -> Float[Tensor, ""]:
    """Equation (2).

    Raises `TypeError` for a wrong dtype and `ValueError` when shapes differ, β or a weight is not
    positive, or a log-probability is not finite.
    """
    require_row(policy=policy, reference=reference)
    require_row("a mismatched answer", policy_kl=policy_kl, reference_kl=reference_kl)
    require_bools(policy.shape, desirable=desirable)
    require_positive(
        beta=beta, desirable_weight=desirable_weight, undesirable_weight=undesirable_weight
    )
    r = precise(policy) - precise(reference).detach()  # N
    z0 = (precise(policy_kl) - precise(reference_kl)).mean().clamp(min=0).detach()
    gain = torch.where(desirable, r - z0, z0 - r)
    weights = (r.new_full((), w) for w in (desirable_weight, undesirable_weight))
    weight = torch.where(desirable, *weights)
    return (weight * torch.sigmoid(-beta * gain)).mean()
