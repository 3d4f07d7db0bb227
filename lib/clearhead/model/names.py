r"""One tensor, three names: ours, Hugging Face's and GGUF's.

The table below is the only place where names are translated. `fill` copies a checkpoint into a
model and refuses one that has a tensor too few, a tensor too many, or a tensor of another shape.
"""

from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn

HUGGING_FACE, GGUF = 0, 1

WHOLE_MODEL = {
    # ours: (Hugging Face, GGUF)
    "embedding": ("model.embed_tokens", "token_embd"),
    "norm": ("model.norm", "output_norm"),
    "head": ("lm_head", "output"),
}

ONE_BLOCK = {
    # ours, after "blocks.3.": (Hugging Face, after "model.layers.3."; GGUF, after "blk.3.")
    "attention_norm": ("input_layernorm", "attn_norm"),
    "attention.query": ("self_attn.q_proj", "attn_q"),
    "attention.key": ("self_attn.k_proj", "attn_k"),
    "attention.value": ("self_attn.v_proj", "attn_v"),
    "attention.output": ("self_attn.o_proj", "attn_output"),
    "attention.query_norm": ("self_attn.q_norm", "attn_q_norm"),
    "attention.key_norm": ("self_attn.k_norm", "attn_k_norm"),
    "feed_forward_norm": ("post_attention_layernorm", "ffn_norm"),
    "feed_forward.gate": ("mlp.gate_proj", "ffn_gate"),
    "feed_forward.up": ("mlp.up_proj", "ffn_up"),
    "feed_forward.down": ("mlp.down_proj", "ffn_down"),
}


def rename(ours: str, style: int) -> str:
    r"""Our parameter name in the `style` of a checkpoint (`HUGGING_FACE` or `GGUF`).

    `blocks.3.attention.query.weight` → `model.layers.3.self_attn.q_proj.weight` or
    `blk.3.attn_q.weight`
    """
    module, _, kind = ours.rpartition(".")  # kind: weight or bias
    if not module.startswith("blocks."):
        return f"{WHOLE_MODEL[module][style]}.{kind}"
    _, layer, part = module.split(".", 2)
    prefix = ("model.layers", "blk")[style]
    return f"{prefix}.{layer}.{ONE_BLOCK[part][style]}.{kind}"


def fill(
    model: nn.Module,
    there: Collection[str],
    read: Callable[[str], Tensor],
    *,
    style: int,
    source: str,
) -> None:
    r"""Give every parameter of `model` its tensor from a checkpoint.

    `there` holds the checkpoint's tensor names and `read` returns one of them, in the dtype and on
    the device wanted; tensors are read one by one, so no second copy of the model is ever held.
    `source` names the checkpoint in errors. The model may be on the meta device.

    Raises `ValueError`, before anything is read, when names are missing or left over; and when a
    shape is not the one that the model's config asks for.
    """
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    theirs = {name: rename(name, style) for name in shapes}
    missing = sorted(set(theirs.values()) - set(there))
    unexpected = sorted(set(there) - set(theirs.values()))
    if missing or unexpected:
        parts = [
            f"{what} {len(names)} tensors ({_first(names)})"
            for what, names in (("lacks", missing), ("has unexpected", unexpected))
            if names
        ]
        raise ValueError(f"{source} {' and '.join(parts)}: it does not fit its own config")
    for ours, name in theirs.items():
        tensor = read(name)
        if tuple(tensor.shape) != shapes[ours]:
            raise ValueError(
                f"{source} holds {name} with shape {tuple(tensor.shape)}, "
                f"but its config asks for {shapes[ours]}"
            )
        module, _, kind = ours.rpartition(".")
        setattr(model.get_submodule(module), kind, nn.Parameter(tensor))


def empty(build: Callable[[], nn.Module]) -> nn.Module:
    r"""The model with shapes and no memory: its parameters wait on the meta device for `fill`."""
    with torch.device("meta"):
        return build()


def _first(names: list[str], n: int = 3) -> str:
    return ", ".join(names[:n]) + (", …" if len(names) > n else "")
