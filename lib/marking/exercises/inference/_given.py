"""What a given cell of the notebook defines; the cell holds this function to the letter."""

import torch


def rotary(x, positions, theta):
    """Turn each pair (i, i + D/2) of features by its angle: x (B, H, T, D), positions (B, T)."""
    D = x.shape[-1]
    pair = torch.arange(D // 2, dtype=torch.float64)
    angles = positions[:, None, :, None] * theta ** (-2 * pair / D)  # B 1 T D/2
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)
