r"""What a model thinks of a whole answer: the sum of its tokens' log-probabilities.

An answer $y$ of tokens $y_1 \dots y_n$ after a prompt $x$ is as likely as its tokens are, one after
the other. The logits of position $t - 1$ predict token $t$, so a row of ids, of which $M$ belong to
the answer, gives

$$
\ln \pi(y \mid x) = \sum_{t \in M,\; t \ge 1} \ln p(\text{id}_t \mid \text{id}_0 \dots
\text{id}_{t-1}) \tag{1}
$$

A *sum*: with a mean in its place the losses of this package weigh a long answer's token less, which
IPO and SimPO ask for by name and DPO does not have. The prompt's tokens are left out. In DPO's
difference of two sums after one prompt they would cancel; in a mean they would not.

**Shapes.** `logits` `(B, T, V)`; `ids` and `completion` `(B, T)`, not shifted; True = counts. The
first token of a row has no prediction and is left out, marked or not.

**Numerics.** Softmax and sum are in fp32, in fp64 for fp64. A position that does not count is left
out before anything is computed from it: a NaN there reaches neither value nor gradient.

**Source.** Rafailov et al., 2023 (arXiv 2305.18290), appendix B.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clearhead.training.loss import require_vocabulary

from ._checks import precise, require_completion, require_labels


def sequence_log_prob(
    logits: Float[Tensor, "B T V"], ids: Int[Tensor, "B T"], completion: Bool[Tensor, "B T"]
) -> Float[Tensor, "B"]:
    """Equation (1) for each row.

    What `ids` holds where `completion` is False is not read. Raises `TypeError` for a wrong dtype
    and `ValueError` when the shapes do not fit, an id is outside the vocabulary, or a row has no
    token to count.
    """
    require_labels(logits, ids=ids)
    require_completion(completion, ids.shape)
    counted = completion[:, 1:]  # B T-1: position t, and the token that it predicts
    scores, targets = logits[:, :-1][counted], ids[:, 1:][counted].long()  # n V and n
    require_vocabulary(targets, logits.shape[-1])
    log_p = torch.log_softmax(precise(scores), dim=-1)  # n V
    return row_sums(log_p.gather(-1, targets[:, None])[:, 0], counted)


def completion_tokens(completion: Bool[Tensor, "B T"]) -> Int[Tensor, "B"]:
    """How many tokens equation (1) sums in each row. Raises as `sequence_log_prob` does."""
    require_completion(completion, completion.shape)
    return completion[:, 1:].sum(-1)


def row_sums(values: Float[Tensor, "n"], counted: Bool[Tensor, "... T"]) -> Float[Tensor, "..."]:
    """The sum of each row's values, which stand one after the other, row by row."""
    return values.new_zeros(counted.shape).masked_scatter(counted, values).sum(-1)
