r"""Refuse what a decoder cannot read, in one sentence that says what came and what is expected."""

import torch
from torch import Tensor


def check_ids(ids: Tensor, vocab_size: int) -> None:
    r"""Refuse what is not a (B, T) tensor of token ids: on a GPU the lookup itself would crash."""
    if not isinstance(ids, Tensor):
        raise TypeError(f"ids is a {type(ids).__name__}; give a tensor of integers, shape (B, T)")
    if ids.dim() != 2 or ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise TypeError(
            f"ids is a {tuple(ids.shape)} tensor of {ids.dtype}; give integers of shape (B, T)"
        )
    if torch.compiler.is_compiling() or ids.numel() == 0:
        return
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= vocab_size:
        wrong = low if low < 0 else high
        raise ValueError(
            f"token id {wrong} is out of range: the vocabulary has {vocab_size} tokens, "
            f"0 to {vocab_size - 1}"
        )


def check_positions(positions: Tensor, ids: Tensor) -> None:
    r"""Refuse positions that are not one integer a token."""
    if not isinstance(positions, Tensor):
        raise TypeError(f"positions is a {type(positions).__name__}; give a tensor of integers")
    if positions.shape != ids.shape:
        raise ValueError(
            f"positions has shape {tuple(positions.shape)}; give that of ids, {tuple(ids.shape)}"
        )


def check_mask(mask: Tensor | None, B: int, T: int, H: int) -> None:
    r"""Refuse a mask that is not boolean or does not broadcast to (B, H, T, T)."""
    if mask is None:
        return
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"mask is {kind}; give a boolean tensor, True = may attend")
    fits = zip(mask.shape[::-1], (T, T, H, B), strict=False)
    if not 2 <= mask.dim() <= 4 or any(size not in (1, wanted) for size, wanted in fits):
        raise ValueError(
            f"mask has shape {tuple(mask.shape)}; give one that broadcasts to "
            f"(B, H, T, T) = ({B}, {H}, {T}, {T})"
        )
