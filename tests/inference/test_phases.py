"""Prefill and decode on a whole model: the numbers of one forward over everything."""

import pytest
import torch
from inference_models import FAMILIES, V, sharp_model

from clearhead.inference import KVCache, StaticCache, decode_step, forward_cached, prefill

B, T = 2, 9
FAMILY = pytest.mark.parametrize("family", FAMILIES)


def random_ids(T=T):
    return torch.randint(0, V, (B, T), generator=torch.Generator().manual_seed(3))


def caches(model, length=T):
    c = model.config
    return [KVCache(c.layers), StaticCache.for_model(model, batch=B, max_length=length)]


@torch.no_grad()
def whole(model, ids):
    return model(ids)


@FAMILY
def test_prefill_gives_the_logits_of_the_last_position(family, close):
    model, ids = sharp_model(family), random_ids()
    for cache in caches(model):
        close(prefill(model, ids, cache), whole(model, ids)[:, -1])
        assert cache.length == T


@FAMILY
@pytest.mark.parametrize("chunk", [1, 2, 4, 9, 50])
def test_a_prompt_in_chunks_gives_the_same_logits_and_the_same_cache(family, chunk, close):
    model, ids = sharp_model(family), random_ids()
    at_once = KVCache(model.config.layers)
    want = prefill(model, ids, at_once)
    for cache in caches(model):
        close(prefill(model, ids, cache, chunk=chunk), want)
        for layer in range(model.config.layers):
            nothing = torch.zeros(B, model.config.kv_heads, 0, 8).double()
            close(cache.update(layer, nothing, nothing), at_once.update(layer, nothing, nothing))


@FAMILY
def test_each_decode_step_gives_the_logits_of_its_position(family, close):
    model, ids = sharp_model(family), random_ids()
    want = whole(model, ids)
    for cache in caches(model):
        close(prefill(model, ids[:, :3], cache), want[:, 2])
        for t in range(3, T):
            close(decode_step(model, ids[:, t], cache), want[:, t])


def test_only_the_last_position_goes_through_the_head(monkeypatch):
    model, seen = sharp_model(), []
    original = model.logits
    monkeypatch.setattr(model, "logits", lambda x: seen.append(x.shape[1]) or original(x))
    prefill(model, random_ids(), KVCache(3), chunk=4)
    assert seen == [1]


def test_forward_cached_gives_every_position_or_the_last(close):
    model, ids = sharp_model(), random_ids()
    want = whole(model, ids)
    cache = KVCache(3)
    close(forward_cached(model, ids[:, :4], cache), want[:, :4])
    close(forward_cached(model, ids[:, 4:], cache, last_only=True), want[:, -1:])


def test_forward_cached_takes_positions_and_a_mask(close):
    """Two continuations side by side behind one prompt: each sees the prompt and itself."""
    model, ids = sharp_model(), random_ids(7)
    cache = KVCache(3)
    forward_cached(model, ids[:, :3], cache)
    mask = torch.ones(4, 7).bool().tril(3)
    mask[2:, 3:5] = False
    positions = torch.tensor([3, 4, 3, 4]).expand(B, 4)
    for given in (mask, mask.expand(1, 4, 7), mask.expand(B, 4, 7)):
        got = forward_cached(model, ids[:, 3:], cache, positions=positions, mask=given)
        close(got[:, :2], whole(model, ids[:, :5])[:, 3:])
        close(got[:, 2:], whole(model, ids[:, [0, 1, 2, 5, 6]])[:, 3:])
        cache.truncate(3)


def test_after_truncate_another_continuation_is_read_as_if_the_first_had_not_been(close):
    model, ids = sharp_model(), random_ids()
    other = (ids + 1) % V
    for cache in caches(model, 2 * T):
        prefill(model, ids, cache)
        cache.truncate(4)
        both = torch.cat([ids[:, :4], other[:, 4:]], dim=1)
        close(prefill(model, other[:, 4:], cache), whole(model, both)[:, -1])


def test_what_a_pass_cut_short_left_in_the_first_layers_is_dropped(monkeypatch, close):
    model, ids = sharp_model(), random_ids()
    for cache in caches(model, 2 * T):
        prefill(model, ids[:, :5], cache)
        with monkeypatch.context() as patch:
            patch.setattr(model.blocks[1].feed_forward, "forward", lambda x: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                decode_step(model, ids[:, 0], cache)
        assert cache.length == 5
        close(prefill(model, ids[:, 5:], cache), whole(model, ids)[:, -1])


def test_a_prompt_too_long_for_the_cache_leaves_it_as_it_was(close):
    model, ids = sharp_model(), random_ids()
    cache = StaticCache.for_model(model, batch=B, max_length=8)
    with pytest.raises(ValueError, match=r"8 slots and 9 are needed: the prompt has 9 tokens"):
        prefill(model, ids, cache, chunk=2)
    assert cache.length == 0
    assert (torch.stack(cache.keys) == 0).all()
    prefill(model, ids[:, :8], cache)
    with pytest.raises(ValueError, match=r"8 slots, 8 of them used; 1 more do not fit"):
        decode_step(model, ids[:, 8], cache)
    cache.truncate(7)
    close(decode_step(model, ids[:, 7], cache), whole(model, ids)[:, 7])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_and_cache_have_the_dtype_of_the_model(dtype):
    model = sharp_model(dtype=dtype)
    for cache in caches(model):
        assert prefill(model, random_ids(4), cache).dtype == dtype
        assert decode_step(model, random_ids(4)[:, 0], cache).dtype == dtype
        assert cache.update(0, *torch.zeros(2, B, 2, 1, 8, dtype=dtype))[0].dtype == dtype


def test_nothing_that_a_cache_holds_needs_a_gradient():
    model = sharp_model()
    cache = KVCache(3)
    assert not prefill(model, random_ids(), cache).requires_grad
    assert not cache.update(0, *torch.zeros(2, B, 2, 1, 8).double())[0].requires_grad
