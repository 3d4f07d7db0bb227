"""On a GPU the fast decoder replays recorded steps, and writes the plain path's tokens."""

import sys
from pathlib import Path

import pytest
import torch

from clearhead.inference import (
    FastDecoder,
    Int8Cache,
    KVCache,
    StaticCache,
    decode_step,
    generate,
    left_pad,
    prefill,
)
from clearhead.inference import static_step as static_module

sys.path.append(str(Path(__file__).parents[1] / "inference"))
from inference_models import FAMILIES, prompts, sharp_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

N = 24
FAMILY = pytest.mark.parametrize("family", FAMILIES)


def fast_decoder(model):
    """Recorded, not translated: torch.compile does not look through the jaxtyping hook's wrappers.

    tests/inference/apart/compiled_step.py, without the hook, records Inductor's code.
    """
    return FastDecoder(model, backend=None)


def on_gpu(family="llama", dtype=torch.float64, **changes):
    return sharp_model(family, dtype, **changes).cuda()


@FAMILY
@pytest.mark.parametrize("window", [None, 4])
def test_recorded_steps_write_the_tokens_of_the_plain_path(family, window):
    model = on_gpu(family)
    fast = fast_decoder(model)
    ids, pads = left_pad(prompts(7, 2, 5, 1), device="cuda")
    want = generate(model, ids, N, pads=pads, window=window)
    assert torch.equal(generate(fast, ids, N, pads=pads, window=window), want)
    assert torch.equal(generate(fast, ids[:1], N, window=window), want[:1])
    assert torch.equal(
        want.cpu(), generate(model.cpu(), ids.cpu(), N, pads=pads.cpu(), window=window)
    )


def test_a_step_is_recorded_once_for_a_cache_and_a_number_of_slots(monkeypatch):
    monkeypatch.setattr(static_module, "SMALLEST", 4)
    recorded = []
    original = static_module._Step.record_graph
    monkeypatch.setattr(
        static_module._Step, "record_graph", lambda self: recorded.append(self) or original(self)
    )
    model = on_gpu()
    fast, ids = fast_decoder(model), torch.tensor(prompts(2)).cuda()
    cache, want = fast.new_cache(1, 21), generate(model, ids, 20)
    for _ in range(3):
        cache.truncate(0)
        assert torch.equal(generate(fast, ids, 20, cache=cache), want)
    assert len(recorded) == 4  # 4, 8, 16 and 21 slots


def test_logits_are_not_overwritten_by_the_next_step():
    model = on_gpu()
    fast, ids = fast_decoder(model), torch.tensor(prompts(5)).cuda()
    cache = fast.new_cache(1, 12)
    prefill(fast, ids, cache)
    first = decode_step(fast, ids[:, 0], cache)
    kept = first.clone()
    decode_step(fast, ids[:, 1], cache)
    assert torch.equal(first, kept)


def test_two_caches_may_take_turns():
    model = on_gpu()
    fast = fast_decoder(model)
    given = [torch.tensor([p]).cuda() for p in prompts(8, 3)]
    caches = [fast.new_cache(1, 40) for _ in given]
    logits = [prefill(fast, ids, cache) for ids, cache in zip(given, caches, strict=True)]
    written = [[], []]
    for _ in range(N):
        for i in range(2):
            token = logits[i].argmax(-1)
            written[i].append(token)
            logits[i] = decode_step(fast, token, caches[i])
    for ids, tokens in zip(given, written, strict=True):
        want = generate(model, ids, N)[:, -N:]
        assert torch.equal(torch.stack(tokens, dim=1), want)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_16_bit_logits_are_as_near_as_the_dtype_allows(dtype):
    model = on_gpu("qwen3", torch.float32)
    ids = torch.tensor(prompts(9, 9)).cuda()
    with torch.no_grad():
        exact = model(ids)[:, -1]
    model = model.to(dtype)
    fast = fast_decoder(model)
    cache = fast.new_cache(2, 9)
    prefill(fast, ids[:, :8], cache)
    got = decode_step(fast, ids[:, 8], cache)
    plain = prefill(model, ids, KVCache(3))
    assert (got - exact).norm() < 2 * (plain - exact).norm()


@pytest.mark.parametrize("make", [KVCache, Int8Cache, StaticCache])
def test_every_cache_follows_its_model_to_the_gpu(make):
    model = on_gpu()
    ids = torch.tensor(prompts(6, 6)).cuda()
    static = make is StaticCache
    cache = make.for_model(model, batch=2, max_length=20) if static else make(3)
    got = generate(model, ids, 8, cache=cache, chunk=4)
    assert got.is_cuda
    if make is not Int8Cache:
        assert torch.equal(got, generate(model, ids, 8))


def test_ids_on_another_device_are_refused():
    model = on_gpu()
    with pytest.raises(ValueError, match="ids are on cpu and the model on cuda:0; move one"):
        generate(fast_decoder(model), torch.tensor(prompts(4)), 2)
