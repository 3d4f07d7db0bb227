"""Proposals of a draft on which every wrong way of accepting them shows.

Each place is of a kind. What its uniform number is compared with, by right and wrong answers, lies
clearly on one side of it; and the number that draws the model's own token is such that no wrong
weights, and no other number, give the same token.
"""

from bisect import bisect_right
from itertools import accumulate
from typing import NamedTuple

import torch

SURE = "sure"  # p > q: accepted, whatever the number
LUCKY = "lucky"  # p < q, and the number is small enough
UNLUCKY = "unlucky"  # p < q, and the number is too large
NEVER = "never"  # p = 0, and the number is 0
CLEAR = 0.015  # how far a number lies at least from what it is compared with
HIGH = 0.97


class Place(NamedTuple):
    """The model's and the draft's distributions, the proposed token, its uniform number."""

    p: list[float]
    q: list[float]
    x: int
    u: float


def proposals(draw, *kinds, certain=False):
    """Inputs with a place of each kind; `certain`: the draft has all probability on its token."""
    V = draw.size(6, 11, small=5)
    n = next((i for i, kind in enumerate(kinds) if kind in (UNLUCKY, NEVER)), len(kinds))
    for attempt, (*places, last) in enumerate(_candidates(draw, V, kinds, certain)):
        rows = [*(place.p for place in places), last]
        strict = draw.level is None or attempt < 400  # few ids may not suffice to tell all apart
        if strict and not _rows_tell(places, rows):
            continue
        own = _own_number(draw, places, rows, n, certain, strict)
        if own is not None:
            break
    numbers = [*(place.u for place in places), own]
    return {
        "draft_tokens": torch.tensor([place.x for place in places]),
        "draft_probs": _tensor(draw, [place.q for place in places]),
        "target_probs": _tensor(draw, rows),
        "uniforms": _tensor(draw, numbers),
    }


def _candidates(draw, V, kinds, certain):
    """Places and the last row, each time with one of them drawn anew."""
    found = [*(_place(draw, V, kind, certain) for kind in kinds), _distribution(draw, V)]
    while True:
        yield found
        i = draw.choice(*range(len(found)))
        last = i == len(kinds)
        found[i] = _distribution(draw, V) if last else _place(draw, V, kinds[i], certain)


def _tensor(draw, values):
    return torch.tensor(values, dtype=torch.float64).to(draw.dtype)


def _number(draw, low, high):
    """A number of two decimals, also in a small case."""
    return draw.choice(*range(round(100 * low), round(100 * high) + 1)) / 100


def _distribution(draw, V, without=None):
    """Shares in fortieths, or tenths when small; none is 0 but that of the id `without`."""
    n = V - (without is not None)
    if draw.level is None:
        cuts = sorted(draw.sizes(n - 1, 1, 39))
        parts = [b - a for a, b in zip([0, *cuts], [*cuts, 40], strict=True)]
    else:
        parts = [1] * n
        for _ in range(10 - n):
            parts[draw.choice(*range(n))] += 1
    shares = [part / sum(parts) for part in parts]
    return shares if without is None else [*shares[:without], 0.0, *shares[without:]]


def _place(draw, V, kind, certain):
    while True:
        x = draw.choice(*range(V))
        p = _distribution(draw, V, without=x if kind == NEVER else None)
        q = [float(i == x) for i in range(V)] if certain else _distribution(draw, V)
        if kind == NEVER:
            if x and p[0] < q[0]:  # nothing is left of the first id
                return Place(p, q, x, 0.0)
            continue
        ratio = p[x] / q[x]
        if p[x] == max(p) or not (ratio > 1.1 if kind == SURE else ratio < 0.9):
            continue
        low, high = {
            SURE: (max(1 / ratio, p[x], q[x]), HIGH),
            LUCKY: (0.0, ratio) if certain else (max(p[x], q[x]), ratio),
            UNLUCKY: (ratio if certain else max(ratio, q[x]), HIGH),
        }[kind]
        if high - low > 4 * CLEAR:
            return Place(p, q, x, _number(draw, low + 1.5 * CLEAR, high - 1.5 * CLEAR))


def _rows_tell(places, rows):
    """Does judging by the row after lead to another number of accepted proposals?"""
    gaps = [p[x] - u * q[x] for p, (_, q, x, u) in zip(rows[1:], places, strict=True)]
    by_next = _count(gaps)
    return by_next != _count([p[x] - u * q[x] for p, q, x, u in places]) and all(
        abs(gap) > CLEAR / 10 for gap in gaps
    )


def _count(gaps):
    return next((i for i, gap in enumerate(gaps) if gap <= 0), len(gaps))


def _scaled(weights):
    total = sum(weights)
    return [w / total for w in weights] if total else weights


def _less(p, q):
    return [max(a - b, 0.0) for a, b in zip(p, q, strict=True)]


def _own_number(draw, places, rows, n, certain, strict):
    """The last number, or None if none was found; n proposals are accepted."""
    numbers = [place.u for place in places]
    apart = []  # pairs of wrong weights that shall not give one token either
    if n == len(places):
        right, q = rows[n], places[-1].q
        weights = [rows[n - 1], q, _scaled(_less(right, q))]
        apart = [(0, 1), (0, 2), (1, 2)]
        others = [numbers[0], numbers[-1]]
    else:
        p, q, x, u = places[n]
        right, rest_after = _scaled(_less(p, q)), _scaled(_less(rows[n + 1], q))
        if u == 0.0:
            return _zero_if_it_tells(p, q, right, rest_after, numbers[0])
        size = _scaled([abs(a - b) for a, b in zip(p, q, strict=True)])
        weights = [p, q, size, _scaled(_less(q, p)), _less(p, q), rest_after]
        if not certain:
            weights.append(_scaled([a * (i != x) for i, a in enumerate(p)]))
            apart = {1: [(0, 1), (1, 2), (2, 3)], 3: [(0, 2), (0, 6)]}.get(len(places) - n, [])
        others = [numbers[0], *numbers[n : n + 2]]
    by_others = [token for u in others for token in _picks(right, u)]
    fixed = {0, *_highest(right), *_highest(rows[n]), *by_others}
    fixed |= {place.x for place in places[n + 1 :]}
    weights = [*weights, rows[-1]] if n < len(places) else weights
    sums = [list(accumulate(w)) for w in weights]
    for token, u in _numbers_of_tokens(draw, right, fixed if strict else ()):
        if not strict:
            return u
        wrong = [_first_above(s, u) for s in sums]
        if n == len(places) and wrong[2] in by_others:
            continue
        if token not in wrong and all(wrong[i] != wrong[j] for i, j in apart):
            if all(abs(total - u) > CLEAR / 10 for s in sums for total in s):
                return u
    return None


def _numbers_of_tokens(draw, weights, without):
    """Each token that the weights can draw, but for some, with a few numbers that draw it."""
    sums = [0.0, *accumulate(weights)]
    for token in range(len(weights)):
        low, high = sums[token] + CLEAR, min(sums[token + 1] - CLEAR, HIGH)
        if token not in without and high - low > 0.02:
            for _ in range(4):
                yield token, _number(draw, low + 0.005, high - 0.005)


def _zero_if_it_tells(p, q, right, rest_after, first):
    token = _pick(right, 0.0)
    raw = list(accumulate(a - b for a, b in zip(p, q, strict=True)))
    wrong = [*_highest(p), *_highest(right), _pick(rest_after, 0.0), *_picks(right, first)]
    return 0.0 if token not in wrong and raw[token] < -CLEAR else None


def _highest(weights):
    return [i for i, w in enumerate(weights) if w > max(weights) - 1e-6]


def _pick(weights, u):
    """The first id whose sum exceeds u; the last one where none does."""
    return _first_above(list(accumulate(weights)), u)


def _picks(weights, u):
    """What u draws, whatever the rounding."""
    return [_pick(weights, u - CLEAR / 10), _pick(weights, u + CLEAR / 10)]


def _first_above(sums, u):
    return min(bisect_right(sums, u), len(sums) - 1)
