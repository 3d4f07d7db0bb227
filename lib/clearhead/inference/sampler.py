r"""Draw the next token: the rules of `sampling` in their order, then one uniform number a row.

Numbering the tokens 0 … V − 1, a uniform number $u$ from $[0, 1)$ chooses by the cumulated
probabilities:

$$
x = \min \Bigl\{ x : \sum_{y \le x} p_y > u \sum_y p_y \Bigr\} \tag{1}
$$

The sign is $>$, so that a token of probability 0 is never drawn, not even by $u = 0$; and the
weights need not add up to 1.

**Shapes.** Logits and probabilities `(..., V)`, uniforms and drawn ids `(...)`.

**Numerics.** Sums are in fp64 (fp32 on Apple's MPS): an fp32 sum over 49,152 tokens is off by more
than the probability of most of them. Each row spends one number, so that what a row draws does not
depend on the rows beside it.

**Source.** Equation (1): inversion of the distribution function, Devroye, 1986, section III.2.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clearhead._checks import require_finite, require_floating

from . import sampling


def top_k_top_p(
    logits: Float[Tensor, "*batch V"], *, temperature: float, k: int, p: float
) -> Float[Tensor, "*batch V"]:
    """Probabilities after temperature, then top-k, then top-p; `k=0` and `p=1.0` are off.

    Raises `TypeError` and `ValueError` for what `sampling.temperature`, `top_k` and `top_p` refuse.
    """
    z = sampling.temperature(sampling.centred(logits), temperature)
    return sampling.softmax(sampling.top_p(sampling.top_k(z, k), p))


def draw(
    probabilities: Float[Tensor, "*batch V"], uniforms: Float[Tensor, "*batch"]
) -> Int[Tensor, "*batch"]:
    """One id a row by equation (1); the weights of a row may add up to anything positive.

    Raises `ValueError` for a row without a positive finite sum, and for a uniform outside [0, 1).
    """
    require_floating(probabilities=probabilities)
    require_floating(uniforms=uniforms)
    if uniforms.shape != probabilities.shape[:-1]:
        raise ValueError(
            f"uniforms have shape {tuple(uniforms.shape)} and probabilities "
            f"{tuple(probabilities.shape)}; give one number a row."
        )
    if not bool(((uniforms >= 0) & (uniforms < 1)).all()):
        raise ValueError("A uniform number is outside [0, 1); torch.rand gives such numbers.")
    precise = torch.float32 if probabilities.device.type == "mps" else torch.float64
    reached = probabilities.to(precise).cumsum(-1)
    total = reached[..., -1:]
    if not bool((total.isfinite() & (total > 0)).all()):
        raise ValueError(
            "A row of probabilities adds up to 0 or to no finite number; were all tokens removed, "
            "or is a logit NaN?"
        )
    beyond = reached > uniforms.to(precise)[..., None] * total
    beyond |= reached == total  # rounding u · total up to total must not lead past the last token
    return beyond.int().argmax(-1)
