r"""Which modules of a model an adapter goes on: by the end of their names, or all linear ones.

The target `"query"` means every module called `query`; `"attention.query"` every `query` in an
`attention`. `"all-linear"` means every Linear and Conv1D but the output head, as in PEFT. The head
is what `model.get_output_embeddings()` gives, or a child of the model called `head` or `lm_head`.

A module that stands in two places is found once, under its first name. `nn.MultiheadAttention`
reads the weight of its `out_proj` past the module, so an adapter there would never run; it is
refused.

**Source.** PEFT's `LoraConfig.target_modules` (a list of names, or "all-linear").
"""

import difflib
from collections.abc import Sequence

from torch import nn

from ._checks import listed
from .layers import is_conv1d

ALL_LINEAR = "all-linear"


def find_targets(model: nn.Module, targets: Sequence[str] | str) -> dict[str, nn.Module]:
    """The modules that `targets` name, by their dotted names, in the model's order.

    Raises `TypeError` when `targets` is not a list of names or "all-linear", and `ValueError` when
    a name fits no module (the nearest is offered) or one that can't be adapted.
    """
    modules = {path: module for path, module in model.named_modules() if path}
    can = {path: module for path, module in modules.items() if is_adaptable(module)}
    if targets == ALL_LINEAR:
        head = _head(model)
        found = {p: m for p, m in can.items() if not isinstance(m, nn.Embedding) and m is not head}
        if not found:
            raise ValueError("The model has no Linear or Conv1D to adapt besides its output head.")
        return found
    for target in _names(targets):
        if not any(fits(path, target) for path in can):
            raise ValueError(_why_not(target, modules, can))
    return {path: m for path, m in can.items() if any(fits(path, name) for name in targets)}


def fits(path: str, target: str) -> bool:
    """Whether the dotted name ends with the target's name."""
    return path == target or path.endswith("." + target)


def is_adaptable(module: nn.Module) -> bool:
    """Whether LoRA has a layer for this module: a Linear, an Embedding or a Conv1D."""
    if isinstance(module, nn.modules.linear.NonDynamicallyQuantizableLinear):
        return False  # the out_proj of nn.MultiheadAttention
    return isinstance(module, nn.Linear | nn.Embedding) or is_conv1d(module)


def _names(targets: Sequence[str] | str) -> list[str]:
    if isinstance(targets, str) or not all(isinstance(name, str) for name in targets):
        raise TypeError(
            f"targets is {targets!r}; give a list of names such as ['query', 'value'], or "
            f"{ALL_LINEAR!r}."
        )
    if not targets:
        raise ValueError("targets is empty; name at least one module.")
    return list(targets)


def _why_not(target: str, modules: dict[str, nn.Module], can: dict[str, nn.Module]) -> str:
    """Why no adapter can go on what `target` names, and what is meant perhaps."""
    known = {path.split(".")[-1] for path in can}
    for path, module in modules.items():
        if fits(path, target):
            inside = sorted({p.split(".")[-1] for p in can if p.startswith(path + ".")})
            instead = f"; inside it are {listed(inside)}" if inside else ""
            return (
                f"{target!r} is of class {type(module).__name__}, and LoRA adapts Linear, "
                f"Embedding and Conv1D{instead}."
            )
    near = difflib.get_close_matches(target, [*sorted(known), *can], n=1, cutoff=0.5)
    meant = f"did you mean {near[0]!r}? There are" if near else "there are"
    return f"No module's name ends with {target!r}; {meant} {listed(sorted(known))}."


def _head(model: nn.Module) -> nn.Module | None:
    if hasattr(model, "get_output_embeddings"):
        return model.get_output_embeddings()
    return getattr(model, "head", getattr(model, "lm_head", None))
