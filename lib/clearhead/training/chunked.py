r"""The next-token loss without the logits: a few rows at a time, and their gradient at once.

The logits of a batch are $n \times V$ numbers, the largest tensor of a training step by far: 8,192
tokens and a vocabulary of 128,256 make 4.2 GB in fp32, and the backward pass of torch's
cross-entropy holds three such tensors at once. But once a row's logits are known, so is their
gradient, for the loss comes right after them. With rows $h_i$ of width $C$ (what the last norm
gives), the vocabulary's matrix $W$, labels $y_i$, and $N$ tokens that share the mean:

$$
z_i = W h_i, \qquad
\text{loss} = \frac{1}{N} \sum_i \Big( \ln \sum_v e^{z_{i,v}} - z_{i,y_i} \Big) \tag{1}
$$

$$
N \frac{\partial\,\text{loss}}{\partial z_i} = \operatorname{softmax}(z_i) - e_{y_i}
=: \delta_i \tag{2}
$$

$$
\frac{\partial\,\text{loss}}{\partial h_i} = \frac{1}{N} W^\top \delta_i, \qquad
\frac{\partial\,\text{loss}}{\partial W} = \frac{1}{N} \sum_i \delta_i h_i^\top \tag{3}
$$

So `chunk` rows are taken at a time: their logits, (2) written over the logits, (3) added up; then
the logits are forgotten. The work is the same three products, the memory that of `chunk` rows and
of the result.
Labels of −100 are left out before the first product: with answers alone to learn, most of the work
is saved too.

**Shapes.** `hidden` `(B, T, C)`, `matrix` `(V, C)`, `labels` `(B, T)`, not shifted: row t predicts
the label of position t + 1.

**Numerics.** Products in the dtype of the input, or in autocast's; (2) and the sums over chunks in
fp32, in fp64 for fp64. What the backward pass is given multiplies the kept gradients in place, so
it can run once.

**Source.** Hsu et al., 2024 (Liger kernel, arXiv 2410.10989), "FusedLinearCrossEntropy".
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from clearhead._checks import require_floating, require_integer
from clearhead.model import Decoder
from clearhead.model._checks import check_mask

from ._checks import require_labels, require_some
from .labels import IGNORED
from .loss import require_vocabulary


def chunked_loss(
    hidden: Float[Tensor, "B T C"],
    matrix: Float[Tensor, "V C"],
    labels: Int[Tensor, "B T"],
    *,
    chunk: int = 256,
    count: int | None = None,
) -> Float[Tensor, ""]:
    """Equation (1): what `next_token_loss` gives on `hidden @ matrix.T`, and its gradients.

    `count` is N: the labels to be learned in `labels` unless given. A micro-batch gives that of the
    whole batch, and 1 gives the sum. Raises `TypeError` for a wrong dtype and `ValueError` when the
    shapes do not fit, a label is outside the vocabulary, or nothing is to be learned and `count` is
    not given.
    """
    require_labels(hidden, labels=labels)
    require_integer(1, chunk=chunk)
    if matrix.ndim != 2 or matrix.shape[1] != hidden.shape[-1]:
        raise ValueError(
            f"Given hidden {tuple(hidden.shape)} and matrix {tuple(matrix.shape)}; expected "
            "(B, T, C) and (V, C)."
        )
    learned = labels[:, 1:] != IGNORED
    targets = labels[:, 1:][learned].long()  # n
    require_vocabulary(targets, len(matrix))
    if count is None:
        require_some(learned, f"every label but the first is {IGNORED}")
        count = len(targets)
    require_integer(1, count=count)
    rows, kind = hidden[:, :-1][learned], hidden.device.type  # n C
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        rows = rows.to(dtype)
    else:
        dtype = matrix.dtype
        require_floating(hidden=hidden, matrix=matrix)
    with torch.autocast(kind, enabled=False):
        wanted = torch.is_grad_enabled()
        return _Chunked.apply(rows, matrix, targets, chunk, count, dtype, wanted)


class _Chunked(torch.autograd.Function):
    """The loss of rows `(n, C)`; the gradients are made in the forward pass and kept for later."""

    @staticmethod
    def forward(ctx, rows, matrix, targets, chunk, count, dtype, wanted):
        precise = torch.promote_types(dtype, torch.float32)
        W = matrix.to(dtype)
        loss = torch.zeros((), dtype=precise, device=rows.device)
        of_rows = torch.empty_like(rows) if wanted and ctx.needs_input_grad[0] else None
        of_matrix = None
        if wanted and ctx.needs_input_grad[1]:
            of_matrix = torch.zeros_like(matrix, dtype=precise)
        for start in range(0, len(rows), chunk):
            h, y = rows[start : start + chunk], targets[start : start + chunk, None]
            log_p = (h @ W.mT).to(precise).log_softmax(-1)  # chunk V
            loss -= log_p.gather(-1, y).sum()  # equation (1)
            if of_rows is None and of_matrix is None:
                continue
            p = log_p.exp_()
            delta = p.scatter_add_(-1, y, p.new_full(y.shape, -1.0)).to(dtype)  # equation (2)
            if of_rows is not None:
                of_rows[start : start + chunk] = delta @ W  # equation (3)
            if of_matrix is not None:
                _add_product(of_matrix, delta.mT, h)
        ctx.gradients = of_rows, of_matrix
        ctx.count, ctx.dtype = count, matrix.dtype
        return loss / count

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        if ctx.gradients is None:
            raise RuntimeError("chunked_loss's backward pass runs once: compute the loss again.")
        (of_rows, of_matrix), ctx.gradients = ctx.gradients, None
        if of_rows is not None:
            of_rows = of_rows.mul_(upstream / ctx.count)
        if of_matrix is not None:
            of_matrix = of_matrix.mul_(upstream / ctx.count).to(ctx.dtype)
        return of_rows, of_matrix, *[None] * 5


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a @ b, in total's dtype, which may be wider than that of a and b."""
    if total.dtype == a.dtype:
        total.addmm_(a, b)
    else:
        total += a @ b


def hidden_states(
    model: Decoder,
    ids: Int[Tensor, "B T"],
    *,
    positions: Int[Tensor, "B T"] | None = None,
    mask: Bool[Tensor, "... #T #T"] | None = None,
) -> Float[Tensor, "B T C"]:
    """What the last norm of a `Decoder` gives: its logits are this times `vocabulary_matrix`.T.

    `positions` and `mask` are as in `Decoder.forward`, whose errors are raised.
    """
    turn = model.turn(ids, positions)
    check_mask(mask, *ids.shape, model.config.heads)
    x = model.embedding(ids)
    for block in model.blocks:
        x = block(x, turn, mask)
    return model.norm(x)


def vocabulary_matrix(model: Decoder) -> Float[Tensor, "V C"]:
    """The matrix that makes a `Decoder`'s logits: the embedding's where they are tied."""
    return model.embedding.weight if model.config.tied else model.head.weight
