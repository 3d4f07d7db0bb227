r"""DDPM: mix a sample with noise step by step, and undo one step at a time.

Of the signal's variance a share $\bar\alpha_t$ is left after step $t$ = 0, …, K − 1. One draw leads
from a sample straight to any step:

$$
x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon,
\qquad \varepsilon \sim \mathcal N(0, I) \tag{1}
$$

Whoever knows the noise in $x_t$ knows the sample, and an estimate of one is one of the other:

$$
\hat x_0 = \frac{x_t - \sqrt{1 - \bar\alpha_t}\, \hat\varepsilon}{\sqrt{\bar\alpha_t}} \tag{2}
$$

Between the two lies the state before. With $\beta_t = 1 - \bar\alpha_t / \bar\alpha_{t-1}$ and
$\bar\alpha_{-1} = 1$ it is a Gaussian,

$$
\mu_t = \frac{\sqrt{\bar\alpha_{t-1}}\, \beta_t}{1 - \bar\alpha_t}\, \hat x_0
+ \frac{\sqrt{\bar\alpha_t / \bar\alpha_{t-1}}\, (1 - \bar\alpha_{t-1})}{1 - \bar\alpha_t}\, x_t,
\qquad \sigma_t^2 = \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t}\, \beta_t \tag{3}
$$

and one step of generation draws from it. The last, $t = 0$, draws nothing: $\sigma_0 = 0$ and
$\mu_0 = \hat x_0$. A network may predict the velocity instead of the noise:

$$
v = \sqrt{\bar\alpha_t}\, \varepsilon - \sqrt{1 - \bar\alpha_t}\, x_0 \tag{4}
$$

**Shapes.** B samples of any shape `*S`; `t` `(B,)` is each sample's own step; `alpha_bar` `(K,)`.

**Numerics.** What depends on $\bar\alpha$ alone is computed in its dtype, fp64 from
`noise_schedule`: in fp32, 1 − 0.9999 is wrong in the fourth digit.

**Sources.** Ho, Jain and Abbeel, 2020 (arXiv 2006.11239), equations 4, 6, 7 and 15; Nichol and
Dhariwal, 2021 (arXiv 2102.09672), for the cosine; Salimans and Ho, 2022 (arXiv 2202.00512), for
(4).
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clearhead._checks import require_floating, require_integer

from ._checks import require_finite_entries


def noise_schedule(steps: int, kind: str = "linear") -> Float[Tensor, "steps"]:
    """ᾱ for `steps` steps, in fp64: "linear" as in DDPM, or "cosine".

    DDPM's β rises from 0.0001 to 0.02 in 1,000 steps; with fewer, each is larger in proportion, so
    that as little of the signal is left. Raises `ValueError` for another kind, or for so few steps
    that a linear β reaches 1 (20 or less).
    """
    require_integer(1, steps=steps)
    if kind == "linear":
        if steps <= 20:
            raise ValueError(f"steps is {steps}; a linear schedule needs more than 20.")
        betas = torch.linspace(0.1 / steps, 20 / steps, steps, dtype=torch.float64)
    elif kind == "cosine":
        time = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        left = torch.cos((time + 0.008) / 1.008 * math.pi / 2).square()
        betas = (1 - left[1:] / left[:-1]).clamp(max=0.999)
    else:
        raise ValueError(f"kind is {kind!r}; give 'linear' or 'cosine'.")
    return (1 - betas).cumprod(0)


def add_noise(
    x0: Float[Tensor, "B *S"],
    noise: Float[Tensor, "B *S"],
    t: Int[Tensor, "B"],
    alpha_bar: Float[Tensor, "K"],
) -> Float[Tensor, "B *S"]:
    """Equation (1).

    Raises `TypeError` for a wrong dtype and `ValueError` when shapes do not fit, a step is out of
    range, or `alpha_bar` is not from 0 to 1.
    """
    require_samples(x0=x0, noise=noise)
    a = _shares(x0, t, alpha_bar)[0]
    return a.sqrt().to(x0) * x0 + (1 - a).sqrt().to(x0) * noise


def velocity(
    x0: Float[Tensor, "B *S"],
    noise: Float[Tensor, "B *S"],
    t: Int[Tensor, "B"],
    alpha_bar: Float[Tensor, "K"],
) -> Float[Tensor, "B *S"]:
    """Equation (4). Raises as `add_noise` does."""
    require_samples(x0=x0, noise=noise)
    a = _shares(x0, t, alpha_bar)[0]
    return a.sqrt().to(x0) * noise - (1 - a).sqrt().to(x0) * x0


def predicted_start(
    x: Float[Tensor, "B *S"],
    predicted_noise: Float[Tensor, "B *S"],
    t: Int[Tensor, "B"],
    alpha_bar: Float[Tensor, "K"],
) -> Float[Tensor, "B *S"]:
    """Equation (2).

    Raises as `add_noise` does, and `ValueError` when `alpha_bar` reaches 0: of a sample of which
    nothing is left nothing can be said.
    """
    require_samples(x=x, predicted_noise=predicted_noise)
    a = _shares(x, t, alpha_bar)[0]
    _require_signal(alpha_bar)
    return _start(x, predicted_noise, a)


def step_distribution(
    x: Float[Tensor, "B *S"],
    predicted_noise: Float[Tensor, "B *S"],
    t: Int[Tensor, "B"],
    alpha_bar: Float[Tensor, "K"],
) -> tuple[Float[Tensor, "B *S"], Float[Tensor, "B"]]:
    """Equation (3): the mean of the state before `x`, and its standard deviation.

    Raises as `predicted_start` does, and `ValueError` when `alpha_bar` does not start below 1 and
    fall with every step.
    """
    require_samples(x=x, predicted_noise=predicted_noise)
    a, before = _shares(x, t, alpha_bar)
    _require_signal(alpha_bar)
    _require_falling(alpha_bar)
    start = _start(x, predicted_noise, a)
    beta, noisy = 1 - a / before, 1 - a
    of_start = before.sqrt() * beta / noisy
    of_x = (a / before).sqrt() * (1 - before) / noisy
    std = ((1 - before) / noisy * beta).sqrt()
    return of_start.to(x) * start + of_x.to(x) * x, std.flatten().to(x)


def denoise_step(
    x: Float[Tensor, "B *S"],
    predicted_noise: Float[Tensor, "B *S"],
    t: Int[Tensor, "B"],
    alpha_bar: Float[Tensor, "K"],
    noise: Float[Tensor, "B *S"],
) -> Float[Tensor, "B *S"]:
    """A draw from equation (3), `noise` being the chance. Raises as `step_distribution` does."""
    require_samples(x=x, noise=noise)
    mean, std = step_distribution(x, predicted_noise, t, alpha_bar)
    return mean + std.reshape(-1, *[1] * (x.ndim - 1)) * noise


def require_samples(**samples: Tensor) -> None:
    """Every argument is a (B, …) tensor of floats, all of one shape."""
    require_floating(**samples)
    first_name, first = next(iter(samples.items()))
    for name, x in samples.items():
        if x.ndim == 0 or len(x) == 0:
            raise ValueError(f"{name} has shape {tuple(x.shape)}; give (B, …), a sample each.")
        if x.shape != first.shape:
            raise ValueError(
                f"{first_name} is {tuple(first.shape)} and {name} {tuple(x.shape)}; "
                "give one shape for both."
            )


def _shares(x: Tensor, t: Tensor, alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
    """ᾱ of each sample's step and of the one before, (B, 1, …, 1) each."""
    require_schedule(alpha_bar)
    if not isinstance(t, Tensor) or t.dtype not in (torch.int64, torch.int32):
        kind = t.dtype if isinstance(t, Tensor) else type(t).__name__
        raise TypeError(f"t is {kind}; give a (B,) tensor of steps, torch.int64.")
    if t.shape != x.shape[:1]:
        raise ValueError(f"t has shape {tuple(t.shape)}; expected ({len(x)},), a step a sample.")
    wrong = t[(t < 0) | (t >= len(alpha_bar))]
    if len(wrong):
        raise ValueError(
            f"t holds {int(wrong[0])}, and alpha_bar has the steps 0 to {len(alpha_bar) - 1}."
        )
    alpha_bar = alpha_bar.to(t.device)
    before = torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
    shape = (-1, *[1] * (x.ndim - 1))
    return alpha_bar[t].reshape(shape), before[t].reshape(shape)


def _start(x: Tensor, predicted_noise: Tensor, a: Tensor) -> Tensor:
    return (x - (1 - a).sqrt().to(x) * predicted_noise) / a.sqrt().to(x)  # equation (2)


def _require_signal(alpha_bar: Tensor) -> None:
    """Some of the signal is left at every step."""
    if (alpha_bar == 0).any():
        raise ValueError(
            "alpha_bar reaches 0, by whose root the estimate divides; give a schedule above 0."
        )


def _require_falling(alpha_bar: Tensor) -> None:
    """Each step takes some of the signal, the first one too."""
    if alpha_bar[0] >= 1 or (alpha_bar[1:] >= alpha_bar[:-1]).any():
        raise ValueError(
            "alpha_bar does not start below 1 and fall with every step, and a step without noise "
            "can't be undone; give a schedule that does."
        )


def require_schedule(alpha_bar: Tensor) -> None:
    """`alpha_bar` is (K,), finite, from 0 to 1."""
    require_floating(alpha_bar=alpha_bar)
    if alpha_bar.ndim != 1 or len(alpha_bar) == 0:
        raise ValueError(f"alpha_bar has shape {tuple(alpha_bar.shape)}; give (K,), one a step.")
    require_finite_entries(alpha_bar=alpha_bar)
    low, high = alpha_bar.min().item(), alpha_bar.max().item()
    if low < 0 or high > 1:
        raise ValueError(
            f"alpha_bar reaches from {low:.4g} to {high:.4g}; give what is left of the signal's "
            "variance, from 0 to 1."
        )
