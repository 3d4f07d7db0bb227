r"""A paged cache keeps keys and values in blocks of one pool; a table names a sequence's blocks.

Position $j$ of sequence $b$ lies in slot $j \bmod m$ of the block that entry
$\lfloor j / m \rfloor$ of its table names, with $m$ slots a block:

$$
k_{b,j} = \text{pool}\big[\, \text{table}[b, \lfloor j/m \rfloor],\; j \bmod m \,\big] \tag{1}
$$

A sequence of $n$ tokens holds $\lceil n/m \rceil$ blocks, anywhere in the pool and in any order, so
it wastes at most $m - 1$ slots; no sequence has to reserve its greatest length. Going from $n$ to
$n + t$ tokens takes new blocks only where the last one is full:

$$
\text{new blocks} = \lceil (n + t)/m \rceil - \lceil n/m \rceil \tag{2}
$$

**Shapes.** `pool` is `(P, block, K, D)`: P blocks of `block` slots, for the keys or the values of
one layer. `table` is `(B, M)`, integers; a row's entries past its last used block are never read,
and −1 is customary there. `lengths` is `(B,)`. Gathered: `(B, K, S, D)` with S the greatest length,
and zeros past a sequence's end.

**Elsewhere.** The kernels of FlashAttention, in this layout, and of vLLM, in one of its own, read
the blocks where they lie; gathering first, as here, copies what attention then reads once more.

**Source.** Kwon et al., 2023, sections 4.1 to 4.3 and figure 5.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clearhead._checks import require_floating, require_integer

from ._checks import require_integers


def blocks_for(tokens: int, block: int) -> int:
    r"""How many blocks of `block` slots hold this many tokens: the quotient, rounded up."""
    require_integer(0, tokens=tokens)
    require_integer(1, block=block)
    return -(-tokens // block)


def gather_row_by_row(
    pool: Float[Tensor, "P block K D"], table: Int[Tensor, "B M"], lengths: Int[Tensor, " B"]
) -> Float[Tensor, "B K S D"]:
    """The plain version: equation (1), one position after the other. Raises as `paged_gather`."""
    _require_paged(pool, table, lengths)
    _, m, K, D = pool.shape
    S = int(lengths.max()) if len(lengths) else 0
    gathered = pool.new_zeros(len(table), K, S, D)
    for b, length in enumerate(lengths.tolist()):
        for j in range(length):
            gathered[b, :, j] = pool[table[b, j // m], j % m]
    return gathered


def paged_gather(
    pool: Float[Tensor, "P block K D"], table: Int[Tensor, "B M"], lengths: Int[Tensor, " B"]
) -> Float[Tensor, "B K S D"]:
    """The fast version: whole blocks by one index, cut to the longest, zeros past each end.

    Raises `TypeError` for a wrong dtype and `ValueError` for shapes that do not fit, a length that
    is negative or more than the table's row holds, or a used entry that names no block.
    """
    _require_paged(pool, table, lengths)
    S = int(lengths.max()) if len(lengths) else 0
    M = blocks_for(S, pool.shape[1])
    if M == 0:
        return pool.new_zeros(len(table), pool.shape[2], 0, pool.shape[3])
    blocks = pool[table[:, :M].clamp(0, len(pool) - 1)]  # B M block K D; unused: any, cut below
    rows = blocks.flatten(1, 2)[:, :S]  # B S K D
    beyond = torch.arange(S, device=lengths.device) >= lengths[:, None]  # B S
    return rows.masked_fill(beyond[..., None, None], 0.0).transpose(1, 2)


def _require_paged(pool: Tensor, table: Tensor, lengths: Tensor) -> None:
    require_floating(pool=pool)
    require_integers("B M", table=table)
    require_integers("B", lengths=lengths)
    if pool.ndim != 4 or len(table) != len(lengths):
        raise ValueError(
            f"Given pool {tuple(pool.shape)}, table {tuple(table.shape)} and lengths "
            f"{tuple(lengths.shape)}; expected (P, block, K, D), (B, M) and (B,)."
        )
    if pool.shape[1] == 0:
        raise ValueError(
            "The pool's blocks have no slots; give a pool (P, block, K, D), block > 0."
        )
    if len(table) == 0:
        return
    slots = table.shape[1] * pool.shape[1]
    least, most = int(lengths.min()), int(lengths.max())
    if least < 0 or most > slots:
        raise ValueError(
            f"lengths hold {least if least < 0 else most}; a row of {table.shape[1]} blocks of "
            f"{pool.shape[1]} slots holds 0 to {slots} tokens."
        )
    first = torch.arange(table.shape[1], device=table.device) * pool.shape[1]  # of each block
    wrong = (first < lengths[:, None]) & ((table < 0) | (table >= len(pool)))
    if wrong.any():
        b, j = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"table[{b}, {j}] is {int(table[b, j])}, and sequence {b} of {int(lengths[b])} tokens "
            f"uses it; give a block from 0 to {len(pool) - 1}."
        )
