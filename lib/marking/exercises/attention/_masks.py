"""Random masks for the situations of this chapter. True = this query may attend to this key."""

import torch


def some_allowed(draw, *shape: int) -> torch.Tensor:
    """A mask (…, T, S) in which every query may attend to some keys, and (S ≥ 2) not to others."""
    mask = draw.chance(0.5, *shape)
    keys = torch.arange(shape[-1])
    chosen = draw.integers(0, shape[-1], *shape[:-1]).unsqueeze(-1)
    mask |= keys == chosen
    return mask & ((keys != (chosen + 1) % shape[-1]) | (keys == chosen))


def some_empty(draw, *shape: int) -> torch.Tensor:
    """The same, but one query of the T may attend to nothing."""
    mask = some_allowed(draw, *shape)
    mask[..., draw.size(0, shape[-2] - 1), :] = False
    return mask


def one_unlikely(draw, scores: torch.Tensor) -> torch.Tensor:
    """Each query may attend only to the key it likes least: a finite fill above that leaks."""
    keys = torch.arange(scores.shape[-1])
    return keys == scores.argmin(-1, keepdim=True)
