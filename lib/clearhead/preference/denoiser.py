r"""A diffusion model small enough to train while you watch: points in the plane.

The network is told a noisy point and the step, and predicts the noise. The loss draws a step for
each sample, all equally often, and asks for the squared error:

$$
\text{loss} = \frac{1}{B} \sum_i \big\lVert \varepsilon_i - \varepsilon_\theta(x_{t_i}, t_i)
\big\rVert^2 \tag{1}
$$

`sample` starts from noise and takes the steps K − 1, …, 0 of `diffusion`. Both work for samples of
any shape and any `model(x, t)` that predicts their noise; `PointDenoiser` is for points.

**Source.** Ho, Jain and Abbeel, 2020 (arXiv 2006.11239), algorithms 1 and 2; the squared error is
summed over a sample, not averaged.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clearhead._checks import require_integer
from clearhead.training.batches import batch_rows, derived_seed

from ._checks import require_positive
from .diffusion import add_noise, denoise_step, require_samples, require_schedule


class PointDenoiser(nn.Module):
    """Two layers of `width`, which read a point, its waves, and those of its step.

    Waves are sines and cosines: of a coordinate at the periods 4, 2, 1, …, without which so small a
    network draws no sharp edge; of the step at periods from 4 to about 200 steps.
    """

    def __init__(self, *, width: int = 64, size: int = 2, waves: int = 3, seed: int = 0):
        super().__init__()
        require_integer(1, width=width, size=size, waves=waves)
        of_step = 6
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # and no device's
            self.body = nn.Sequential(
                nn.Linear(size + 2 * waves * size + 2 * of_step, width),
                nn.SiLU(),
                nn.Linear(width, width),
                nn.SiLU(),
                nn.Linear(width, size),
            )
        periods = 4.0 * 100.0 ** (torch.arange(of_step) / of_step)
        self.register_buffer("of_step", 2 * math.pi / periods)
        self.register_buffer("of_point", 2 * math.pi / 4 * 2.0 ** torch.arange(waves))

    def forward(self, x: Float[Tensor, "B S"], t: Int[Tensor, "B"]) -> Float[Tensor, "B S"]:
        """The noise that `x` is thought to hold."""
        place = (x[..., None] * self.of_point).flatten(1)
        time = (t[:, None] * self.of_step).to(x)
        waves = [part for angle in (place, time) for part in (angle.sin(), angle.cos())]
        return self.body(torch.cat([x, *waves], dim=1))


def ring(
    count: int, *, blobs: int = 8, spread: float = 0.12, seed: int = 0
) -> Float[Tensor, "n 2"]:
    """Points around `blobs` places on a circle of radius √2, equally often.

    With three blobs or more each coordinate has variance 1 + `spread`². The places are at the
    angles 0, 1/`blobs`, 2/`blobs`, … of a turn, the first at the right.
    """
    require_integer(1, count=count, blobs=blobs)
    generator = torch.Generator().manual_seed(seed)
    angles = torch.randint(blobs, (count,), generator=generator) * (2 * math.pi / blobs)
    places = math.sqrt(2) * torch.stack([angles.cos(), angles.sin()], dim=1)
    return places + spread * torch.randn(count, 2, generator=generator)


def diffusion_loss(
    model: nn.Module,
    x0: Float[Tensor, "B *S"],
    noise: Float[Tensor, "B *S"],
    t: Int[Tensor, "B"],
    alpha_bar: Float[Tensor, "K"],
) -> Float[Tensor, ""]:
    """Equation (1), for noise and steps that were drawn. Raises as `add_noise` does."""
    predicted = model(add_noise(x0, noise, t, alpha_bar), t)
    return (predicted - noise).square().reshape(len(x0), -1).sum(-1).mean()


def train_denoiser(
    model: nn.Module,
    data: Float[Tensor, "N *S"],
    alpha_bar: Float[Tensor, "K"],
    *,
    steps: int,
    batch: int = 256,
    lr: float = 5e-3,
    seed: int = 0,
    watch: Callable[[int], object] | None = None,
) -> list[float]:
    """Train on `data`, in place; returns the loss before each step. The rate falls to 0 (cosine).

    Raises `ValueError` when the data or the schedule are malformed.
    """
    require_samples(data=data)
    require_schedule(alpha_bar)
    require_integer(1, steps=steps, batch=batch)
    require_positive(lr=lr)
    device = next(model.parameters()).device
    optimiser = torch.optim.Adam(model.parameters(), lr=lr, fused=device.type in ("cpu", "cuda"))
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    losses, watch = [], watch or (lambda done: None)
    for step in range(steps):
        watch(step)
        x0 = data[batch_rows(seed, step, len(data), batch)].to(device)
        noise, t = draw(x0, len(alpha_bar), derived_seed(seed, step, 1))
        loss = diffusion_loss(model, x0, noise, t, alpha_bar)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        slower.step()
        losses.append(loss.item())
    watch(steps)
    return losses


@torch.no_grad()
def sample(
    model: nn.Module,
    alpha_bar: Float[Tensor, "K"],
    count: int,
    *,
    shape: tuple[int, ...] = (2,),
    seed: int = 0,
    keep: bool = False,
) -> Tensor:
    """`(count, *shape)` samples; with `keep` all states, `(K + 1, count, *shape)`, noise first.

    The same seed gives the same chance, so that two models can be compared point by point.
    """
    require_schedule(alpha_bar)
    require_integer(1, count=count)
    weight = next(model.parameters())
    generator = torch.Generator().manual_seed(derived_seed(seed, 2))

    def normal():
        return torch.randn(count, *shape, generator=generator).to(weight)

    states = [normal()]
    for step in reversed(range(len(alpha_bar))):
        t = torch.full((count,), step, device=weight.device)
        x = denoise_step(states[-1], model(states[-1], t), t, alpha_bar, normal())
        states = [*states, x] if keep else [x]
    return torch.stack(states) if keep else states[0]


def draw(x: Float[Tensor, "B *S"], steps: int, seed: int) -> tuple[Tensor, Int[Tensor, "B"]]:
    """Noise of the shape of `x`, and a step for each sample, on its device."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(x.shape, generator=generator).to(x)
    return noise, torch.randint(steps, (len(x),), generator=generator).to(x.device)
