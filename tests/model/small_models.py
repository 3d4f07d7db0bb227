"""Small models, and GGUF and Hugging Face files made from them."""

import json

import pytest
import torch

from clearhead.model import Config, Decoder
from clearhead.model.names import GGUF, HUGGING_FACE, rename
from clearhead.model.pretokenizers import byte_level_bpe
from clearhead.model.tokenizer import _byte_letters

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["Ġ t", "h e", "Ġt he", "Ġ Ġ", "i n"]
PIECES = [*SPECIAL, *_byte_letters(), *(merge.replace(" ", "") for merge in MERGES)]
KINDS = [3] * len(SPECIAL) + [1] * (len(PIECES) - len(SPECIAL))


def small_config(**changes) -> Config:
    sizes = dict(vocab_size=len(PIECES), width=32, layers=2, heads=4, kv_heads=2, head_size=8)
    return Config(**{**sizes, "feed_forward": 64, "rope_theta": 5000.0, **changes})


def small_model(**changes) -> Decoder:
    torch.manual_seed(0)
    model = Decoder(small_config(**changes)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "bias" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def small_tokenizer():
    return byte_level_bpe(
        PIECES, merges=MERGES, kinds=KINDS, pattern="smollm", bos=None, source="here"
    )


def permute(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """What llama.cpp's converter does to q and k (LlamaModel.permute)."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def write_gguf(path, model, *, architecture="llama", omit=(), quantise=None, extra=(), **metadata):
    """Write `model` as llama.cpp's converter would; `metadata` overrides tokenizer fields."""
    gguf = pytest.importorskip("gguf", reason="pip install 'clearhead[model]'")
    c = model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(c.layers)
    writer.add_context_length(c.max_positions)
    writer.add_embedding_length(c.width)
    writer.add_feed_forward_length(c.feed_forward)
    writer.add_head_count(c.heads)
    writer.add_head_count_kv(c.kv_heads)
    writer.add_key_length(c.head_size)
    writer.add_rope_freq_base(c.rope_theta)
    writer.add_layer_norm_rms_eps(c.norm_eps)
    writer.add_tokenizer_model(metadata.get("tokenizer", "gpt2"))
    writer.add_tokenizer_pre(metadata.get("pre", "smollm"))
    writer.add_token_list(PIECES)
    writer.add_token_types(KINDS)
    writer.add_token_merges(MERGES)
    writer.add_eos_token_id(2)
    for name, text in extra:
        writer.add_string(name, text)
    for ours, parameter in model.named_parameters():
        name = rename(ours, GGUF)
        weight = parameter.detach()
        if architecture == "llama" and name.split(".")[-2] in ("attn_q", "attn_k"):
            weight = permute(weight, c.heads if "attn_q" in name else c.kv_heads)
        if name in omit:
            continue
        array = weight.contiguous().numpy()
        if quantise is not None and array.ndim == 2 and array.shape[-1] % 32 == 0:
            kind = getattr(gguf.GGMLQuantizationType, quantise)
            writer.add_tensor(name, gguf.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_folder(folder, model, architecture="LlamaForCausalLM", *, shards=1, **changes):
    """Write `model` as a folder in Hugging Face layout; `changes` go into config.json."""
    safetensors = pytest.importorskip("safetensors.torch", reason="pip install 'clearhead[model]'")
    c = model.config
    folder.mkdir(exist_ok=True)
    settings = dict(
        architectures=[architecture],
        vocab_size=c.vocab_size,
        hidden_size=c.width,
        num_hidden_layers=c.layers,
        num_attention_heads=c.heads,
        num_key_value_heads=c.kv_heads,
        head_dim=c.head_size,
        intermediate_size=c.feed_forward,
        rope_theta=c.rope_theta,
        rms_norm_eps=c.norm_eps,
        tie_word_embeddings=c.tied,
        max_position_embeddings=c.max_positions,
    )
    (folder / "config.json").write_text(json.dumps({**settings, **changes}))
    state = {rename(n, HUGGING_FACE): p.detach().clone() for n, p in model.named_parameters()}
    names = sorted(state)
    if shards == 1:
        safetensors.save_file(state, folder / "model.safetensors")
    else:
        where = {}
        for i in range(shards):
            file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
            part = {name: state[name] for name in names[i::shards]}
            safetensors.save_file(part, folder / file)
            where.update(dict.fromkeys(part, file))
        index = json.dumps({"metadata": {}, "weight_map": where})
        (folder / "model.safetensors.index.json").write_text(index)
    small_tokenizer().save(str(folder / "tokenizer.json"))
    chat = "{% for m in messages %}<|im_start|>{{ m.content }}{% endfor %}"
    settings = {"eos_token": {"content": "<|im_end|>"}, "chat_template": chat}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder
