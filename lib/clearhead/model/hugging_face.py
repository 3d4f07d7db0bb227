r"""Read a folder in Hugging Face layout: config.json, safetensors files and tokenizer.json.

Llama, Qwen2 and Qwen3 store the same tensors under the same names, so one mapping
(`clearhead.model.names`) serves all. What `Decoder` does not implement is refused by name:
other architectures, other rope scalings than linear and llama3, sliding windows in use, biases that
the family does not have, quantised checkpoints.
"""

import json
from contextlib import ExitStack
from pathlib import Path

import torch

from clearhead.model.config import Config, linear_rope_scale, llama3_rope_scale, require_size
from clearhead.model.decoder import Decoder
from clearhead.model.names import HUGGING_FACE, empty, fill
from clearhead.model.packages import need
from clearhead.model.tokenizer import Tokenizer

ARCHITECTURES = ("LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")


def load_folder(folder: Path, *, dtype: torch.dtype, device) -> tuple[Decoder, Tokenizer]:
    r"""The model and tokenizer in `folder`, read tensor by tensor.

    Raises `ValueError` when a file is missing or damaged or the model is not one that `Decoder`
    implements; `ModelNotFound` when safetensors or tokenizers is not installed.
    """
    config = convert_config(read_json(folder / "config.json"), source=str(folder))
    tokenizer = read_tokenizer(folder)
    model = empty(lambda: Decoder(config))
    safetensors = need("safetensors")
    with ExitStack() as stack:
        where = {}  # tensor name → the open file that holds it
        for path in weight_files(folder):
            try:
                file = stack.enter_context(safetensors.safe_open(path, "pt", device="cpu"))
            except (safetensors.SafetensorError, OSError) as error:
                raise ValueError(f"{path} is missing, cut short or damaged ({error})") from None
            where.update(dict.fromkeys(file.keys(), file))
        tied_copy = {"lm_head.weight"} if config.tied else set()
        there = {name for name in where if not name.endswith("inv_freq")} - tied_copy

        def read(name: str) -> torch.Tensor:
            return where[name].get_tensor(name).to(device=device, dtype=dtype)

        fill(model, there, read, style=HUGGING_FACE, source=str(folder))
    return model.eval(), tokenizer


def weight_files(folder: Path) -> list[Path]:
    r"""model.safetensors, or the shards that model.safetensors.index.json lists."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if index.exists() and not single.exists():
        shards = read_json(index).get("weight_map", {})
        return [folder / name for name in sorted(set(shards.values()))]
    if not single.exists():
        raise ValueError(
            f"{folder} has no model.safetensors and no model.safetensors.index.json; pickled "
            f"checkpoints (.bin, .pt) are not read because they can run code"
        )
    return [single]


SIZES = {  # ours: Hugging Face's
    "vocab_size": "vocab_size",
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "feed_forward": "intermediate_size",
}


def convert_config(hf: dict, *, source: str) -> Config:
    r"""Our `Config` from the dictionary in config.json, which is also `config.to_dict()`."""
    if not hf.get("architectures"):
        raise ValueError(
            f"the config of {source} has no architectures, so it is no model's; Decoder implements "
            f"{', '.join(ARCHITECTURES)}"
        )
    architecture = hf["architectures"][0]
    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"{source} holds the architecture {architecture}; Decoder implements "
            f"{', '.join(ARCHITECTURES)}"
        )
    _refuse_unimplemented(hf, source)
    try:
        sizes = {ours: require_size(name, hf[name]) for ours, name in SIZES.items()}
        head_size = hf.get("head_dim") or _even_share(sizes["width"], sizes["heads"], source)
        theta, scale = _rope(hf, head_size, source)
    except KeyError as error:
        raise ValueError(f"the config of {source} has no {error}") from None
    return Config(
        **sizes,
        kv_heads=hf.get("num_key_value_heads") or sizes["heads"],
        head_size=head_size,
        rope_theta=theta,
        rope_scale=scale,
        norm_eps=float(hf.get("rms_norm_eps", 1e-6)),
        tied=hf.get("tie_word_embeddings", False),
        qkv_bias=architecture == "Qwen2ForCausalLM",
        qk_norm=architecture == "Qwen3ForCausalLM",
        max_positions=hf.get("max_position_embeddings", 2048),
    )


def _even_share(width: int, heads: int, source: str) -> int:
    if width % heads:
        raise ValueError(f"{source}: hidden_size {width} can't be divided among {heads} heads")
    return width // heads


def _refuse_unimplemented(hf: dict, source: str) -> None:
    windowed = hf.get("use_sliding_window") or "sliding_attention" in (hf.get("layer_types") or ())
    refused = {
        "sliding-window attention": windowed,
        "attention_bias": hf.get("attention_bias", False),
        "mlp_bias": hf.get("mlp_bias", False),
        f"hidden_act {hf.get('hidden_act')!r}": hf.get("hidden_act", "silu")
        not in ("silu", "swish"),
        "quantised weights": hf.get("quantization_config") is not None,
    }
    used = [what for what, present in refused.items() if present]
    if used:
        raise ValueError(f"{source} uses {', '.join(used)}, which Decoder does not implement")


def _rope(hf: dict, head_size: int, source: str) -> tuple[float, tuple[float, ...] | None]:
    r"""Theta and the frequency factors; `rope_parameters` (transformers 5) or the older fields."""
    rope = {**(hf.get("rope_scaling") or {}), **(hf.get("rope_parameters") or {})}
    theta = float(rope.get("rope_theta") or hf.get("rope_theta") or 10_000)
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise ValueError(f"{source} rotates only a part of each head; Decoder rotates all of it")
    if kind == "default":
        return theta, None
    if kind == "linear":
        return theta, linear_rope_scale(head_size, float(rope["factor"]))
    if kind == "llama3":
        return theta, llama3_rope_scale(
            head_size,
            theta,
            factor=float(rope["factor"]),
            low_freq_factor=float(rope["low_freq_factor"]),
            high_freq_factor=float(rope["high_freq_factor"]),
            original_max_positions=float(rope["original_max_position_embeddings"]),
        )
    raise ValueError(
        f"{source} uses rope scaling {kind!r}; Decoder implements default, linear and llama3"
    )


def read_tokenizer(folder: Path) -> Tokenizer:
    r"""tokenizer.json, with the special tokens and chat template of tokenizer_config.json."""
    tokenizers = need("tokenizers")
    path = folder / "tokenizer.json"
    if not path.exists():
        raise ValueError(f"{folder} has no tokenizer.json; save it with a fast tokenizer")
    try:
        backend = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise ValueError(f"{path} can't be read as a tokenizer ({error})") from None
    extra = folder / "tokenizer_config.json"
    settings = read_json(extra) if extra.exists() else {}
    template = folder / "chat_template.jinja"
    chat = template.read_text("utf-8") if template.exists() else settings.get("chat_template")
    special = {}
    for name in ("bos_token", "eos_token"):
        token = settings.get(name)
        special[name] = token.get("content") if isinstance(token, dict) else token
    return Tokenizer(backend, chat_template=chat, special=special)


def read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path.parent} has no {path.name}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON ({error})") from None
