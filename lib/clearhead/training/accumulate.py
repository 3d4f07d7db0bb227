r"""One batch in several pieces, or on several processes, with the gradient of the whole.

A batch that does not fit in memory is cut into $n$ micro-batches whose gradients are added up. The
loss of the whole is a mean over all $N$ tokens that count, so each piece is divided by $N$, not by
its own count:

$$
\text{loss} = \frac{1}{N} \sum_{i=1}^{n} \sum_{t \in S_i} \ell_{i,t}, \qquad
N = \sum_{i=1}^{n} |S_i| + N_\text{elsewhere} \tag{1}
$$

A mean of the pieces' own means would give a token in a piece of 4 ten times the weight of one in a
piece of 40. Processes that share a batch average their gradients (torch's
`DistributedDataParallel` adds them up and divides by the number $P$ of processes). So that the
average is the gradient of (1), each process multiplies by $P$:

$$
\text{contribution}_i = \frac{P}{N} \sum_{t \in S_i} \ell_{i,t} \tag{2}
$$

**Shapes.** Micro-batch i has `nll` and `counted` of `(B_i, T_i)`, which may differ from piece to
piece.

**Source.** The mistake and its repair: Hugging Face, "Fixing Gradient Accumulation", 16 October
2024; `num_items_in_batch` of transformers.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clearhead._checks import precise, require_floating, require_integer

from ._checks import require_bools


def accumulated_loss(
    nll: Sequence[Float[Tensor, "_ _"]],
    counted: Sequence[Bool[Tensor, "_ _"]],
    tokens_elsewhere: int = 0,
    processes: int = 1,
) -> tuple[Float[Tensor, "n"], Float[Tensor, ""]]:
    """Each micro-batch's contribution, equation (2), and their sum, on this process.

    Calling `backward` on the contributions one after the other, or once on the sum, adds up the
    same gradient. `tokens_elsewhere` is how many tokens count on the other processes together.
    Sums are in fp32, in fp64 for fp64. `nll` where `counted` is False is not read. Raises
    `TypeError` for a wrong dtype and `ValueError` when the lists or their tensors do not fit, or
    no token counts anywhere.
    """
    if not nll or len(nll) != len(counted):
        raise ValueError(
            f"Given {len(nll)} tensors of losses and {len(counted)} masks; expected one mask a "
            "micro-batch, and one micro-batch or more."
        )
    require_integer(0, tokens_elsewhere=tokens_elsewhere)
    require_integer(1, processes=processes)
    for i, (losses, mask) in enumerate(zip(nll, counted, strict=True)):
        require_floating(**{"nll[0]": nll[0], f"nll[{i}]": losses})
        require_bools(losses.shape, **{f"counted[{i}]": mask})
    N = tokens_elsewhere + sum(int(mask.sum()) for mask in counted)
    if N == 0:
        raise ValueError("there is nothing to average: no token counts in any micro-batch.")
    sums = [precise(losses[mask]).sum() for losses, mask in zip(nll, counted, strict=True)]
    contributions = processes * torch.stack(sums) / N  # n
    return contributions, contributions.sum()
