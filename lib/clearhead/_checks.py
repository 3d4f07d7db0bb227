r"""Refuse wrong input at the edge, in one sentence that says what came and what is expected.

The jaxtyping shapes in the signatures are checked only in tests; these checks are for you.
Each `require_…` returns nothing and raises `TypeError` (wrong kind or dtype) or `ValueError` (wrong
size or device).
"""

import math

import torch
from torch import Tensor


def require_floating(**tensors: Tensor) -> None:
    """Every argument is a floating-point tensor; all have one dtype and one device."""
    first_name, first = next(iter(tensors.items()))
    for name, x in tensors.items():
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} is a {type(x).__name__}; give a torch.Tensor.")
        if not x.is_floating_point():
            raise TypeError(
                f"{name} is {x.dtype}; give a floating-point tensor, for example {name}.float()."
            )
        if x.dtype != first.dtype:
            raise TypeError(
                f"{first_name} is {first.dtype} and {name} is {x.dtype}; convert both to one dtype."
            )
        if x.device != first.device:
            raise ValueError(
                f"{first_name} is on {first.device} and {name} is on {x.device}; "
                "move both to one device."
            )


def require_integer(least: int, **values: int) -> None:
    """Every argument is an integer of at least `least`."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(
                f"{name} is a {type(value).__name__} ({value!r}); give an integer of {least} "
                "or more."
            )
        if value < least:
            raise ValueError(f"{name} is {value}; give an integer of {least} or more.")


def require_finite(**values: float | int) -> None:
    """Every argument is a finite Python number."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name} is a {type(value).__name__} ({value!r}); give a number.")
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}; give a finite number.")


def precise(x: Tensor) -> Tensor:
    """`x` in fp32, or in fp64 where it is that already: what sums and quotients are taken in."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
