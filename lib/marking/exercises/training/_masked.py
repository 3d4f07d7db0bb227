"""Rows of unequal length, and means over what counts in them: shared by the losses."""

import torch


def lengths(draw, rows: int, least: int, most: int) -> list[int]:
    """So many different lengths, the largest among them first."""
    return sorted(draw.sizes(rows, least, most, small=least), reverse=True)


def real(sizes: list[int], sides: list[str]) -> torch.Tensor:
    """(B, T): True for so many tokens of each row, with padding on that side of them."""
    T = max(sizes)
    mask = torch.zeros(len(sizes), T, dtype=torch.bool)
    for row, n, side in zip(mask, sizes, sides, strict=True):
        row[T - n if side == "left" else 0 : T if side == "left" else n] = True
    return mask


def mean_of_rows(x, keep, *, empty="skipped"):
    """The mean of each row, then their mean. Rows in which nothing counts: skipped, 0 or NaN."""
    sums = x.masked_fill(~keep, 0).sum(-1)
    counts = keep.sum(-1)
    if empty == "skipped":
        return (sums / counts)[counts > 0].mean()
    return (sums / (counts.clamp(min=1) if empty == "zero" else counts)).mean()
