r"""Diffusion-DPO: prefer the sample on which the model's noise prediction got better.

DPO needs the likelihood of a sample, which a diffusion model does not give. Its upper bound (Jensen
over the denoising path, one step $t$ drawn at random) needs only errors at one noise level, of the
model and of the frozen reference, at the preferred sample $w$ and the other $l$:

$$
\Delta = \big( \lVert \varepsilon^w - \varepsilon_\theta(x_t^w) \rVert^2
             - \lVert \varepsilon^w - \varepsilon_\text{ref}(x_t^w) \rVert^2 \big)
       - \big( \lVert \varepsilon^l - \varepsilon_\theta(x_t^l) \rVert^2
             - \lVert \varepsilon^l - \varepsilon_\text{ref}(x_t^l) \rVert^2 \big) \tag{1}
$$

$$
\text{loss} = -\frac{1}{N} \sum_i \ln \sigma(-\beta\, T\, \omega\, \Delta_i) \tag{2}
$$

$T$ is the number of steps: one was drawn in place of a sum over all. $\omega$ weighs the step;
training takes it as constant. The mean over pairs stands outside the logarithm.

**The code's β.** Official code takes *means* of squares over the $d$ numbers of a sample and writes
$-\tfrac{1}{2}\beta_\text{code}\,\Delta/d$ inside σ, so that

$$
\beta_\text{code} = 2\, d\, \beta\, T\, \omega \tag{3}
$$

which is why it says 5000 where DPO says 0.1. The script of diffusers has no ½, and 2500.

**Shapes.** Predictions and noises are `(N, …)`, a sample each; `*S` are the axes that squares are
summed over. The pair may share its noise (both codes do) or not (the paper).

**Source.** Wallace et al., 2023 (arXiv 2311.12908), equation 14.
"""

import math

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from clearhead._checks import require_integer

from ._checks import precise, require_positive
from .diffusion import require_samples


def diffusion_dpo_loss(
    predicted_chosen: Float[Tensor, "N *S"],
    predicted_rejected: Float[Tensor, "N *S"],
    reference_chosen: Float[Tensor, "N *S"],
    reference_rejected: Float[Tensor, "N *S"],
    noise_chosen: Float[Tensor, "N *S"],
    noise_rejected: Float[Tensor, "N *S"],
    *,
    beta: float | int,
    steps: int,
    weight: float | int = 1.0,
) -> Float[Tensor, ""]:
    """Equation (2), T being `steps` and ω `weight`.

    Raises `TypeError` for a wrong dtype and `ValueError` when shapes differ, β, T or ω is not
    positive, or an error is not finite.
    """
    require_samples(
        predicted_chosen=predicted_chosen,
        predicted_rejected=predicted_rejected,
        reference_chosen=reference_chosen,
        reference_rejected=reference_rejected,
        noise_chosen=noise_chosen,
        noise_rejected=noise_rejected,
    )
    require_positive(beta=beta, weight=weight)
    require_integer(1, steps=steps)
    chosen = _error(predicted_chosen, noise_chosen)
    chosen = chosen - _error(reference_chosen, noise_chosen).detach()
    rejected = _error(predicted_rejected, noise_rejected)
    rejected = rejected - _error(reference_rejected, noise_rejected).detach()
    difference = chosen - rejected
    if not math.isfinite(difference.sum().item()):
        raise ValueError(
            "the squared errors are not finite; give predictions and noises that are, and whose "
            "squares do not overflow."
        )
    return -F.logsigmoid(-beta * steps * weight * difference).mean()


def code_beta(beta: float | int, steps: int, weight: float | int, elements: int) -> float:
    """Equation (3): the β of the official code, for samples of `elements` numbers."""
    require_positive(beta=beta, weight=weight)
    require_integer(1, steps=steps, elements=elements)
    return 2 * elements * beta * steps * weight


def _error(predicted: Float[Tensor, "N *S"], noise: Float[Tensor, "N *S"]) -> Float[Tensor, "N"]:
    """The squared distance of each sample's prediction from its noise."""
    return (precise(predicted) - precise(noise)).square().reshape(len(noise), -1).sum(-1)
