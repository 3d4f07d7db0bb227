r"""The best policy at a given distance from a reference, for a set of answers small enough to list.

Of all policies over the answers $y$ to a prompt, the one that maximises

$$
J(\pi) = \sum_y \pi(y)\, r(y) - \beta\, \mathrm{KL}(\pi \,\Vert\, \pi_\text{ref}) \tag{1}
$$

is the reference, reweighted:

$$
\pi^*(y) = \frac{1}{Z}\, \pi_\text{ref}(y)\, e^{r(y) / \beta}, \qquad
Z = \sum_y \pi_\text{ref}(y)\, e^{r(y) / \beta} \tag{2}
$$

for (1) is nothing but a divergence from (2), turned round:

$$
J(\pi) = \beta \ln Z - \beta\, \mathrm{KL}(\pi \,\Vert\, \pi^*) \tag{3}
$$

An answer that the reference never gives, $\pi^*$ never gives either. Solved for the reward, (2) is
what DPO is built on:

$$
r(y) = \beta \ln \frac{\pi^*(y)}{\pi_\text{ref}(y)} + \beta \ln Z \tag{4}
$$

With more answers than one can list, $Z$ is out of reach. It is the same for all answers to one
prompt, so it cancels in every comparison of two.

**Shapes.** The last axis is the N answers; before it may stand prompts. Policies are given and
returned as log-probabilities. A log-probability of −∞ is an answer that is never given.

**Source.** Rafailov et al., 2023 (arXiv 2305.18290), section 4, appendix A.1.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead._checks import require_floating, require_integer

from ._checks import require_finite_entries, require_positive


def log_partition(
    log_reference: Float[Tensor, "... N"], rewards: Float[Tensor, "... N"], *, beta: float | int
) -> Float[Tensor, "..."]:
    """ln Z of equation (2), one for each prompt.

    Raises `TypeError` for a wrong dtype and `ValueError` when shapes differ, β is not positive or
    so small that r / β overflows, a reward is not finite, or the reference's probabilities do not
    add up to 1.
    """
    return torch.logsumexp(_reweighted(log_reference, rewards, beta), dim=-1)


def optimal_policy(
    log_reference: Float[Tensor, "... N"], rewards: Float[Tensor, "... N"], *, beta: float | int
) -> Float[Tensor, "... N"]:
    """ln π* of equation (2). Raises as `log_partition` does."""
    return torch.log_softmax(_reweighted(log_reference, rewards, beta), dim=-1)


def recovered_reward(
    log_policy: Float[Tensor, "... N"], log_reference: Float[Tensor, "... N"], *, beta: float | int
) -> Float[Tensor, "... N"]:
    """Equation (4) without its last term: of π*, the rewards up to one number a prompt.

    Raises as `log_partition` does, and when a policy never gives some answer.
    """
    _require_policies(beta, None, log_policy=log_policy, log_reference=log_reference)
    require_finite_entries(log_policy=log_policy, log_reference=log_reference)
    return beta * (log_policy - log_reference)


def objective(
    log_policy: Float[Tensor, "... N"],
    log_reference: Float[Tensor, "... N"],
    rewards: Float[Tensor, "... N"],
    *,
    beta: float | int,
) -> Float[Tensor, "..."]:
    """Equation (1), one for each prompt; −∞ where the policy gives what the reference never does.

    Raises as `log_partition` does.
    """
    _require_policies(beta, rewards, log_policy=log_policy, log_reference=log_reference)
    given = log_policy > -torch.inf  # 0 · ln 0 is 0
    log_ratio = torch.where(given, log_policy - log_reference, 0.0)
    return (log_policy.exp() * (rewards - beta * log_ratio)).sum(-1)


def maximise(
    log_reference: Float[Tensor, "... N"],
    rewards: Float[Tensor, "... N"],
    *,
    beta: float | int,
    steps: int = 200,
) -> Float[Tensor, "... N"]:
    """The policy that climbing (1) finds, from the reference, by L-BFGS: it knows nothing of (2).

    Raises as `log_partition` does, and when the reference never gives some answer.
    """
    _require_policies(beta, rewards, log_reference=log_reference)
    require_finite_entries(log_reference=log_reference)
    require_integer(1, steps=steps)
    log_reference, rewards = log_reference.detach(), rewards.detach()
    logits = log_reference.clone().requires_grad_(True)
    rule = {"tolerance_grad": 1e-12, "tolerance_change": 1e-15, "line_search_fn": "strong_wolfe"}
    climber = torch.optim.LBFGS([logits], max_iter=steps, **rule)

    def loss():
        climber.zero_grad()
        value = -objective(logits.log_softmax(-1), log_reference, rewards, beta=beta).sum()
        value.backward()
        return value

    with torch.enable_grad():
        climber.step(loss)
    return logits.detach().log_softmax(-1)


def _reweighted(log_reference: Tensor, rewards: Tensor, beta: float | int) -> Tensor:
    """ln π_ref + r / β, which exponentiated and divided by Z is equation (2)."""
    _require_policies(beta, rewards, log_reference=log_reference)
    exponents = rewards / beta
    if not exponents.isfinite().all():
        raise ValueError(
            f"rewards / beta overflows {rewards.dtype} at beta {beta}; give a larger beta."
        )
    return log_reference + exponents


def _require_policies(beta: float | int, rewards: Tensor | None, **policies: Tensor) -> None:
    """Log-probabilities that add up to 1 over the last axis, and finite rewards of that shape."""
    require_positive(beta=beta)
    given = policies if rewards is None else {**policies, "rewards": rewards}
    require_floating(**given)
    shape = next(iter(policies.values())).shape
    for name, x in given.items():
        if x.ndim == 0 or x.shape[-1] == 0 or x.shape != shape:
            raise ValueError(
                f"{name} has shape {tuple(x.shape)}; give one shape, (…, N), for all, an answer an "
                "entry of the last axis."
            )
    for name, x in policies.items():
        total = x.detach().double().logsumexp(-1).exp()
        if not torch.allclose(total, torch.ones_like(total), atol=1e-3):
            worst = total.flatten()[(total - 1).abs().nan_to_num(torch.inf).argmax()].item()
            raise ValueError(
                f"the probabilities of {name} add up to {worst:.6g}; give log-probabilities over "
                "all answers, log_softmax for example."
            )
    if rewards is not None:
        require_finite_entries(rewards=rewards)
