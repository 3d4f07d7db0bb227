r"""Adapters on a whole model: put them in by name, switch between them, merge them, take them out.

`apply` replaces in place each module whose dotted name ends with a target's name by a LoRA layer
around it, and freezes everything else, so that an optimiser given `lora_parameters(model)` trains

$$
\sum_{\text{targets}} r \, (O + I) \tag{1}
$$

parameters and no more. All else acts on all LoRA layers of the model at once. Each function checks
first and changes then: after an error the model is what it was.

**Shared.** A module that stands in two places gets one LoRA layer, which stands in both. A weight
that two modules share (tied embeddings) stays shared; only the module that was named is adapted.

**Source.** Hu et al., 2021, section 4.2.
"""

from collections.abc import Sequence

from torch import nn

from ._checks import listed
from .layer import LoRALayer
from .layers import wrap
from .targets import find_targets


def apply(
    model: nn.Module,
    targets: Sequence[str] | str,
    *,
    r: int = 8,
    alpha: float | int = 16,
    rank_stabilized: bool = False,
    init: str = "kaiming",
    dropout: float | int = 0.0,
    dora: bool = False,
    name: str = "default",
) -> list[str]:
    """Adapt the modules that `targets` name, freeze the rest, and return the names of the adapted.

    Raises `TypeError` or `ValueError` for a name that no module has (the nearest is offered), a
    module that can't be adapted, a rank that is 0 or above min(O, I), a bad option, or a model that
    has adapters already.
    """
    if lora_layers(model):
        raise ValueError(
            "The model has adapters already; add_adapter gives it another, remove takes all out."
        )
    found = find_targets(model, targets)
    given = {"rank_stabilized": rank_stabilized, "init": init, "dropout": dropout, "dora": dora}
    layers = {path: wrap(module) for path, module in found.items()}
    _add(layers, name, r, alpha, given)
    model.requires_grad_(False)
    replace_modules(model, {found[path]: layer for path, layer in layers.items()})
    return list(found)


def add_adapter(
    model: nn.Module,
    name: str,
    *,
    r: int = 8,
    alpha: float | int = 16,
    rank_stabilized: bool = False,
    init: str = "kaiming",
    dropout: float | int = 0.0,
    dora: bool = False,
) -> None:
    """One more adapter on every LoRA layer of the model; which one is active does not change.

    Raises as `apply` does, and `ValueError` when the name exists or the model has no LoRA layer.
    """
    given = {"rank_stabilized": rank_stabilized, "init": init, "dropout": dropout, "dora": dora}
    _add(_layers_of(model), name, r, alpha, given)


def switch(model: nn.Module, name: str | None) -> None:
    """Make `name` the active adapter everywhere, the only one that trains; None: the base alone.

    Raises `ValueError` when there is no such adapter (those known are listed) or one is merged.
    """
    layers = _layers_of(model).values()
    for layer in layers:
        layer.require_switchable(name)
    for layer in layers:
        layer.switch(name)


def active(model: nn.Module) -> str | None:
    """The name of the active adapter, None when the base runs alone.

    Raises `ValueError` when the model has no LoRA layer, or not the same active one everywhere.
    """
    names = {layer.active for layer in _layers_of(model).values()}
    if len(names) > 1:
        raise ValueError(f"The layers have different active adapters: {listed(names)}; switch.")
    return names.pop()


def merge_model(model: nn.Module) -> None:
    """Merge the active adapter of every LoRA layer, which then costs what its base costs.

    Raises `ValueError` when one is merged already, has no active adapter, or a quantised base.
    """
    layers = _layers_of(model).values()
    for layer in layers:
        layer.require_mergeable()
    for layer in layers:
        layer.merge()


def unmerge_model(model: nn.Module) -> None:
    """Undo `merge_model`, bit for bit. Raises `ValueError` when a layer is not merged."""
    layers = _layers_of(model).values()
    for layer in layers:
        layer.require_merged()
    for layer in layers:
        layer.unmerge()


def remove(model: nn.Module) -> None:
    """Take every LoRA layer out: the model is the plain base again, bit for bit, and still frozen.

    Raises `ValueError` when the model has no LoRA layer.
    """
    replace_modules(model, {layer: layer.base for layer in _layers_of(model).values()})


def lora_layers(model: nn.Module) -> dict[str, LoRALayer]:
    """Every LoRA layer by its dotted name, each once."""
    return {path: m for path, m in model.named_modules() if isinstance(m, LoRALayer)}


def lora_parameters(model: nn.Module) -> list[nn.Parameter]:
    """What the active adapter trains, for an optimiser.

    Raises `ValueError` when the model has no LoRA layer.
    """
    layers = _layers_of(model).values()
    return [p for layer in layers for p in layer.adapters.parameters() if p.requires_grad]


def _layers_of(model: nn.Module) -> dict[str, LoRALayer]:
    found = lora_layers(model)
    if not found:
        raise ValueError("The model has no LoRA layer; apply puts them in.")
    return found


def _add(layers: dict[str, LoRALayer], name: str, r: int, alpha: float | int, given: dict) -> None:
    for path, layer in layers.items():
        try:
            layer.require_addable(name, r, alpha, given["init"], given["dropout"])
        except ValueError as error:
            raise ValueError(f"In {path!r}: {error}") from None
    for layer in layers.values():
        layer.add(name, r, alpha, **given)


def replace_modules(model: nn.Module, new: dict[nn.Module, nn.Module]) -> None:
    """Put `new[module]` in every place where `module` stands."""
    for parent in list(model.modules()):
        for child, module in list(parent._modules.items()):  # named_children skips a repeat
            if module in new:
                setattr(parent, child, new[module])
