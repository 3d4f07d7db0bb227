r"""Which tokens of a conversation are learned: the assistant's words, and the end of each answer.

A label is the id itself, or −100 for a token that is read and not learned. With $H_t$ = "the tokens
before t are a header" (the ids of `<|im_start|>assistant\n`) and $E_t$ = "token t is the end token"
(`<|im_end|>`), token t is learned when an answer is open there:

$$
\text{open}_t = H_t \ \vee\ (\text{open}_{t-1} \wedge \neg E_{t-1}) \tag{1}
$$

$$
\text{label}_t = \begin{cases} \text{id}_t & \text{open}_t \text{ and } t \text{ is no padding}
\\ -100 & \text{otherwise} \end{cases} \tag{2}
$$

The end token of an answer is learned: a model that never learned it would never stop. The line
break after it, the header and all other turns are not.

**Shapes.** `ids` and `labels` are `(B, T)`, int64. Labels stand under their own tokens; the loss
shifts, once: position t − 1 predicts label t.

**Source.** Touvron et al., 2023 (Llama 2), section 3.1: the loss of the prompt's tokens is zeroed
out. −100 is the `ignore_index` of `torch.nn.functional.cross_entropy`.
"""

import torch
from jaxtyping import Int
from torch import Tensor

from clearhead._checks import require_integer

from ._checks import require_header, require_numbers

IGNORED = -100  # a label that is not learned, the number that torch's cross_entropy leaves out


def sft_labels(
    ids: Int[Tensor, "B T"], header: Int[Tensor, " h"], end: int, pad: int
) -> Int[Tensor, "B T"]:
    """Equation (2): the answers and their end tokens; −100 everywhere else.

    `header` holds the ids that open an assistant turn, `end` closes a turn, and `ids` is filled up
    at the right with `pad`. A last answer that was cut off has no end and is learned up to the
    padding. `pad` may be `end`: then the first `end` after an answer is learned, the others are
    padding. Raises `TypeError` or `ValueError` when the tensors do not fit or `header` holds `end`.
    """
    require_numbers(ids=ids)
    require_header(header, end)
    require_integer(0, end=end, pad=pad)
    rows = [row_labels(row, header.tolist(), end, pad) for row in ids.tolist()]
    return torch.tensor(rows, dtype=ids.dtype, device=ids.device).view_as(ids)


def row_labels(ids: list[int], header: list[int], end: int, pad: int) -> list[int]:
    """One row of `sft_labels`, token by token."""
    labels, real, h = [IGNORED] * len(ids), len(ids), len(header)
    while pad != end and real > 0 and ids[real - 1] == pad:
        real -= 1
    is_open = False
    for t in range(real):
        is_open = is_open or ids[t - h : t] == header  # equation (1); too short while t < h
        if is_open:
            labels[t] = ids[t]
            is_open = ids[t] != end
    return labels
