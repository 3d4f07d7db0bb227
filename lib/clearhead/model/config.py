r"""The numbers that fix a decoder: how wide, how deep, how many heads, and which variant.

One frozen dataclass describes Llama, Qwen2 and Qwen3. They differ in two fields:

| family | `qkv_bias` | `qk_norm` | published in |
|---|---|---|---|
| Llama, SmolLM2 | no | no | Touvron et al. 2023, arXiv 2307.09288 |
| Qwen2, Qwen2.5 | yes | no | Yang et al. 2024, arXiv 2407.10671 |
| Qwen3 | no | yes | Yang et al. 2025, arXiv 2505.09388 |

Rotary frequency $i$ of a head of size $D$ turns by $\theta^{-2i/D}$ radians a position. Models that
were stretched to longer contexts multiply it by a factor $s_i$, kept in `rope_scale`:

$$
\omega_i = s_i\,\theta^{-2i/D}, \qquad i = 0, \dots, D/2 - 1 \tag{1}
$$

*Linear* scaling has $s_i = 1/f$ for every $i$ (Chen et al. 2023, arXiv 2306.15595). *Llama 3.1*
leaves the fast frequencies alone, divides the slow ones by $f$, and interpolates between. With
wavelength $\lambda_i = 2\pi / \theta^{-2i/D}$ and trained context $n$:

$$
s_i = (1 - r_i)\,\tfrac{1}{f} + r_i, \qquad
r_i = \mathrm{clip}\!\left(
\frac{n/\lambda_i - \text{low}}{\text{high} - \text{low}},\ 0,\ 1\right) \tag{2}
$$
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    r"""Sizes and variant of a `Decoder`.

    Raises `ValueError` when a size is not a positive integer, when `heads` is not a multiple of
    `kv_heads`, when `head_size` is odd, or when `rope_scale` does not have `head_size / 2` entries.
    """

    vocab_size: int  # V
    width: int  # C, the size of the residual stream
    layers: int  # L
    heads: int  # H, query heads
    kv_heads: int  # K, key/value heads; H / K query heads share one
    head_size: int  # D; H · D need not be C
    feed_forward: int  # F
    rope_theta: float = 10_000.0
    rope_scale: tuple[float, ...] | None = (
        None  # D/2 factors on the rotary frequencies, equation (1)
    )
    norm_eps: float = 1e-5
    tied: bool = False  # the output head is the embedding matrix
    qkv_bias: bool = False  # Qwen2
    qk_norm: bool = False  # Qwen3
    max_positions: int = 2048  # the context of the training; not enforced

    def __post_init__(self):
        sizes = "vocab_size width layers heads kv_heads head_size feed_forward max_positions"
        for name in sizes.split():
            require_size(name, getattr(self, name))
        if self.heads % self.kv_heads:
            raise ValueError(
                f"{self.heads} query heads can't share {self.kv_heads} key/value heads evenly: "
                f"make heads a multiple of kv_heads"
            )
        if self.head_size % 2:
            raise ValueError(
                f"head_size is {self.head_size}; rotary embeddings turn pairs, so make it even"
            )
        if self.rope_scale is not None and len(self.rope_scale) != self.head_size // 2:
            raise ValueError(
                f"rope_scale has {len(self.rope_scale)} factors; head_size {self.head_size} needs "
                f"{self.head_size // 2}, one a frequency"
            )
        for name in ("rope_theta", "norm_eps"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}; give a positive number")


def require_size(name: str, value) -> int:
    r"""`value` itself, or a `ValueError` when it is not a positive integer."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} is {value!r}; give a positive integer")
    return value


def linear_rope_scale(head_size: int, factor: float) -> tuple[float, ...]:
    r"""$D/2$ factors $1/f$: positions are squeezed by $f$ (position interpolation)."""
    return (1 / factor,) * (head_size // 2)


def llama3_rope_scale(
    head_size: int,
    theta: float,
    *,
    factor: float,
    low_freq_factor: float,
    high_freq_factor: float,
    original_max_positions: float,
) -> tuple[float, ...]:
    r"""$D/2$ factors of equation (2): Llama 3.1's scaling, from `meta-llama/llama-models`."""
    scale = []
    for i in range(head_size // 2):
        wavelength = 2 * math.pi * theta ** (2 * i / head_size)  # positions a turn
        turns = original_max_positions / wavelength  # full turns within the trained context
        ramp = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor)
        ramp = min(max(ramp, 0.0), 1.0)
        scale.append((1 - ramp) / factor + ramp)
    return tuple(scale)
