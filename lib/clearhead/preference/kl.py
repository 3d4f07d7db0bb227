r"""How far has a policy moved? Three estimates of a KL divergence from the tokens that it sampled.

For tokens $x \sim \pi$, with $r = \pi_\text{ref}(x) / \pi(x)$ and $\ln r$ = reference − policy:

$$
\mathrm{KL}(\pi \,\|\, \pi_\text{ref})
= \sum_x \pi(x) \ln \frac{\pi(x)}{\pi_\text{ref}(x)} \tag{1}
$$

$$
k_1 = -\ln r, \qquad k_2 = \tfrac{1}{2} (\ln r)^2, \qquad k_3 = r - 1 - \ln r \tag{2}
$$

$k_1$ is unbiased and can be negative. $k_2$ is never negative and biased. $k_3$ is $k_1$ plus
$r - 1$, whose mean under $\pi$ is 0: unbiased, never negative, and of smaller spread near
$\pi = \pi_\text{ref}$.

That is about their *values*. As terms of a loss, differentiated with the samples held fixed, they
behave otherwise: the expected gradient of $k_1$ is zero, that of $k_2$ is the gradient of (1), that
of $k_3$ the gradient of $\mathrm{KL}(\pi_\text{ref} \,\|\, \pi)$, the other direction.

**Shapes.** Log-probs of sampled tokens, of any shape, entry by entry. `kl_divergence` takes logits
over V candidates and sums over them.

**Numerics.** fp32 at least. $r - 1$ is `expm1`: with $r$ made first and 1 taken away, $k_3$ would
carry an error of 6e-8 in fp32 where it is itself smaller than that.

**Source.** Schulman, 2020, "Approximating KL divergence"; $k_3$ in GRPO: Shao et al., 2024 (arXiv
2402.03300), equation 4.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ._checks import precise
from ._rl_checks import require_alike, require_real


def kl_estimators(
    policy: Float[Tensor, "*S"], reference: Float[Tensor, "*S"]
) -> tuple[Float[Tensor, "*S"], Float[Tensor, "*S"], Float[Tensor, "*S"]]:
    """Equation (2), `(k1, k2, k3)`: one estimate a token, from its log-probs under both models.

    Raises `TypeError` for a wrong dtype and `ValueError` for unequal shapes, for log-probs that are
    not finite, and where r is too large for the dtype.
    """
    require_alike(policy=policy, reference=reference)
    require_real(policy=policy, reference=reference)
    log_ratio = precise(reference) - precise(policy)  # ln r
    k3 = torch.expm1(log_ratio) - log_ratio
    if torch.isinf(k3).any():
        raise ValueError(
            f"reference - policy reaches {log_ratio.max().item():.4g}, whose exponential is too "
            "large: the policy gave almost no probability to tokens that it should have sampled."
        )
    return -log_ratio, log_ratio.square() / 2, k3


def kl_divergence(
    policy: Float[Tensor, "*S V"], reference: Float[Tensor, "*S V"]
) -> Float[Tensor, "*S"]:
    """Equation (1), exactly, from the logits of both over the same V candidates.

    A candidate that the policy excludes (a logit of minus infinity) adds nothing. Raises
    `TypeError` for a wrong dtype and `ValueError` for unequal shapes, and for a row that holds NaN
    or plus infinity or excludes every candidate.
    """
    require_alike(policy=policy, reference=reference)
    log_p, log_q = precise(policy).log_softmax(-1), precise(reference).log_softmax(-1)
    possible = log_p > -torch.inf
    difference = torch.where(possible, log_p, 0.0) - torch.where(possible, log_q, 0.0)
    divergence = (log_p.exp() * difference).sum(-1)
    if divergence.isnan().any():
        raise ValueError(
            "policy or reference has a row that is no distribution; give logits without NaN and "
            "without plus infinity, and a finite one in each row."
        )
    return divergence
