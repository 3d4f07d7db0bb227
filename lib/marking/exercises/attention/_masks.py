"""Random masks for the situations of this chapter. True = this query may attend to this key."""

import math

import torch


def some_allowed(draw, *shape: int) -> torch.Tensor:
    """A mask (…, T, S) in which every query may attend to some keys, and (S ≥ 2) not to others.

    To two or more where S ≥ 3: the weight of a lone key is 1, whatever its score.
    """
    S, keys = shape[-1], torch.arange(shape[-1])
    chosen = draw.integers(0, S, *shape[:-1]).unsqueeze(-1)
    allowed = (keys == chosen) | (keys == (chosen + 2) % S)
    return allowed | draw.chance(0.5, *shape) & (keys != (chosen + 1) % S)


def some_empty(draw, *shape: int) -> torch.Tensor:
    """The same, but one query of the T may attend to nothing."""
    mask = some_allowed(draw, *shape)
    mask[..., draw.size(0, shape[-2] - 1), :] = False
    return mask


def low_scores(draw, inputs: dict) -> dict:
    """The inputs with their scores moved to lie around −3, where a fill too near zero leaks."""
    if draw.level is None:
        q, k = inputs["q"], inputs["k"]
        q[..., 0], k[..., 0] = 1.0, -3.0 * math.sqrt(q.shape[-1])
    return inputs


def one_unlikely(draw, scores: torch.Tensor) -> torch.Tensor:
    """Each query may attend only to the key it likes least: a finite fill above that leaks."""
    keys = torch.arange(scores.shape[-1])
    return keys == scores.argmin(-1, keepdim=True)
