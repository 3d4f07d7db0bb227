r"""A loss of pairs from hidden states: a pair at a time, finished before the next is begun.

A loss that is a mean over pairs, $\frac{1}{N} \sum_i f(\ell_{w,i}, \ell_{l,i})$ of the answers'
log-probabilities, needs the logits of one pair at a time. Once they are there, so are the two sums,
the slopes of $f$ in them, and by

$$
\frac{\partial\,\text{loss}}{\partial z_t} = u_t \big( e_{y_t} - \operatorname{softmax}(z_t) \big),
\qquad u_t = \frac{1}{N} \frac{\partial f}{\partial \ell} \tag{1}
$$

(with $\ell$ the answer that token $t$ belongs to) the gradient of the logits, written over them,
and from it those of hidden states and matrix. Then the logits are forgotten. Three products, as in
a plain step, and the memory of `pairs` pairs; `chunked_log_prob` holds less and makes four.

**Shapes.** `hidden` `(2, N, T, C)`, chosen answers first; `matrix` `(V, C)`; `ids` and `completion`
`(2, N, T)`, not shifted; `reference` `(2, N)`.

**Numerics.** As in `clearhead.training.chunked`: products in the dtype of the input or in
autocast's, the rest in fp32 at least; the backward pass runs once. The size of 1/N,
as a power of two, is kept out of the logits' gradient and multiplied in there: in fp16 a small one
would be rounded to nothing, and no scale of the loss would bring it back.

**Source.** Hsu et al., 2024 (Liger kernel, arXiv 2410.10989), `LigerFusedLinearPreferenceBase`.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from clearhead._checks import require_floating, require_integer
from clearhead.training.loss import require_vocabulary

from .chunked_log_prob import product_dtype
from .log_probs import row_sums
from .pairs import Pairs, pair_scores, require_pairs, require_reference
from .scores import pair_loss


def chunked_preference_loss(
    hidden: Float[Tensor, "2 N T C"],
    matrix: Float[Tensor, "V C"],
    ids: Int[Tensor, "2 N T"],
    completion: Bool[Tensor, "2 N T"],
    reference: Float[Tensor, "2 N"] | None = None,
    *,
    loss: Callable[..., Tensor],
    pairs: int = 1,
) -> Float[Tensor, ""]:
    """`pair_loss(loss, …)` on the log-probabilities, and its gradients, `pairs` pairs at a time.

    `loss` must be a mean over pairs, as all of this package are. Raises what `sequence_log_prob`
    and `pair_loss` raise, and `ValueError` when `hidden` and `matrix` do not fit or the reference
    is of other pairs.
    """
    require_pairs(Pairs(ids, completion))
    require_integer(1, pairs=pairs)
    require_floating(hidden=hidden)
    if hidden.shape[:3] != ids.shape:
        raise ValueError(
            f"Given hidden {tuple(hidden.shape)} for ids {tuple(ids.shape)}; expected "
            "(2, N, T, C) for (2, N, T)."
        )
    if reference is not None:
        require_reference(reference, ids.shape[1])
    dtype = product_dtype(hidden, matrix)
    require_vocabulary(ids[..., 1:][completion[..., 1:]], len(matrix))
    with torch.autocast(hidden.device.type, enabled=False):
        given = (ids, completion, reference, loss, pairs, dtype, torch.is_grad_enabled())
        return _Fused.apply(hidden, matrix, *given)


class _Fused(torch.autograd.Function):
    """The loss; gradients are made in the forward pass and kept for later."""

    @staticmethod
    def forward(ctx, hidden, matrix, ids, completion, reference, loss, pairs, dtype, wanted):
        N, precise = ids.shape[1], torch.promote_types(dtype, torch.float32)
        W, ctx.scale = matrix.to(dtype), 2.0 ** -(N.bit_length() - 1)
        for_hidden, for_matrix = (wanted and needed for needed in ctx.needs_input_grad[:2])
        of_hidden = torch.zeros_like(hidden) if for_hidden else None
        of_matrix = torch.zeros_like(matrix, dtype=precise) if for_matrix else None
        total = torch.zeros((), dtype=precise, device=hidden.device)
        for start in range(0, N, pairs):
            some = slice(start, start + pairs)
            counted = completion[:, some, 1:]  # 2 g T-1
            h = hidden[:, some, :-1][counted].to(dtype)  # n C
            y = ids[:, some, 1:][counted].long()[:, None]  # n 1
            log_p = (h @ W.mT).to(precise).log_softmax(-1)  # n V
            sums = row_sums(log_p.gather(-1, y)[:, 0], counted)  # 2 g
            part = Pairs(ids[:, some], completion[:, some])
            old = None if reference is None else reference[:, some]
            value, slopes = _loss_and_slopes(loss, sums, part, old)
            share = sums.shape[1] / N
            total += share * value
            if not (for_hidden or for_matrix):
                continue
            slopes = share / ctx.scale * slopes
            u = slopes[..., None].expand(counted.shape)[counted][:, None]  # n 1
            delta = log_p.exp_().mul_(-u).scatter_add_(-1, y, u).to(dtype)  # equation (1)
            if for_hidden:
                of_hidden[:, some, :-1][counted] = (delta @ W).to(of_hidden.dtype)
            if for_matrix:
                of_matrix += delta.mT @ h
        ctx.gradients, ctx.dtype = (of_hidden, of_matrix), matrix.dtype
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        if ctx.gradients is None:
            raise RuntimeError(
                "chunked_preference_loss's backward pass runs once: compute the loss again."
            )
        (of_hidden, of_matrix), ctx.gradients = ctx.gradients, None
        if of_hidden is not None:
            of_hidden = of_hidden.mul_(upstream * ctx.scale)
        if of_matrix is not None:
            of_matrix = of_matrix.mul_(upstream * ctx.scale).to(ctx.dtype)
        return of_hidden, of_matrix, *[None] * 7


def _loss_and_slopes(
    loss: Callable[..., Tensor], sums: Tensor, pairs: Pairs, reference: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The loss of a few pairs, and its derivative in each of their log-probabilities."""
    with torch.enable_grad():
        sums = sums.detach().requires_grad_(True)
        value = pair_loss(loss, pair_scores(sums, pairs, reference))
        [slopes] = torch.autograd.grad(value, sums)
    return value.detach(), slopes
