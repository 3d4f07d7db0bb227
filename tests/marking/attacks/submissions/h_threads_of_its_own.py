"""Honest: computes its rows in a few threads.

Exercise: attention.causal_mask
Score: 1
Smells: nothing
"""
# %%
from concurrent.futures import ThreadPoolExecutor


def causal_mask(T, S):
    with ThreadPoolExecutor(4) as pool:
        return torch.stack(list(pool.map(lambda t: torch.arange(S) <= t + S - T, range(T))))
