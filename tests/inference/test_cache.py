"""Caches: what is appended comes back, in its place; what does not fit changes nothing."""

import pytest
import torch

from clearhead.inference import KVCache, StaticCache, kv_cache_update

L, B, K, D, M = 2, 3, 2, 4, 9


def grown():
    return KVCache(L)


def static():
    return StaticCache(L, B, K, M, D, dtype=torch.float64)


KINDS = pytest.mark.parametrize("make", [grown, static])


def rows(T, batch=B):
    return torch.randn(2, batch, K, T, D, dtype=torch.float64).unbind()


def fill(cache, *sizes):
    """Append `sizes` rows to every layer; for each layer, all keys and values that went in."""
    given = [[] for _ in range(L)]
    for T in sizes:
        for layer in range(L):
            given[layer].append(rows(T))
            got = cache.update(layer, *given[layer][-1])
    whole = [[torch.cat(x, dim=2) for x in zip(*layer, strict=True)] for layer in given]
    torch.testing.assert_close(list(got), whole[-1], rtol=0, atol=0)
    return whole


@KINDS
def test_a_layer_gives_back_all_rows_in_order(make):
    cache = make()
    assert cache.length == 0
    fill(cache, 3, 1, 2)
    assert cache.length == 6


@KINDS
def test_layers_do_not_share_rows(make):
    cache = make()
    whole = fill(cache, 4)
    for layer in range(L):
        k, v = rows(1)
        keys, values = cache.update(layer, k, v)
        assert torch.equal(keys, torch.cat([whole[layer][0], k], dim=2))
        assert torch.equal(values, torch.cat([whole[layer][1], v], dim=2))


@KINDS
def test_length_counts_the_slots_that_every_layer_has(make):
    cache = make()
    fill(cache, 2)
    cache.update(0, *rows(3))
    assert cache.length == 2


@KINDS
@pytest.mark.parametrize("n", [0, 1, 4, 5])
def test_truncate_forgets_what_comes_after_and_nothing_before(make, n):
    cache = make()
    whole = fill(cache, 5)
    cache.truncate(n)
    assert cache.length == n
    for layer in range(L):
        k, v = rows(2)
        keys, values = cache.update(layer, k, v)
        assert torch.equal(keys, torch.cat([whole[layer][0][:, :, :n], k], dim=2))
        assert torch.equal(values, torch.cat([whole[layer][1][:, :, :n], v], dim=2))


@KINDS
def test_truncate_to_the_length_drops_what_a_pass_cut_short_left_behind(make):
    cache = make()
    fill(cache, 2)
    cache.update(0, *rows(3))
    cache.truncate(cache.length)
    assert cache.update(0, *rows(1))[0].shape[2] == 3


def test_an_emptied_plain_cache_takes_another_batch():
    cache = grown()
    fill(cache, 2)
    cache.truncate(0)
    assert cache.update(0, *rows(1, batch=5))[0].shape == (5, K, 1, D)


def test_bytes_are_those_of_the_rows_or_of_what_is_reserved():
    cache = grown()
    assert cache.nbytes == 0
    fill(cache, 3, 1)
    assert cache.nbytes == 2 * L * B * K * 4 * D * 8
    assert static().nbytes == 2 * L * B * K * M * D * 8


def test_a_static_cache_writes_in_place_and_copies_nothing():
    cache = static()
    keys, values = cache.update(1, *rows(2))
    assert keys.data_ptr() == cache.keys[1].data_ptr()
    assert values.data_ptr() == cache.values[1].data_ptr()


def test_a_static_cache_can_be_filled_to_the_last_slot_and_no_further():
    cache = static()
    fill(cache, 4, 5)
    before = torch.stack(cache.keys)
    with pytest.raises(ValueError, match=r"9 slots, 9 of them used; 1 more .* max_length=10 or"):
        cache.update(0, *rows(1))
    assert torch.equal(torch.stack(cache.keys), before)
    assert cache.length == 9


def test_slots_that_nobody_wrote_are_zero(poisoned_empty):
    """Attention over all slots of a static cache masks them, and 0 · NaN would be NaN."""
    assert all((x == 0).all() for x in static().keys + static().values)


def test_a_static_cache_has_the_sizes_dtype_and_device_of_its_model():
    from inference_models import sharp_model

    cache = StaticCache.for_model(sharp_model(dtype=torch.bfloat16), batch=5, max_length=7)
    assert torch.stack(cache.keys).shape == torch.stack(cache.values).shape == (3, 5, 2, 7, 8)
    assert cache.keys[0].dtype == torch.bfloat16


# --- kv_cache_update ------------------------------------------------------------------------------


def test_each_sequence_gets_its_rows_behind_those_that_it_has():
    cache_k, cache_v = rows(7)
    k, v = rows(2)
    lengths = torch.tensor([0, 5, 3])
    new_k, new_v, new_lengths = kv_cache_update(cache_k, cache_v, k, v, lengths)
    for new, old, added in ((new_k, cache_k, k), (new_v, cache_v, v)):
        for b, n in enumerate(lengths.tolist()):
            want = torch.cat([old[b, :, :n], added[b], old[b, :, n + 2 :]], dim=1)
            assert torch.equal(new[b], want)
    assert new_lengths.tolist() == [2, 7, 5]
    assert new_lengths.dtype == torch.int64


def test_the_given_cache_and_lengths_are_not_changed():
    cache_k, cache_v = rows(7)
    lengths = torch.tensor([0, 5, 3])
    before = [x.clone() for x in (cache_k, cache_v, lengths)]
    kv_cache_update(cache_k, cache_v, *rows(2), lengths)
    assert all(torch.equal(x, y) for x, y in zip((cache_k, cache_v, lengths), before, strict=True))


def test_a_sequence_that_its_slots_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="Sequence 1 has used 6 of 7 slots; 2 more rows do not"):
        kv_cache_update(*rows(7), *rows(2), torch.tensor([0, 6, 3]))


def test_no_new_rows_change_nothing():
    cache_k, cache_v = rows(4)
    got = kv_cache_update(cache_k, cache_v, *rows(0), torch.tensor([4, 0, 1]))
    assert torch.equal(got[0], cache_k)
    assert got[2].tolist() == [4, 0, 1]
