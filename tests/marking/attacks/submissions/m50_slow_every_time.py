"""Takes almost all the time allowed, each time it is asked.

All cases together have a limit as well.
Exercise: attention.causal_mask
Score: not full
Seconds: 3
"""
# %%
import time


def causal_mask(T, S):
    time.sleep(0.8)
    return torch.ones(T, S, dtype=torch.bool).tril(S - T)
