r"""Refuse log-probs, rewards, masks and hyper-parameters of policy gradients that do not fit.

Each function returns nothing and raises `TypeError` (wrong kind or dtype) or `ValueError` (wrong
shape, size or content), in one sentence that says what came and what is expected.
"""

import torch
from torch import Tensor

from clearhead._checks import require_finite, require_floating, require_integer


def require_alike(**tensors: Tensor) -> None:
    """Floating tensors of one shape, one dtype and one device."""
    require_floating(**tensors)
    first_name, first = next(iter(tensors.items()))
    for name, x in tensors.items():
        if x.shape != first.shape:
            raise ValueError(
                f"{first_name} has shape {tuple(first.shape)} and {name} {tuple(x.shape)}; give "
                "one shape for both."
            )


def require_axes(axes: str, **tensors: Tensor) -> None:
    """Every tensor has the axes that `axes` names, for example "B T"."""
    names = axes.split()
    for name, x in tensors.items():
        if x.ndim != len(names):
            expected = "(" + ", ".join(names) + ("," if len(names) == 1 else "") + ")"
            raise ValueError(f"{name} has shape {tuple(x.shape)}; expected {expected}.")


def require_real(**tensors: Tensor) -> None:
    """Every entry is a finite number: a NaN or an infinity would reach a gradient."""
    for name, x in tensors.items():
        bad = ~torch.isfinite(x)
        if bad.any():
            where = tuple(bad.nonzero()[0].tolist())
            raise ValueError(
                f"{name}{list(where)} is {x[where].item()}; give finite numbers, in the padding "
                "too (a 0, for example)."
            )


def require_mask(shape, **masks: Tensor) -> None:
    """Every argument is a boolean tensor of this shape, True = counts."""
    for name, x in masks.items():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        if kind != torch.bool:
            raise TypeError(f"{name} is {kind}; give a boolean tensor.")
        if x.shape != shape:
            raise ValueError(f"{name} has shape {tuple(x.shape)}; expected {tuple(shape)}.")


def require_between(
    low: float | int, high: float | int, /, *, ends: bool, **values: float | int
) -> None:
    """Every value is a number from `low` to `high`, the ends included or not."""
    require_finite(**values)
    for name, value in values.items():
        inside = low <= value <= high if ends else low < value < high
        if not inside:
            kind = "from" if ends else "strictly between"
            join = "to" if ends else "and"
            raise ValueError(f"{name} is {value}; give a number {kind} {low} {join} {high}.")


def require_not_negative(**values: float | int) -> None:
    """Every value is a finite number of 0 or more."""
    require_finite(**values)
    for name, value in values.items():
        if value < 0:
            raise ValueError(f"{name} is {value}; give 0 or more.")


def require_group(size: int, answers: int) -> None:
    """`answers` make whole groups of `size`, and a group has answers to compare."""
    require_integer(1, group_size=size)
    if size == 1:
        raise ValueError(
            "group_size is 1: an answer is compared with the others of its prompt, so a group "
            "needs 2 answers or more."
        )
    if answers == 0 or answers % size:
        raise ValueError(
            f"{answers} answers do not make groups of {size}; give Q prompts times {size} answers, "
            "those of one prompt side by side."
        )
