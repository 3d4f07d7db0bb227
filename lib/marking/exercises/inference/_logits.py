"""Rows of logits on which every wrong way of choosing tokens shows.

A row is made in falling order, as plain numbers, and looked at by several wrong rules; it is taken
if each of them keeps other tokens than the right one. Then its entries are put at ids that tell.
"""

import math

CLEAR = 0.012  # how far p lies at least from every sum that it is compared with


def size(draw, low=7):
    return draw.size(low, 10, small=6)


def temperature(draw, *, hot):
    return round(draw.number(1.8, 2.6) if hot else draw.number(0.4, 0.6), 1)


def shares(logits, t=1.0):
    """Probabilities of logits in falling order."""
    exps = [math.exp((z - logits[0]) / t) for z in logits]
    return [e / sum(exps) for e in exps]


def falling(draw, V, t=1.0, ties=()):
    """V logits whose shares at temperature t fall by about a third; ranks in `ties` do not fall."""
    ratio = draw.number(0.6, 0.75)
    logits = [0.0]
    for i in range(1, V):
        step = 0.0 if i in ties else t * math.log(ratio * draw.number(0.85, 1.15))
        logits.append(logits[-1] + step)
    return [round(z, 2) for z in logits] if draw.level is not None else logits


def reach(parts, p):
    """How many of the likeliest it takes to reach p; None where a sum comes too near to it."""
    total, n = 0.0, len(parts)
    for i, share in enumerate(parts[:-1]):
        total += share
        if abs(total - p) < CLEAR:
            return None
        if total > p:
            n = min(n, i + 1)
    return n


def only_sums_tell(parts, p):
    """Do rules that look at each share by itself keep another number than top-p?"""
    single = [sum(share >= least for share in parts) for least in (p, 1 - p, p * parts[0])]
    return reach(parts, p) not in (None, *single)


def order_tells(logits, k, t, p):
    """Do k and p count in this row, and temperature, and their order; and not a k off by one?"""
    kept = shares(logits[:k], t)
    right = reach(kept, p)
    others = [reach(shares(logits, t), p), reach(shares(logits[:k]), p)]  # p first, t last
    near = [reach(shares(logits[:n], t), p) for n in (k - 1, k + 1)]
    both = [reach(shares(logits[:n], heat), p) for n in (k, None) for heat in (1.0, 1 / t)]
    if None in (right, *others, *both) or right in others or near != [right, right]:
        return False
    return 2 <= right < k - 1 and only_sums_tell(kept, p)


def rules_that_tell(draw, *, hot):
    """Logits in falling order with a temperature, k and p for which `order_tells`."""
    while True:
        V, t = size(draw), temperature(draw, hot=hot)
        k = draw.size(4, V - 2, small=4)
        n = draw.size(2, k - 2, small=2)  # what shall be kept
        logits = falling(draw, V, t)
        sums = [_sum(logits, k, t, n - 1), _sum(logits, k - 1, t, n - 1), _sum(logits, V, t, n)]
        tops = [_sum(logits, k, t, n), _sum(logits, k + 1, t, n)]
        if hot:  # without the temperature, fewer are kept; with a low one, more
            tops.append(_sum(logits, k, 1.0, n - 1))
        else:
            sums.append(_sum(logits, k, 1.0, n))
        p = round((max(sums) + min(tops)) / 2, 2)
        if max(sums) < p < min(tops) and order_tells(logits, k, t, p):
            return logits, {"temperature": t, "k": k, "p": p}


def _sum(logits, k, t, n):
    """Of the n likeliest among the k likeliest."""
    return sum(shares(logits[:k], t)[:n])


def rows_that_tell(draw, n, *, hot):
    """n rows under one temperature, k and p, of up to three patterns."""
    logits, rules = rules_that_tell(draw, hot=hot)
    t, k, p = rules.values()
    patterns = [logits]
    for _ in range(60):
        other = falling(draw, len(logits), t)
        if len(patterns) < 3 and order_tells(other, k, t, p):
            patterns.append(other)
    return [placed(draw, draw.choice(*patterns), t, k, p) for _ in range(n)], rules


def placed(draw, logits, t=1.0, k=0, p=1.0):
    """The logits at ids that tell: what is kept stands neither first nor where its rank says."""
    V = len(logits)
    limit = k or V
    limit += sum(z == logits[limit - 1] for z in logits[limit:])
    parts = shares(logits[:limit], t) + [0.0] * (V - limit)
    ids = draw.sizes(V, 0, V - 1)  # ids[i] is the token of rank i
    while not _ids_tell(ids, parts, limit, p):
        ids = draw.sizes(V, 0, V - 1)
    row = [0.0] * V
    shift = draw.number(-2.0, 2.0)
    for rank, token in enumerate(ids):
        row[token] = logits[rank] + shift
    return [round(z, 2) for z in row] if draw.level is not None else row


def _ids_tell(ids, parts, limit, p):
    share = dict(zip(ids, parts, strict=True))
    order = sorted(ids, key=lambda token: (-share[token], token))  # of equals the lower id first
    n = _kept([share[token] for token in order], p) if p < 1 else limit
    best, V = set(order[:n]), len(ids)
    if n == V:  # all of them stay
        return ids[0] != 0
    wrong = [
        set(range(n)),
        {token for token in range(V) if order[token] < n},
    ]  # a mask not put back
    if p < 1:  # added up in the order of ids
        sums = [sum(share[i] for i in range(token)) for token in range(V + 1)]
        wrong += [{x for x in range(V) if share[x] and sums[x] < p}]
        wrong += [{x for x in range(V) if share[x] and sums[x + 1] <= p}]
    return ids[0] != 0 and best not in wrong and (limit == V or max(best) >= limit)


def _kept(parts, p):
    before = 0.0
    for rank, share in enumerate(parts):
        if before >= p:
            return rank
        before += share
    return len(parts)
