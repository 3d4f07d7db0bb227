r"""Refuse what does not fit a cache or a padded batch, in one sentence that says what came.

Each function returns nothing and raises `TypeError` (wrong kind or dtype) or `ValueError` (wrong
shape, size or device); nothing has been written by then.
"""

import torch
from torch import Tensor

from clearhead._checks import require_floating, require_integer

INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8)


def require_integers(axes: str, **tensors: Tensor) -> None:
    """Every argument is a tensor of integers with these axes, say "B T"."""
    shape = f"({', '.join(axes.split())}{',' if ' ' not in axes else ''})"
    for name, x in tensors.items():
        if not isinstance(x, Tensor):
            raise TypeError(
                f"{name} is a {type(x).__name__}; give a tensor of integers, shape {shape}."
            )
        if x.dtype not in INTEGERS:
            raise TypeError(f"{name} is {x.dtype}; give a tensor of integers, shape {shape}.")
        if x.ndim != len(axes.split()):
            raise ValueError(f"{name} has shape {tuple(x.shape)}; expected {shape}.")


def require_counts(B: int, **tensors: Tensor) -> None:
    """Every argument holds B integers, none of them negative."""
    for name, x in tensors.items():
        require_integers("B", **{name: x})
        if len(x) != B:
            raise ValueError(f"{name} has {len(x)} entries for a batch of {B}; give one a row.")
        if B and int(x.min()) < 0:
            raise ValueError(f"{name} holds {int(x.min())}; give counts of 0 or more.")


def require_rows(k: Tensor, v: Tensor) -> None:
    """New keys and values are both (B, K, T, D), with one dtype and one device."""
    require_floating(k=k, v=v)
    if k.ndim != 4 or k.shape != v.shape:
        raise ValueError(
            f"Given k {tuple(k.shape)} and v {tuple(v.shape)}; expected (B, K, T, D) for both."
        )


def require_same_sequences(k: Tensor, held: Tensor) -> None:
    """New rows fit those that the cache holds: equal B, K, D, dtype and device."""
    sizes = [(x.shape[0], x.shape[1], x.shape[3]) for x in (k, held)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"New rows have (B, K, D) = {sizes[0]} and the cache holds {sizes[1]}; "
            "one cache serves one batch of one model."
        )
    if k.dtype != held.dtype or k.device != held.device:
        raise ValueError(
            f"New rows are {k.dtype} on {k.device} and the cache is {held.dtype} on "
            f"{held.device}; make the cache with the model's dtype and device."
        )


def require_layer(layer: int, layers: int) -> None:
    """The layer is one that the cache has."""
    if not 0 <= layer < layers:
        raise ValueError(f"layer is {layer}; the cache has {layers} layers, 0 to {layers - 1}.")


def require_length(n: int, length: int) -> None:
    """A cache of `length` slots can be cut to `n`."""
    require_integer(0, n=n)
    if n > length:
        raise ValueError(f"n is {n}; the cache holds {length} slots and can only be cut down.")
