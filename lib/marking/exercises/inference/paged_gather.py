"""inference.paged_gather: a sequence's rows, found through its block table."""

from functools import partial
from itertools import pairwise

import torch

from clearhead.inference import paged_gather as reference
from marking.exercise import Exercise, Mistake

# --- situations: every slot of the pool holds numbers, also those that nobody uses ----------------


def _inputs(draw, lengths, block, *, M=None, spare=-1, shared=0, K=None):
    """Block tables in no order; none has block b at entry b, none names the last block.

    `M` entries a row; those that are not used hold `spare`, or, with None, blocks of others. The
    first `shared` blocks of every row are the same.
    """
    used = [-(-n // block) for n in lengths]
    M = max(used) if M is None else M
    B, total = len(lengths), sum(used) - shared * (len(lengths) - 1)
    if draw.level is not None:
        K, D = draw.size(1, 2), draw.size(1, 2)
    else:  # all sizes differ
        free = [n for n in range(2, 8) if n not in (B, block, M, max(lengths), K)]
        D, heads = (free[i] for i in draw.sizes(2, 0, len(free) - 1))
        K = heads if K is None else K
    P = total + draw.size(3, 5, small=2)
    numbers = draw.until(
        lambda: draw.sizes(total, 0, P - 2), lambda drawn: _tells(drawn, used, shared, M)
    )
    table, rest = [], numbers[shared:]
    for n in used:
        own = numbers[:shared] + rest[: n - shared] if n else []
        rest = rest[max(n - shared, 0) :]
        unused = [spare if spare is not None else numbers[i] for i in range(M - n)]
        table.append(own + unused)
    return {
        "pool": draw.normal(P, block, K, D),
        "table": torch.tensor(table).reshape(B, M),
        "lengths": torch.tensor(lengths),
    }


def _tells(numbers, used, shared, M):
    """Is no block where it would be found without the table, and none behind its neighbour?"""
    at = 0
    for b, n in enumerate(used):
        own = numbers[:shared] + numbers[shared + at : at + n] if n else []
        at += max(n - shared, 0)
        if any(number in (i, b * M + i) for i, number in enumerate(own)):
            return False
        if any(y == x + 1 for x, y in pairwise(own)):
            return False
    return True


def _block(draw):
    return 2 if draw.level is not None else draw.size(3, 4)


def _unequal(draw, block, n, low=2):
    """Numbers of whole blocks, unequal; row 0 has neither most nor least where n > 2."""
    low = 1 if draw.level is not None else low
    wholes = sorted(draw.sizes(n, low, low + 3))
    if n > 2:
        wholes.insert(0, wholes.pop(draw.size(1, n - 2)))
    return wholes


def _rows(draw):
    return 2 if draw.level is not None else draw.size(3, 4)


def any_order(draw):
    """No sequence fills its last block."""
    block = _block(draw)
    wholes = _unequal(draw, block, _rows(draw), low=1)
    return _inputs(draw, [n * block + draw.size(1, block - 1) for n in wholes], block)


def whole_blocks(draw):
    """Every sequence ends where a block ends."""
    block = _block(draw)
    return _inputs(draw, [n * block for n in _unequal(draw, block, _rows(draw))], block)


def equal_lengths(draw):
    block = _block(draw)
    n = 2 * block + draw.size(1, block - 1)
    return _inputs(draw, [n] * draw.size(2, 3, small=2), block)


def room_in_the_table(draw):
    block = _block(draw)
    wholes = _unequal(draw, block, _rows(draw), low=1)
    lengths = [n * block + draw.size(1, block - 1) for n in wholes]
    return _inputs(draw, lengths, block, M=max(wholes) + 1 + draw.size(1, 2))


def stale_entries(draw):
    """What a table held before is still there behind a row's used entries."""
    block = _block(draw)
    wholes = _unequal(draw, block, _rows(draw), low=1)
    lengths = [n * block + draw.size(1, block - 1) for n in wholes]
    return _inputs(draw, lengths, block, M=max(wholes) + 1 + draw.size(1, 2), spare=None)


def shared_prefix(draw):
    """Two requests with the same beginning hold its blocks once."""
    block = _block(draw)
    wholes = _unequal(draw, block, 2, low=2)
    lengths = [(n + 1) * block + draw.size(1, block - 1) for n in wholes]
    return _inputs(draw, lengths, block, shared=1 if draw.level is not None else 2)


def one_sequence(draw):
    block = _block(draw)
    return _inputs(draw, [block * draw.size(2, 4) + draw.size(1, block - 1)], block)


def less_than_a_block(draw):
    """Every sequence has one block, and does not fill it."""
    block = 3 if draw.level is not None else draw.size(5, 7)
    n = 2 if draw.level is not None else 3
    lengths = sorted(draw.sizes(n, 1, block - 1))
    lengths.insert(0, lengths.pop(n - 2))
    return _inputs(draw, lengths, block, K=2)


def one_slot_a_block(draw):
    return _inputs(draw, [n + 1 for n in _unequal(draw, 1, _rows(draw))], 1)


def one_empty(draw):
    """A request that has no token yet."""
    block = _block(draw)
    wholes = _unequal(draw, block, 2, low=1)
    lengths = [n * block + draw.size(1, block - 1) for n in wholes]
    lengths.insert(draw.size(0, 2), 0)
    return _inputs(draw, lengths, block)


# --- mistakes: one change each to `_gathered`, or a function of their own -------------------------


def _blocks_named(pool, table):
    return pool[table]


def _one_after_the_other(blocks):
    """(B, M, block, K, D) → (B, M·block, K, D)."""
    return blocks.flatten(1, 2)


def _longest(lengths, m, M):
    return int(lengths.max())


def _zeros_past_the_end(rows, lengths, table, m):
    past = torch.arange(rows.shape[1]) >= lengths[:, None]
    return rows.masked_fill(past[..., None, None], 0.0)


def _gathered(
    pool,
    table,
    lengths,
    *,
    pick=_blocks_named,
    lay=_one_after_the_other,
    size=_longest,
    clear=_zeros_past_the_end,
    finish=lambda rows, lengths: rows.transpose(1, 2),
):
    """As it stands it is right."""
    m, M = pool.shape[1], table.shape[1]
    rows = lay(pick(pool, table))[:, : size(lengths, m, M)]
    return finish(clear(rows, lengths, table, m), lengths)


def _change(name, *changes):
    return tuple(partial(_gathered, **{name: change}) for change in changes)


def _first_blocks(pool, table):
    return pool[: table.shape[1]].expand(len(table), -1, -1, -1, -1)


def _end_to_end(pool, table):
    B, M = table.shape
    return pool[(torch.arange(B * M) % len(pool)).view(B, M)]


def _view_end_to_end(pool, table):
    B, M = table.shape
    return pool[: B * M].unflatten(0, (B, M))


def _from_the_first_block(pool, table):
    return pool[(table[:, :1] + torch.arange(table.shape[1])).clamp(max=len(pool) - 1)]


def _from_the_first_slot(pool, table):
    return pool[(table[:, :1] + torch.arange(table.shape[1])) % len(pool)]


not_read = _change("pick", _first_blocks, _end_to_end, _view_end_to_end)
only_first_entry = _change(
    "pick",
    _from_the_first_block,
    _from_the_first_slot,
    lambda pool, table: pool[table[:, :1].expand_as(table)],
)
one_table_for_all = _change("pick", lambda pool, table: pool[table[:1].expand_as(table)])
blocks_from_one = _change("pick", lambda pool, table: pool[table - 1])
table_backwards = _change("pick", lambda pool, table: pool[table.flip(1)])
sorted_blocks = _change(
    "pick",
    lambda pool, table: pool[torch.where(table < 0, len(pool) - 1, table).sort(1).values],
)

interleaved = _change("lay", lambda blocks: blocks.transpose(1, 2).flatten(1, 2))
first_slots_only = _change("lay", lambda blocks: blocks[:, :, 0])


def _blocks_named_or_0(pool, table):
    return pool[table.clamp(min=0)]


rest_not_cleared = (
    *_change("clear", lambda rows, lengths, table, m: rows),
    partial(_gathered, pick=_blocks_named_or_0, clear=lambda rows, lengths, table, m: rows),
)


def _whole_blocks_cleared(rows, lengths, table, m):
    """What lies behind the last used block is zero, the rest of that block is not."""
    ends = -(-lengths // m) * m
    return _zeros_past_the_end(rows, ends, table, m)


def _unused_entries_cleared(rows, lengths, table, m):
    held = (table >= 0).repeat_interleave(m, dim=1)[:, : rows.shape[1]]
    return rows * held[..., None, None]


def _last_block_dropped(rows, lengths, table, m):
    return _zeros_past_the_end(rows, lengths // m * m, table, m)


last_block_whole = _change("clear", _whole_blocks_cleared, _unused_entries_cleared)
last_block_dropped = _change("clear", _last_block_dropped)
one_row_more = _change(
    "clear", lambda rows, lengths, table, m: _zeros_past_the_end(rows, lengths + 1, table, m)
)
one_row_less = _change(
    "clear", lambda rows, lengths, table, m: _zeros_past_the_end(rows, lengths - 1, table, m)
)
cleared_by_longest = (
    *_change(
        "clear",
        lambda rows, lengths, table, m: _zeros_past_the_end(
            rows, lengths[:1].expand_as(lengths), table, m
        ),
    ),
)
nan_past_the_end = _change(
    "clear",
    lambda rows, lengths, table, m: rows.masked_fill(
        (torch.arange(rows.shape[1]) >= lengths[:, None])[..., None, None], float("-inf")
    ),
)

as_long_as_the_table = _change("size", lambda lengths, m, M: M * m)
up_to_a_block = _change("size", lambda lengths, m, M: -(-int(lengths.max()) // m) * m)
first_length = _change("size", lambda lengths, m, M: int(lengths[0]))
shortest_length = _change("size", lambda lengths, m, M: int(lengths.min()))
one_short = _change("size", lambda lengths, m, M: int(lengths.max()) - 1)

tokens_before_heads = _change("finish", lambda rows, lengths: rows)
heads_last = _change(
    "finish",
    lambda rows, lengths: rows.permute(0, 3, 1, 2),
    lambda rows, lengths: rows.permute(0, 2, 3, 1),
)


def _to_the_right(rows, lengths):
    S = rows.shape[1]
    moved = [row.roll(S - n, 0) for row, n in zip(rows, lengths.tolist(), strict=True)]
    return torch.stack(moved).transpose(1, 2)


aligned_right = _change("finish", _to_the_right)
packed = _change(
    "finish",
    lambda rows, lengths: torch.cat(
        [row[:n] for row, n in zip(rows, lengths.tolist(), strict=True)]
    ).transpose(0, 1),
    lambda rows, lengths: torch.cat(
        [row[:n] for row, n in zip(rows, lengths.tolist(), strict=True)]
    ),
)
in_a_list = _change(
    "finish",
    lambda rows, lengths: [
        row[:n].transpose(0, 1) for row, n in zip(rows, lengths.tolist(), strict=True)
    ],
)


def reshaped(pool, table, lengths):
    """(B, M, block, K, D) is read as (B, K, M·block, D)."""
    B, S, K = len(table), int(lengths.max()), pool.shape[2]
    rows = pool[table].reshape(B, K, -1, pool.shape[-1])[:, :, :S]
    past = torch.arange(S) >= lengths[:, None]
    return rows.masked_fill(past[:, None, :, None], 0.0)


def reshaped_and_cut(pool, table, lengths):
    """The same, cut to S before it is read as heads."""
    B, S, K = len(table), int(lengths.max()), pool.shape[2]
    rows = pool[table].flatten(1, 2)[:, :S].reshape(B, K, S, -1)
    past = torch.arange(S) >= lengths[:, None]
    return rows.masked_fill(past[:, None, :, None], 0.0)


def cleared_then_reshaped(pool, table, lengths):
    rows = pool[table].flatten(1, 2)[:, : int(lengths.max())]
    rows = _zeros_past_the_end(rows, lengths, table, pool.shape[1])
    return rows.reshape(len(table), pool.shape[2], -1, pool.shape[3])


def _slot_by_slot(pool, table, lengths, *, entry, slot):
    S, m = int(lengths.max()), pool.shape[1]
    out = pool.new_zeros(len(table), pool.shape[2], S, pool.shape[3])
    for b, length in enumerate(lengths.tolist()):
        for j in range(length):
            out[b, :, j] = pool[table[b, entry(j, m)], slot(j, m)]
    return out


quotient_and_remainder = partial(_slot_by_slot, entry=lambda j, m: j % m, slot=lambda j, m: j // m)
quotient_rounded_up = (
    partial(_slot_by_slot, entry=lambda j, m: -(-j // m), slot=lambda j, m: j % m),
    partial(_slot_by_slot, entry=lambda j, m: (j + 1) // m, slot=lambda j, m: j % m),
    partial(_slot_by_slot, entry=lambda j, m: (j + 1) // m, slot=lambda j, m: (j + 1) % m),
)
one_entry_a_token = (
    partial(_slot_by_slot, entry=lambda j, m: j, slot=lambda j, m: j % m),
    partial(_slot_by_slot, entry=lambda j, m: j, slot=lambda j, m: 0),
)


def heads_for_slots(pool, table, lengths):
    """The block size is read from the axis of the heads."""
    S, m = int(lengths.max()), pool.shape[2]
    out = pool.new_zeros(len(table), pool.shape[2], S, pool.shape[3])
    for b, length in enumerate(lengths.tolist()):
        for j in range(length):
            out[b, :, j] = pool[table[b, j // m], j % m]
    return out


def entry_as_token(pool, table, lengths):
    """The table's numbers are used as rows of the pool laid flat."""
    S, m = int(lengths.max()), pool.shape[1]
    flat = pool.flatten(0, 1)
    out = pool.new_zeros(len(table), pool.shape[2], S, pool.shape[3])
    for b, length in enumerate(lengths.tolist()):
        for j in range(length):
            out[b, :, j] = flat[table[b, j // m] + j % m]
    return out


# --- other right answers ---------------------------------------------------------------------


def one_by_one(pool, table, lengths):
    block = pool.shape[1]
    out = torch.zeros(
        len(lengths), pool.shape[2], int(lengths.max()), pool.shape[3], dtype=pool.dtype
    )
    for b in range(len(lengths)):
        for j in range(int(lengths[b])):
            out[b, :, j] = pool[int(table[b, j // block]), j % block]
    return out


def by_slots(pool, table, lengths):
    """One index into the pool laid flat."""
    P, block, K, D = pool.shape
    j = torch.arange(int(lengths.max()))
    real = j < lengths[:, None]
    slots = table[:, j // block] * block + j % block
    rows = pool.reshape(P * block, K, D)[torch.where(real, slots, 0)]
    return (rows * real[:, :, None, None]).permute(0, 2, 1, 3)


def block_by_block(pool, table, lengths):
    B, S, block = len(lengths), int(lengths.max()), pool.size(1)
    out = pool.new_zeros(B, S, pool.size(2), pool.size(3))
    for b in range(B):
        for start in range(0, int(lengths[b]), block):
            n = min(block, int(lengths[b]) - start)
            out[b, start : start + n] = pool[table[b, start // block], :n]
    return out.transpose(1, 2)


def whole_blocks_then_cut(pool, table, lengths):
    S = int(lengths.max())
    rows = pool[table.clamp(min=0)].flatten(1, 2)[:, :S].transpose(1, 2)
    real = torch.arange(S)[None, None, :, None] < lengths[:, None, None, None]
    return torch.where(real, rows, torch.zeros_like(rows))


PAGES = "inference/04_serving#how-does-a-page-table-hold-a-cache"
UNEQUAL = "inference/04_serving#a-batch-of-unequal-requests"


def _known(id, ways, says, read=PAGES):
    ways = ways if isinstance(ways, tuple) else (ways,)
    return Mistake(id, ways[0], says, read, also=tuple(ways[1:]))


PAGED_GATHER = Exercise(
    id="inference.paged_gather",
    title="A cache in pages",
    returns="a tensor (B, K, S, D) in the dtype of pool, S the greatest of lengths",
    points=4,
    difficulty=3,
    minutes=25,
    reference=reference,
    cases={
        "blocks in any order": any_order,
        "sequences that end with a block": whole_blocks,
        "equal lengths": equal_lengths,
        "more entries than are used": room_in_the_table,
        "old entries left in the table": stale_entries,
        "two requests share a prefix": shared_prefix,
        "one sequence": one_sequence,
        "less than one block each": less_than_a_block,
        "blocks of one slot": one_slot_a_block,
        "a sequence without a token": one_empty,
    },
    mistakes=(
        _known(
            "table-not-read",
            not_read,
            "the blocks are taken in the order of the pool; a sequence's blocks lie where its row "
            "of the table says.",
        ),
        _known(
            "only-the-first-entry",
            only_first_entry,
            "only the first entry of a row is looked up, and the rest is taken from there on; each "
            "block of a sequence may lie anywhere.",
        ),
        _known(
            "one-table-for-all",
            one_table_for_all,
            "row 0 of the table is used for every sequence.",
        ),
        _known(
            "blocks-from-one",
            blocks_from_one,
            "1 is taken off every entry of the table; blocks are numbered from 0.",
        ),
        _known(
            "table-backwards",
            table_backwards,
            "the entries are read from the end of the row; the first one names the oldest tokens.",
        ),
        _known(
            "blocks-sorted",
            sorted_blocks,
            "the blocks are put in the order of their numbers; their order in the table is that of "
            "the tokens.",
        ),
        _known(
            "quotient-and-remainder",
            quotient_and_remainder,
            "quotient and remainder have changed places: which entry of the table, and which slot "
            "of its block.",
        ),
        _known(
            "block-one-early",
            quotient_rounded_up,
            "the next block begins one token too early: positions count from 0, and a block of m "
            "slots holds 0 to m − 1.",
        ),
        _known(
            "one-entry-a-token",
            one_entry_a_token,
            "every token takes an entry of the table for itself; an entry names a block of several "
            "slots.",
        ),
        _known(
            "heads-for-slots",
            heads_for_slots,
            "the size of a block is read from the axis of the heads; the pool is (P, block, K, D).",
        ),
        _known(
            "block-as-slot",
            entry_as_token,
            "a block's number is used as the number of its first slot, without the block's size "
            "in between.",
        ),
        _known(
            "blocks-interleaved",
            interleaved,
            "slot 0 of every block comes first, then slot 1 of every block; a block's slots stand "
            "together.",
        ),
        _known(
            "first-slots-only",
            first_slots_only,
            "only the first slot of each block is read.",
        ),
        _known(
            "reshaped-into-heads",
            (reshaped, reshaped_and_cut, cleared_then_reshaped),
            "the axes are only read anew (view or reshape) where heads and tokens change places, "
            "which mixes the two.",
        ),
        _known(
            "tokens-before-heads",
            tokens_before_heads,
            "the result is (B, S, K, D); the heads come before the tokens.",
        ),
        _known(
            "features-moved",
            heads_last,
            "the features are not the last axis of the result; it is (B, K, S, D).",
        ),
        _known(
            "rest-not-cleared",
            rest_not_cleared,
            "what lies behind a shorter sequence's end is some other block's content; there are "
            "zeros in the answer.",
            UNEQUAL,
        ),
        _known(
            "last-block-whole",
            last_block_whole,
            "whole blocks are cleared, but the last block of a sequence is only partly its own.",
            UNEQUAL,
        ),
        _known(
            "last-block-dropped",
            last_block_dropped,
            "only full blocks are taken; the last one is used in part.",
        ),
        _known(
            "one-row-more",
            one_row_more,
            "one row behind a sequence's end is left standing; n tokens fill the slots 0 to n − 1.",
            UNEQUAL,
        ),
        _known(
            "last-token-cleared",
            one_row_less,
            "the last token of each sequence is cleared too.",
            UNEQUAL,
        ),
        _known(
            "first-end-for-all",
            cleared_by_longest,
            "every sequence is cleared behind the length of the first.",
            UNEQUAL,
        ),
        _known(
            "minus-infinity-behind",
            nan_past_the_end,
            "the slots behind a sequence's end hold −∞, which belongs into scores; here they are "
            "zeros.",
            UNEQUAL,
        ),
        _known(
            "as-long-as-the-table",
            as_long_as_the_table,
            "the result has room for every entry of the table; it is as long as the longest "
            "sequence.",
            UNEQUAL,
        ),
        _known(
            "up-to-a-block",
            up_to_a_block,
            "the result ends where the longest sequence's last block ends, not where the sequence "
            "does.",
            UNEQUAL,
        ),
        _known(
            "first-length-for-all",
            first_length,
            "the result is as long as the first sequence; longer ones are cut.",
            UNEQUAL,
        ),
        _known(
            "shortest-length",
            shortest_length,
            "the result is as long as the shortest sequence.",
            UNEQUAL,
        ),
        _known(
            "one-short",
            one_short,
            "the result is one row too short; a sequence of n tokens has n rows.",
            UNEQUAL,
        ),
        _known(
            "aligned-right",
            aligned_right,
            "shorter sequences are moved to the right, as in a left-padded batch; here each starts "
            "at row 0.",
            UNEQUAL,
        ),
        _known(
            "strung-together",
            packed,
            "the sequences are strung together along one axis; each has a row of the batch.",
            UNEQUAL,
        ),
        _known(
            "in-a-list",
            in_a_list,
            "a list of tensors comes back, one a sequence; here they are one tensor, with zeros "
            "behind the shorter ones.",
            UNEQUAL,
        ),
    ),
    alternatives=(one_by_one, by_slots, block_by_block, whole_blocks_then_cut),
    hints=(
        "Take blocks of 4 slots, a sequence of 6 tokens, and the table row 7, 2. In which block "
        "and in which slot of it lies token 5? Write down two numbers that you get from 5 and 4.",
        "A double loop over sequences and tokens is a good start, into a tensor of zeros. What "
        "happens to the entries behind the last used block if you never go past a row's length?",
        "Without the loops: indexing the pool with the whole table gives (B, M, block, K, D). Two "
        "neighbouring axes of it together count the tokens. Then cut, clear and move one axis, and "
        "mind what −1 has picked.",
    ),
    read=PAGES,
)
