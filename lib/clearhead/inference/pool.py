r"""Who holds which block: a free list, a count of holders for each block, and names of prefixes.

A pool lends blocks and takes them back; the keys and values themselves are in `PagedCache`. At any
time each block is either free or held by one sequence or more:

$$
\text{free} + \#\{\text{blocks with } \text{holders} \ge 1\} = P \tag{1}
$$

**Sharing.** A key and a value depend on their token and all tokens before it (through the layers
below), so that two sequences that begin alike have equal rows there. A *full* block is named by a
digest of everything up to its end,

$$
h_i = \operatorname{SHA256}\bigl(h_{i-1} \,\|\, \text{tokens of block } i\bigr) \tag{2}
$$

and a new sequence takes the blocks whose names it finds in place of computing them. Full blocks are
never written again, so that sharing needs no copy. A digest stands for the tokens: two different
prefixes with one SHA-256 have never been seen. A weaker hash would let a user who finds a
collision read an answer built on somebody else's prompt.

**Reuse.** A block that nobody holds is free but keeps its name and its contents until it is lent
again. Blocks without a name are lent first, then those that were given back longest ago, a
sequence's last block before its first: a prefix is useful only from its beginning.

**Source.** Kwon et al., 2023, sections 4.2 and 4.4, for reference counts; chained hashes of full
blocks and the order of reuse as in vLLM (its documentation, "Automatic prefix caching").
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from clearhead._checks import require_integer

from .paged import blocks_for


class BlockPool:
    """P blocks of `block` slots. A *table* is a list of blocks that one sequence holds, in turn."""

    def __init__(self, blocks: int, block: int):
        require_integer(1, blocks=blocks, block=block)
        self.blocks, self.block = blocks, block
        self._free = OrderedDict.fromkeys(range(blocks))  # lent from the front
        self._holders = [0] * blocks
        self._named: dict[bytes, int] = {}
        self._name: dict[int, bytes] = {}

    @property
    def free(self) -> int:
        """How many blocks nobody holds."""
        return len(self._free)

    @property
    def used(self) -> int:
        """How many blocks somebody holds; a shared one counts once."""
        return self.blocks - self.free

    def holders(self, block: int) -> int:
        """How many tables hold this block."""
        return self._holders[block]

    def lacking(self, table: Sequence[int], tokens: int) -> int:
        """How many blocks `table` must be lent to hold `tokens` in all."""
        return max(0, blocks_for(tokens, self.block) - len(table))

    def require_free(self, blocks: int) -> None:
        """So many blocks are free, or a `ValueError` says how many are."""
        if blocks > self.free:
            raise ValueError(
                f"{blocks} blocks are wanted, and {self.free} of {self.blocks} are free; release a "
                "sequence first."
            )

    def extend(self, table: list[int], tokens: int) -> None:
        """Lend `table` the blocks that it lacks to hold `tokens` in all.

        Raises `ValueError` when that takes more blocks than are free; then nothing has changed.
        """
        wanted = self.lacking(table, tokens)
        self.require_free(wanted)
        for _ in range(wanted):
            block, _ = self._free.popitem(last=False)
            self._forget(block)
            self._holders[block] = 1
            table.append(block)

    def share(self, table: Iterable[int]) -> list[int]:
        """A second table of the same blocks: each has one holder more."""
        shared = list(table)
        for block in shared:
            self._free.pop(block, None)
            self._holders[block] += 1
        return shared

    def release(self, table: list[int]) -> None:
        """Give back every block of `table`, which is empty afterwards.

        Raises `ValueError` when nobody holds one of them; then nothing has changed.
        """
        for block in table:
            if self._holders[block] < table.count(block):
                raise ValueError(f"Block {block} is released twice; a table may be released once.")
        while table:
            block = table.pop()  # the last first
            self._holders[block] -= 1
            if self._holders[block] == 0:
                self._free[block] = None
                if block not in self._name:
                    self._free.move_to_end(block, last=False)

    def publish(self, table: Sequence[int], names: Sequence[bytes]) -> None:
        """Name the first blocks of `table`, which are full, unless another has the name already."""
        for block, name in zip(table, names, strict=False):
            if name not in self._named and block not in self._name:
                self._named[name], self._name[block] = block, name

    def match(self, names: Sequence[bytes]) -> list[int]:
        """A table of the longest known beginning of `names`, each block with one holder more."""
        found = []
        for name in names:
            if name not in self._named:
                break
            found.append(self._named[name])
        return self.share(found)

    def _forget(self, block: int) -> None:
        name = self._name.pop(block, None)
        if name is not None:
            del self._named[name]


def prefix_names(tokens: Sequence[int], block: int, known: Sequence[bytes] = ()) -> list[bytes]:
    """The names of all full blocks of `tokens`, equation (2); the first may be `known` already."""
    names = list(known)
    for i in range(len(names), len(tokens) // block):
        digest = hashlib.sha256(names[-1] if names else b"")
        for token in tokens[i * block : (i + 1) * block]:
            digest.update(int(token).to_bytes(8, "little"))
        names.append(digest.digest())
    return names
