"""What a given cell of the notebook defines; the cell holds this class to the letter."""

import math

import torch


class LoRALinear(torch.nn.Module):
    """A linear layer with an adapter beside it: base(x) + (alpha / r) · B A x."""

    def __init__(self, base, r, alpha):
        super().__init__()
        self.base = base
        self.scale = alpha / r
        bound = 1 / math.sqrt(base.in_features)
        A = base.weight.new_empty(r, base.in_features).uniform_(-bound, bound)
        self.A = torch.nn.Parameter(A)
        self.B = torch.nn.Parameter(base.weight.new_zeros(base.out_features, r))

    def forward(self, x):
        return self.base(x) + self.scale * (x @ self.A.T @ self.B.T)
