r"""Whose fault was it? Generalised advantage estimation shares an end's reward among the steps.

A value $V_t$ guesses the reward still to come from step $t$ on. What came and what is guessed next
may be better than that guess; the advantage adds up the surprises from $t$ on, each step further
weighing $\gamma\lambda$ less:

$$
\delta_t = r_t + \gamma\, (1 - d_t)\, V_{t+1} - V_t \tag{1}
$$

$$
\hat A_t = \delta_t + \gamma \lambda\, (1 - d_t)\, \hat A_{t+1}, \qquad \hat A_T = 0 \tag{2}
$$

$$
\hat R_t = \hat A_t + V_t \tag{3}
$$

$d_t$ = 1 says that the episode ends with step $t$: nothing after it counts, neither its value nor
its advantage. $\lambda = 1$ is the reward that came, less the guess (no bias, much spread);
$\lambda = 0$ trusts the next guess (little spread, the guess's bias). (3) is what the value is
trained to say.

**Shapes.** `rewards` and `done` `(B, T)`; `values` `(B, T + 1)`: the last is the guess after the
last step, used where that step did not end the episode.

**Numerics.** fp32 at least. Advantages and returns are targets: no gradient passes.

**Source.** Schulman et al., 2016 (arXiv 1506.02438), equations 16 to 18.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clearhead._checks import require_floating

from ._checks import precise
from ._rl_checks import require_axes, require_between, require_mask, require_real


@torch.no_grad()
def gae(
    rewards: Float[Tensor, "B T"],
    values: Float[Tensor, "B T+1"],
    done: Bool[Tensor, "B T"],
    *,
    gamma: float | int = 1.0,
    lam: float | int = 0.95,
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """Equations (2) and (3): `(advantages, returns)`, from the last step to the first.

    Raises `TypeError` for a wrong dtype and `ValueError` when the shapes do not fit, a number is
    not finite, or `gamma` or `lam` is outside 0 to 1.
    """
    require_floating(rewards=rewards, values=values)
    require_axes("B T", rewards=rewards)
    B, T = rewards.shape
    if values.shape != (B, T + 1):
        raise ValueError(
            f"rewards has shape {(B, T)} and values {tuple(values.shape)}; expected {(B, T + 1)}: "
            "the value of each step's state and of the state after the last step."
        )
    require_mask(rewards.shape, done=done)
    require_real(rewards=rewards, values=values)
    require_between(0, 1, ends=True, gamma=gamma, lam=lam)
    rewards, values = precise(rewards), precise(values)
    goes_on = (~done).to(values.dtype)
    delta = rewards + gamma * goes_on * values[:, 1:] - values[:, :-1]  # equation (1)
    advantages = torch.zeros_like(delta)
    after = delta.new_zeros(B)
    for t in reversed(range(T)):
        after = delta[:, t] + gamma * lam * goes_on[:, t] * after
        advantages[:, t] = after
    return advantages, advantages + values[:, :-1]
