r"""Where a token stands and what it may see, when rows are padded and a prompt comes in chunks.

In a batch of unequal prompts the short ones are padded on the left, so that every row ends at one
slot and its next token comes from the last column. A *slot* is a place in the tensor, a *position*
counts real tokens only. With $r_{b,t} = 1$ for a real token, 0 for padding, and $n_b$ real tokens
of row b in the cache already:

$$
\text{position}(b, t) = n_b + \sum_{u < t} r_{b,u} \qquad \text{where } r_{b,t} = 1,
\qquad 0 \text{ elsewhere} \tag{1}
$$

New query $i$ of T stands at slot $i' = \text{past} + i$ of a cache that then has past + T slots.
The first $\text{pads}_b$ slots of row b are padding; a window $w$ keeps the last $w$ slots:

$$
\text{allowed}(b, i, j) \iff \text{pads}_b \le j \le i' \quad\text{and}\quad j > i' - w \tag{2}
$$

**Shapes.** Positions `(B, T)`, int64. The mask `(B, T, past + T)`, boolean, True = may attend. A
query that is padding itself sees nothing: equation (2) then asks for pads ≤ j ≤ i' < pads.

**Elsewhere.** transformers computes (1) from its `attention_mask` as `cumsum(-1) - 1`, and 0
where there is padding, as here (older versions have 1 there).
"""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from clearhead._checks import require_integer

from ._checks import require_counts


def padded_positions(real: Bool[Tensor, "B T"], past: Int[Tensor, " B"]) -> Int[Tensor, "B T"]:
    """Each real token's position, equation (1); padding, wherever it stands, gets 0.

    Raises `TypeError` when `real` is not boolean or `past` not integer, and `ValueError` when
    `past` has another number of rows or a negative entry.
    """
    if not isinstance(real, Tensor) or real.dtype != torch.bool:
        kind = real.dtype if isinstance(real, Tensor) else f"a {type(real).__name__}"
        raise TypeError(f"real is {kind}; give a boolean tensor, True = a token, not padding.")
    if real.ndim != 2:
        raise ValueError(f"real has shape {tuple(real.shape)}; expected (B, T).")
    require_counts(len(real), past=past)
    before = real.long().cumsum(-1) - real.long()  # real tokens to the left of this one
    return (past.long()[:, None] + before).masked_fill(~real, 0)


def chunked_prefill_mask(
    T: int, past: int, pads: Int[Tensor, " B"], *, window: int | None = None
) -> Bool[Tensor, "B {T} {past+T}"]:
    """What T new queries may see of a cache that holds `past` slots before them, equation (2).

    Raises `TypeError` when a number is not an integer and `ValueError` when one is negative or
    `window` is less than 1.
    """
    require_integer(0, T=T, past=past)
    require_counts(len(pads) if isinstance(pads, Tensor) and pads.ndim else 0, pads=pads)
    if window is not None:
        require_integer(1, window=window)
    key = torch.arange(past + T, device=pads.device)
    query = torch.arange(past, past + T, device=pads.device)[:, None]  # its slot
    allowed = key <= query  # T S
    if window is not None:
        allowed = allowed & (key > query - window)
    return allowed & (key >= pads[:, None, None])
