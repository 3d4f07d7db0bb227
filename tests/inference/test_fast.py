"""The fast decoder writes the plain one's tokens, by every way it has to make them."""

import pytest
import torch
from inference_models import FAMILIES, prompts, sharp_model

from clearhead.inference import FastDecoder, KVCache, decode_step, generate, left_pad, prefill
from clearhead.inference import static_step as static_module
from clearhead.inference.fused import fuse

N = 12
WAYS = {"sliced": {}, "static": {"static": True}}  # compiled: apart/compiled_step.py
WAY = pytest.mark.parametrize("way", WAYS)
FAMILY = pytest.mark.parametrize("family", FAMILIES)


@WAY
@FAMILY
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["fp64", "fp32"])
def test_the_tokens_are_those_of_the_plain_path(family, way, dtype):
    model = sharp_model(family, dtype)
    fast = FastDecoder(model, **WAYS[way])
    ids = torch.tensor(prompts(7, 7))
    want = generate(model, ids, N)
    assert want[:, 7:].unique().numel() > 6
    assert torch.equal(generate(fast, ids, N), want)
    assert torch.equal(generate(fast, ids[:1], N, chunk=3), want[:1])


@WAY
@FAMILY
@pytest.mark.parametrize("window", [None, 4])
def test_a_padded_batch_gets_the_tokens_of_the_plain_path(family, way, window):
    model = sharp_model(family)
    fast = FastDecoder(model, **WAYS[way])
    ids, pads = left_pad(prompts(7, 2, 5, 1))
    want = generate(model, ids, N, pads=pads, window=window)
    assert torch.equal(generate(fast, ids, N, pads=pads, window=window), want)
    assert torch.equal(generate(fast, ids, N, pads=pads, window=window, chunk=3), want)
    assert torch.equal(generate(fast, ids[:1], N, window=window), want[:1])


@WAY
@FAMILY
def test_the_logits_are_those_of_the_plain_path(family, way, close):
    model = sharp_model(family)
    fast = FastDecoder(model, **WAYS[way])
    ids, pads = left_pad(prompts(6, 4))
    plain, static = KVCache(3), fast.new_cache(2, 9)
    close(prefill(fast, ids, static, pads=pads), prefill(model, ids, plain, pads=pads))
    for token in ids.T[:3]:
        got = decode_step(fast, token, static, pads=pads)
        close(got, decode_step(model, token, plain, pads=pads))
    assert static.length == plain.length == 9
    nothing = torch.zeros(2, model.config.kv_heads, 0, 8).double()
    for layer in range(3):
        close(static.update(layer, nothing, nothing), plain.update(layer, nothing, nothing))


@WAY
def test_bf16_logits_are_as_near_as_bf16_allows(way):
    model = sharp_model("qwen3", torch.float32)
    exact, ids = model(torch.tensor(prompts(7)))[:, -1], torch.tensor(prompts(7))
    fast = FastDecoder(model.bfloat16(), **WAYS[way])
    cache = fast.new_cache(1, 7)
    prefill(fast, ids[:, :6], cache)
    got = decode_step(fast, ids[:, 6], cache)
    plain = prefill(model, ids, KVCache(3))
    assert got.dtype == torch.bfloat16
    assert (got - exact).norm() < 2 * (plain - exact).norm()


@WAY
def test_a_cache_that_is_emptied_or_cut_goes_on_as_new(way):
    model = sharp_model()
    fast, ids = FastDecoder(model, **WAYS[way]), torch.tensor(prompts(7))
    want, cache = generate(model, ids, N), fast.new_cache(1, 20)
    assert torch.equal(generate(fast, ids, N, cache=cache), want)
    cache.truncate(0)
    assert torch.equal(generate(fast, ids, N, cache=cache), want)
    cache.truncate(9)  # the prompt and two tokens
    assert torch.equal(generate(fast, want[:, 9:10], N - 3, cache=cache), want[:, 9:])


@WAY
def test_two_streams_may_take_turns(way):
    from clearhead.inference import stream

    model = sharp_model()
    fast = FastDecoder(model, **WAYS[way])
    given = [torch.tensor([p]) for p in prompts(8, 3)]
    got = list(zip(*[stream(fast, ids, N) for ids in given], strict=True))
    for i, ids in enumerate(given):
        want = generate(model, ids, N)[:, -N:]
        assert torch.equal(torch.stack([step[i] for step in got], dim=1), want)


def test_the_static_step_takes_more_slots_as_the_cache_fills(monkeypatch):
    monkeypatch.setattr(static_module, "SMALLEST", 4)
    model, seen = sharp_model(), []
    original = static_module._Step.__init__

    def noted(self, steps, cache, slots, window):
        seen.append(slots)
        original(self, steps, cache, slots, window)

    monkeypatch.setattr(static_module._Step, "__init__", noted)
    fast, ids = FastDecoder(model, static=True), torch.tensor(prompts(2))
    cache = fast.new_cache(1, 21)
    assert torch.equal(generate(fast, ids, 20, cache=cache), generate(model, ids, 20))
    assert seen == [4, 8, 16, 21]
    cache.truncate(0)
    generate(fast, ids, 20, cache=cache)
    assert len(seen) == 4  # each is made once for a cache


def test_what_is_kept_for_a_cache_goes_with_it():
    fast = FastDecoder(sharp_model(), static=True)
    generate(fast, torch.tensor(prompts(3)), 3)
    assert len(fast._steps._made) == 0


def test_wide_fp32_matrices_are_stored_by_columns_on_a_cpu():
    fused = fuse(sharp_model(dtype=torch.float32, feed_forward=44))
    block = fused.blocks[0]
    assert block.gate_up.t().is_contiguous()
    assert block.down.is_contiguous()
    assert fused.head.is_contiguous()
    assert torch.equal(fused.head, fused.head_by_columns)
    assert fuse(sharp_model()).blocks[0].gate_up.is_contiguous()  # fp64


@pytest.mark.parametrize("made_for", [1, 4])
def test_every_batch_has_the_logits_of_the_plain_path_in_both_layouts(made_for, close):
    model = sharp_model(dtype=torch.float32)
    fast = FastDecoder(model, batch=made_for)
    assert (fast.fused.head_by_columns is None) == (made_for == 4)
    assert fast.fused.blocks[0].gate_up.is_contiguous() == (made_for == 4)
    for B in (1, 2, 3, 5):
        ids = torch.tensor(prompts(*[4] * B))
        close(prefill(fast, ids, fast.new_cache(B, 4)), prefill(model, ids, KVCache(3)))


@pytest.mark.parametrize("chunk", [1, 2])
def test_a_padded_prompt_may_come_in_small_chunks(chunk, close):
    model = sharp_model()
    fast = FastDecoder(model)
    ids, pads = left_pad(prompts(6, 2))
    want = prefill(model, ids, KVCache(3), pads=pads)
    close(prefill(fast, ids, fast.new_cache(2, 6), pads=pads, chunk=chunk), want)


def test_a_later_change_of_the_model_does_not_reach_the_copies():
    model, ids = sharp_model(), torch.tensor(prompts(5))
    fast = FastDecoder(model)
    before = prefill(fast, ids, fast.new_cache(1, 5))
    with torch.no_grad():
        model.blocks[0].attention.query.weight.zero_()
    assert torch.equal(prefill(fast, ids, fast.new_cache(1, 5)), before)


@pytest.mark.parametrize("name", ["query", "gate"])
def test_layers_with_adapters_are_refused(name):
    from clearhead.lora import LoRALinear

    model = sharp_model()
    part = model.blocks[1].attention if name == "query" else model.blocks[1].feed_forward
    setattr(part, name, LoRALinear(getattr(part, name)))
    with pytest.raises(TypeError, match=f"block 1's {name} is a LoRALinear; .* Merge adapters"):
        FastDecoder(model)


def test_smollm2_writes_the_tokens_of_the_plain_path(smollm2):
    model, tokenizer = smollm2
    chats = [
        tokenizer.chat([{"role": "user", "content": text}])
        for text in ("What is the capital of France?", "Write one sentence about a key.")
    ]
    ids, pads = left_pad([tokenizer.encode(chat) for chat in chats])
    fast = FastDecoder(model)
    assert torch.equal(generate(fast, ids, 32, pads=pads), generate(model, ids, 32, pads=pads))
    assert torch.equal(generate(fast, ids[1:], 8), generate(model, ids[1:], 8))
