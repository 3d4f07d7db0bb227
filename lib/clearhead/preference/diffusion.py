r"""DDPM.

$$
x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon \tag{1}
$$

**Source.** Ho et al., 2020 (arXiv 2006.11239).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clearhead._checks import require_floating

from ._checks import require_finite_entries


def add_noise(
    x0: Float[Tensor, "B *S"],
    noise: Float[Tensor, "B *S"],
    t: Int[Tensor, "B"],
    alpha_bar: Float[Tensor, "K"],
) -> Float[Tensor, "B *S"]:
    """Equation (1), each sample at its own step `t`, from 0 to K − 1.

    Raises `TypeError` for a wrong dtype and `ValueError` when shapes do not fit, a step is out of
    range, or `alpha_bar` is not within 0 and 1.
    """
    require_samples(x0=x0, noise=noise)
    require_steps(t, alpha_bar, len(x0))
    alpha = alpha_bar.to(x0)[t].reshape(-1, *[1] * (x0.ndim - 1))  # B 1 … 1
    return alpha.sqrt() * x0 + (1 - alpha).sqrt() * noise


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


def require_steps(t: Tensor, alpha_bar: Tensor, B: int) -> None:
    """`t` is (B,) integers, each the number of an entry of `alpha_bar`, which is within 0 and 1."""
    require_floating(alpha_bar=alpha_bar)
    if alpha_bar.ndim != 1 or len(alpha_bar) == 0:
        raise ValueError(f"alpha_bar has shape {tuple(alpha_bar.shape)}; give (K,), one a step.")
    require_finite_entries(alpha_bar=alpha_bar)
    if (alpha_bar < 0).any() or (alpha_bar > 1).any():
        raise ValueError(
            f"alpha_bar reaches from {alpha_bar.min().item():.4g} to {alpha_bar.max().item():.4g}; "
            "give what is left of the signal's variance, from 0 to 1."
        )
    if not isinstance(t, Tensor) or t.dtype not in (torch.int64, torch.int32):
        kind = t.dtype if isinstance(t, Tensor) else type(t).__name__
        raise TypeError(f"t is {kind}; give a (B,) tensor of steps, torch.int64.")
    if t.shape != (B,):
        raise ValueError(f"t has shape {tuple(t.shape)}; expected ({B},), a step for each sample.")
    wrong = t[(t < 0) | (t >= len(alpha_bar))]
    if len(wrong):
        raise ValueError(
            f"t holds {int(wrong[0])}, and alpha_bar has the steps 0 to {len(alpha_bar) - 1}."
        )
