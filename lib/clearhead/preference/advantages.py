r"""What if the group is the baseline? An answer's advantage over the others to the same prompt.

Of $G$ answers to one prompt with rewards $R_1 \dots R_G$:

$$
\hat A_i = \frac{R_i - \bar R}{s + \varepsilon}, \qquad
\bar R = \frac{1}{G} \sum_j R_j, \qquad
s^2 = \frac{1}{G - 1} \sum_j (R_j - \bar R)^2 \tag{1}
$$

No value network guesses $\bar R$: the group's other answers measure it. The division makes a prompt
that is nearly always (or never) solved weigh more: its $s$ is small. Dr. GRPO leaves it out:

$$
\hat A_i = R_i - \bar R \tag{2}
$$

A group in which all rewards are equal teaches nothing: its advantages are 0, exactly.

**Shapes.** `rewards` `(N,)`, N = Q·G, the answers of one prompt side by side.

**Conventions.** $s$ with G − 1, as torch and trl have it (the papers do not say; numpy's default
has G). ε = 1e-4 is trl's.

**Source.** Shao et al., 2024 (arXiv 2402.03300), section 4.1.2, for (1); Liu et al., 2025 (arXiv
2503.20783), section 3.2, for (2).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead._checks import require_floating

from ._checks import precise
from ._rl_checks import (
    require_axes,
    require_group,
    require_not_negative,
    require_real,
)


@torch.no_grad()
def group_advantages(
    rewards: Float[Tensor, " N"], group_size: int, *, eps: float | int = 1e-4, scale: bool = True
) -> Float[Tensor, " N"]:
    """Equation (1), or with `scale=False` equation (2).

    Raises `TypeError` for a wrong dtype and `ValueError` for a group of one, for answers that do
    not make whole groups, for rewards that are not finite and for a negative `eps`.
    """
    require_floating(rewards=rewards)
    require_axes("N", rewards=rewards)
    require_group(group_size, len(rewards))
    require_real(rewards=rewards)
    require_not_negative(eps=eps)
    groups = precise(rewards).view(-1, group_size)  # Q G
    advantages = groups - groups.mean(1, keepdim=True)
    if scale:
        advantages = advantages / (groups.std(1, keepdim=True) + eps)
    equal = groups.amax(1, keepdim=True) == groups.amin(1, keepdim=True)
    return torch.where(equal, 0.0, advantages).flatten()
