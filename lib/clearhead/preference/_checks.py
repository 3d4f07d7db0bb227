r"""Refuse log-probabilities, masks and numbers of tokens that do not fit, in one sentence.

Each `require_…` returns nothing and raises `TypeError` (wrong kind or dtype) or `ValueError` (wrong
shape, size or content).
"""

import torch
from torch import Tensor

from clearhead._checks import precise, require_floating
from clearhead.training._checks import (
    require_bools,
    require_labels,
    require_numbers,
    require_positive,
)

__all__ = [
    "precise",
    "require_bools",
    "require_completion",
    "require_counts",
    "require_finite_entries",
    "require_labels",
    "require_numbers",
    "require_positive",
    "require_row",
]


def require_row(what: str = "an answer", **tensors: Tensor) -> None:
    """Every argument is a (N,) row of finite floats, N ≥ 1, all of one length, dtype and device."""
    require_floating(**tensors)
    first_name, first = next(iter(tensors.items()))
    for name, x in tensors.items():
        if x.ndim != 1 or len(x) == 0:
            raise ValueError(f"{name} has shape {tuple(x.shape)}; give (N,), one number {what}.")
        if x.shape != first.shape:
            raise ValueError(
                f"{first_name} is {tuple(first.shape)} and {name} {tuple(x.shape)}; "
                "give one shape for both."
            )
    require_finite_entries(**tensors)


def require_finite_entries(**tensors: Tensor) -> None:
    """No entry of any argument is infinite or NaN."""
    for name, x in tensors.items():
        wrong = (~x.detach().isfinite()).nonzero()
        if len(wrong):
            place = wrong[0].tolist()
            raise ValueError(
                f"{name}{place} is {x[tuple(place)].item()}; give finite numbers. A probability "
                "of zero, or logits that overflowed, come out so."
            )


def require_counts(like: Tensor, **counts: Tensor) -> None:
    """Every argument is a (N,) row of integers of 1 or more, as many as `like` has."""
    for name, x in counts.items():
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} is a {type(x).__name__}; give a torch.Tensor.")
        if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
            raise TypeError(f"{name} is {x.dtype}; give numbers of tokens, torch.int64.")
        if x.shape != like.shape:
            raise ValueError(f"{name} has shape {tuple(x.shape)}; expected {tuple(like.shape)}.")
        if (x < 1).any():
            row = int((x < 1).nonzero()[0])
            raise ValueError(
                f"{name}[{row}] is {int(x[row])}; an answer has one token or more, its end at "
                "least."
            )


def require_completion(completion: Tensor, shape: tuple[int, ...]) -> None:
    """A (B, T) mask in which every row counts a token that something stands before."""
    require_bools(shape, completion=completion)
    if completion.numel() == 0:
        raise ValueError(f"completion has shape {tuple(shape)}; give one row or more.")
    empty = (~completion[:, 1:].any(-1)).nonzero().flatten().tolist()
    if empty:
        first = "; its first token has no prediction" if completion[empty[0]].any() else ""
        raise ValueError(
            f"row {empty[0]} has an empty completion{first}: mark the answer's tokens, its end "
            "included."
        )
