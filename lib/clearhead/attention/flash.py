r"""FlashAttention in plain PyTorch: exact attention in tiles, never holding a T × S matrix.

**Forward.** The queries are cut into tiles; for each, the keys pass by in blocks, and the online
softmax keeps $m$, $\ell$ and $a$. At the end of the row

$$
o_i = a_i / \ell_i, \qquad L_i = m_i + \ln \ell_i \tag{1}
$$

**Backward.** The log-sum-exp $L$ is all that has to be kept, because with it any weight can be had
again from its score:

$$
p_{ij} = e^{s_{ij} - L_i} \tag{2}
$$

$$
dv_j = \sum_i p_{ij}\, do_i, \qquad dp_{ij} = do_i \cdot v_j \tag{3}
$$

The softmax's derivative needs the sum $\sum_j p_{ij}\, dp_{ij}$ over a whole row, which no tile
has. But that sum equals $do_i \cdot o_i$, which is at hand before the first tile:

$$
\delta_i = do_i \cdot o_i, \qquad ds_{ij} = p_{ij}\,(dp_{ij} - \delta_i) \tag{4}
$$

$$
dq_i = \text{scale} \sum_j ds_{ij}\, k_j, \qquad dk_j = \text{scale} \sum_i ds_{ij}\, q_i \tag{5}
$$

**Shapes.** `q` is `(…, T, D)`, `k` `(…, S, D)`, `v` `(…, S, Dv)`, the log-sum-exp `(…, T)`, in fp32
or better. The largest intermediate is one tile, block_size × block_size for each batch entry.

**Causal** is aligned bottom-right as in `causal_mask`; blocks that no query of a tile may see are
skipped. A row without any key has output 0, log-sum-exp $-\infty$ and zero gradients.

**Source.** Dao, 2023 (FlashAttention-2), Algorithms 1 and 2. Equation (4): Dao et al., 2022,
appendix B.2.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from clearhead._checks import require_integer

from ._checks import require_qkv, require_scale
from .online_softmax import online_softmax_update


def flash_forward(
    q: Float[Tensor, "*batch T D"],
    k: Float[Tensor, "*batch S D"],
    v: Float[Tensor, "*batch S Dv"],
    *,
    block_size: int = 64,
    causal: bool = False,
    scale: float | None = None,
) -> tuple[Float[Tensor, "*batch T Dv"], Float[Tensor, "*batch T"]]:
    r"""Attention tile by tile, equation (1). Returns the output and the log-sum-exp of each row.

    Raises `TypeError` for a wrong dtype and `ValueError` for shapes that do not fit or a
    `block_size` below 1.
    """
    require_qkv(q, k, v)
    require_integer(1, block_size=block_size)
    require_scale(scale)
    T, S, Dv = q.shape[-2], k.shape[-2], v.shape[-1]
    precise = torch.promote_types(q.dtype, torch.float32)
    output = torch.empty(*q.shape[:-1], Dv, dtype=q.dtype, device=q.device)
    logsumexp = torch.empty(q.shape[:-1], dtype=precise, device=q.device)
    for rows in _blocks(0, T, block_size):
        like = q[..., rows, :]
        m = torch.full(like.shape[:-1], -torch.inf, dtype=precise, device=q.device)
        l = torch.zeros_like(m)  # noqa: E741
        acc = torch.zeros(*m.shape, Dv, dtype=precise, device=q.device)
        last_key = min(S, rows.stop + S - T) if causal else S
        for columns in _blocks(0, last_key, block_size):
            scores = _tile_scores(q, k, rows, columns, causal, scale)
            m, l, acc = online_softmax_update(m, l, acc, scores, v[..., columns, :].to(precise))  # noqa: E741
        output[..., rows, :] = (acc / l.masked_fill(l == 0, 1.0)[..., None]).to(q.dtype)
        logsumexp[..., rows] = m + torch.log(l)
    return output, logsumexp


def flash_backward(
    d_output: Float[Tensor, "*batch T Dv"],
    q: Float[Tensor, "*batch T D"],
    k: Float[Tensor, "*batch S D"],
    v: Float[Tensor, "*batch S Dv"],
    output: Float[Tensor, "*batch T Dv"],
    logsumexp: Float[Tensor, "*batch T"],
    *,
    block_size: int = 64,
    causal: bool = False,
    scale: float | None = None,
) -> tuple[Float[Tensor, "*batch T D"], Float[Tensor, "*batch S D"], Float[Tensor, "*batch S Dv"]]:
    """The gradients of `flash_forward`, tile by tile, equations (2) to (5). Returns dq, dk, dv.

    Raises as `flash_forward` does, and `ValueError` when `d_output`, `output` or `logsumexp` does
    not have the shape that the forward gives.
    """
    require_qkv(q, k, v)
    require_integer(1, block_size=block_size)
    require_scale(scale)
    _require_forward_results(q, v, d_output=d_output, output=output, logsumexp=logsumexp)
    T, S = q.shape[-2], k.shape[-2]
    precise = torch.promote_types(q.dtype, torch.float32)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    delta = (d_output.to(precise) * output.to(precise)).sum(-1)  # equation (4)
    dq, dk, dv = (torch.zeros_like(x, dtype=precise) for x in (q, k, v))
    for columns in _blocks(0, S, block_size):
        # The first query that sees the block; one that sees no key at all is in no tile.
        first_query = max(0, columns.start - (S - T)) if causal else 0
        for rows in _blocks(first_query, T, block_size):
            do = d_output[..., rows, :].to(precise)
            scores = _tile_scores(q, k, rows, columns, causal, scale)
            p = torch.exp(scores - logsumexp[..., rows, None])  # equation (2)
            dp = do @ v[..., columns, :].to(precise).mT
            ds = p * (dp - delta[..., rows, None]) * scale
            dv[..., columns, :] += p.mT @ do  # equation (3)
            dq[..., rows, :] += ds @ k[..., columns, :].to(precise)  # equation (5)
            dk[..., columns, :] += ds.mT @ q[..., rows, :].to(precise)
    return dq.to(q.dtype), dk.to(k.dtype), dv.to(v.dtype)


def flash_attention(
    q: Float[Tensor, "*batch T D"],
    k: Float[Tensor, "*batch S D"],
    v: Float[Tensor, "*batch S Dv"],
    *,
    block_size: int = 64,
    causal: bool = False,
    scale: float | None = None,
) -> Float[Tensor, "*batch T Dv"]:
    """Attention whose forward and backward both run in tiles; it can stand in a training step.

    Raises as `flash_forward` does. It can be differentiated once.
    """
    return _FlashAttention.apply(q, k, v, block_size, causal, scale)


class _FlashAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, block_size, causal, scale):
        ctx.options = {"block_size": block_size, "causal": causal, "scale": scale}
        output, logsumexp = flash_forward(q, k, v, **ctx.options)
        ctx.save_for_backward(q, k, v, output, logsumexp)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx, d_output):
        gradients = flash_backward(d_output, *ctx.saved_tensors, **ctx.options)
        return *gradients, None, None, None


def _blocks(start: int, stop: int, size: int) -> list[slice]:
    """Cut start…stop into slices of `size`; the last may be shorter."""
    return [slice(i, min(i + size, stop)) for i in range(start, stop, size)]


def _tile_scores(
    q: Tensor, k: Tensor, rows: slice, columns: slice, causal: bool, scale: float | None
) -> Tensor:
    """The scores of one tile, in fp32 or better; masked pairs are -inf."""
    precise = torch.promote_types(q.dtype, torch.float32)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    scores = q[..., rows, :].to(precise) @ k[..., columns, :].to(precise).mT * scale
    offset = k.shape[-2] - q.shape[-2]
    if causal and columns.stop - 1 > rows.start + offset:  # the tile crosses the diagonal
        position = torch.arange(rows.start, rows.stop, device=q.device)[:, None] + offset
        key = torch.arange(columns.start, columns.stop, device=q.device)
        scores = scores.masked_fill(key > position, -torch.inf)
    return scores


def _require_forward_results(q: Tensor, v: Tensor, **given: Tensor) -> None:
    """`d_output`, `output` and `logsumexp` have the shapes that `flash_forward` returned."""
    for name, x in given.items():
        wanted = q.shape[:-1] if name == "logsumexp" else (*q.shape[:-1], v.shape[-1])
        if tuple(x.shape) != tuple(wanted):
            raise ValueError(f"{name} has shape {tuple(x.shape)}; expected {tuple(wanted)}.")
