"""Folders in Hugging Face layout: what is written comes back, the rest is refused."""

import json
import sys

import pytest
import torch
from small_models import small_model, write_folder

from clearhead.model import ModelNotFound, load


def refused(folder, kind=ValueError) -> str:
    with pytest.raises(kind) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "architecture, variant, shards",
    [
        ("LlamaForCausalLM", {}, 1),
        ("LlamaForCausalLM", {"tied": True, "head_size": 16}, 3),
        ("Qwen2ForCausalLM", {"qkv_bias": True}, 2),
        ("Qwen3ForCausalLM", {"qk_norm": True}, 1),
    ],
)
def test_a_model_written_as_a_folder_comes_back(tmp_path, ids, architecture, variant, shards):
    model = small_model(**variant)
    loaded, tokenizer = load(write_folder(tmp_path, model, architecture, shards=shards))
    assert loaded.config == model.config
    assert tokenizer.decode(tokenizer.encode("in the 12 days")) == "in the 12 days"
    assert tokenizer.chat([{"role": "user", "content": "hi"}]) == "<|im_start|>hi"
    assert tokenizer.eos_id == 2
    with torch.no_grad():
        assert torch.equal(loaded(ids), model(ids))


def test_rope_parameters_of_transformers_5_are_read(tmp_path):
    rope = {"rope_type": "default", "rope_theta": 5000}
    write_folder(tmp_path, small_model(), rope_theta=None, rope_parameters=rope)
    assert load(tmp_path)[0].config == small_model().config


def test_scalings_are_read_from_the_older_fields(tmp_path):
    write_folder(tmp_path, small_model(), rope_scaling={"type": "linear", "factor": 4})
    assert load(tmp_path)[0].config.rope_scale == (0.25,) * 4
    llama3 = {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4}
    llama3["original_max_position_embeddings"] = 64
    write_folder(tmp_path, small_model(), rope_scaling=llama3)
    scale = load(tmp_path)[0].config.rope_scale
    assert scale[0] == 1.0 and scale[-1] == 1 / 8


def test_a_head_size_left_out_is_width_over_heads(tmp_path):
    write_folder(tmp_path, small_model(), head_dim=None)
    assert load(tmp_path)[0].config.head_size == 8


def test_an_inv_freq_buffer_and_a_copy_of_a_tied_head_are_ignored(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    write_folder(tmp_path, small_model(tied=True))
    state = safetensors.load_file(tmp_path / "model.safetensors")
    state["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    state["lm_head.weight"] = state["model.embed_tokens.weight"].clone()
    safetensors.save_file(state, tmp_path / "model.safetensors")
    assert load(tmp_path)[0].config.tied


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(architectures=["GPT2LMHeadModel"]), "holds the architecture GPT2LMHeadModel"),
        (dict(architectures=None), "has no architectures, so it is no model's"),
        (dict(num_key_value_heads=3), "4 query heads can't share 3 key/value heads evenly"),
        (dict(head_dim=None, hidden_size=30), "hidden_size 30 can't be divided among 4 heads"),
        (dict(rope_scaling={"type": "yarn", "factor": 4}), "uses rope scaling 'yarn'"),
        (dict(rope_parameters={"partial_rotary_factor": 0.5}), "rotates only a part"),
        (dict(rope_scaling={"type": "linear"}), "has no 'factor'"),
        (dict(use_sliding_window=True), "uses sliding-window attention"),
        (dict(layer_types=["full_attention", "sliding_attention"]), "uses sliding-window"),
        (dict(attention_bias=True, mlp_bias=True), "uses attention_bias, mlp_bias"),
        (dict(hidden_act="gelu"), "uses hidden_act 'gelu'"),
        (dict(quantization_config={"bits": 4}), "uses quantised weights"),
        (dict(num_hidden_layers=3), "lacks 9 tensors (model.layers.2."),
        (dict(num_hidden_layers=1), "has unexpected 9 tensors (model.layers.1."),
        (dict(intermediate_size=60), "with shape (64, 32), but its config asks for (60, 32)"),
        (dict(vocab_size="many"), "is 'many'; give a positive integer"),
        (dict(num_attention_heads=0), "is 0; give a positive integer"),
    ],
)
def test_what_the_decoder_can_not_do_is_refused_by_name(tmp_path, changes, message):
    assert message in refused(write_folder(tmp_path, small_model(), **changes))


def test_a_sliding_window_that_is_switched_off_is_no_obstacle(tmp_path):
    changes = dict(
        sliding_window=4096, use_sliding_window=False, layer_types=["full_attention"] * 2
    )
    model = small_model(qkv_bias=True)
    load(write_folder(tmp_path, model, "Qwen2ForCausalLM", **changes))


def test_a_config_without_a_size_is_refused(tmp_path):
    write_folder(tmp_path, small_model())
    settings = json.loads((tmp_path / "config.json").read_text())
    del settings["intermediate_size"]
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert "has no 'intermediate_size'" in refused(tmp_path)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json"])
def test_a_missing_file_is_named(tmp_path, file):
    write_folder(tmp_path, small_model())
    (tmp_path / file).unlink()
    assert f"has no {file}" in refused(tmp_path)


def test_pickled_weights_are_refused_with_the_reason(tmp_path):
    write_folder(tmp_path, small_model())
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    message = refused(tmp_path)
    assert "has no model.safetensors" in message and "can run code" in message


def test_a_missing_shard_is_named(tmp_path):
    write_folder(tmp_path, small_model(), shards=2)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002.safetensors is missing, cut short or damaged" in refused(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_cut_weights_are_refused(tmp_path, share):
    weights = write_folder(tmp_path, small_model()) / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: int(len(whole) * share)])
    assert "model.safetensors is missing, cut short or damaged" in refused(tmp_path)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_damaged_json_is_refused(tmp_path, file):
    path = write_folder(tmp_path, small_model()) / file
    path.write_text(path.read_text()[:-9])
    assert file in refused(tmp_path)


def test_a_missing_safetensors_is_named_with_the_extra(tmp_path, monkeypatch):
    write_folder(tmp_path, small_model())
    monkeypatch.setitem(sys.modules, "safetensors", None)
    assert "needs the package safetensors" in refused(tmp_path, ModelNotFound)
