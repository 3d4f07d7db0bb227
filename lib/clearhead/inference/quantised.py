r"""A cache in 8 bits: each cached key or value row as D small integers and one scale.

A row $x \in \mathbb{R}^D$ of one token, head and layer is divided by its scale and rounded:

$$
s = \frac{\max_i |x_i|}{127}, \qquad c_i = \operatorname{round}(x_i / s) \in \{-127, \dots, 127\}
\tag{1}
$$

$$
\hat x_i = s\,c_i, \qquad |\hat x_i - x_i| \le \frac{s}{2} = \frac{\max_j |x_j|}{254} \tag{2}
$$

So a row with one large entry is coarse everywhere. A query's scores move by at most
$\lVert q \rVert_1\, s / (2 \sqrt{D})$. Rows are rounded once, when they come, and never again.

**Bytes.** D + 4 a row in place of 2D in bf16 (4D in fp32): with D = 128 the share is 0.52.

**Time.** `update` gives back all rows as floating-point numbers, so this cache saves memory between
steps and no time; kernels that read the integers in place save both.

**Shapes.** Codes `(B, K, S, D)`, int8; scales `(B, K, S, 1)`, fp32 (fp64 for fp64 rows).

**Numerics.** A row of zeros has scale 0 and stays zero. A row with a NaN or an infinity has no
finite number left in it: the fault is passed on, never hidden.

**Elsewhere.** KIVI (Liu et al., 2024) takes one scale a *channel* for keys, whose large entries sit
in few channels, and gets down to 2 bits.

**Source.** Absmax quantisation by rows: Dettmers et al., 2022 (LLM.int8), section 2.
"""

import torch
from jaxtyping import Float, Int8
from torch import Tensor

from clearhead._checks import require_floating

from ._checks import require_layer, require_rows, require_same_sequences
from .cache import KVCache


class Int8Cache(KVCache):
    """A `KVCache` that keeps int8 codes and a scale a row, equation (1), and gives back (2)."""

    def update(
        self, layer: int, k: Float[Tensor, "B K T D"], v: Float[Tensor, "B K T D"]
    ) -> tuple[Float[Tensor, "B K S D"], Float[Tensor, "B K S D"]]:
        require_layer(layer, len(self._layers))
        require_rows(k, v)
        new = *quantise_rows(k), *quantise_rows(v)
        old = self._layers[layer]
        if old:
            require_same_sequences(k, old[0][:, :, :0].to(k.dtype))
            new = tuple(torch.cat(pair, dim=2) for pair in zip(old, new, strict=True))
        self._layers[layer] = new
        codes_k, scale_k, codes_v, scale_v = new
        keys = dequantise_rows(codes_k, scale_k).to(k.dtype)
        return keys, dequantise_rows(codes_v, scale_v).to(v.dtype)


def quantise_rows(
    x: Float[Tensor, "*rows D"],
) -> tuple[Int8[Tensor, "*rows D"], Float[Tensor, "*rows 1"]]:
    """Codes and scale of every row, equation (1). Raises `TypeError` for a wrong dtype."""
    require_floating(x=x)
    precise = x.to(torch.promote_types(x.dtype, torch.float32))
    scale = precise.abs().amax(-1, keepdim=True) / 127
    codes = (precise / scale.masked_fill(scale == 0, 1.0)).round()
    codes = codes.clamp(-127, 127)  # a subnormal scale may be rounded down by far
    return codes.to(torch.int8), scale


def dequantise_rows(
    codes: Int8[Tensor, "*rows D"], scale: Float[Tensor, "*rows 1"]
) -> Float[Tensor, "*rows D"]:
    """What the codes stand for, equation (2), in the scale's dtype."""
    return codes * scale
