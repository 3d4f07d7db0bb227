r"""Keys and values of many sequences in one pool of blocks, for all layers.

A sequence is a table of blocks and a length. Row $j$ of it lies at the flat slot

$$
\text{slot}(j) = m \cdot \text{table}[\lfloor j/m \rfloor] + (j \bmod m) \tag{1}
$$

of every layer's pool, so that one list of slots, made once a step, writes and reads all layers.

**Copy on write.** `fork` gives a second sequence with the same blocks. Full blocks stay shared for
good. A last block that is partly full may be written by one holder at most, so that whoever extends
it while others hold it gets a copy of its own first.

**Shapes.** `keys` and `values` are `(L, P, block, K, D)`. New rows are `(N, K, D)` with one slot
each; read back, `(B, K, S, D)`, S the greatest length. Past its end a sequence repeats its last
row, which attention must mask: zeros would do as well, but NaN from a sequence that went wrong
would not, since 0 · NaN is NaN.

**Source.** Kwon et al., 2023, sections 4.3 and 4.4 (figure 8 for copy on write).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clearhead.model import Config

from .pool import BlockPool


@dataclass
class PagedSequence:
    """The blocks that a sequence holds, in turn, and how many of its tokens they contain."""

    table: list[int] = field(default_factory=list)
    length: int = 0


class PagedCache:
    """The pool of blocks, one for the keys and one for the values of each layer.

    Raises `TypeError` and `ValueError` when `blocks` or `block` is not an integer of 1 or more.
    """

    def __init__(
        self,
        config: Config,
        *,
        blocks: int,
        block: int = 16,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ):
        self.pool = BlockPool(blocks, block)
        shape = (config.layers, blocks, block, config.kv_heads, config.head_size)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole pool, used or not: what is taken from the memory at the start."""
        return self.keys.nbytes + self.values.nbytes

    def reserve(self, sequence: PagedSequence, new: int) -> None:
        """Blocks for `new` more tokens, and a copy of the last one if it is shared and partly full.

        Raises `ValueError` when too few blocks are free; then nothing has changed.
        """
        table, last = sequence.table, sequence.length // self.pool.block
        must_copy = new > 0 and last < len(table) and self.pool.holders(table[last]) > 1
        lacking = self.pool.lacking(table, sequence.length + new)
        self.pool.require_free(lacking + must_copy)
        if must_copy:
            self._copy(table, last)
        self.pool.extend(table, sequence.length + new)

    def slots(
        self, sequences: Sequence[PagedSequence], lengths: Sequence[int]
    ) -> Int[Tensor, "B S"]:
        """Where the first `lengths` rows of each sequence lie, equation (1), reserved before.

        S is the greatest length; past its end a row repeats its last slot. Raises `ValueError` when
        a sequence has no block for one of its rows.
        """
        m = self.pool.block
        for sequence, length in zip(sequences, lengths, strict=True):
            if length > m * len(sequence.table):
                raise ValueError(
                    f"A sequence of {len(sequence.table)} blocks of {m} slots cannot hold {length} "
                    "tokens; reserve its blocks first."
                )
        M = max(len(sequence.table) for sequence in sequences)
        tables = [sequence.table + [0] * (M - len(sequence.table)) for sequence in sequences]
        last = torch.tensor(lengths)[:, None] - 1  # B 1
        j = torch.arange(max(lengths)).minimum(last)  # B S
        flat = torch.tensor(tables, dtype=torch.long).gather(1, j // m) * m + j % m
        return flat.to(self.keys.device)

    def write(
        self,
        layer: int,
        slots: Int[Tensor, " N"],
        k: Float[Tensor, "N K D"],
        v: Float[Tensor, "N K D"],
    ) -> None:
        """Put one key and one value into each slot."""
        self.keys[layer].flatten(0, 1)[slots] = k
        self.values[layer].flatten(0, 1)[slots] = v

    def read(
        self, layer: int, slots: Int[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B K S D"], Float[Tensor, "B K S D"]]:
        """The keys and values of these slots."""
        keys, values = self.keys[layer].flatten(0, 1), self.values[layer].flatten(0, 1)
        return keys[slots].transpose(1, 2), values[slots].transpose(1, 2)

    def fork(self, sequence: PagedSequence) -> PagedSequence:
        """A second sequence that begins with the same tokens, in the same blocks."""
        return PagedSequence(self.pool.share(sequence.table), sequence.length)

    def release(self, sequence: PagedSequence) -> None:
        """Give all blocks back; the sequence is empty afterwards."""
        self.pool.release(sequence.table)
        sequence.length = 0

    def _copy(self, table: list[int], place: int) -> None:
        own: list[int] = []
        self.pool.extend(own, 1)
        self.keys[:, own[0]] = self.keys[:, table[place]]
        self.values[:, own[0]] = self.values[:, table[place]]
        self.pool.release([table[place]])
        table[place] = own[0]
