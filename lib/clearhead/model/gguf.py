r"""Read a GGUF file: a model's config, tokenizer and (often quantised) tensors, all in one file.

GGUF is llama.cpp's format: the magic bytes `GGUF`, key/value metadata, a table of tensors, then
their data in blocks. Block quantisation Q4_1, for example, keeps 32 weights as 32 four-bit integers
$n_i$ and two half-precision numbers, a scale $d$ and a minimum $m$, 5 bits a weight in all:

$$
w_i = d\,n_i + m \tag{1}
$$

The `gguf` package reads and dequantises. Two things are left to do. Names: `clearhead.model.names`.
And for the llama architecture, row order: llama.cpp rotates neighbouring pairs $(2i, 2i+1)$, so its
converter interleaves the two halves of every query and key head; we put row $(i, j)$ back, with
$i$ < 2 the half and $j$ < D/2 the frequency:

$$
W_{\text{ours}}[\,i\,\tfrac{D}{2} + j\,] = W_{\text{GGUF}}[\,2j + i\,] \tag{2}
$$

Sources: the GGUF specification in `ggml-org/ggml` (`docs/gguf.md`); `LlamaModel.permute` in
llama.cpp's converter (`conversion/llama.py`, once in `convert_hf_to_gguf.py`) for (2).
"""

import gc
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead.model.config import Config, linear_rope_scale, require_size
from clearhead.model.decoder import Decoder
from clearhead.model.names import GGUF, empty, fill
from clearhead.model.packages import need
from clearhead.model.pretokenizers import byte_level_bpe
from clearhead.model.tokenizer import Tokenizer

ARCHITECTURES = ("llama", "qwen2", "qwen3")


def load_gguf(path: Path, *, dtype: torch.dtype, device) -> tuple[Decoder, Tokenizer]:
    r"""The model and tokenizer in the GGUF file at `path`.

    Tensors are dequantised one by one, so memory peaks at the model plus its largest tensor.
    Raises `ValueError` when the file is not GGUF, is cut short, or holds an architecture, tokenizer
    or quantisation that is not implemented.
    """
    reader = open_gguf(path)
    config = read_config(reader, path)
    tokenizer = read_tokenizer(reader, path)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    model = empty(lambda: Decoder(config))
    permuted = {"attn_q": config.heads, "attn_k": config.kv_heads}
    if value(reader, path, "general.architecture") != "llama":
        permuted = {}

    def read(name: str) -> Tensor:
        weight = dequantise(tensors[name], path)
        part = name.split(".")[-2]  # blk.3.attn_q.weight → attn_q
        if part in permuted:
            weight = unpermute(weight, permuted[part])
        return weight.to(device=device, dtype=dtype)

    there = set(tensors) - ({"output.weight"} if config.tied else set())
    fill(model, there, read, style=GGUF, source=str(path))
    return model.eval(), tokenizer


def open_gguf(path: Path):
    r"""A `gguf.GGUFReader`, or a `ValueError` that says what is wrong with the file."""
    with open(path, "rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise ValueError(f"{path} is not a GGUF file: it starts with {magic!r}, not b'GGUF'")
    gguf = need("gguf")
    collecting = gc.isenabled()
    gc.disable()  # the reader makes 300,000 small objects; collecting among them doubles its time
    try:
        return gguf.GGUFReader(path)
    except Exception as error:  # the reader meets a cut file as an index, shape or decoding error
        if "GGMLQuantizationType" in str(error):
            raise ValueError(
                f"{path} uses a quantisation that gguf does not know ({error}); "
                f"upgrade gguf, or take a file in F16, Q8_0 or Q4_K"
            ) from None
        raise ValueError(
            f"{path} is cut short or damaged ({type(error).__name__} while reading it); "
            f"download it again"
        ) from None
    finally:
        if collecting:
            gc.enable()


def value(reader, path: Path, key: str, *default):
    r"""One metadata value; `{arch}` in the key stands for the architecture."""
    if "{arch}" in key:
        key = key.format(arch=value(reader, path, "general.architecture"))
    field = reader.get_field(key)
    if field is not None:
        return field.contents()
    if default:
        return default[0]
    raise ValueError(f"{path} has no metadata {key!r}: it is damaged or not a language model")


def read_config(reader, path: Path) -> Config:
    r"""The `Config` in a GGUF file's metadata. Raises `ValueError` on what `Decoder` can't do."""

    def get(key, *default):
        return value(reader, path, key, *default)

    architecture = get("general.architecture")
    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"{path} holds the architecture {architecture!r}; Decoder implements "
            f"{', '.join(ARCHITECTURES)}"
        )
    names = {tensor.name for tensor in reader.tensors}
    width = get("{arch}.embedding_length")
    heads = require_size("head_count", get("{arch}.attention.head_count"))
    head_size = get("{arch}.attention.key_length", None) or width // heads
    if "rope_freqs.weight" in names or get("{arch}.attention.sliding_window", None):
        raise ValueError(
            f"{path} uses sliding-window attention or scaled rotary frequencies (Llama 3.1), which "
            f"are not read from GGUF; load the same model from a Hugging Face folder"
        )
    return Config(
        vocab_size=len(get("tokenizer.ggml.tokens")),
        width=width,
        layers=get("{arch}.block_count"),
        heads=heads,
        kv_heads=get("{arch}.attention.head_count_kv", heads),
        head_size=head_size,
        feed_forward=get("{arch}.feed_forward_length"),
        rope_theta=get("{arch}.rope.freq_base", 10_000.0),
        rope_scale=_rope_scale(reader, path, head_size),
        norm_eps=get("{arch}.attention.layer_norm_rms_epsilon"),
        tied="output.weight" not in names,
        qkv_bias="blk.0.attn_q.bias" in names,
        qk_norm="blk.0.attn_q_norm.weight" in names,
        max_positions=get("{arch}.context_length"),
    )


def _rope_scale(reader, path: Path, head_size: int) -> tuple[float, ...] | None:
    kind = value(reader, path, "{arch}.rope.scaling.type", "none")
    if kind == "none":
        return None
    if kind != "linear":
        raise ValueError(f"{path} uses rope scaling {kind!r}; only 'linear' is read from GGUF")
    return linear_rope_scale(head_size, value(reader, path, "{arch}.rope.scaling.factor"))


def read_tokenizer(reader, path: Path) -> Tokenizer:
    r"""The `Tokenizer` in a GGUF file's metadata."""

    def get(key, *default):
        return value(reader, path, f"tokenizer.{key}", *default)

    if get("ggml.model") != "gpt2":
        raise ValueError(
            f"{path} has a {get('ggml.model')!r} tokenizer; only byte-level BPE ('gpt2') is read "
            f"from GGUF"
        )
    pieces, kinds = get("ggml.tokens"), get("ggml.token_type")
    special = {}
    for role in ("bos", "eos"):
        i = get(f"ggml.{role}_token_id", None)
        special[f"{role}_token"] = None if i is None else pieces[i]
    backend = byte_level_bpe(
        pieces,
        merges=get("ggml.merges"),
        kinds=kinds,
        pattern=get("ggml.pre", "gpt-2"),
        bos=special["bos_token"] if get("ggml.add_bos_token", False) else None,
        source=str(path),
    )
    return Tokenizer(backend, chat_template=get("chat_template", None), special=special)


def dequantise(tensor, path: Path) -> Tensor:
    r"""A GGUF tensor as fp32, equation (1) or the like for its type, in (out, in) order."""
    gguf = need("gguf")
    try:
        array = gguf.dequantize(tensor.data, tensor.tensor_type)
    except NotImplementedError:
        raise ValueError(
            f"{path} stores {tensor.name} as {tensor.tensor_type.name}, which gguf can't "
            f"dequantise; take a file in F16, Q8_0 or Q4_K"
        ) from None
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def unpermute(weight: Float[Tensor, "HD *C"], heads: int) -> Float[Tensor, "HD *C"]:
    r"""Rows of q or k from interleaved pairs back to two halves, head by head: equation (2)."""
    rows = weight.unflatten(0, (heads, -1, 2))  # H, D/2, 2, ...
    return rows.transpose(1, 2).reshape(weight.shape)
