r"""Softmax turns a row of scores into weights that are positive and sum to one.

$$
p_i = \frac{e^{x_i}}{\sum_j e^{x_j}} \tag{1}
$$

Equation (1) overflows: in fp32 $e^{89}$ is already infinite. Softmax does not change when the same
number is added to every score, so subtract the largest score first:

$$
p_i = \frac{e^{x_i - m}}{\sum_j e^{x_j - m}}, \qquad m = \max_j x_j \tag{2}
$$

No exponent is positive now, and the sum is at least 1.

**Shapes.** `x` has any shape; the result has the same one and sums to one along `dim`.

**Numerics.** 16-bit input is computed in fp32 and rounded once at the end. A slice that is all
$-\infty$ has no largest score to subtract; it gives zeros, and so does its gradient. That is what
a query that may attend to no key needs. `torch.softmax` gives NaN there.

**Source.** Equation (2) is the "safe softmax" of Milakov and Gimelshein, 2018, Algorithm 2.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead._checks import require_floating


def softmax(x: Float[Tensor, "*shape"], dim: int = -1) -> Float[Tensor, "*shape"]:
    r"""Softmax along `dim`, equation (2). A slice that is all $-\infty$ gives zeros.

    Raises `TypeError` when `x` is not a floating-point tensor.
    """
    require_floating(x=x)
    if x.numel() == 0:
        return x.clone()
    scores = x.to(torch.promote_types(x.dtype, torch.float32))
    largest = scores.detach().amax(dim, keepdim=True)  # a shift: it carries no gradient
    largest = largest.masked_fill(largest == -torch.inf, 0.0)
    exponentials = torch.exp(scores - largest)
    total = exponentials.sum(dim, keepdim=True)
    return (exponentials / total.masked_fill(total == 0, 1.0)).to(x.dtype)
