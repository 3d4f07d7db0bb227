r"""Policy gradients of sampled tokens: REINFORCE, and what clipping keeps of it off the policy.

A sampled token has no derivative, but its log-prob has. The gradient of the expected reward is that
of (1), with an advantage $\hat A$ that says how much better than expected it went:

$$
\ell_t = -\hat A_t \ln \pi_\theta(x_t) \tag{1}
$$

That holds for tokens that $\pi_\theta$ itself sampled. After the first update they are those of an
older policy. The ratio $r_t$ corrects for it, and a clip takes away the reason to move further once
the ratio has left $[1 - \varepsilon_\text{low},\; 1 + \varepsilon_\text{high}]$ in the direction
that the advantage rewards:

$$
r_t = \frac{\pi_\theta(x_t)}{\pi_\text{old}(x_t)}, \qquad
\ell_t = -\min\!\Big( r_t \hat A_t,\;
\operatorname{clip}(r_t,\, 1 - \varepsilon_\text{low},\, 1 + \varepsilon_\text{high})\,
\hat A_t \Big) \tag{2}
$$

Only two of four cases are clipped: $\hat A > 0$ above, $\hat A < 0$ below. On the other side the
minimum keeps the gradient that brings the ratio back. PPO and GRPO have one ε = 0.2; DAPO has 0.2
and 0.28, so that rare tokens may rise further. GSPO has one ratio an answer, the geometric mean of
its tokens' ratios:

$$
s_i = \exp\!\Big( \frac{1}{|y_i|} \sum_{t \in y_i} \ln r_{i,t} \Big) \tag{3}
$$

**Shapes.** Log-probs, advantages and losses `(B, T)`, a token each. An advantage of whole answers
is `advantages[:, None].expand_as(new)`. What is padding does not matter here, but has to be finite;
`aggregate_loss` leaves it out.

**Numerics.** fp32 at least. No gradient passes `old` or the advantages. Where old and new are equal
r is 1 and the value says nothing, yet the gradient is that of (1).

**Source.** Williams, 1992, for (1); Schulman et al., 2017 (arXiv 1707.06347), equation 7; Yu et
al., 2025 (DAPO, arXiv 2503.14476), equation 10; Zheng et al., 2025 (GSPO, arXiv 2507.18071),
equation 7.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ._checks import precise
from ._rl_checks import (
    require_alike,
    require_axes,
    require_between,
    require_mask,
    require_real,
)


def reinforce_loss(
    log_probs: Float[Tensor, "B T"], advantages: Float[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """Equation (1). Raises as `clipped_surrogate` does."""
    require_alike(log_probs=log_probs, advantages=advantages)
    require_real(log_probs=log_probs, advantages=advantages)
    return -precise(advantages).detach() * precise(log_probs)


def clipped_surrogate(
    new: Float[Tensor, "B T"],
    old: Float[Tensor, "B T"],
    advantages: Float[Tensor, "B T"],
    *,
    low: float = 0.2,
    high: float = 0.2,
) -> Float[Tensor, "B T"]:
    """Equation (2), a loss: the smaller, the better.

    Raises `TypeError` for a wrong dtype and `ValueError` for unequal shapes, for numbers that are
    not finite, for `low` or `high` outside (0, 1), and for a ratio too large for the dtype.
    """
    require_alike(new=new, old=old, advantages=advantages)
    require_axes("B T", new=new)
    require_real(new=new, old=old, advantages=advantages)
    require_between(0, 1, ends=False, low=low, high=high)
    ratio, advantages = _ratio(new, old), precise(advantages).detach()
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages)


def sequence_ratio(
    new: Float[Tensor, "B T"], old: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, " B"]:
    """Equation (3). Without tokens: 1. Raises as `clipped_surrogate` does."""
    return sequence_log_ratio(new, old, mask).exp()


def sequence_log_ratio(
    new: Float[Tensor, "B T"], old: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, " B"]:
    """The logarithm of equation (3): the mean of an answer's log-ratios over its own tokens."""
    require_alike(new=new, old=old)
    require_axes("B T", new=new)
    require_mask(new.shape, mask=mask)
    require_real(new=new, old=old)
    log_ratio = torch.where(mask, precise(new) - precise(old).detach(), 0.0)
    return log_ratio.sum(1) / mask.sum(1).clamp(min=1)


@torch.no_grad()
def clipped_share(
    new: Float[Tensor, "B T"],
    old: Float[Tensor, "B T"],
    advantages: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    low: float = 0.2,
    high: float = 0.2,
) -> float:
    """Which share of the counted tokens has no gradient because of the clip; 0 if none counts.

    A token with an advantage of 0 has none either way and is not clipped. Raises as
    `clipped_surrogate` does.
    """
    require_alike(new=new, old=old, advantages=advantages)
    require_mask(new.shape, mask=mask)
    require_between(0, 1, ends=False, low=low, high=high)
    ratio = _ratio(new, old)
    above, below = ratio > 1 + high, ratio < 1 - low
    clipped = (above & (advantages > 0)) | (below & (advantages < 0))
    return ((clipped & mask).sum() / mask.sum().clamp(min=1)).item()


def _ratio(new: Tensor, old: Tensor) -> Tensor:
    log_ratio = precise(new) - precise(old).detach()
    ratio = log_ratio.exp()
    if torch.isinf(ratio).any():
        raise ValueError(
            f"new - old reaches {log_ratio.max().item():.4g}, whose exponential is too large: "
            "these are not log-probs of tokens that the old policy sampled."
        )
    return ratio
