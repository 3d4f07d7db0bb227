r"""A batch of sequences in a paged pool, as a cache for `generate`, `prefill` and `decode_step`.

It has the methods of `cache.Cache`: each sequence takes blocks as it grows, from a pool that other
batches and an engine may use at the same time. `truncate` gives back the blocks behind the cut, so
that what speculative decoding refuses costs no memory.

**Shapes.** As in `cache`: new rows `(B, K, T, D)`, all rows `(B, K, S, D)`. The rows come back as a
copy, gathered from the blocks: at every step all of the past is copied once. A kernel that reads
the blocks where they lie saves that.
"""

from jaxtyping import Float
from torch import Tensor

from clearhead._checks import require_integer

from ._checks import require_layer, require_length, require_rows, require_same_sequences
from .paged_cache import PagedCache, PagedSequence


class PagedBatch:
    """`batch` sequences of one length over `cache`.

    `update` raises `ValueError`, with nothing written, when the rows do not fit or the free blocks
    run out.
    """

    def __init__(self, cache: PagedCache, batch: int):
        require_integer(1, batch=batch)
        self.cache = cache
        self.sequences = [PagedSequence() for _ in range(batch)]
        self._used = [0] * len(cache.keys)

    @property
    def length(self) -> int:
        return min(self._used)

    @property
    def nbytes(self) -> int:
        """Bytes of the blocks that it holds, not of the whole pool."""
        held = sum(len(sequence.table) for sequence in self.sequences)
        return self.cache.nbytes // self.cache.pool.blocks * held

    @property
    def max_length(self) -> int:
        """The length that all of its sequences can reach with the blocks that are free now."""
        pool = self.cache.pool
        return pool.block * (len(self.sequences[0].table) + pool.free // len(self.sequences))

    def update(
        self, layer: int, k: Float[Tensor, "B K T D"], v: Float[Tensor, "B K T D"]
    ) -> tuple[Float[Tensor, "B K S D"], Float[Tensor, "B K S D"]]:
        require_layer(layer, len(self._used))
        require_rows(k, v)
        _, _, _, K, D = self.cache.keys.shape
        require_same_sequences(k, self.cache.keys.new_empty(len(self.sequences), K, 0, D))
        start, pool = self._used[layer], self.cache.pool
        end = start + k.shape[2]
        pool.require_free(sum(pool.lacking(s.table, end) for s in self.sequences))
        for sequence in self.sequences:
            self.cache.reserve(sequence, end - sequence.length)
        slots = self.cache.slots(self.sequences, [end] * len(self.sequences))  # B S
        new = [x.transpose(1, 2).flatten(0, 1) for x in (k, v)]  # B·T K D
        self.cache.write(layer, slots[:, start:].flatten(), *new)
        self._set(layer, end)
        return self.cache.read(layer, slots)

    def truncate(self, n: int) -> None:
        require_length(n, self.length)
        for sequence in self.sequences:
            keep = self.cache.pool.lacking([], n)
            behind = sequence.table[keep:]
            del sequence.table[keep:]
            self.cache.pool.release(behind)
        for layer in range(len(self._used)):
            self._set(layer, n)

    def _set(self, layer: int, used: int) -> None:
        self._used[layer] = used
        for sequence in self.sequences:
            sequence.length = self.length
