"""Honest (n5): warns on stderr and prints; stock nbgrader gives 0 of 10 for it.

Exercise: attention.causal_mask
Score: 1
"""
# %%
import sys
import warnings

warnings.warn("a cell that warns")


def causal_mask(T, S):
    warnings.warn("deprecated, says torch, often")
    print("T is", T, file=sys.stderr)
    print("S is", S)
    return torch.ones(T, S, dtype=torch.bool).tril(S - T)
