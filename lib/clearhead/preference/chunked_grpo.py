r"""GRPO's and DAPO's losses without the logits: a few tokens at a time, and their gradient at once.

A token's loss depends on its own log-prob alone; ratio, clip and KL term all come from it. And how
much the token counts in the mean is known before anything is computed, from the mask. With rows
$h_i$ of width $C$, the vocabulary's matrix $W$, targets $y_i$ and weights $w_i$ (1/(B·|y|), 1/n or
1/(B·length), see `aggregate_loss`):

$$
z_i = W h_i, \qquad \text{new}_i = z_{i,y_i} - \ln \sum_v e^{z_{i,v}}, \qquad
\text{loss} = \sum_i w_i\, \ell_i(\text{new}_i) \tag{1}
$$

$$
\frac{\partial\,\text{loss}}{\partial z_i}
= w_i\, \ell_i'(\text{new}_i)\, \big( e_{y_i} - \operatorname{softmax}(z_i) \big) =: \delta_i
\tag{2}
$$

$$
\frac{\partial\,\text{loss}}{\partial h_i} = W^\top \delta_i, \qquad
\frac{\partial\,\text{loss}}{\partial W} = \sum_i \delta_i h_i^\top \tag{3}
$$

So `chunk` tokens are taken at a time, as in `clearhead.training.chunked_loss`: three products, the
memory of `chunk` rows of logits. GSPO is left out: its ratio needs an answer's tokens all at once.

**Shapes.** `hidden` `(B, T, C)` and `ids` `(B, T)` are aligned: row t predicts `ids[:, t]`, as
`answer_states` and `Rollout.completion` give them.

**Numerics.** Products in the dtype of the input; the rest in fp32, in fp64 for fp64. Tokens that
do not count are left out before the first product. The backward pass can run once. The size of the
largest $w_i$, as a power of two, is kept out of δ and multiplied in there: in fp16 a small δ would
be rounded to nothing, and no scale of the loss would bring it back.

**Source.** Hsu et al., 2024 (Liger kernel, arXiv 2410.10989), and its chunked GRPO loss.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from clearhead._checks import require_integer
from clearhead.training.loss import require_vocabulary

from ._rl_checks import require_alike, require_axes, require_between, require_mask
from .aggregate import aggregate_loss
from .chunked_log_prob import product_dtype
from .losses import require_advantages, require_beta, token_losses


def chunked_grpo_loss(
    hidden: Float[Tensor, "B T C"],
    matrix: Float[Tensor, "V C"],
    ids: Int[Tensor, "B T"],
    old: Float[Tensor, "B T"],
    advantages: Float[Tensor, " B"],
    mask: Bool[Tensor, "B T"],
    *,
    how: str = "sequence",
    length: int | None = None,
    low: float = 0.2,
    high: float = 0.2,
    reference: Float[Tensor, "B T"] | None = None,
    beta: float | int = 0.0,
    corrected: bool = False,
    chunk: int = 256,
) -> Float[Tensor, ""]:
    """Equation (1): what `token_losses` and `aggregate_loss` give on `hidden @ matrix.T`.

    Raises as they do, and `ValueError` when `hidden`, `matrix` and `ids` do not fit or an id that
    counts is outside the vocabulary.
    """
    require_axes("B T C", hidden=hidden)
    require_mask(hidden.shape[:2], mask=mask)
    require_integer(1, chunk=chunk)
    if ids.shape != mask.shape or old.shape != mask.shape:
        raise ValueError(
            f"Given ids {tuple(ids.shape)} and old {tuple(old.shape)}; expected "
            f"{tuple(mask.shape)}, a token for each row of hidden."
        )
    require_advantages(advantages, old=old)
    require_alike(**{"old": old} if reference is None else {"old": old, "reference": reference})
    require_between(0, 1, ends=False, low=low, high=high)
    require_beta(beta, reference)
    dtype = product_dtype(hidden, matrix)
    precise = torch.promote_types(dtype, torch.float32)
    ones = torch.ones(mask.shape, dtype=precise, device=mask.device).requires_grad_(True)
    with torch.enable_grad():
        mean = aggregate_loss(ones, mask, how, length=length)
    weights = torch.autograd.grad(mean, ones)[0][mask]  # how much each token counts
    scale = 2.0 ** math.frexp(weights.max().item() if len(weights) else 1.0)[1]
    targets = ids[mask].long()
    require_vocabulary(targets, len(matrix))
    per_token = [x[mask].to(precise) for x in (old, advantages[:, None].expand(mask.shape))]
    per_token.append(weights / scale)
    per_token.append(None if reference is None else reference[mask].to(precise))
    options = dict(low=low, high=high, beta=beta, corrected=corrected)
    with torch.autocast(hidden.device.type, enabled=False):
        rows, wanted = hidden[mask].to(dtype), torch.is_grad_enabled()
        return _Chunked.apply(rows, matrix, targets, per_token, options, scale, chunk, wanted)


class _Chunked(torch.autograd.Function):
    """Equation (1) of rows `(n, C)`; the gradients are made in the forward pass and kept."""

    @staticmethod
    def forward(ctx, rows, matrix, targets, per_token, options, scale, chunk, wanted):
        precise = torch.promote_types(rows.dtype, torch.float32)
        W = matrix.to(rows.dtype)
        loss = torch.zeros((), dtype=precise, device=rows.device)
        of_rows = torch.empty_like(rows) if wanted and ctx.needs_input_grad[0] else None
        of_matrix = None
        if wanted and ctx.needs_input_grad[1]:
            of_matrix = torch.zeros_like(matrix, dtype=precise)
        for start in range(0, len(rows), chunk):
            part = slice(start, start + chunk)
            h, y = rows[part], targets[part, None]
            log_p = (h @ W.mT).to(precise).log_softmax(-1)  # chunk V
            value, slope = _weighted(
                log_p.gather(-1, y), *(x if x is None else x[part] for x in per_token), **options
            )
            loss += value
            if of_rows is None and of_matrix is None:
                continue
            p = log_p.exp_().mul_(-slope)
            delta = p.scatter_add_(-1, y, slope).to(rows.dtype)  # equation (2)
            if of_rows is not None:
                of_rows[part] = delta @ W  # equation (3)
            if of_matrix is not None:
                of_matrix += delta.mT @ h
        ctx.gradients, ctx.scale, ctx.dtype = (of_rows, of_matrix), scale, matrix.dtype
        return scale * loss

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        if ctx.gradients is None:
            raise RuntimeError("chunked_grpo_loss's backward pass runs once: compute it again.")
        (of_rows, of_matrix), ctx.gradients = ctx.gradients, None
        if of_rows is not None:
            of_rows = of_rows.mul_(upstream * ctx.scale)
        if of_matrix is not None:
            of_matrix = of_matrix.mul_(upstream * ctx.scale).to(ctx.dtype)
        return of_rows, of_matrix, *[None] * 6


def _weighted(new, old, advantages, weights, reference, **options) -> tuple[Tensor, Tensor]:
    """The weighted sum of the losses of tokens with log-probs `new` `(n, 1)`, and its slope."""
    new = new.detach().requires_grad_(True)
    with torch.enable_grad():
        other = None if reference is None else reference[:, None]
        losses = token_losses(new, old[:, None], advantages, reference=other, **options)
        value = (weights[:, None] * losses).sum()
    return value.detach(), torch.autograd.grad(value, new)[0]
