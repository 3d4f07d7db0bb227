r"""DDPO: generation as a game of K moves, learned by trial and reward.

Each step of `sample` is a draw from a Gaussian whose mean the network chooses, so a whole chain
$x_K, \dots, x_0$ has a density that can be computed, other than the sample alone:

$$
\ln \pi(x_{t-1} \mid x_t) = -\frac{1}{2} \sum_{j=1}^{d} \Big[
\frac{(x_{t-1,j} - \mu_{t,j})^2}{\sigma_t^2} + \ln 2 \pi \sigma_t^2 \Big] \tag{1}
$$

With the reward $R$ of the last state and its advantage $A$, that less the mean over the batch,
divided by the spread, each of the drawn steps is pushed as a token is in PPO:

$$
\text{loss} = -\frac{1}{B (K-1)} \sum_{i,t} \min\big( r_{i,t} A_i,\;
\operatorname{clip}(r_{i,t}, 1 - \epsilon, 1 + \epsilon)\, A_i \big), \qquad
r_{i,t} = \frac{\pi(x_{t-1} \mid x_t)}{\pi_\text{old}(x_{t-1} \mid x_t)} \tag{2}
$$

The last step draws nothing and has no density: K − 1 moves. Unlike Diffusion-DPO this samples from
the model in training, needs a reward for every sample, and has no reference that holds it.

**Shapes.** `states` `(K + 1, B, *S)`, noise first, as `sample(…, keep=True)` gives them; a chain's
log-probabilities are `(B, K − 1)`, in the order in which they were drawn.

**Source.** Black et al., 2023 (arXiv 2305.13301), section 4.3 (DDPO-IS).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clearhead._checks import require_integer
from clearhead.training.batches import derived_seed

from ._checks import require_finite_entries, require_positive
from .advantages import group_advantages
from .denoiser import sample
from .diffusion import require_samples, require_schedule, step_distribution
from .surrogate import clipped_share, clipped_surrogate


class RewardStep(NamedTuple):
    """One round, of which the reward and its spread are those of the samples before it."""

    reward: float
    spread: float
    clipped: float  # share of moves that the clip kept from the last update
    samples: int  # drawn so far, this round's included


def step_log_prob(
    x_next: Float[Tensor, "B *S"],
    x: Float[Tensor, "B *S"],
    predicted_noise: Float[Tensor, "B *S"],
    t: Int[Tensor, "B"],
    alpha_bar: Float[Tensor, "K"],
) -> Float[Tensor, "B"]:
    """Equation (1): the log-density of the move from `x` at step `t` to `x_next`.

    Raises as `step_distribution` does, and `ValueError` for step 0, which draws nothing.
    """
    require_samples(x=x, x_next=x_next)
    mean, std = step_distribution(x, predicted_noise, t, alpha_bar)
    if (std == 0).any():
        raise ValueError("t holds a step that draws nothing (0 is one); its density is no number.")
    distance = ((x_next - mean).reshape(len(x), -1) / std[:, None]).square().sum(-1)
    d = x[0].numel()
    return -0.5 * distance - d * (std.log() + 0.5 * math.log(2 * math.pi))


def chain_log_probs(
    model: nn.Module, states: Float[Tensor, "K1 B *S"], alpha_bar: Float[Tensor, "K"]
) -> Float[Tensor, "B moves"]:
    """Equation (1) for every move of every chain, in one pass of the network."""
    require_schedule(alpha_bar)
    K, B = len(alpha_bar), states.shape[1]
    if len(states) != K + 1 or K < 2:
        raise ValueError(
            f"there are {len(states)} states for a schedule of {K} steps; give K + 1, noise first, "
            "and a schedule of two steps or more."
        )
    x, x_next = states[: K - 1].flatten(0, 1), states[1:K].flatten(0, 1)
    t = torch.arange(K - 1, 0, -1, device=states.device).repeat_interleave(B)
    return step_log_prob(x_next, x, model(x, t), t, alpha_bar).view(K - 1, B).T


def reward_samples(
    model: nn.Module,
    alpha_bar: Float[Tensor, "K"],
    reward: Callable[[Tensor], Float[Tensor, "B"]],
    *,
    rounds: int,
    samples: int,
    lr: float,
    updates: int = 1,
    clip: float = 0.2,
    shape: tuple[int, ...] = (2,),
    seed: int = 0,
    watch: Callable[[int], object] | None = None,
) -> list[RewardStep]:
    """Train the model, in place, to draw what `reward` likes; returns what each round saw.

    A round draws `samples` chains, scores their last states, and makes `updates` Adam steps on all
    of them. `watch` is called with the number of rounds done, from 0 to `rounds`. Raises
    `ValueError` when a reward is not finite or the reward has another shape; rewards that are all
    equal teach nothing, and nothing moves.
    """
    require_integer(1, rounds=rounds, updates=updates)
    require_integer(2, samples=samples)
    require_positive(lr=lr)
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    history, watch = [], watch or (lambda done: None)
    for done in range(rounds):
        watch(done)
        number = derived_seed(seed, done, 3)
        states = sample(model, alpha_bar, samples, shape=shape, seed=number, keep=True)
        rewards = reward(states[-1]).detach()
        if rewards.shape != (samples,):
            raise ValueError(
                f"the reward has shape {tuple(rewards.shape)} for {samples} samples; give one "
                f"number each, ({samples},)."
            )
        require_finite_entries(rewards=rewards)
        with torch.no_grad():
            old = chain_log_probs(model, states, alpha_bar)
        advantages = group_advantages(rewards, samples).to(old)[:, None].expand_as(old)
        for _ in range(updates if advantages.any() else 0):
            new = chain_log_probs(model, states, alpha_bar)
            loss = clipped_surrogate(new, old, advantages, low=clip, high=clip).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            new = chain_log_probs(model, states, alpha_bar)
        all_of_them = torch.ones_like(old, dtype=torch.bool)
        share = clipped_share(new, old, advantages, all_of_them, low=clip, high=clip)
        spread = rewards.std().item()
        history.append(RewardStep(rewards.mean().item(), spread, share, (done + 1) * samples))
    watch(rounds)
    return history
