r"""The decoder: token ids in, one distribution over the next token out at every position.

This is the Transformer of Llama, Qwen2 and Qwen3, whole, in one file. A block adds two updates to
the residual stream $x \in \mathbb{R}^{T \times C}$; after $L$ blocks a matrix makes the logits:

$$
\begin{aligned}
x &\leftarrow x + \mathrm{Attention}(\mathrm{RMSNorm}(x)) \\
x &\leftarrow x + \mathrm{SwiGLU}(\mathrm{RMSNorm}(x))
\end{aligned} \tag{1}
$$

$$
\mathrm{RMSNorm}(x) = g \odot \frac{x}{\sqrt{\tfrac{1}{C}\sum_c x_c^2 + \varepsilon}} \tag{2}
$$

$$
\mathrm{SwiGLU}(x) = W_{down}\big(\mathrm{silu}(W_{gate}\,x) \odot W_{up}\,x\big), \qquad
\mathrm{silu}(z) = z\,\sigma(z) \tag{3}
$$

Attention is causal, with rotary positions and $K \le H$ key/value heads (`clearhead.attention`).
Qwen2 adds a bias to $q$, $k$ and $v$; Qwen3 normalises every head's $q$ and $k$ by (2) before the
rotation.

Shapes: B batch, T positions, H query heads, K key/value heads, D head size, C width,
F feed-forward width, V vocabulary.

Sources: Touvron et al. 2023 (arXiv 2302.13971, section 2.2) for the block; Zhang and Sennrich 2019
(arXiv 1910.07467) for (2); Shazeer 2020 (arXiv 2002.05202, equation 6) for (3).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from clearhead.attention import attention, rotary_angles, rotate
from clearhead.model._checks import check_ids, check_mask, check_positions
from clearhead.model.config import Config


class RMSNorm(nn.Module):
    r"""Equation (2), over the last axis; the mean is taken in fp32, or in fp64 for fp64 input."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Float[Tensor, "... width"]) -> Float[Tensor, "... width"]:
        precise = x.to(torch.promote_types(x.dtype, torch.float32))
        unit = precise * torch.rsqrt(precise.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * unit.to(x.dtype)


class SwiGLU(nn.Module):
    r"""Equation (3): the gate decides, channel by channel, how much of `up` passes."""

    def __init__(self, config: Config):
        super().__init__()
        self.gate = nn.Linear(config.width, config.feed_forward, bias=False)
        self.up = nn.Linear(config.width, config.feed_forward, bias=False)
        self.down = nn.Linear(config.feed_forward, config.width, bias=False)

    def forward(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Attention(nn.Module):
    r"""Grouped-query attention: `project` makes q, k, v; `attention` mixes; `merge` ends it."""

    def __init__(self, config: Config):
        super().__init__()
        H, K, D, C = config.heads, config.kv_heads, config.head_size, config.width
        self.query = nn.Linear(C, H * D, bias=config.qkv_bias)
        self.key = nn.Linear(C, K * D, bias=config.qkv_bias)
        self.value = nn.Linear(C, K * D, bias=config.qkv_bias)
        self.output = nn.Linear(H * D, C, bias=False)
        self.query_norm = RMSNorm(D, config.norm_eps) if config.qk_norm else nn.Identity()
        self.key_norm = RMSNorm(D, config.norm_eps) if config.qk_norm else nn.Identity()
        self.heads, self.kv_heads, self.head_size = H, K, D

    def project(
        self, x: Float[Tensor, "B T C"], turn: tuple[Tensor, Tensor]
    ) -> tuple[Float[Tensor, "B H T D"], Float[Tensor, "B K T D"], Float[Tensor, "B K T D"]]:
        r"""Queries and keys, already rotated, and values; one row of D numbers a head."""
        (B, T, _), D = x.shape, self.head_size
        q = self.query_norm(self.query(x).view(B, T, self.heads, D)).transpose(1, 2)
        k = self.key_norm(self.key(x).view(B, T, self.kv_heads, D)).transpose(1, 2)
        v = self.value(x).view(B, T, self.kv_heads, D).transpose(1, 2)
        return rotate(q, *turn), rotate(k, *turn), v

    def merge(self, heads: Float[Tensor, "B H T D"]) -> Float[Tensor, "B T C"]:
        r"""Every head's output, side by side, through the output matrix."""
        return self.output(heads.transpose(1, 2).flatten(2))

    def forward(self, x, turn, mask):
        q, k, v = self.project(x, turn)
        return self.merge(attention(q, k, v, mask, causal=mask is None))


class Block(nn.Module):
    r"""Equation (1): two updates, each read through a norm and added to the residual stream."""

    def __init__(self, config: Config):
        super().__init__()
        self.attention_norm = RMSNorm(config.width, config.norm_eps)
        self.attention = Attention(config)
        self.feed_forward_norm = RMSNorm(config.width, config.norm_eps)
        self.feed_forward = SwiGLU(config)

    def forward(self, x, turn, mask):
        x = x + self.attention(self.attention_norm(x), turn, mask)
        return x + self.feed_forward(self.feed_forward_norm(x))


class Decoder(nn.Module):
    r"""A Llama-style language model with the sizes of `config` and random weights (see `load`)."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.width, config.norm_eps)
        if not config.tied:
            self.head = nn.Linear(config.width, config.vocab_size, bias=False)

    def forward(
        self,
        ids: Int[Tensor, "B T"],
        *,
        positions: Int[Tensor, "B T"] | None = None,
        mask: Bool[Tensor, "... #T #T"] | None = None,
    ) -> Float[Tensor, "B T V"]:
        r"""Logits: row t holds the scores of every candidate for token t + 1.

        `positions` default to 0, 1, …, T − 1. `mask` (True = may attend, broadcast to B H T T)
        defaults to the causal one; a mask that is given is used as it is, so combine it with
        `causal_mask(T, T)`. Raises `TypeError` when `ids` is not a (B, T) tensor of integers and
        `ValueError` when an id is outside the vocabulary or `positions` or `mask` do not fit.
        """
        turn = self.turn(ids, positions)
        check_mask(mask, *ids.shape, self.config.heads)
        x = self.embedding(ids)  # B T C
        for block in self.blocks:
            x = block(x, turn, mask)
        return self.logits(x)

    def turn(self, ids: Tensor, positions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        r"""Cosine and sine of the rotary angles, each B 1 T D/2: computed once, for all layers."""
        check_ids(ids, self.config.vocab_size)
        B, T = ids.shape
        if positions is None:
            positions = torch.arange(T, device=ids.device).expand(B, T)
        check_positions(positions, ids)
        angles = rotary_angles(positions, self.config.head_size, theta=self.config.rope_theta)
        if self.config.rope_scale is not None:
            angles = angles * angles.new_tensor(self.config.rope_scale)
        angles = angles[:, None]  # the same for every head
        dtype = torch.promote_types(self.embedding.weight.dtype, torch.float32)
        return angles.cos().to(dtype), angles.sin().to(dtype)

    def logits(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T V"]:
        r"""The last norm, then one dot product with every row of the embedding, or of `head`."""
        matrix = self.embedding.weight if self.config.tied else self.head.weight
        return F.linear(self.norm(x), matrix)
