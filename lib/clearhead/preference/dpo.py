r"""DPO: a classifier of pairs whose score is how much likelier the policy made an answer.

The best policy at a given distance from a reference, $\pi^* \propto \pi_\text{ref}\, e^{r/\beta}$
(`closed_form`), can be solved for its reward. Up to a term that depends on the prompt alone,

$$
r(x, y) = \beta \ln \frac{\pi(y \mid x)}{\pi_\text{ref}(y \mid x)} \tag{1}
$$

Put into Bradley and Terry's loss, where that term cancels, this trains the policy directly:

$$
\text{loss} = -\frac{1}{N} \sum_i \ln \sigma\Big( \beta \Big[
\ln \frac{\pi(y_{w,i})}{\pi_\text{ref}(y_{w,i})} - \ln \frac{\pi(y_{l,i})}{\pi_\text{ref}(y_{l,i})}
\Big] \Big) \tag{2}
$$

$$
\nabla\,\text{loss} = -\frac{\beta}{N} \sum_i \sigma(\hat r_{l,i} - \hat r_{w,i})
\big[ \nabla \ln \pi(y_{w,i}) - \nabla \ln \pi(y_{l,i}) \big] \tag{3}
$$

where $\hat r$ is (1). A pair that is ordered right by far has no weight left in (3). When policy
and reference are equal the loss is ln 2, not 0. Only the *difference* of the two log-probabilities
is trained: both may fall, and often do.

A larger β holds the policy closer to the reference: the same margin of rewards takes a smaller
ratio.

**Shapes.** Log-probabilities of whole answers (`sequence_log_prob`, sums), each `(N,)`. The
reference's carry no gradient.

**Source.** Rafailov et al., 2023 (arXiv 2305.18290), equations 5 and 7, and section 4.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ._checks import precise, require_positive, require_row


def implicit_reward(
    policy: Float[Tensor, "N"], reference: Float[Tensor, "N"], *, beta: float | int = 0.1
) -> Float[Tensor, "N"]:
    """Equation (1), up to a number for each prompt.

    Raises `TypeError` for a wrong dtype and `ValueError` when shapes differ, β is not positive, or
    a log-probability is not finite.
    """
    require_row(policy=policy, reference=reference)
    require_positive(beta=beta)
    return beta * (precise(policy) - precise(reference).detach())


def dpo_loss(
    chosen: Float[Tensor, "N"],
    rejected: Float[Tensor, "N"],
    reference_chosen: Float[Tensor, "N"],
    reference_rejected: Float[Tensor, "N"],
    *,
    beta: float | int = 0.1,
) -> Float[Tensor, ""]:
    """Equation (2). Raises as `implicit_reward` does."""
    require_row(
        chosen=chosen,
        rejected=rejected,
        reference_chosen=reference_chosen,
        reference_rejected=reference_rejected,
    )
    better = implicit_reward(chosen, reference_chosen, beta=beta)
    worse = implicit_reward(rejected, reference_rejected, beta=beta)
    return -F.logsigmoid(better - worse).mean()
