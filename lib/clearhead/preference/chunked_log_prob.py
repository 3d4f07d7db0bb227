r"""Log-probabilities of answers without the logits: a few tokens at a time, twice.

The logits of two answers in a batch of pairs are the largest tensor of a preference step. With rows
$h_i$ of width $C$ (what the last norm gives), the vocabulary's matrix $W$ and targets $y_i$,

$$
z_i = W h_i, \qquad \ell_i = z_{i,y_i} - \ln \sum_v e^{z_{i,v}} \tag{1}
$$

$$
\frac{\partial}{\partial z_i} \sum_j u_j \ell_j = u_i \big( e_{y_i} - \operatorname{softmax}(z_i)
\big) =: \delta_i \tag{2}
$$

$$
\frac{\partial}{\partial h_i} = W^\top \delta_i, \qquad
\frac{\partial}{\partial W} = \sum_i \delta_i h_i^\top \tag{3}
$$

What comes back from the loss, $u_i$, depends on *all* tokens of both answers, so (2) can't be made
in the forward pass: there (1) is computed, `chunk` tokens at a time, and one number a token is
kept; the backward pass makes the logits again. Four products instead of three buy the memory of
`chunk` rows. `chunked_preference` needs three: it finishes a pair before it goes on.

**Shapes.** `hidden` `(B, T, C)`, `matrix` `(V, C)`, `ids` and `completion` `(B, T)`, not shifted.

**Numerics.** Products in the dtype of the input, or in autocast's; softmax and sums in fp32, in
fp64 for fp64. Positions that do not count are left out before the first product.

**Source.** Chen et al., 2016 (arXiv 1604.06174), for computing again; trl's `fused_lm_head` tiles
the same way.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from clearhead._checks import require_floating, require_integer
from clearhead.training.loss import require_vocabulary

from ._checks import require_completion, require_labels
from .log_probs import row_sums


def chunked_log_prob(
    hidden: Float[Tensor, "B T C"],
    matrix: Float[Tensor, "V C"],
    ids: Int[Tensor, "B T"],
    completion: Bool[Tensor, "B T"],
    *,
    chunk: int = 256,
) -> Float[Tensor, "B"]:
    """What `sequence_log_prob` gives on `hidden @ matrix.T`, and its gradients.

    Raises as that does, and `ValueError` when `hidden` and `matrix` do not fit.
    """
    require_labels(hidden, ids=ids)
    require_completion(completion, ids.shape)
    require_integer(1, chunk=chunk)
    dtype = product_dtype(hidden, matrix)
    counted = completion[:, 1:]
    targets = ids[:, 1:][counted].long()
    require_vocabulary(targets, len(matrix))
    rows = hidden[:, :-1][counted].to(dtype)  # n C
    with torch.autocast(hidden.device.type, enabled=False):
        return row_sums(_Tokens.apply(rows, matrix, targets, chunk), counted)


def product_dtype(hidden: Tensor, matrix: Tensor) -> torch.dtype:
    """The dtype that products are made in. Raises when `hidden` and `matrix` do not fit."""
    if matrix.ndim != 2 or matrix.shape[1] != hidden.shape[-1]:
        raise ValueError(
            f"Given hidden {tuple(hidden.shape)} and matrix {tuple(matrix.shape)}; expected "
            "(…, C) and (V, C)."
        )
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    require_floating(hidden=hidden, matrix=matrix)
    return matrix.dtype


class _Tokens(torch.autograd.Function):
    """Equation (1) for rows `(n, C)` and targets `(n,)`."""

    @staticmethod
    def forward(ctx, rows, matrix, targets, chunk):
        precise = torch.promote_types(rows.dtype, torch.float32)
        W = matrix.to(rows.dtype)
        log_p = torch.empty(len(rows), dtype=precise, device=rows.device)
        log_sums = torch.empty_like(log_p)
        for start in range(0, len(rows), chunk):
            part = slice(start, start + chunk)
            z = (rows[part] @ W.mT).to(precise)  # chunk V
            log_sums[part] = z.logsumexp(-1)
            log_p[part] = z.gather(-1, targets[part, None])[:, 0] - log_sums[part]
        ctx.save_for_backward(rows, matrix, targets, log_sums)
        ctx.chunk = chunk
        return log_p

    @staticmethod
    @once_differentiable
    def backward(ctx, u):
        rows, matrix, targets, log_sums = ctx.saved_tensors
        W = matrix.to(rows.dtype)
        of_rows = torch.empty_like(rows) if ctx.needs_input_grad[0] else None
        of_matrix = torch.zeros_like(matrix, dtype=u.dtype) if ctx.needs_input_grad[1] else None
        for start in range(0, len(rows), ctx.chunk):
            part = slice(start, start + ctx.chunk)
            h, y, weight = rows[part], targets[part, None], u[part, None]
            z = (h @ W.mT).to(u.dtype)
            delta = z.sub_(log_sums[part, None]).exp_().mul_(-weight)
            delta = delta.scatter_add_(-1, y, weight).to(rows.dtype)  # equation (2)
            if of_rows is not None:
                of_rows[part] = delta @ W  # equation (3)
            if of_matrix is not None:
                of_matrix += delta.mT @ h
        if of_matrix is not None:
            of_matrix = of_matrix.to(matrix.dtype)
        return of_rows, of_matrix, None, None
