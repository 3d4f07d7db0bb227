"""A batch in paged blocks as the cache of `generate`: the same tokens, all blocks given back."""

import pytest
import torch
from inference_models import FAMILIES, prompts, sharp_model

from clearhead.inference import (
    KVCache,
    PagedBatch,
    PagedCache,
    PagedSequence,
    generate,
    left_pad,
    packed_forward,
    prefill,
)


def paged(model, batch, *, blocks=40, block=4, pool=None):
    dtype = model.embedding.weight.dtype
    return PagedBatch(
        pool or PagedCache(model.config, blocks=blocks, block=block, dtype=dtype), batch
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("block", [1, 5, 16])
def test_generate_writes_the_same_tokens_as_over_a_plain_cache(family, block):
    model = sharp_model(family)
    ids, pads = left_pad(prompts(5, 11, 8))
    cache = paged(model, 3, blocks=60 if block == 1 else 30, block=block)
    for options in ({}, {"chunk": 3}, {"window": 6}):
        got = generate(model, ids, 9, pads=pads, cache=cache, **options)
        assert torch.equal(got, generate(model, ids, 9, pads=pads, **options))
        assert cache.length == 11 + 9 - 1
        cache.truncate(0)
        assert cache.cache.pool.used == 0


def test_two_batches_take_turns_in_one_pool():
    model = sharp_model()
    pool = paged(model, 1).cache
    first, second = paged(model, 2, pool=pool), paged(model, 1, pool=pool)
    a, b = torch.tensor(prompts(6, 6)), torch.tensor(prompts(9))
    prefill(model, a, first)
    whole_b = generate(model, b, 5, cache=second)
    first.truncate(3)
    assert torch.equal(
        generate(model, a[:, 3:], 7, cache=first)[:, 3:], generate(model, a, 7)[:, 6:]
    )
    assert torch.equal(whole_b, generate(model, b, 5))


def test_it_holds_no_more_blocks_than_its_tokens_need():
    model = sharp_model()
    cache = paged(model, 2, blocks=11, block=4)
    prefill(model, torch.tensor(prompts(6, 6)), cache)
    assert (cache.cache.pool.used, cache.max_length) == (4, (2 + 3) * 4)
    assert cache.nbytes == 4 * cache.cache.nbytes // 11
    cache.truncate(4)
    assert (cache.cache.pool.used, cache.length) == (2, 4)
    cache.truncate(1)
    assert (cache.cache.pool.used, cache.length) == (2, 1)


def test_a_cut_that_is_shared_stays_with_its_other_holder():
    model = sharp_model()
    cache = paged(model, 1)
    prefill(model, torch.tensor(prompts(7)), cache)
    other = cache.cache.fork(cache.sequences[0])
    before = cache.cache.read(0, cache.cache.slots([other], [7]))
    cache.truncate(5)
    prefill(model, torch.tensor(prompts(3)), cache)
    for old, now in zip(before, cache.cache.read(0, cache.cache.slots([other], [7])), strict=True):
        assert torch.equal(old, now)


def test_what_the_pool_cannot_hold_is_refused_and_nothing_is_written():
    model = sharp_model()
    cache = paged(model, 2, blocks=5, block=4)
    ids = torch.tensor(prompts(6, 6))
    with pytest.raises(ValueError, match="The cache has 8 slots and 9 are needed"):
        generate(model, ids, 4, cache=cache)
    rows = torch.randn(2, 2, 9, 8, dtype=torch.float64)
    with pytest.raises(ValueError, match="6 blocks are wanted, and 5 of 5 are free"):
        cache.update(0, rows, rows)
    assert cache.length == 0 and cache.cache.pool.used == 0
    assert torch.equal(generate(model, ids, 3, cache=cache), generate(model, ids, 3))


@pytest.mark.parametrize("shape", [(1, 2, 3, 8), (2, 1, 3, 8), (2, 2, 3, 6)])
def test_rows_of_another_shape_are_refused(shape):
    rows = torch.randn(*shape, dtype=torch.float64)
    with pytest.raises(ValueError, match="one cache serves one batch"):
        paged(sharp_model(), 2).update(0, rows, rows)


def test_a_pass_that_was_cut_short_leaves_the_length_as_it_was():
    model = sharp_model()
    cache, plain = paged(model, 1), KVCache(model.config.layers)
    ids = torch.tensor(prompts(6))
    prefill(model, ids, cache)
    prefill(model, ids, plain)
    rows = torch.randn(1, 2, 3, 8, dtype=torch.float64)
    cache.update(0, rows, rows)
    assert cache.length == 6
    more = torch.tensor(prompts(5))
    torch.testing.assert_close(prefill(model, more, cache), prefill(model, more, plain))


def test_no_new_rows_come_back_as_none():
    model = sharp_model()
    batch = PagedBatch(PagedCache(model.config, blocks=4, block=4, dtype=torch.float64), 2)
    nothing = torch.zeros(2, 2, 0, 8, dtype=torch.float64)
    assert [x.shape for x in batch.update(0, nothing, nothing)] == [nothing.shape] * 2


def test_a_sequence_without_blocks_is_refused_and_writes_nothing():
    model = sharp_model()
    cache = PagedCache(model.config, blocks=4, block=4, dtype=torch.float64)
    long, short = PagedSequence(), PagedSequence()
    cache.reserve(long, 6)
    with pytest.raises(ValueError, match="0 blocks of 4 slots cannot hold 2 tokens; reserve"):
        packed_forward(model, cache, [long, short], [[1] * 6, [2, 3]])
    assert not cache.keys.any()
