r"""Clipping: a gradient that is too long is shortened, and keeps its direction.

All parameters' gradients $g_1 \dots g_n$ are one long vector. Where its length is above the most
allowed, $c$, every entry is multiplied by the same factor:

$$
\lVert g \rVert = \sqrt{\textstyle\sum_i \lVert g_i \rVert^2}, \qquad
g_i \leftarrow g_i \cdot \min\Big(1, \frac{c}{\lVert g \rVert}\Big) \tag{1}
$$

Clipped one by one, the tensors would be turned against each other, and the step would point
somewhere else. One norm above $c$ in a thousand is an accident that clipping is for; if most are,
$c$ is a learning rate in disguise (AdamW then cancels it again, as it divides by the size).

A norm that is not finite has no direction to keep: the step must not be made at all.

`torch.nn.utils.clip_grad_norm_` divides by $\lVert g \rVert + 10^{-6}$, which shortens a gradient
at the limit by a millionth; here it comes back as it was.

**Shapes.** Any, one tensor a parameter. **Source.** Pascanu et al., 2013 (arXiv 1211.5063),
algorithm 1.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead._checks import require_floating

from ._checks import require_positive


def clip_gradients(
    gradients: Sequence[Float[Tensor, "..."]], most: float
) -> tuple[list[Float[Tensor, "..."]], float]:
    """The gradients, shortened together to length `most` if they are longer; and their length.

    The length is that before clipping, taken in fp64. Raises `TypeError` for a wrong dtype,
    `ValueError` when there are none or `most` is not positive, `FloatingPointError`
    when the length is not finite.
    """
    require_positive(most=most)
    if not gradients:
        raise ValueError("gradients is empty; give one tensor a parameter.")
    for i, gradient in enumerate(gradients):
        require_floating(**{f"gradients[{i}]": gradient})
    squares = [gradient.double().square().sum().to(gradients[0].device) for gradient in gradients]
    norm = math.sqrt(torch.stack(squares).sum().item())
    if not math.isfinite(norm):
        raise FloatingPointError(
            f"the gradient's length is {norm}: some entry is not finite. Make no step with it; "
            "look at the loss and the learning rate before it."
        )
    factor = min(1.0, most / norm) if norm > 0 else 1.0
    return [gradient * factor for gradient in gradients], norm
