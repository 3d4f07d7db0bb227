r"""A mask says which query may attend to which key: True means it may.

Queries are numbered $i = 0 \dots T-1$, keys $j = 0 \dots S-1$. The two sequences end together: the
last query stands at the last key, so query $i$ stands at position $i + S - T$. A causal query sees
its own position and everything before it:

$$
\text{allowed}(i, j) \iff j \le i + (S - T) \tag{1}
$$

A sliding window of $w$ keeps the last $w$ of those, its own position included:

$$
\text{allowed}(i, j) \iff i + (S - T) - w < j \le i + (S - T) \tag{2}
$$

**Shapes.** `(T, S)`, boolean. With T = S the causal mask is the lower triangle. With T < S (new
queries against a cache) the triangle is aligned to the bottom right. With T > S the first T − S
queries stand before the first key and attend to nothing.

**Elsewhere.** `is_causal=True` in `torch.nn.functional.scaled_dot_product_attention` aligns to the
*top left*, which is equation (1) without S − T. The two agree only when T = S. FlashAttention
(from version 2.1) and `torch.nn.attention.bias.causal_lower_right` align as we do.

**Source.** Equation (1): Vaswani et al., 2017, section 3.2.3. Equation (2): Beltagy et al., 2020,
section 3.1, where half of the window lies on each side; the causal one, with at most $w$ keys, is
Mistral's (Jiang et al., 2023, figure 1).
"""

import torch
from jaxtyping import Bool
from torch import Tensor

from clearhead._checks import require_integer


def causal_mask(T: int, S: int, *, device: torch.device | str | None = None) -> Bool[Tensor, "T S"]:
    """Each query sees the keys up to its own position, equation (1), aligned bottom-right.

    Raises `TypeError` when a size is not an integer and `ValueError` when it is negative.
    """
    require_integer(0, T=T, S=S)
    position = torch.arange(T, device=device)[:, None] + (S - T)
    key = torch.arange(S, device=device)[None, :]
    return key <= position


def sliding_window_mask(
    T: int, S: int, window: int, *, device: torch.device | str | None = None
) -> Bool[Tensor, "T S"]:
    """Each query sees the last `window` keys up to its own position, equation (2).

    Raises `TypeError` when a size is not an integer and `ValueError` when T or S is negative or
    `window` is less than 1.
    """
    require_integer(0, T=T, S=S)
    require_integer(1, window=window)
    position = torch.arange(T, device=device)[:, None] + (S - T)
    key = torch.arange(S, device=device)[None, :]
    return (position - window < key) & (key <= position)
