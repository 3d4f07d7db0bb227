r"""Diffusion-DPO's training loop: pairs of samples in, a changed diffusion model out.

A step takes `batch` pairs, draws one noise level and one noise a pair (or one for each sample),
lets model and frozen reference predict, and makes an Adam step on `diffusion_dpo_loss`. It records
the loss and how much better than the reference the model predicts the noise,

$$
g_w = \lVert \varepsilon^w - \varepsilon_\text{ref}(x_t^w) \rVert^2
    - \lVert \varepsilon^w - \varepsilon_\theta(x_t^w) \rVert^2, \quad g_l \text{ likewise} \tag{1}
$$

means over the pairs of the step. As in DPO, $g_w - g_l$ is trained, and both may be negative.

**Source.** Wallace et al., 2023 (arXiv 2311.12908), and its code, `train.py`, which shares noise.
"""

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clearhead._checks import require_integer
from clearhead.training.batches import batch_rows, derived_seed

from ._checks import require_finite_entries, require_positive
from .denoiser import draw
from .diffusion import add_noise, require_samples, require_schedule
from .diffusion_dpo import diffusion_dpo_loss


class SampleStep(NamedTuple):
    """One step: the loss before it, and equation (1)."""

    loss: float
    chosen_gain: float
    rejected_gain: float


def pairs_by_reward(
    samples: Float[Tensor, "M *S"], rewards: Float[Tensor, "M"], *, seed: int = 0
) -> tuple[Float[Tensor, "N *S"], Float[Tensor, "N *S"]]:
    """Samples put two and two at random: `(chosen, rejected)`, the larger reward chosen.

    Pairs with equal rewards are left out. Raises `ValueError` when there is no pair left.
    """
    require_samples(samples=samples)
    if rewards.shape != samples.shape[:1]:
        raise ValueError(f"Given {len(samples)} samples and rewards {tuple(rewards.shape)}.")
    require_finite_entries(rewards=rewards)
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed))
    first, second = order[: len(order) // 2 * 2].view(-1, 2).to(samples.device).T
    kept = rewards[first] != rewards[second]
    if not kept.any():
        raise ValueError("all rewards of a pair are equal: there is nothing to prefer.")
    first, second = first[kept], second[kept]
    better = rewards[first] > rewards[second]
    chosen, rejected = torch.where(better, first, second), torch.where(better, second, first)
    return samples[chosen], samples[rejected]


def prefer_samples(
    model: nn.Module,
    chosen: Float[Tensor, "N *S"],
    rejected: Float[Tensor, "N *S"],
    alpha_bar: Float[Tensor, "K"],
    *,
    beta: float | int,
    steps: int,
    lr: float,
    batch: int = 256,
    shared_noise: bool = True,
    seed: int = 0,
    watch: Callable[[int], object] | None = None,
) -> list[SampleStep]:
    """Train the model, in place, on pairs; the model as it is when called is the reference.

    β is the paper's: it multiplies T, the length of the schedule, and sums of squares. `watch` is
    called with the number of steps done, from 0 to `steps`. Raises as `diffusion_dpo_loss` does.
    """
    require_samples(chosen=chosen, rejected=rejected)
    require_schedule(alpha_bar)
    require_integer(1, steps=steps, batch=batch)
    require_positive(lr=lr, beta=beta)
    device, K = next(model.parameters()).device, len(alpha_bar)
    reference = copy.deepcopy(model).requires_grad_(False)
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    history, watch = [], watch or (lambda done: None)
    for step in range(steps):
        watch(step)
        index = batch_rows(seed, step, len(chosen), batch)
        pair = [x[index].to(device) for x in (chosen, rejected)]
        noise, t = draw(pair[0], K, derived_seed(seed, step, 4))
        noises = [noise, noise if shared_noise else draw(noise, K, derived_seed(seed, step, 5))[0]]
        noisy = [add_noise(x, e, t, alpha_bar) for x, e in zip(pair, noises, strict=True)]
        predicted = [model(x, t) for x in noisy]
        with torch.no_grad():
            fixed = [reference(x, t) for x in noisy]
        loss = diffusion_dpo_loss(*predicted, *fixed, *noises, beta=beta, steps=K)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        gains = [
            ((e - f).square() - (e - p).square()).flatten(1).sum(-1).mean().item()
            for e, f, p in zip(noises, fixed, predicted, strict=True)
        ]
        history.append(SampleStep(loss.item(), *gains))
    watch(steps)
    return history
