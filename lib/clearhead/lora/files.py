r"""Adapters as files, in PEFT's own format: a few megabytes beside a model of gigabytes.

A folder holds `adapter_config.json` (`clearhead.lora.peft_format`) and `adapter_model.safetensors`
with two or three tensors for each adapted module:

| tensor | shape | |
|---|---|---|
| `base_model.model.<module>.lora_A.weight` | `(R, I)` | $A$; an embedding's is `lora_embedding_A` |
| `base_model.model.<module>.lora_B.weight` | `(O, R)` | $B$; an embedding's is `lora_embedding_B` |
| `base_model.model.<module>.lora_magnitude_vector` | `(O)` | DoRA's $m$ |

So the orientation is ours. The base is not in the file: load it onto the base it was trained on.

**Names.** Modules are called as in the model that is saved. A `clearhead.model.Decoder` writes and
reads the names that `transformers` gives the same modules, so that an adapter trained here serves
there, and the other way round.

**PiSSA.** Its adapter stands on a matrix of its own, $W_\text{res} = W_0 - s B_0 A_0$, that the
file does not hold. `save` writes the equal ordinary adapter of rank $2r$:

$$
W_\text{res} + s B A = W_0 + s\,(B A - B_0 A_0) \tag{1}
$$

`load` reads a file that PEFT saved unconverted (`"init_lora_weights": "pissa"`) by computing
$W_\text{res}$ from the base again, as PEFT does.

**Source.** `get_peft_model_state_dict` and `LoraConfig` of PEFT.
"""

import difflib
import json
import os
from pathlib import Path

import torch
from torch import nn

from ._checks import listed, require_new_name
from .adapter import Adapter
from .initialise import pissa
from .layer import LoRALayer
from .layers import LoRAConv1D, LoRAEmbedding, wrap
from .low_rank import split
from .model import lora_layers, replace_modules
from .peft_format import (
    CONFIG,
    MAGNITUDE,
    PREFIX,
    WEIGHTS,
    A,
    B,
    need_safetensors,
    of_module,
    read_config,
    read_tensors,
    write_config,
)
from .targets import is_adaptable


def save(model: nn.Module, folder: str | os.PathLike, name: str = "default") -> None:
    """Write the adapter called `name` into `folder`, which is made if need be.

    Files that are there are replaced, both at the end. Raises `ValueError` when no layer of the
    model has that adapter, or its layers differ in what a file holds once for all; `ImportError`
    when safetensors is not installed.
    """
    safetensors = need_safetensors()
    theirs, adapters, tensors = _their_names(model), {}, {}
    layers = {p: layer for p, layer in lora_layers(model).items() if name in layer.adapters}
    if not layers:
        known = {known for layer in lora_layers(model).values() for known in layer.adapters}
        raise ValueError(f"The model has no adapter {name!r}; known: {listed(sorted(known))}.")
    for path, layer in layers.items():
        adapter = adapters[theirs[path]] = _on_the_base(layer, layer.adapters[name])
        pair = ("lora_embedding_A", "lora_embedding_B")
        pair = pair if isinstance(layer, LoRAEmbedding) else ("lora_A.weight", "lora_B.weight")
        values = {
            pair[0]: adapter.A,
            pair[1]: adapter.B,
            "lora_magnitude_vector": adapter.magnitude,
        }
        for key, value in values.items():
            if value is not None:
                tensors[f"{PREFIX}{theirs[path]}.{key}"] = value.detach().cpu().contiguous()
    transposed = all(isinstance(layer, LoRAConv1D | LoRAEmbedding) for layer in layers.values())
    config = write_config(adapters, fan_in_fan_out=transposed)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = {file: folder / f".{file}.part" for file in (WEIGHTS, CONFIG)}
    safetensors.torch.save_file(tensors, unfinished[WEIGHTS], metadata={"format": "pt"})
    unfinished[CONFIG].write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for file, part in unfinished.items():
        os.replace(part, folder / file)


def load(model: nn.Module, folder: str | os.PathLike, name: str = "default") -> list[str]:
    """Put the adapter in `folder` on the model under `name`; returns the names of its modules.

    On a plain model this is `apply`: its modules get LoRA layers, all else is frozen, the adapter
    is active. On a model with LoRA layers it is `add_adapter`: the modules must be the same ones,
    and which adapter is active does not change. Raises `ValueError`, and changes nothing, when a
    file is missing, damaged, asks for what is not implemented, or does not fit the model (another
    module or shape); `ImportError` when safetensors is not installed.
    """
    folder = Path(folder)
    config = read_config(folder / CONFIG)
    there, theirs = lora_layers(model), _their_names(model)
    by_module = read_tensors(folder / WEIGHTS)
    for their in by_module:
        _require_known(their, theirs, folder)
    tensors = {our: by_module[their] for our, their in theirs.items() if their in by_module}
    if there and there.keys() != tensors.keys():
        apart = sorted(there.keys() ^ tensors.keys())
        raise ValueError(
            f"{folder} adapts other modules than the model's LoRA layers do (in one of the two "
            f"only: {listed(apart)}); call remove first."
        )
    modules = {path: model.get_submodule(path) for path in tensors}
    layers = there or {path: wrap(module) for path, module in modules.items()}
    adapters = {}
    for path, layer in layers.items():
        require_new_name(name, layer.adapters)
        adapters[path] = _adapter(layer, tensors[path], config, theirs[path], folder)
    if not there:
        model.requires_grad_(False)
        replace_modules(model, {modules[path]: layer for path, layer in layers.items()})
    for path, layer in layers.items():
        layer.put(name, adapters[path])
    return list(layers)


def _on_the_base(layer: LoRALayer, adapter: Adapter) -> Adapter:
    """The adapter, or for a PiSSA one the equal one that stands on the base, equation (1)."""
    if adapter.residual is None:
        return adapter
    s, W = adapter.scale, layer.matrix.double()
    change = adapter.residual - W + s * (adapter.B.double() @ adapter.A.double())
    r = min(2 * adapter.r, *W.shape)
    A_, B_ = (factor.to(adapter.A.dtype) for factor in split(change.detach() / s, r))
    alpha = s * (r**0.5 if adapter.rank_stabilized else r)
    return Adapter(
        *(A_, B_, alpha),
        rank_stabilized=adapter.rank_stabilized,
        dropout=adapter.dropout,
        magnitude=adapter.magnitude,
    )


def _adapter(layer: LoRALayer, tensors: dict, config: dict, path: str, folder: Path) -> Adapter:
    """The adapter of one module, from its tensors in the file; `ValueError` if they do not fit."""
    r, alpha = of_module(config, path)
    O, I = layer.sizes
    wanted = {A: (r, I), B: (O, r)} | ({MAGNITUDE: (O,)} if config.get("use_dora") else {})
    for part in {**wanted, **tensors}:
        shape = tuple(tensors[part].shape) if part in tensors else "no tensor"
        if shape != wanted.get(part):
            raise ValueError(
                f"{folder} has {shape} for {part} of {path!r}; the config's rank {r} and the "
                f"module's {O} × {I} ask for {wanted.get(part, 'none')}."
            )
        if not tensors[part].is_floating_point():
            raise ValueError(f"{folder}: {part} of {path!r} is {tensors[part].dtype}, no float.")
    W = layer.matrix
    dtype = torch.promote_types(W.dtype, torch.float32)
    tensors = {part: t.to(dtype=dtype, device=W.device) for part, t in tensors.items()}
    given = {"rank_stabilized": bool(config.get("use_rslora", False))}
    residual = None
    if config.get("init_lora_weights") == "pissa":
        residual = pissa(W.to(dtype), r, alpha, **given)[2].to(W.dtype)
    return Adapter(
        *(tensors[A], tensors[B], alpha),
        **given,
        dropout=config.get("lora_dropout", 0.0),
        magnitude=tensors.get(MAGNITUDE),
        residual=residual,
    )


def _their_names(model: nn.Module) -> dict[str, str]:
    """Each module that has or could have an adapter: our dotted name, and the one in the file."""
    from clearhead.model import Decoder
    from clearhead.model.names import HUGGING_FACE, rename

    inside = lora_layers(model)
    paths = [
        path
        for path, module in model.named_modules()
        if path in inside or (is_adaptable(module) and path.rpartition(".")[0] not in inside)
    ]
    if not isinstance(model, Decoder):
        return {path: path for path in paths}
    return {path: rename(f"{path}.weight", HUGGING_FACE)[: -len(".weight")] for path in paths}


def _require_known(their: str, theirs: dict[str, str], folder: Path) -> None:
    if their in theirs.values():
        return
    near = difflib.get_close_matches(their, theirs.values(), n=1, cutoff=0.5)
    meant = f"; the nearest that it could adapt is {near[0]!r}" if near else ""
    raise ValueError(f"{folder} adapts {their!r}, which the model does not have{meant}.")
