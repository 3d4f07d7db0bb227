"""Who holds which block: lending, sharing, giving back, names of prefixes, and copies on write."""

import pytest
import torch

from clearhead.inference import BlockPool, PagedCache, PagedSequence, paged_gather, prefix_names
from clearhead.model import Config

CONFIG = Config(vocab_size=5, width=8, layers=2, heads=4, kv_heads=2, head_size=6, feed_forward=8)


def test_a_table_grows_by_the_blocks_that_it_lacks():
    pool, table = BlockPool(4, 3), []
    for tokens, blocks in ((1, 1), (3, 1), (4, 2), (4, 2), (9, 3)):
        pool.extend(table, tokens)
        assert (len(table), pool.free, pool.used) == (blocks, 4 - blocks, blocks)
    assert len(set(table)) == 3


def test_blocks_that_are_not_there_are_refused_and_nothing_is_lent():
    pool, table, other = BlockPool(4, 3), [], []
    pool.extend(table, 5)
    with pytest.raises(ValueError, match="3 blocks are wanted, and 2 of 4 are free"):
        pool.extend(other, 7)
    assert (other, pool.free) == ([], 2)


def test_a_shared_block_is_free_when_its_last_holder_lets_go():
    pool, table = BlockPool(4, 3), []
    pool.extend(table, 6)
    second = pool.share(table)
    assert second == table and pool.used == 2 and pool.holders(table[0]) == 2
    pool.release(table)
    assert table == [] and pool.used == 2
    pool.release(second)
    assert pool.used == 0


def test_a_block_released_twice_is_refused_and_nothing_changes():
    pool, table = BlockPool(4, 3), []
    pool.extend(table, 6)
    for wrong in ([*table, table[0]], [3 if 3 not in table else 0]):
        with pytest.raises(ValueError, match="released twice"):
            pool.release(list(wrong))
        assert pool.used == 2
    stale = list(table)
    pool.release(table)
    with pytest.raises(ValueError, match="released twice"):
        pool.release(stale)


def test_a_prefix_is_found_as_far_as_it_is_known():
    pool, table = BlockPool(6, 2), []
    tokens = [5, 6, 7, 8, 9]
    names = prefix_names(tokens, 2)
    assert len(names) == 2
    pool.extend(table, 5)
    pool.publish(table, names)
    again = prefix_names([5, 6, 7, 8, 1, 2], 2)
    assert pool.match(again) == table[:2]
    assert pool.match(prefix_names([5, 6, 8, 8], 2)) == table[:1]
    assert pool.match(prefix_names([6, 6, 7, 8], 2)) == []
    assert pool.holders(table[0]) == 3 and pool.holders(table[1]) == 2


def test_a_name_covers_everything_before_its_block():
    first, second = prefix_names([1, 2, 3, 4], 2), prefix_names([9, 2, 3, 4], 2)
    assert first[1] != second[1]
    assert prefix_names([1, 2, 3, 4, 5, 6], 2, first[:1])[:2] == first
    assert len({*prefix_names([1, 1, 1, 1], 2)}) == 2


def test_a_second_block_of_the_same_tokens_gets_no_name():
    pool, first, second = BlockPool(6, 2), [], []
    names = prefix_names([1, 2], 2)
    pool.extend(first, 2)
    pool.extend(second, 2)
    pool.publish(first, names)
    pool.publish(second, names)
    assert pool.match(names) == first


def test_a_block_that_nobody_holds_is_found_until_it_is_lent_again():
    pool, table, other = BlockPool(3, 2), [], []
    names = prefix_names([1, 2, 3, 4], 2)
    pool.extend(table, 4)
    pool.publish(table, names)
    kept = list(table)
    pool.release(table)
    assert pool.free == 3
    found = pool.match(names)
    assert found == kept and pool.free == 1
    pool.release(found)
    pool.extend(other, 2)  # the block without a name goes first
    assert other[0] not in kept and pool.match(names[:0]) == []
    pool.extend(other, 4)  # then the end of the prefix
    assert other[1] == kept[1]
    assert pool.match(names) == kept[:1]


def test_a_block_without_a_name_is_lent_before_one_with_a_name_given_back_earlier():
    pool, named, nameless = BlockPool(2, 1), [], []
    pool.extend(named, 1)
    pool.publish(named, prefix_names([7], 1))
    pool.extend(nameless, 1)
    wanted = list(nameless)
    pool.release(named)
    pool.release(nameless)
    pool.extend(nameless, 1)
    assert nameless == wanted and pool.match(prefix_names([7], 1)) != []


def test_what_comes_after_a_lost_block_is_not_found():
    pool, table, other = BlockPool(2, 2), [], []
    names = prefix_names([1, 2, 3, 4], 2)
    pool.extend(table, 4)
    pool.publish(table, names)
    kept = pool.share(table[1:])
    pool.release(table)
    pool.extend(other, 2)  # lends the first one again
    assert pool.match(names) == [] and pool.holders(kept[0]) == 1


def test_names_given_back_longest_ago_are_lent_first():
    pool, a, b = BlockPool(2, 1), [], []
    pool.extend(a, 1)
    pool.publish(a, prefix_names([7], 1))
    pool.extend(b, 1)
    pool.publish(b, prefix_names([8], 1))
    first = list(a)
    pool.release(a)
    pool.release(b)
    pool.extend(a, 1)
    assert a == first
    assert pool.match(prefix_names([7], 1)) == [] and pool.match(prefix_names([8], 1)) != []


def fill(cache: PagedCache, sequence: PagedSequence, n: int) -> list:
    """Append n random rows to every layer; the keys and values written, (n, K, D) a layer."""
    cache.reserve(sequence, n)
    start, end = sequence.length, sequence.length + n
    slots = cache.slots([sequence], [end])[0, start:]
    rows = [(torch.randn(n, 2, 6), torch.randn(n, 2, 6)) for _ in range(2)]
    for layer, (k, v) in enumerate(rows):
        cache.write(layer, slots, k, v)
    sequence.length = end
    return rows


@pytest.mark.parametrize("block", [1, 4, 5, 16])
def test_what_is_written_is_read_back_by_every_layer(block):
    cache = PagedCache(CONFIG, blocks=16 if block == 1 else 8, block=block)
    a, b = PagedSequence(), PagedSequence()
    written = {"a": [fill(cache, a, 3)], "b": [fill(cache, b, 2)]}
    written["a"].append(fill(cache, a, 6))
    written["b"].append(fill(cache, b, 1))
    slots = cache.slots([a, b], [9, 3])
    M = max(len(a.table), len(b.table))
    table = torch.tensor([s.table + [-1] * (M - len(s.table)) for s in (a, b)])
    for layer in range(2):
        read = cache.read(layer, slots)
        for side, (got, pool) in enumerate(zip(read, (cache.keys, cache.values), strict=True)):
            rows = torch.cat([part[layer][side] for part in written["a"]])
            assert torch.equal(got[0], rows.transpose(0, 1))
            gathered = paged_gather(pool[layer], table, torch.tensor([9, 3]))
            assert torch.equal(got[0], gathered[0])
            assert torch.equal(got[1, :, :3], gathered[1, :, :3])
            assert torch.equal(got[1, :, 3:], got[1, :, 2:3].expand(-1, 6, -1))  # repeats its last


def test_a_fork_writes_into_a_copy_of_a_block_that_is_partly_full():
    cache = PagedCache(CONFIG, blocks=6, block=4)
    a = PagedSequence()
    fill(cache, a, 6)
    b = cache.fork(a)
    assert cache.pool.used == 2
    before = cache.read(1, cache.slots([a], [6]))
    fill(cache, b, 1)
    assert b.table[0] == a.table[0] and b.table[1] != a.table[1]
    assert cache.pool.used == 3 and cache.pool.holders(a.table[1]) == 1
    for old, mine, forked in zip(
        before,
        cache.read(1, cache.slots([a], [6])),
        cache.read(1, cache.slots([b], [6])),
        strict=True,
    ):
        assert torch.equal(mine, old) and torch.equal(forked, old)
    fill(cache, a, 1)  # alone on its block now: no second copy
    assert cache.pool.used == 3
    cache.release(a)
    cache.release(b)
    assert cache.pool.free == 6 and (a.table, a.length) == ([], 0)


def test_a_fork_at_the_end_of_a_block_needs_no_copy():
    cache = PagedCache(CONFIG, blocks=4, block=4)
    a = PagedSequence()
    fill(cache, a, 4)
    b = cache.fork(a)
    fill(cache, b, 1)
    assert b.table[0] == a.table[0] and cache.pool.used == 2


def test_a_copy_that_finds_no_block_changes_nothing():
    cache = PagedCache(CONFIG, blocks=3, block=4)
    a = PagedSequence()
    fill(cache, a, 6)
    b = cache.fork(a)
    with pytest.raises(ValueError, match="2 blocks are wanted, and 1 of 3"):
        cache.reserve(b, 3)  # a copy, and a block more
    assert b.table == a.table and cache.pool.holders(a.table[1]) == 2


def test_the_pool_is_taken_once_and_tells_its_bytes():
    cache = PagedCache(CONFIG, blocks=3, block=4, dtype=torch.float64)
    assert cache.nbytes == 2 * 2 * 3 * 4 * 2 * 6 * 8
