"""Pearson's chi-square test: do these counts come from this distribution?"""

import torch


def p_value(counts, probabilities) -> float:
    """The chance of counts at least this far from `probabilities`, if they came from it.

    Cells that expect fewer than 5 are taken together. A count where the probability is 0 gives 0.
    """
    counts, expected = (
        torch.as_tensor(x, dtype=torch.float64).flatten() for x in (counts, probabilities)
    )
    expected = expected / expected.sum() * counts.sum()
    if counts[expected == 0].any():
        return 0.0
    small = expected < 5
    if small.any():
        counts = torch.cat([counts[~small], counts[small].sum()[None]])
        expected = torch.cat([expected[~small], expected[small].sum()[None]])
    counts, expected = counts[expected > 0], expected[expected > 0]
    statistic = ((counts - expected) ** 2 / expected).sum()
    freedom = torch.tensor((len(expected) - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom, statistic / 2))
