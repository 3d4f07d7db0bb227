"""inference.top_k_top_p: from logits to the probabilities that a token is drawn from."""

import math
from functools import partial

import torch
from torch.nn import functional as F

from clearhead.inference import top_k_top_p
from marking.exercise import Exercise, Mistake
from marking.exercises.inference._logits import (
    falling,
    only_sums_tell,
    placed,
    reach,
    rows_that_tell,
    shares,
    size,
    temperature,
)

# --- situations: a mistake shows in one always or never ------------------------------------------


def _inputs(draw, rows, *, t=1.0, k=0, p=1.0):
    logits = torch.tensor(rows, dtype=torch.float64).to(draw.dtype)
    return {"logits": logits, "temperature": t, "k": k, "p": p}


def _without_p(draw, logits, *, t=1.0, k=0):
    """p is 1, and no rounded sum exceeds it: what compares sums with 1 fares alike in any draw."""
    while True:
        inputs = _inputs(draw, placed(draw, logits, t, k), t=t, k=k)
        if not any(
            _exceeds_one(inputs["logits"].to(d), t, k) for d in (torch.float32, torch.float64)
        ):
            return inputs


def _exceeds_one(row, t, k):
    x = row / t
    kept = x.masked_fill(~_largest(x, k), -torch.inf).softmax(-1)
    return bool((kept.sort(descending=True).values.cumsum(-1) > 1).any())


def temperature_alone(draw):
    t = temperature(draw, hot=draw.choice(True, False))
    return _without_p(draw, falling(draw, size(draw), t), t=t)


def top_k_alone(draw):
    V = size(draw)
    return _without_p(draw, falling(draw, V), k=draw.size(2, V - 2))


def k_of_one(draw):
    """The likeliest token has it all: what is called greedy; in a batch of one row."""
    inputs = _without_p(draw, falling(draw, size(draw)), k=1)
    return inputs | {"logits": inputs["logits"][None]}


def top_p_alone(draw, k=0):
    while True:
        logits = falling(draw, size(draw))
        p = round(draw.number(0.55, 0.8), 2)
        n, of_all_but_one = reach(shares(logits), p), reach(shares(logits[:-1]), p)
        if only_sums_tell(shares(logits), p) and 2 <= n == of_all_but_one <= len(logits) - 2:
            return _inputs(draw, placed(draw, logits, p=p), k=k, p=p)


def beyond_the_vocabulary(draw):
    return top_p_alone(draw, k=draw.size(12, 40))


def one_is_enough(draw):
    """The likeliest token alone is likelier than p."""
    first, *others = falling(draw, size(draw))
    p = draw.choice(0.4, 0.5, 0.6)
    return _inputs(draw, placed(draw, [first + 2.5, *others], p=p), p=p)


def tie_at_k(draw):
    """One or two tokens are level with the k-th; the likeliest is not alone either."""
    V = size(draw)
    k = 3 if V < 8 else draw.size(3, V - 4)
    ties = (k,) if V < 8 else draw.choice((k,), (k, k + 1))
    return _without_p(draw, falling(draw, V, ties=(1, *ties)), k=k)


def tie_at_p(draw):
    """Of two equally likely tokens, one reaches p."""
    while True:
        last = draw.size(1, 2)  # the rank of the one that is kept
        logits = falling(draw, size(draw), ties=(last + 1,))
        p = round(draw.number(0.4, 0.75), 2)
        if reach(shares(logits), p) == last + 1 and only_sums_tell(shares(logits), p):
            return _inputs(draw, placed(draw, logits, p=p), p=p)


def _all_three(draw, *batch, hot):
    rows, rules = rows_that_tell(draw, math.prod(batch), hot=hot)
    apart = [[round(z + 4.0 * (i % 5), 12) for z in row] for i, row in enumerate(rows)]
    t, k, p = rules.values()
    inputs = _inputs(draw, apart, t=t, k=k, p=p)
    return inputs | {"logits": inputs["logits"].view(*batch, -1)}


def all_three_cold(draw):
    return _all_three(draw, hot=False)


def all_three_hot(draw):
    return _all_three(draw, hot=True)


def batch(draw):
    return _all_three(draw, draw.size(2, 4), hot=draw.choice(True, False))


def batch_and_time(draw):
    return _all_three(draw, *draw.sizes(2, 2, 4), hot=draw.choice(True, False))


def large_logits(draw):
    """One row about 500, one about −500, at a temperature that doubles them without rounding."""
    while True:
        rows, rules = rows_that_tell(draw, 2, hot=False)
        if rules["temperature"] == 0.5:
            break
    steps = 1024  # to the unit: float32 holds these logits, and twice them
    far = [
        [round(z * steps) / steps + offset for z in row]
        for row, offset in zip(rows, (500.0, -500.0), strict=True)
    ]
    return _inputs(draw, far, t=0.5, k=rules["k"], p=rules["p"])


def p_reached_exactly(draw):
    """Quarters, which add up without rounding however softmax is written: exp(0) is 1."""
    return _inputs(draw, [0.0] * 4, p=draw.choice(0.5, 0.75))


# --- mistakes: one change each to `_chosen` ------------------------------------------------------


def _largest(x, k):
    """True where a logit is level with the k-th largest, or larger."""
    if k == 0:
        return torch.ones_like(x, dtype=torch.bool)
    least = x.sort(dim=-1, descending=True).values[..., min(k, x.shape[-1]) - 1]
    return x >= least[..., None]


def _back(ids, keep):
    """A mask in sorted order, put where the ids say."""
    return torch.zeros_like(keep).scatter(-1, ids, keep)


def _sums(shares):
    """Sorted shares, their ids, their cumulative sums."""
    values, ids = shares.sort(dim=-1, descending=True, stable=True)
    return values, ids, values.cumsum(-1)


def _nucleus(shares, p):
    """True for the likeliest tokens until their sum reaches p, lower ids first."""
    if p >= 1:
        return torch.ones_like(shares, dtype=torch.bool)
    values, ids, sums = _sums(shares)
    return _back(ids, sums - values < p)


def _of_the_kept(x, kept, hidden):
    return x.masked_fill(~kept, hidden).softmax(-1)


def _softmax(x, logits, kept, nucleus, shares, hidden):
    return x.masked_fill(~(kept & nucleus), hidden).softmax(-1)


def _chosen(
    logits,
    temperature,
    k,
    p,
    *,
    warm=lambda logits, t: logits / t,
    ranked=lambda logits, x: x,
    keep_k=_largest,
    share=_of_the_kept,
    keep_p=_nucleus,
    hidden=-torch.inf,
    finish=_softmax,
):
    """As it stands it is right."""
    x = warm(logits, temperature)
    seen = ranked(logits, x)
    kept = keep_k(seen, k)
    shares = share(seen, kept, hidden)
    nucleus = keep_p(shares, p)
    return finish(x, logits, kept, nucleus, shares, hidden)


def _warm(warm):
    return partial(_chosen, warm=warm)


def _keep_k(keep_k):
    return partial(_chosen, keep_k=keep_k)


def _keep_p(keep_p):
    return partial(_chosen, keep_p=lambda shares, p: keep_p(shares, p) if p < 1 else shares > -1)


def _finish(finish):
    return partial(_chosen, finish=finish)


temperature_ignored = _warm(lambda logits, t: logits)
temperature_multiplies = _warm(lambda logits, t: logits * t)
temperature_twice = _warm(lambda logits, t: logits / t / t)
temperature_rooted = _warm(lambda logits, t: logits / t**0.5)
temperature_last = partial(_chosen, ranked=lambda logits, x: logits)
choice_alone_warm = _finish(lambda x, logits, *masks: _softmax(logits, logits, *masks))

k_ignored = _keep_k(lambda x, k: torch.ones_like(x, dtype=torch.bool))
p_ignored = _keep_p(lambda shares, p: torch.ones_like(shares, dtype=torch.bool))
p_before_k = partial(_chosen, share=lambda x, kept, hidden: x.softmax(-1))


def _first_k(ids, x, k):
    keep = torch.zeros_like(x, dtype=torch.bool)
    keep[..., :k] = True
    return _back(ids, keep) if k else torch.ones_like(keep)


def _lower_ids(x, k):
    return _first_k(x.argsort(dim=-1, descending=True, stable=True), x, k)


def _higher_ids(x, k):
    return _first_k(x.argsort(dim=-1, stable=True).flip(-1), x, k)


def _torchs_topk(x, k):
    ids = x.topk(min(k, x.shape[-1]), dim=-1).indices
    return _back_of(ids, x) if k else torch.ones_like(x, dtype=torch.bool)


def _back_of(ids, x):
    return torch.zeros_like(x, dtype=torch.bool).scatter(-1, ids, True)


def _than(x, k, larger, rank):
    """True where a logit is larger than that of a rank; beyond the last rank, everywhere."""
    if k == 0 or rank >= x.shape[-1]:
        return torch.ones_like(x, dtype=torch.bool)
    return larger(x, x.sort(dim=-1, descending=True).values[..., rank, None])


def _in_every_row(x, k):
    return x >= x.flatten().sort(descending=True).values[min(k, x.numel()) - 1] if k else x == x


def _different_values(x, k):
    """Counts tied logits as one."""
    level = (x[..., :, None] < x[..., None, :]) & _first_of_equals(x)[..., None, :]
    return level.sum(-1) < k if k else x == x


def _first_of_equals(x):
    same = x[..., :, None] == x[..., None, :]
    return ~same.tril(-1).any(-1)


ties_cut = _keep_k(_lower_ids)
ties_cut_from_below = _keep_k(_higher_ids)
ties_cut_as_topk_does = _keep_k(_torchs_topk)
ties_count_once = _keep_k(_different_values)
one_less_than_k = _keep_k(lambda x, k: _than(x, k, torch.gt, min(k, x.shape[-1]) - 1))
one_more_than_k = _keep_k(lambda x, k: _than(x, k, torch.ge, k))
smallest_k = _keep_k(lambda x, k: _largest(-x, k))
largest_k_hidden = _keep_k(lambda x, k: ~_largest(x, k) if k else x == x)
first_ids = _keep_k(lambda x, k: (torch.arange(x.shape[-1]) < (k or x.shape[-1])).expand_as(x))
k_over_all_rows = _keep_k(_in_every_row)
none_at_zero = _keep_k(lambda x, k: _largest(x, k) & (k > 0))
index_at_zero = _keep_k(lambda x, k: x >= x.topk(min(k, x.shape[-1]), dim=-1).values[..., -1, None])
topk_beyond = _keep_k(lambda x, k: x >= x.topk(k, dim=-1).values[..., -1:] if k else x == x)
sort_beyond = _keep_k(
    lambda x, k: x >= x.sort(dim=-1, descending=True).values[..., k - 1, None] if k else x == x
)


def _sums_up_to(shares, p):
    _, ids, sums = _sums(shares)
    return _back(ids, sums <= p)


def _sums_up_to_and_the_first(shares, p):
    _, ids, sums = _sums(shares)
    keep = sums <= p
    keep[..., 0] = True
    return _back(ids, keep)


def _one_more(shares, p):
    values, ids, sums = _sums(shares)
    reached = (sums - values < p).sum(-1, keepdim=True)
    return _back(ids, torch.arange(shares.shape[-1]) <= reached)


def _from_the_least_likely(shares, p):
    values, ids = shares.sort(dim=-1, stable=True)
    return _back(ids, values.cumsum(-1) - values < p)


def _from_the_least_likely_up_to(shares, p):
    values, ids = shares.sort(dim=-1, stable=True)
    return _back(ids, values.cumsum(-1) <= p)


def _as_sorted(shares, p):
    values, _, sums = _sums(shares)
    return sums - values < p


def _gathered(shares, p):
    values, ids, sums = _sums(shares)
    return (sums - values < p).gather(-1, ids)


def _all_as_likely(shares, p):
    values, _, sums = _sums(shares)
    least = values.masked_fill(sums - values >= p, 2.0).amin(-1, keepdim=True)
    return shares >= least


def _higher_ids_first(shares, p):
    values, ids = shares.flip(-1).sort(dim=-1, descending=True, stable=True)
    return _back(shares.shape[-1] - 1 - ids, values.cumsum(-1) - values < p)


crossing_dropped = _keep_p(_sums_up_to)
crossing_dropped_unless_first = _keep_p(_sums_up_to_and_the_first)
crossing_dropped_at_one_too = partial(_chosen, keep_p=_sums_up_to)
crossing_dropped_unless_first_at_one_too = partial(_chosen, keep_p=_sums_up_to_and_the_first)
one_more = _keep_p(_one_more)
in_order_of_ids = _keep_p(lambda shares, p: shares.cumsum(-1) - shares < p)
in_order_of_ids_up_to = _keep_p(lambda shares, p: shares.cumsum(-1) <= p)
least_likely_first = _keep_p(_from_the_least_likely)
least_likely_up_to = _keep_p(_from_the_least_likely_up_to)
tail_kept = _keep_p(lambda shares, p: ~_nucleus(shares, p))
tail_and_crossing_kept = _keep_p(lambda shares, p: ~_sums_up_to(shares, p))
not_put_back = _keep_p(_as_sorted)
gathered = _keep_p(_gathered)
all_ties_kept = _keep_p(_all_as_likely)
higher_ids_first = _keep_p(_higher_ids_first)
share_against_p = _keep_p(lambda shares, p: shares >= p)
share_against_rest = _keep_p(lambda shares, p: shares >= 1 - p)
min_p = _keep_p(lambda shares, p: shares >= p * shares.amax(-1, keepdim=True))


def _up_to_and_one_more_if_equal(shares, p):
    values, ids, sums = _sums(shares)
    return _back(ids, sums - values <= p)


goes_on_at_p = _keep_p(_up_to_and_one_more_if_equal)


def _quotient(x):
    e = x.exp()
    return e / e.sum(-1, keepdim=True)


def _one_maximum(x):
    return _quotient(x - x.max())


def _each_by(softmax):
    """One softmax everywhere, for what top-p adds up alone, for the answer alone; and a mask that
    drops what is not below p, where a NaN is not.
    """

    def share(x, kept, hidden):
        return softmax(x.masked_fill(~kept, hidden))

    def finish(x, logits, kept, nucleus, shares, hidden):
        return softmax(x.masked_fill(~(kept & nucleus), hidden))

    def divided(x, logits, kept, nucleus, shares, hidden):
        left = shares.masked_fill(~nucleus, 0.0)
        return left / left.sum(-1, keepdim=True)

    def not_dropped(shares, p):
        values, ids, sums = _sums(shares)
        return ~_back(ids, sums - values >= p) if p < 1 else shares == shares

    return (
        partial(_chosen, share=share, finish=finish),
        partial(_chosen, share=share),
        partial(_chosen, finish=finish),
        partial(_chosen, share=share, finish=divided),
        partial(_chosen, share=share, keep_p=not_dropped, finish=finish),
        partial(_chosen, share=share, keep_p=not_dropped, finish=divided),
    )


no_max, *no_max_elsewhere = _each_by(_quotient)
global_max, *global_max_elsewhere = _each_by(_one_maximum)

zero_for_hidden = partial(_chosen, hidden=0.0)
too_little_for_hidden = tuple(partial(_chosen, hidden=fill) for fill in (-1.0, -2.0, -5.0))

not_renormalised = _finish(lambda x, logits, kept, nucleus, *_: x.softmax(-1) * (kept & nucleus))
not_after_p = _finish(lambda x, logits, kept, nucleus, shares, _: shares * nucleus * kept)
greedy = _finish(lambda x, *_: F.one_hot(x.argmax(-1), x.shape[-1]).to(x.dtype))
logits_returned = _finish(
    lambda x, logits, kept, nucleus, shares, hidden: x.masked_fill(~(kept & nucleus), hidden)
)
logarithms = _finish(lambda *parts: _softmax(*parts).log())
softmax_twice = _finish(lambda *parts: _softmax(*parts).softmax(-1))
same_for_all_kept = _finish(
    lambda x, logits, kept, nucleus, *_: F.normalize((kept & nucleus).to(x.dtype), p=1, dim=-1)
)
ids = _finish(lambda x, *_: x.argmax(-1))
mask_returned = _finish(lambda x, logits, kept, nucleus, *_: kept & nucleus)
in_sorted_order = _finish(lambda *parts: _softmax(*parts).sort(dim=-1, descending=True).values)


def _over(axis):
    """Every softmax over this axis, as far as the tensor has it."""

    def share(x, kept, hidden):
        return x.masked_fill(~kept, hidden).softmax(min(axis, x.ndim - 1))

    def finish(x, logits, kept, nucleus, shares, hidden):
        return x.masked_fill(~(kept & nucleus), hidden).softmax(min(axis, x.ndim - 1))

    return partial(_chosen, share=share, finish=finish), partial(_chosen, finish=finish)


over_rows, over_rows_at_last = _over(0)
over_time, over_time_at_last = _over(1)


def _zero_by_k(x, logits, kept, nucleus, *_):
    return x.masked_fill(~kept, 0.0).masked_fill(~nucleus, -torch.inf).softmax(-1)


def _zero_by_p(x, logits, kept, nucleus, *_):
    return x.masked_fill(~kept, -torch.inf).masked_fill(~nucleus, 0.0).softmax(-1)


def _zero_by_p_first(x, logits, kept, nucleus, *_):
    return x.masked_fill(~nucleus, 0.0).masked_fill(~kept, -torch.inf).softmax(-1)


zero_for_hidden_in_one = (
    partial(
        _chosen,
        share=lambda x, kept, hidden: x.masked_fill(~kept, 0.0).softmax(-1),
        finish=_zero_by_k,
    ),
    _finish(_zero_by_p),
    _finish(_zero_by_p_first),
)


# --- other right answers -------------------------------------------------------------------------


def transformers_way(logits, *, temperature, k, p):
    """Sorted upwards, dropped from below; ties of top-p are put the right way by hand."""
    scores = logits / temperature
    if 0 < k < scores.shape[-1]:
        scores = scores.masked_fill(scores < torch.topk(scores, k)[0][..., -1, None], -float("inf"))
    if p < 1.0:
        order = torch.argsort(scores.flip(-1), dim=-1, stable=True)
        order = scores.shape[-1] - 1 - order  # of equals the higher id first
        below = scores.gather(-1, order).softmax(dim=-1).cumsum(dim=-1)
        remove = below <= 1 - p
        remove[..., -1:] = False
        scores = scores.masked_fill(remove.scatter(-1, order, remove), -float("inf"))
    return torch.softmax(scores, dim=-1)


def shifted_mask(logits, *, temperature, k, p):
    probs = torch.softmax(logits / temperature, dim=-1)
    if k > 0:
        least = torch.topk(probs, min(k, probs.size(-1)), dim=-1)[0][..., -1:]
        probs = torch.where(probs < least, torch.zeros_like(probs), probs)
        probs = probs / probs.sum(dim=-1, keepdim=True)
    ranked, index = torch.sort(probs, dim=-1, descending=True, stable=True)
    beyond = torch.cumsum(ranked, dim=-1) >= p
    beyond[..., 1:] = beyond[..., :-1].clone()
    beyond[..., 0] = False
    if p == 1.0:
        beyond = torch.zeros_like(beyond)
    ranked = ranked.masked_fill(beyond, 0.0)
    probs = torch.zeros_like(probs).scatter(-1, index, ranked)
    return probs / probs.sum(dim=-1, keepdim=True)


def row_by_row(logits, *, temperature, k, p):
    flat = logits.reshape(-1, logits.shape[-1])
    out = torch.zeros_like(flat)
    for row, target in zip(flat, out, strict=True):
        weights = ((row - row.max()) / temperature).exp().tolist()
        order = sorted(range(len(weights)), key=lambda i: -weights[i])
        if 0 < k < len(order):
            order = [i for i in order if weights[i] >= weights[order[k - 1]]]
        total, kept, reached = sum(weights[i] for i in order), [], 0.0
        for i in order:
            kept.append(i)
            reached += weights[i] / total
            if p < 1 and reached >= p:
                break
        norm = sum(weights[i] for i in kept)
        for i in kept:
            target[i] = weights[i] / norm
    return out.view(logits.shape)


ALLOWED = "inference/03_choosing_tokens#which-tokens-may-be-drawn"
ORDER = "inference/03_choosing_tokens#in-which-order"
WARM = "inference/03_choosing_tokens#what-does-temperature-do"

TOP_K_TOP_P = Exercise(
    id="inference.top_k_top_p",
    title="Which tokens may be drawn",
    returns="probabilities shaped like the logits",
    points=4,
    difficulty=3,
    minutes=30,
    reference=top_k_top_p,
    cases={
        "temperature alone": temperature_alone,
        "top-k alone": top_k_alone,
        "one row, top-k of one": k_of_one,
        "top-p alone": top_p_alone,
        "one token is enough": one_is_enough,
        "a tie at k": tie_at_k,
        "a tie at p": tie_at_p,
        "all three, cold": all_three_cold,
        "all three, hot": all_three_hot,
        "a batch of rows": batch,
        "batch and time": batch_and_time,
        "k beyond the vocabulary": beyond_the_vocabulary,
        "large logits": large_logits,
        "p reached exactly": p_reached_exactly,
    },
    mistakes=(
        Mistake(
            "crossing-token-dropped",
            crossing_dropped,
            "top-p drops the token with which the sum reaches p; it belongs to the set, which else "
            "falls short of p and may be empty. Keep a token when the sum before it is below p.",
            ALLOWED,
            also=(
                crossing_dropped_unless_first,
                crossing_dropped_at_one_too,
                crossing_dropped_unless_first_at_one_too,
            ),
        ),
        Mistake(
            "one-token-more",
            one_more,
            "top-p keeps one token more than it takes to reach p: the mask has been shifted once "
            "too often.",
            ALLOWED,
        ),
        Mistake(
            "goes-on-at-p",
            goes_on_at_p,
            "top-p goes on where the sum equals p; then p is reached. A token stays when the sum "
            "before it is below p, and goes when that sum is p or more.",
            ALLOWED,
        ),
        Mistake(
            "temperature-ignored",
            temperature_ignored,
            "the temperature is not used; divide the logits by it.",
            WARM,
        ),
        Mistake(
            "temperature-multiplies",
            temperature_multiplies,
            "the logits are multiplied by the temperature; divide, so that a low one sharpens.",
            WARM,
        ),
        Mistake(
            "temperature-squared",
            temperature_twice,
            "the logits are divided by the temperature twice (or by its root); once is enough.",
            WARM,
            also=(temperature_rooted,),
        ),
        Mistake(
            "temperature-last",
            temperature_last,
            "which tokens stay is decided on logits without the temperature, and it changes only "
            "what is left; temperature comes first, because top-p depends on it.",
            ORDER,
        ),
        Mistake(
            "temperature-for-the-choice-only",
            choice_alone_warm,
            "the temperature decides which tokens stay, and then the probabilities are those of "
            "the logits without it.",
            ORDER,
        ),
        Mistake(
            "p-before-k",
            p_before_k,
            "top-p adds up the shares of all tokens; it comes after top-k, and adds up shares of "
            "those that top-k has kept, renormalised.",
            ORDER,
        ),
        Mistake(
            "not-renormalised",
            not_renormalised,
            "the probabilities that are left do not add up to 1; divide by their sum, or take the "
            "softmax once more over the logits that are left.",
            ALLOWED,
            also=(not_after_p,),
        ),
        Mistake(
            "ties-at-k-cut",
            ties_cut,
            "of tokens with equal logits at the k-th place only some are kept, by their ids; all "
            "that are level with the k-th stay.",
            ALLOWED,
            also=(ties_cut_from_below, ties_cut_as_topk_does),
        ),
        Mistake(
            "ties-count-once",
            ties_count_once,
            "tokens with equal logits are counted as one place; the k-th largest is counted with "
            "each of them.",
            ALLOWED,
        ),
        Mistake(
            "kth-token-dropped",
            one_less_than_k,
            "top-k keeps one token too few: the k-th itself stays, so compare with < where you "
            "remove and with >= where you keep.",
            ALLOWED,
        ),
        Mistake(
            "one-more-than-k",
            one_more_than_k,
            "top-k keeps one token too many: in sorted logits the k-th has the index k − 1.",
            ALLOWED,
        ),
        Mistake(
            "smallest-k",
            smallest_k,
            "the k least likely tokens are kept; keep the likeliest.",
            ALLOWED,
        ),
        Mistake(
            "top-k-removed",
            largest_k_hidden,
            "the k likeliest tokens are removed, and the others kept; it is the other way round.",
            ALLOWED,
        ),
        Mistake(
            "first-ids",
            first_ids,
            "the tokens with the ids 0 to k − 1 are kept; an id says nothing about how likely a "
            "token is.",
            ALLOWED,
        ),
        Mistake(
            "k-over-all-rows",
            k_over_all_rows,
            "the k-th largest logit is looked for in the whole tensor; each row has its own.",
            ALLOWED,
        ),
        Mistake(
            "k-ignored",
            k_ignored,
            "k is not used; keep what is at least as large as the k-th largest logit.",
            ALLOWED,
        ),
        Mistake(
            "k-zero-keeps-none",
            none_at_zero,
            "k = 0 keeps no token (or fails); it means that top-k is off.",
            ALLOWED,
            also=(index_at_zero,),
        ),
        Mistake(
            "k-beyond-the-vocabulary",
            topk_beyond,
            "a k larger than the vocabulary fails; then every token stays.",
            ALLOWED,
            also=(sort_beyond,),
        ),
        Mistake(
            "p-ignored",
            p_ignored,
            "p is not used; keep the likeliest tokens until their probabilities add up to it.",
            ALLOWED,
        ),
        Mistake(
            "p-in-order-of-ids",
            in_order_of_ids,
            "the probabilities are added up in the order of ids; sort them first, the likeliest "
            "in front.",
            ALLOWED,
            also=(in_order_of_ids_up_to,),
        ),
        Mistake(
            "p-from-the-least-likely",
            least_likely_first,
            "the probabilities are added up from the least likely token on; begin with the "
            "likeliest. Sorted upwards, it is the sums up to 1 − p that go.",
            ALLOWED,
            also=(least_likely_up_to,),
        ),
        Mistake(
            "tail-kept",
            tail_kept,
            "top-p removes the likely tokens and keeps the tail; it is the other way round.",
            ALLOWED,
            also=(tail_and_crossing_kept,),
        ),
        Mistake(
            "mask-not-put-back",
            not_put_back,
            "the mask found on sorted probabilities is used on unsorted ones; scatter it back to "
            "the ids that it belongs to.",
            ALLOWED,
        ),
        Mistake(
            "gather-for-scatter",
            gathered,
            "the sorted mask is put back with the wrong inverse (gather, or mask[ids]); the entry "
            "of rank i belongs at ids[i]: scatter.",
            ALLOWED,
        ),
        Mistake(
            "result-in-sorted-order",
            in_sorted_order,
            "the probabilities come back sorted; entry x must be that of token x.",
            ALLOWED,
        ),
        Mistake(
            "ties-at-p-kept",
            all_ties_kept,
            "top-p keeps every token that is as likely as the last one kept; it stops where p is "
            "reached, and of equals the lower id goes first.",
            ALLOWED,
        ),
        Mistake(
            "ties-at-p-higher-id",
            higher_ids_first,
            "of two equally likely tokens top-p takes the one with the higher id; sort stably, so "
            "that the lower comes first.",
            ALLOWED,
        ),
        Mistake(
            "share-against-p",
            share_against_p,
            "each token's own probability is compared with p (or 1 − p); it is their sum, from the "
            "likeliest on, that has to reach p.",
            ALLOWED,
            also=(share_against_rest,),
        ),
        Mistake(
            "min-p",
            min_p,
            "a token stays when it is at least p times as likely as the likeliest: that is min-p. "
            "Top-p adds probabilities up.",
            ALLOWED,
        ),
        Mistake(
            "zero-for-removed",
            zero_for_hidden,
            "logits of removed tokens are set to 0 (or to a number that is not small enough), and "
            "exp(0) is 1, so they may still be drawn; set them to −∞.",
            ALLOWED,
            also=(*zero_for_hidden_in_one, *too_little_for_hidden),
        ),
        Mistake(
            "no-max",
            no_max,
            "exp is taken of the logits as they are; large ones overflow to infinity, and very "
            "negative ones leave 0/0. Use torch's softmax, or subtract each row's maximum first.",
            WARM,
            also=tuple(no_max_elsewhere),
        ),
        Mistake(
            "global-max",
            global_max,
            "one maximum is subtracted from all rows; a row far below it then underflows to 0/0. "
            "Take each row's own.",
            WARM,
            also=tuple(global_max_elsewhere),
        ),
        Mistake(
            "softmax-over-rows",
            over_rows,
            "softmax runs over the first axis, so that rows compete; each row is a distribution of "
            "its own, over the last axis.",
            ALLOWED,
            also=(over_rows_at_last, over_time, over_time_at_last),
        ),
        Mistake(
            "softmax-twice",
            softmax_twice,
            "softmax is taken of probabilities, which makes them nearly equal and gives removed "
            "tokens a share; take it of logits.",
            WARM,
        ),
        Mistake(
            "same-for-all-kept",
            same_for_all_kept,
            "all tokens that are kept are equally likely; they keep the proportions they had.",
            ALLOWED,
        ),
        Mistake(
            "greedy",
            greedy,
            "the likeliest token has all the probability (or its id comes back); that is the "
            "greedy choice. Return the distribution that a token is then drawn from.",
            ALLOWED,
            also=(ids,),
        ),
        Mistake(
            "not-probabilities",
            logits_returned,
            "logits, logarithms or a mask come back; return probabilities, which add up to 1 in "
            "each row.",
            ALLOWED,
            also=(logarithms, mask_returned),
        ),
    ),
    alternatives=(transformers_way, shifted_mask, row_by_row),
    hints=(
        "Take four tokens with probabilities 0.5, 0.3, 0.15 and 0.05 and p = 0.7, on paper. Which "
        "tokens stay? And with p = 0.4? No p may leave nothing to draw from.",
        "Do three things one after another, each on what the one before has left, and write −∞ "
        "where a token goes. What does top-p add up, if top-k has been there before?",
        "A cumulative sum needs an order, and an order can be undone: sort gives ids along with "
        "values. For each place ask how large the sum was before this token came. Then try a k of "
        "0, a k beyond the vocabulary, and two equal logits.",
    ),
    read=ALLOWED,
)
