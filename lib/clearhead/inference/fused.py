r"""A decoder's weights, fused for speed: fewer and larger products, the same numbers.

Matrices that read one input become one matrix, whose output is cut afterwards:

$$
\begin{pmatrix} q \\ k \\ v \end{pmatrix} =
\begin{pmatrix} W_q \\ W_k \\ W_v \end{pmatrix} x, \qquad
\begin{pmatrix} g \\ u \end{pmatrix} =
\begin{pmatrix} W_{gate} \\ W_{up} \end{pmatrix} x \tag{1}
$$

The rotation of all query and key heads is three operations, with a table of both halves' cosines
and signed sines and with the halves of a head swapped:

$$
R\,(a, b) = (a, b) \odot (\cos, \cos) + (b, a) \odot (-\sin, \sin) \tag{2}
$$

**Layout.** A product with one token reads every weight once and does little else, so the order in
memory decides its speed. On a CPU in fp32, matrices with more outputs than inputs are stored column
by column: the library's product then adds long columns in place of taking many short dot products.
That gains with one or two tokens and loses with a few more, so it is done for a `batch` of 1 or 2;
the head, which gains and loses most, is then kept both ways.

**Memory.** The fused matrices, and those stored by columns, are copies: the model that they came
from keeps its own. All else (embedding, norms, the other matrices) is shared. A later change of the
model would reach only that part, so that its weights must be fused anew.

**Shapes.** B batch, T tokens, H query heads, K key/value heads, D head size, C width.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from clearhead.attention import rotary_angles
from clearhead.model import Config, Decoder

FEW = 2  # tokens in one product, up to which columns are the better layout


@dataclass(frozen=True)
class FusedBlock:
    """One block's weights."""

    norm: Tensor  # C
    qkv: Tensor  # (H + 2K)·D, C
    bias: Tensor | None  # (H + 2K)·D, Qwen2
    qk_norm: Tensor | None  # H + K, D, Qwen3
    output: Tensor  # C, H·D
    feed_forward_norm: Tensor  # C
    gate_up: Tensor  # 2F, C
    down: Tensor  # C, F


@dataclass(frozen=True)
class Fused:
    """A whole model's weights."""

    config: Config
    embedding: Tensor  # V, C
    blocks: tuple[FusedBlock, ...]
    norm: Tensor  # C
    head: Tensor  # V, C
    head_by_columns: Tensor | None  # the same, where one or two tokens gain by it


def fuse(model: Decoder, *, batch: int = 1) -> Fused:
    """The weights of `model`, fused, in the layout that suits decoding `batch` rows.

    Raises `TypeError` for a layer that is no plain matrix.
    """
    c = model.config
    matrix = _require_matrix("head", model.head) if not c.tied else model.embedding.weight.detach()
    columns = batch <= FEW
    return Fused(
        config=c,
        embedding=model.embedding.weight.detach(),
        blocks=tuple(_fuse_block(f"block {i}", b, c, columns) for i, b in enumerate(model.blocks)),
        norm=model.norm.weight.detach(),
        head=matrix,
        head_by_columns=_by_columns(matrix) if columns and _gains(matrix) else None,
    )


def turn_table(config: Config, length: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Equation (2)'s two factors for positions 0 to length − 1, each (length, D)."""
    positions = torch.arange(length, device=like.device)
    angles = rotary_angles(positions[None], config.head_size, theta=config.rope_theta)[0]
    if config.rope_scale is not None:
        angles = angles * angles.new_tensor(config.rope_scale)
    dtype = torch.promote_types(like.dtype, torch.float32)
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)


def project(
    x: Float[Tensor, "B T C"], block: FusedBlock, config: Config, cos: Tensor, sin: Tensor
) -> tuple[Float[Tensor, "B T H D"], Float[Tensor, "B T K D"], Float[Tensor, "B T K D"]]:
    """Queries and keys, rotated, and values. `cos` and `sin` broadcast to (B, T, 1, D)."""
    H, K, D = config.heads, config.kv_heads, config.head_size
    h = F.rms_norm(x, x.shape[-1:], block.norm, config.norm_eps)
    rows = F.linear(h, block.qkv, block.bias).unflatten(-1, (H + 2 * K, D))  # B T H+2K D
    qk, v = rows.split([H + K, K], dim=2)
    if block.qk_norm is not None:
        qk = F.rms_norm(qk, (D,), None, config.norm_eps) * block.qk_norm
    turned = torch.addcmul(qk * cos, qk.roll(D // 2, -1).to(cos.dtype), sin).to(x.dtype)
    q, k = turned.split([H, K], dim=2)
    return q, k, v


def finish(
    x: Float[Tensor, "B T C"], heads: Float[Tensor, "B T HD"], block: FusedBlock, config: Config
) -> Float[Tensor, "B T C"]:
    """The rest of a block: output matrix and feed-forward part, each added to `x`."""
    x = x + F.linear(heads, block.output)
    h = F.rms_norm(x, x.shape[-1:], block.feed_forward_norm, config.norm_eps)
    gate, up = F.linear(h, block.gate_up).chunk(2, dim=-1)
    return x + F.linear(F.silu(gate) * up, block.down)


def last_logits(x: Float[Tensor, "B T C"], fused: Fused) -> Float[Tensor, "B V"]:
    """Logits of the last position."""
    x = F.rms_norm(x[:, -1], x.shape[-1:], fused.norm, fused.config.norm_eps)
    columns = fused.head_by_columns
    return F.linear(x, fused.head if columns is None or len(x) > FEW else columns)


def _fuse_block(where: str, block, c: Config, columns: bool) -> FusedBlock:
    a, f = block.attention, block.feed_forward
    matrices = {
        name: _require_matrix(f"{where}'s {name}", getattr(part, name))
        for part, names in ((a, ("query", "key", "value", "output")), (f, ("gate", "up", "down")))
        for name in names
    }
    bias = norm = None
    if c.qkv_bias:
        bias = torch.cat([a.query.bias, a.key.bias, a.value.bias]).detach()
    if c.qk_norm:
        norms = (a.query_norm.weight.expand(c.heads, -1), a.key_norm.weight.expand(c.kv_heads, -1))
        norm = torch.cat(norms).detach()

    def stored(matrix: Tensor) -> Tensor:
        return _by_columns(matrix) if columns and _gains(matrix) else matrix

    return FusedBlock(
        norm=block.attention_norm.weight.detach(),
        qkv=stored(torch.cat([matrices[name] for name in ("query", "key", "value")])),
        bias=bias,
        qk_norm=norm,
        output=stored(matrices["output"]),
        feed_forward_norm=block.feed_forward_norm.weight.detach(),
        gate_up=stored(torch.cat([matrices["gate"], matrices["up"]])),
        down=stored(matrices["down"]),
    )


def _gains(matrix: Tensor) -> bool:
    """Wide fp32 matrices on a CPU are read faster column by column (measured; see the module)."""
    wide = matrix.shape[0] > matrix.shape[1]
    return wide and matrix.device.type == "cpu" and matrix.dtype == torch.float32


def _by_columns(matrix: Tensor) -> Tensor:
    return matrix.t().contiguous().t()


def _require_matrix(where: str, module: nn.Module) -> Tensor:
    if type(module) is not nn.Linear:
        raise TypeError(
            f"The {where} is a {type(module).__name__}; only plain nn.Linear layers can be fused. "
            "Merge adapters into the weights first."
        )
    return module.weight.detach()
