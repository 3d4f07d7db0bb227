r"""Attention: each query takes an average of the values, weighted by how well the keys match it.

$$
s_{ij} = \frac{q_i \cdot k_j}{\sqrt{D}} + b_{ij} \tag{1}
$$

$$
p_{ij} = \operatorname{softmax}_j(s_{ij}), \qquad o_i = \sum_j p_{ij} v_j \tag{2}
$$

A masked pair has $s_{ij} = -\infty$, so its weight is exactly zero.

**Shapes.** `q` is `(…, T, D)`, `k` is `(…, S, D)`, `v` is `(…, S, Dv)`; the output is `(…, T, Dv)`
and the weights are `(…, T, S)`. The leading axes of q, k and v are equal.

**Masks.** `mask` is boolean, True = this query may attend to this key; `bias` is added to the
scores. Both broadcast to `(…, T, S)`. A query that may attend to no key gets zeros as output and
weights, and sends back zero gradients, never NaN.

**Source.** Vaswani et al., 2017, section 3.2.1, equation 1.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from ._checks import require_bias, require_mask, require_qkv, require_scale
from .masks import causal_mask
from .softmax import softmax


def scaled_dot_product(
    q: Float[Tensor, "*batch T D"],
    k: Float[Tensor, "*batch S D"],
    v: Float[Tensor, "*batch S Dv"],
    mask: Bool[Tensor, "... #T #S"] | None = None,
    *,
    bias: Float[Tensor, "... #T #S"] | None = None,
    scale: float | None = None,
) -> tuple[Float[Tensor, "*batch T Dv"], Float[Tensor, "*batch T S"]]:
    r"""The plain version: equations (1) and (2), line by line. Returns output and weights.

    `scale` is $1/\sqrt{D}$ unless given. 16-bit input is computed in fp32 and rounded once at the
    end. Raises `TypeError` for a wrong dtype and `ValueError` for shapes that do not fit.
    """
    require_qkv(q, k, v)
    require_scale(scale)
    require_mask(mask, q, k)
    require_bias(bias, q, k)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    precise = torch.promote_types(q.dtype, torch.float32)

    scores = q.to(precise) @ k.to(precise).mT * scale  # (…, T, S), equation (1)
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = softmax(scores)  # equation (2)
    output = weights @ v.to(precise)
    return output.to(q.dtype), weights.to(q.dtype)


def attention(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B K S D"],
    v: Float[Tensor, "B K S Dv"],
    mask: Bool[Tensor, "... #T #S"] | None = None,
    *,
    bias: Float[Tensor, "... #T #S"] | None = None,
    scale: float | None = None,
    causal: bool = False,
) -> Float[Tensor, "B H T Dv"]:
    """The fast version: PyTorch's fused kernels, with the conventions of the plain one.

    K may divide H: query head h then reads key/value head h // (H // K). PyTorch's backends do not
    agree on what a fully masked row gives, so such a row is opened to every key here and its
    output set to zero, which also stops its gradient. With 16-bit q a `bias` is rounded to q's
    dtype, as the kernels ask. `causal` adds `causal_mask(T, S)`; alone, with T = S, it is a flag
    that lets the kernel skip what is masked. Raises `TypeError` for a wrong dtype and `ValueError`
    for shapes that do not fit.
    """
    require_qkv(q, k, v, grouped=True)
    require_scale(scale)
    require_mask(mask, q, k)
    require_bias(bias, q, k)
    T, S = q.shape[-2], k.shape[-2]
    flag = causal and T == S and mask is None and bias is None
    if causal and not flag:
        before = causal_mask(T, S, device=q.device)
        mask = before if mask is None else mask & before
    term, empty = _open_empty_rows(mask, None if bias is None else bias.to(q.dtype), T, S)
    output = F.scaled_dot_product_attention(
        q, k, v, term, is_causal=flag, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
    )
    return output if empty is None else output.masked_fill(empty, 0.0)


def _open_empty_rows(
    mask: Tensor | None, bias: Tensor | None, T: int, S: int
) -> tuple[Tensor | None, Tensor | None]:
    """Mask and bias as the one term that torch takes, with every fully masked row opened; and
    which rows those are, (…, T, 1)."""
    if mask is None and bias is None:
        return None, None
    allowed = mask if bias is None else bias != -torch.inf
    if mask is not None and bias is not None:
        allowed = allowed & mask
    empty = ~allowed.any(-1, keepdim=True)
    allowed = allowed | empty
    if bias is None:
        return allowed.expand(*allowed.shape[:-2], T, S), empty
    return bias.masked_fill(empty, 0.0).masked_fill(~allowed, -torch.inf), empty
