"""Is an input what it was before an answer ran? For a learner's own check and in the container.

The file is read on both sides, so it knows torch alone.
"""

import torch


def unchanged(before, after) -> bool:
    """Do these, and what they hold at any depth, have the same types and values?"""
    if isinstance(before, torch.Tensor):
        return isinstance(after, torch.Tensor) and _same_tensor(before, after)
    if type(before) is not type(after):
        return False
    if isinstance(before, dict):
        return before.keys() == after.keys() and all(
            unchanged(value, after[key]) for key, value in before.items()
        )
    if isinstance(before, list | tuple):
        return len(before) == len(after) and all(map(unchanged, before, after))
    return before is after or before == after or (before != before and after != after)  # NaN


def _same_tensor(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return torch.equal(a.nan_to_num(), b.nan_to_num()) if a.is_floating_point() else a.equal(b)
