r"""GRPO and its relatives, each a pure function composed of the same few parts.

Per token: the clipped surrogate of `surrogate`, and, where a reference is given, a penalty for the
distance from it, estimated by $k_3$ of `kl`:

$$
\ell_{i,t} = -\min\big( r_{i,t} \hat A_i,\; \operatorname{clip}(r_{i,t}) \hat A_i \big)
+ \beta\, w_{i,t}\, k_{3;i,t}, \qquad w_{i,t} = 1 \text{ or } r_{i,t} \tag{1}
$$

What is left to choose is which ratio is clipped, where, and how long the mean is:

| loss | ratio | clip | mean (`aggregate_loss`) | advantages | KL |
|---|---|---|---|---|---|
| `grpo_loss` | a token's | 0.2, 0.2 | sequence | scaled | β = 0.04 in its paper |
| `dr_grpo_loss` | a token's | 0.2, 0.2 | constant | `scale=False` | none |
| `dapo_loss` | a token's | 0.2, 0.28 | token | scaled | none |
| `gspo_loss` | an answer's | 3e-4, 4e-4 | sequence | scaled | none |

**The weight of the KL term.** With $w = 1$, as in GRPO's paper, the expected gradient on the policy
is that of $\mathrm{KL}(\pi_\text{ref} \,\|\, \pi)$. With $w = r$ the ratio is differentiated too
and the gradient is that of $\mathrm{KL}(\pi \,\|\, \pi_\text{ref})$, already in the first update;
after it $r$ also corrects for the tokens being the old policy's (`corrected=True`; DeepSeek-V3.2's
way and trl's default).

**Shapes.** Log-probs and `mask` `(B, T)`; `advantages` `(B,)`, one an answer. In each mask True is
a token that the policy wrote, EOS too.

**Source.** Shao et al., 2024 (arXiv 2402.03300), equation 3; Liu et al., 2025 (arXiv 2503.20783);
Yu et al., 2025 (arXiv 2503.14476), equation 8; Zheng et al., 2025 (arXiv 2507.18071), equation 5.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clearhead._checks import require_floating

from ._checks import precise
from ._rl_checks import require_axes, require_not_negative
from .aggregate import aggregate_loss
from .kl import kl_estimators
from .surrogate import clipped_surrogate, sequence_log_ratio


def token_losses(
    new: Float[Tensor, "B T"],
    old: Float[Tensor, "B T"],
    advantages: Float[Tensor, " B"],
    *,
    low: float,
    high: float,
    reference: Float[Tensor, "B T"] | None = None,
    beta: float | int = 0.0,
    corrected: bool = False,
) -> Float[Tensor, "B T"]:
    """Equation (1). Raises as `clipped_surrogate` does, and `ValueError` for a negative `beta` or
    one above 0 without a reference."""
    require_advantages(advantages, new=new)
    losses = clipped_surrogate(new, old, advantages[:, None].expand_as(new), low=low, high=high)
    require_beta(beta, reference)
    if beta == 0:
        return losses
    k3 = kl_estimators(new, reference.detach())[2]
    if corrected:
        k3 = k3 * (precise(new) - precise(old).detach()).exp()
    return losses + beta * k3


def grpo_loss(
    new: Float[Tensor, "B T"],
    old: Float[Tensor, "B T"],
    advantages: Float[Tensor, " B"],
    mask: Bool[Tensor, "B T"],
    *,
    low: float = 0.2,
    high: float = 0.2,
    reference: Float[Tensor, "B T"] | None = None,
    beta: float | int = 0.0,
    corrected: bool = False,
) -> Float[Tensor, ""]:
    """Group relative policy optimisation: each answer's mean, then the mean of the answers.

    Raises as `token_losses` and `aggregate_loss` do.
    """
    options = dict(low=low, high=high, reference=reference, beta=beta, corrected=corrected)
    return aggregate_loss(token_losses(new, old, advantages, **options), mask, "sequence")


def dr_grpo_loss(
    new: Float[Tensor, "B T"],
    old: Float[Tensor, "B T"],
    advantages: Float[Tensor, " B"],
    mask: Bool[Tensor, "B T"],
    *,
    length: int,
    low: float = 0.2,
    high: float = 0.2,
) -> Float[Tensor, ""]:
    """GRPO done right: no division by what was written, and none by the group's spread.

    `length` is a constant, usually the limit of an answer; the advantages are those of
    `group_advantages(…, scale=False)`. Raises as `token_losses` and `aggregate_loss` do.
    """
    losses = token_losses(new, old, advantages, low=low, high=high)
    return aggregate_loss(losses, mask, "constant", length=length)


def dapo_loss(
    new: Float[Tensor, "B T"],
    old: Float[Tensor, "B T"],
    advantages: Float[Tensor, " B"],
    mask: Bool[Tensor, "B T"],
    *,
    low: float = 0.2,
    high: float = 0.28,
) -> Float[Tensor, ""]:
    """DAPO's loss: clipped higher above than below, and every token of the batch counts the same.

    Its other two changes are no loss: `dynamic_sampling`, `overlong_penalty`. Raises as
    `token_losses` and `aggregate_loss` do.
    """
    return aggregate_loss(token_losses(new, old, advantages, low=low, high=high), mask, "token")


def gspo_loss(
    new: Float[Tensor, "B T"],
    old: Float[Tensor, "B T"],
    advantages: Float[Tensor, " B"],
    mask: Bool[Tensor, "B T"],
    *,
    low: float = 3e-4,
    high: float = 4e-4,
) -> Float[Tensor, ""]:
    """Group sequence policy optimisation: one ratio an answer is clipped, `sequence_ratio`.

    Raises as `token_losses` and `aggregate_loss` do.
    """
    require_advantages(advantages, new=new)
    log_ratio = sequence_log_ratio(new, old, mask)[:, None]  # B 1
    zero = torch.zeros_like(log_ratio)
    each = advantages.to(log_ratio.dtype)[:, None]
    losses = clipped_surrogate(log_ratio, zero, each, low=low, high=high)
    return aggregate_loss(losses.expand(new.shape), mask, "sequence")


def require_advantages(advantages: Float[Tensor, " B"], **log_probs: Float[Tensor, "B T"]) -> None:
    """One advantage for each answer."""
    require_floating(advantages=advantages)
    require_axes("B", advantages=advantages)
    require_axes("B T", **log_probs)
    for name, x in log_probs.items():
        if len(advantages) != len(x):
            raise ValueError(
                f"{name} has {len(x)} answers and advantages {len(advantages)}; give one advantage "
                "an answer."
            )


def require_beta(beta: float | int, reference: Tensor | None) -> None:
    """0 or more, and a reference where it is more."""
    require_not_negative(beta=beta)
    if beta > 0 and reference is None:
        raise ValueError(
            f"beta is {beta}, and no reference is given: give its log-probs, or beta=0."
        )
