"""attention.flash_forward: exact attention in tiles, never holding the T × S matrix."""

import math
from functools import partial

import torch

from clearhead import attention as library
from marking.exercise import Exercise, Mistake, Tolerance


def reference(q, k, v, block_size, causal):
    return library.flash_forward(q, k, v, block_size=block_size, causal=causal)


def largest(inputs) -> int:
    """Room for a strip of tiles and the state of every query, and none for T × S."""
    q, k, v = inputs["q"], inputs["k"], inputs["v"]
    heads = q.shape[:-2].numel()
    longer = max(q.shape[-2], k.shape[-2])
    return heads * longer * (inputs["block_size"] + q.shape[-1] + v.shape[-1])


# --- situations ------------------------------------------------------------------------------


def _inputs(draw, T, S, block_size, causal=False, heads=None, D=None):
    D = D or draw.size(2, 5)
    Dv = D + draw.size(1, 2)
    lead = (draw.size(1, 2), draw.size(1, 2)) if heads is None else heads
    q, k, v = draw.normal(*lead, T, D), draw.normal(*lead, S, D), draw.normal(*lead, S, Dv)
    if draw.level is None:  # the last query scores highest in the last block: it has to rescale
        last = q[..., -1:, :] / q[..., -1:, :].norm(dim=-1, keepdim=True)
        top = (last @ k.mT).amax(-1, keepdim=True).clamp(min=0.0)
        q[..., -1:, :], k[..., -1:, :] = last * math.sqrt(D), last * (top + draw.number(0.5, 2.0))
    return {"q": q, "k": k, "v": v, "block_size": block_size, "causal": causal}


def _cut_short(draw, block, most):
    """A number of keys up to `most`, two or more beyond the first block, the last block short."""
    return draw.choice(*(n for n in range(block + 2, most + 1) if n % block))


def blocks_that_divide(draw):
    block = draw.size(1, 3)
    return _inputs(draw, 2 * block, 2 * block, block)


def blocks_that_do_not_divide(draw):
    block = draw.size(2, 4)
    return _inputs(draw, draw.size(2, block + 1), 2 * block + draw.size(1, block - 1), block)


def one_large_block(draw):
    T, S = draw.sizes(2, 2, 6)
    return _inputs(draw, T, S, 16)


def causal_square(draw):
    block = draw.size(2, 3)
    T = _cut_short(draw, block, 5 if draw.level is not None else 7)
    return _inputs(draw, T, T, block, causal=True)


def causal_fewer_queries(draw):
    """The first query does not see the last block."""
    block = draw.size(2, 3)
    S = _cut_short(draw, block, 5 if draw.level is not None else 8)
    return _inputs(draw, draw.size(block + 1, S - 1), S, block, causal=True)


def causal_more_queries(draw):
    """The first T − S queries stand before the first key and see nothing."""
    block = draw.size(2, 3)
    S = _cut_short(draw, block, 5 if draw.level is not None else 7)
    return _inputs(draw, S + draw.size(1, 4), S, block, causal=True)


def rising_keys(draw):
    """Every later block brings larger scores, over a range of about ±50; the last but one key is
    near enough to the last to count."""
    T, S = draw.size(2, 4), draw.choice(5, 7)
    inputs = _inputs(draw, T, S, 2, D=4)
    ramp = torch.linspace(-10.0, 10.0, S, dtype=torch.float64).round().to(inputs["k"].dtype)
    ramp[-2] = ramp[-1] - 2.0
    inputs["q"][..., 0], inputs["k"][..., 0] = 10.0, ramp
    return inputs


# In the next two the features are multiples of 1/4 and D is 4, so that scores near 1,000 are exact
# in float32 in whatever order they are summed, and no right answer is refused for rounding.


def _rounded(inputs):
    for name in ("q", "k"):
        inputs[name] = inputs[name].mul(4).round().div(4)
    return inputs


def rows_far_apart(draw):
    """One query of the first tile has scores around 1,000, the others around −1,000."""
    T, S = draw.size(2, 4), draw.choice(3, 5)

    def rises(inputs):
        s = inputs["q"] @ inputs["k"].mT / 2
        return bool((s[..., 2:].amax(-1) > s[..., :2].amax(-1) + 0.1).any())

    def make():
        inputs = _rounded(_inputs(draw, T, S, 2, D=4))
        q, k = inputs["q"], inputs["k"]
        q[..., 0], k[..., 0] = -32.0, 64.0
        q[..., draw.size(0, 1), 0] = 32.0  # in a tile with one of the others
        return inputs

    return draw.until(make, rises)


def largest_come_first(draw):
    """The first keys score around 1,000, the later ones around −1,000."""
    T, S = draw.size(2, 4), draw.size(3, 6)
    inputs = _rounded(_inputs(draw, T, S, 2, D=4))
    q, k = inputs["q"], inputs["k"]
    q[..., 0], k[..., 0] = 32.0, -64.0
    k[..., :2, 0] = 64.0
    return inputs


def long_sequence(draw):
    T, S = draw.size(18, 20), draw.size(27, 29)
    return _inputs(draw, T, S, 10, causal=True, heads=(1, 1), D=2)


def no_leading_axes(draw):
    T, S = draw.choice(2, 4, 6), draw.choice(3, 5)
    return _inputs(draw, T, S, 2, heads=())


def transposed_views(draw):
    """q, k and v as they come out of a head split."""
    inputs = _inputs(draw, draw.size(2, 4), draw.choice(3, 5), 2, heads=(draw.size(1, 2), 2))
    for name in ("q", "k", "v"):
        inputs[name] = inputs[name].transpose(1, 2).contiguous().transpose(1, 2)
    return inputs


# --- mistakes: one right skeleton, and what people put in its places -----------------------------


def _blocks(n, size):
    return [slice(i, min(i + size, n)) for i in range(0, n, size)]


def _distance(T, S, rows, columns):
    """How far each key of a tile lies ahead of each query, negative for the past."""
    return torch.arange(columns.start, columns.stop) - (
        torch.arange(rows.start, rows.stop)[:, None] + S - T
    )


def _later(T, S, rows, columns):
    return _distance(T, S, rows, columns) > 0


def _zero_if_empty(m):
    return torch.where(m == -math.inf, torch.zeros_like(m), m)


def _update(m, l, acc, s, values):  # noqa: E741
    new_m = torch.maximum(m, s.amax(-1))
    shift = _zero_if_empty(new_m)
    rescale, p = torch.exp(m - shift), torch.exp(s - shift[..., None])
    return new_m, rescale * l + p.sum(-1), rescale[..., None] * acc + p @ values


def _divide(acc, l):  # noqa: E741
    return acc / torch.where(l == 0, torch.ones_like(l), l)[..., None]


def _logsumexp(m, l):  # noqa: E741
    return m + torch.log(l)


def _tiled(
    q,
    k,
    v,
    block_size,
    causal,
    *,
    scale=lambda D: 1 / math.sqrt(D),
    hidden=_later,
    fill=-math.inf,
    cut=_blocks,
    update=_update,
    divide=_divide,
    logsumexp=_logsumexp,
):
    """As it stands it is right."""
    T, S, factor = q.shape[-2], k.shape[-2], scale(q.shape[-1])
    done = []
    for rows in _blocks(T, block_size):
        m = torch.full(q[..., rows, 0].shape, -math.inf, dtype=q.dtype)
        l = torch.zeros_like(m)  # noqa: E741
        acc = torch.zeros(*m.shape, v.shape[-1], dtype=q.dtype)
        for columns in cut(S, block_size):
            s = q[..., rows, :] @ k[..., columns, :].mT * factor
            if causal:
                s = s.masked_fill(hidden(T, S, rows, columns), fill)
            m, l, acc = update(m, l, acc, s, v[..., columns, :])  # noqa: E741
        done.append((divide(acc, l), logsumexp(m, l)))
    outputs, sums = zip(*done, strict=True)
    return torch.cat(outputs, dim=-2), torch.cat(sums, dim=-1)


def whole_matrix(q, k, v, block_size, causal):
    T, S = q.shape[-2], k.shape[-2]
    s = q @ k.mT / math.sqrt(q.shape[-1])
    if causal:
        s = s.masked_fill(~torch.ones(T, S, dtype=torch.bool).tril(S - T), -math.inf)
    lse = torch.logsumexp(s, dim=-1)
    return torch.exp(s - _zero_if_empty(lse)[..., None]) @ v, lse


no_scale = partial(_tiled, scale=lambda D: 1.0)
scaled_twice = partial(_tiled, scale=lambda D: 1 / D)


def _without_rescale(m, l, acc, s, values):  # noqa: E741
    new_m = torch.maximum(m, s.amax(-1))
    p = torch.exp(s - _zero_if_empty(new_m)[..., None])
    return new_m, l + p.sum(-1), acc + p @ values


def _without_rescale_of_output(m, l, acc, s, values):  # noqa: E741
    new_m, new_l, _ = _update(m, l, acc, s, values)
    p = torch.exp(s - _zero_if_empty(new_m)[..., None])
    return new_m, new_l, acc + p @ values


def _to_block_maximum(m, l, acc, s, values):  # noqa: E741
    new_m = s.amax(-1)
    shift = _zero_if_empty(new_m)
    rescale, p = torch.exp(m - shift), torch.exp(s - shift[..., None])
    return new_m, rescale * l + p.sum(-1), rescale[..., None] * acc + p @ values


def _without_shift(m, l, acc, s, values):  # noqa: E741
    p = torch.exp(s)
    return torch.zeros_like(m), l + p.sum(-1), acc + p @ values


def _to_one_maximum(m, l, acc, s, values):  # noqa: E741
    new_m = torch.maximum(m, s.max())
    shift = _zero_if_empty(new_m)
    rescale, p = torch.exp(m - shift), torch.exp(s - shift[..., None])
    return new_m, rescale * l + p.sum(-1), rescale[..., None] * acc + p @ values


def _averaged(m, l, acc, s, values):  # noqa: E741
    """Adds each block's own attention, and counts the blocks."""
    new_m, _, _ = _update(m, l, acc, s, values)
    seen = (s > -math.inf).any(-1).to(s.dtype)
    own = torch.nan_to_num(torch.exp(s - torch.logsumexp(s, -1, keepdim=True)), nan=0.0)
    return new_m, l + seen, acc + own @ values


def _nan_if_empty(m, l, acc, s, values):  # noqa: E741
    new_m = torch.maximum(m, s.amax(-1))
    rescale, p = torch.exp(m - new_m), torch.exp(s - new_m[..., None])
    return new_m, rescale * l + p.sum(-1), rescale[..., None] * acc + p @ values


no_rescale = partial(_tiled, update=_without_rescale)
output_not_rescaled = partial(_tiled, update=_without_rescale_of_output)
block_maximum = partial(_tiled, update=_to_block_maximum)
not_shifted = partial(_tiled, update=_without_shift)
one_maximum_for_all = partial(_tiled, update=_to_one_maximum)
mean_of_blocks = partial(_tiled, update=_averaged)
nan_on_empty = partial(_tiled, update=_nan_if_empty)

not_divided = partial(_tiled, divide=lambda acc, l: acc)  # noqa: E741
zero_by_zero = partial(_tiled, divide=lambda acc, l: acc / l[..., None])  # noqa: E741
logsumexp_without_maximum = partial(_tiled, logsumexp=lambda m, l: torch.log(l))  # noqa: E741
returns_l = partial(_tiled, logsumexp=lambda m, l: l)  # noqa: E741
sum_without_logarithm = partial(_tiled, logsumexp=lambda m, l: m + l)  # noqa: E741


def _whole_blocks(n, size):
    return [slice(i, i + size) for i in range(0, n - size + 1, size)]


def _above_the_tiles_diagonal(T, S, rows, columns):
    size = rows.stop - rows.start, columns.stop - columns.start
    return torch.ones(size, dtype=torch.bool).triu(1)


def _top_left(T, S, rows, columns):
    return _later(S, S, rows, columns)


def _whole_tile_if_any(T, S, rows, columns):
    return (_distance(T, S, rows, columns)[:1] > 0).any()


last_block_dropped = partial(_tiled, cut=_whole_blocks)
causal_ignored = partial(_tiled, hidden=lambda T, S, rows, columns: torch.tensor(False))
aligned_top_left = partial(_tiled, hidden=_top_left)
triangle_in_every_tile = partial(_tiled, hidden=_above_the_tiles_diagonal)
own_key_masked = partial(_tiled, hidden=lambda *tile: _distance(*tile) >= 0)
next_key_seen = partial(_tiled, hidden=lambda *tile: _distance(*tile) > 1)
diagonal_tiles_skipped = partial(_tiled, hidden=_whole_tile_if_any)
large_negative_for_infinity = partial(_tiled, fill=-1e9)


# --- other right answers ---------------------------------------------------------------------


def strips(q, k, v, block_size, causal):
    """All queries against one block of keys at a time."""
    T, S = q.shape[-2], k.shape[-2]
    m = q.new_full(q.shape[:-1], -math.inf)
    l = q.new_zeros(q.shape[:-1])  # noqa: E741
    acc = q.new_zeros(*q.shape[:-1], v.shape[-1])
    for start in range(0, S, block_size):
        kb, vb = k[..., start : start + block_size, :], v[..., start : start + block_size, :]
        s = torch.einsum("...td,...sd->...ts", q, kb) * q.shape[-1] ** -0.5
        if causal:
            key = start + torch.arange(kb.shape[-2])
            s = torch.where(key[None, :] <= torch.arange(T)[:, None] + S - T, s, -math.inf)
        top = torch.maximum(m, s.max(dim=-1).values)
        safe = top.clamp(min=torch.finfo(q.dtype).min)
        p, old = torch.exp(s - safe.unsqueeze(-1)), torch.exp(m - safe)
        l, acc, m = old * l + p.sum(-1), old.unsqueeze(-1) * acc + p @ vb, top  # noqa: E741
    return acc / l.clamp(min=torch.finfo(q.dtype).tiny).unsqueeze(-1), m + l.log()


def merged_by_logsumexp(q, k, v, block_size, causal):
    """Each block answered by itself; two answers are merged by their log-sum-exps."""
    T, S = q.shape[-2], k.shape[-2]
    output = torch.zeros(*q.shape[:-1], v.shape[-1], dtype=q.dtype)
    total = torch.full(q.shape[:-1], -math.inf, dtype=q.dtype)
    for start in range(0, S, block_size):
        stop = min(S, start + block_size)
        s = q @ k[..., start:stop, :].transpose(-1, -2) / q.shape[-1] ** 0.5
        if causal:
            banned = torch.ones(T, stop - start, dtype=torch.bool).triu(S - T - start + 1)
            s = s.masked_fill(banned, -math.inf)
        here = torch.logsumexp(s, dim=-1)
        own = torch.exp(s - here.nan_to_num(neginf=0.0)[..., None]) @ v[..., start:stop, :]
        both = torch.logaddexp(total, here)
        base = both.nan_to_num(neginf=0.0)
        output = (total - base).exp()[..., None] * output + (here - base).exp()[..., None] * own
        total = both
    return output, total


def filled_in_place(q, k, v, block_size, causal):
    """Tiles of queries, blocks of keys up to the last one that is seen, a finite fill put right."""
    T, S = q.shape[-2], k.shape[-2]
    output = torch.zeros(*q.shape[:-1], v.shape[-1], dtype=q.dtype)
    lse = torch.full(q.shape[:-1], -math.inf, dtype=q.dtype)
    for i in range(0, T, block_size):
        qi = q[..., i : i + block_size, :] / math.sqrt(q.shape[-1])
        n = qi.shape[-2]
        m, l, acc = None, 0.0, 0.0  # noqa: E741
        for j in range(0, min(S, i + n + S - T) if causal else S, block_size):
            s = qi @ k[..., j : j + block_size, :].mT
            allowed = torch.ones(n, s.shape[-1], dtype=torch.bool)
            if causal:
                allowed = allowed.tril(i + S - T - j)
            s = s.masked_fill(~allowed, -1e30)
            top = s.amax(-1, keepdim=True) if m is None else torch.maximum(m, s.amax(-1, True))
            p = torch.exp(s - top) * allowed
            old = 0.0 if m is None else torch.exp(m - top)
            l = old * l + p.sum(-1, keepdim=True)  # noqa: E741
            acc = old * acc + p @ v[..., j : j + block_size, :]
            m = top
        if m is not None:
            some = l > 0
            output[..., i : i + n, :] = torch.where(some, acc / l, torch.zeros_like(acc))
            lse[..., i : i + n] = torch.where(some, m + l.log(), -math.inf)[..., 0]
    return output, lse


THREE_NUMBERS = "attention/04_online_softmax#what-do-three-running-numbers-do-with-four-keys"
TILES = "attention/04_online_softmax#from-numbers-to-tiles"
MEMORY = "attention/04_online_softmax#what-is-really-held-in-memory"
MERGING = "attention/04_online_softmax#why-can-partial-results-be-merged-in-any-order"
CAUSAL = "attention/03_masks_heads_positions#what-is-causal-when-there-are-fewer-queries-than-keys"
EMPTY = "attention/03_masks_heads_positions#how-negative-is-negative-enough"
SCALE = "attention/02_scale#what-do-the-wrong-scalings-do"

FLASH_FORWARD = Exercise(
    id="attention.flash_forward",
    title="FlashAttention, forward, in tiles",
    returns="the output (…, T, Dv) and the log-sum-exp (…, T), in the dtype of q",
    outputs=("output", "logsumexp"),
    points=6,
    difficulty=3,
    minutes=45,
    reference=reference,
    cases={
        "blocks that divide the lengths": blocks_that_divide,
        "blocks that do not divide": blocks_that_do_not_divide,
        "one block larger than everything": one_large_block,
        "causal, as many queries as keys": causal_square,
        "causal, fewer queries than keys": causal_fewer_queries,
        "causal, more queries than keys": causal_more_queries,
        "each block brings larger scores": rising_keys,
        "rows around ±1,000": rows_far_apart,
        "the largest scores come first": largest_come_first,
        "a longer sequence": long_sequence,
        "one head of one sequence": no_leading_axes,
        "q, k, v are transposed views": transposed_views,
    },
    # A score of 1,000 that is turned into base 2 before the maximum is subtracted is off by 6e-5.
    tolerance=Tolerance(fp32=1e-4),
    forbidden=(
        "scaled_dot_product_attention",
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_attention_math",
        "_scaled_dot_product_flash_attention",
        "_scaled_dot_product_efficient_attention",
        "multi_head_attention_forward",
    ),
    largest=largest,
    mistakes=(
        Mistake(
            "whole-matrix",
            whole_matrix,
            "the numbers are right, but the whole T × S matrix is built at once, which is what "
            "this algorithm exists to avoid; keep one tile of scores at a time.",
            MEMORY,
        ),
        Mistake(
            "no-scale",
            no_scale,
            "the scores are not divided by √D, so they spread as √D and the softmax hardens.",
            SCALE,
        ),
        Mistake(
            "scaled-twice",
            scaled_twice,
            "the scores are divided by √D twice, so by D; divide once.",
            SCALE,
        ),
        Mistake(
            "no-rescale",
            no_rescale,
            "earlier blocks are summed against an older maximum and never brought to the new one; "
            "rescale the sum and the output whenever the maximum grows.",
            THREE_NUMBERS,
        ),
        Mistake(
            "output-not-rescaled",
            output_not_rescaled,
            "the sum is brought to the new maximum and the output is not, so early values weigh "
            "too much; rescale both by the same factor.",
            THREE_NUMBERS,
        ),
        Mistake(
            "block-maximum",
            block_maximum,
            "the maximum of the latest block replaces the running one, and the rescaling "
            "overflows when an earlier block was far larger; keep the larger of the two.",
            THREE_NUMBERS,
        ),
        Mistake(
            "not-shifted",
            not_shifted,
            "exp is taken of the scores as they are, which overflows for large ones and gives 0/0 "
            "for very negative ones; subtract the running maximum of the row.",
            THREE_NUMBERS,
        ),
        Mistake(
            "one-maximum-for-all",
            one_maximum_for_all,
            "one maximum is taken over a whole tile, and a row far below it underflows to zero; "
            "each query has its own.",
            THREE_NUMBERS,
        ),
        Mistake(
            "mean-of-blocks",
            mean_of_blocks,
            "every block gets a softmax of its own and the results are averaged, so a block of "
            "small scores counts as much as one of large scores; weigh blocks by their sums of "
            "exponentials.",
            MERGING,
        ),
        Mistake(
            "not-divided",
            not_divided,
            "the output is not divided by the sum of exponentials; do that once, after the last "
            "block.",
            THREE_NUMBERS,
        ),
        Mistake(
            "logsumexp-without-maximum",
            logsumexp_without_maximum,
            "the log-sum-exp lacks the maximum that was subtracted; add it to the logarithm of "
            "the sum.",
            MERGING,
        ),
        Mistake(
            "returns-l",
            returns_l,
            "the second value is l, the running sum itself; the log-sum-exp is m + ln l.",
            MERGING,
        ),
        Mistake(
            "sum-without-logarithm",
            sum_without_logarithm,
            "the maximum is added to the sum itself; add it to the logarithm of the sum.",
            MERGING,
        ),
        Mistake(
            "last-block-dropped",
            last_block_dropped,
            "keys left over after the last full block are never read; let the last block be "
            "shorter.",
            TILES,
        ),
        Mistake(
            "causal-ignored",
            causal_ignored,
            "causal changes nothing, so queries see the future.",
            CAUSAL,
        ),
        Mistake(
            "aligned-top-left",
            aligned_top_left,
            "query i sees keys 0 … i even when there are more keys than queries; the last query "
            "stands at the last key, so the diagonal moves by S − T.",
            CAUSAL,
        ),
        Mistake(
            "triangle-in-every-tile",
            triangle_in_every_tile,
            "every tile is masked by the same small triangle; compare positions in the whole "
            "sequence, so add where the tile starts.",
            TILES,
        ),
        Mistake(
            "next-key-seen",
            next_key_seen,
            "each query sees one key too many, the next token; hide every key after its own "
            "position.",
            TILES,
        ),
        Mistake(
            "own-key-masked",
            own_key_masked,
            "a query does not see the key at its own position; the diagonal is allowed.",
            CAUSAL,
        ),
        Mistake(
            "diagonal-tiles-skipped",
            diagonal_tiles_skipped,
            "tiles that the diagonal crosses are skipped as a whole, with keys in them that may be "
            "seen; skip only tiles that lie wholly in the future, and mask the others.",
            TILES,
        ),
        Mistake(
            "nan-on-empty",
            nan_on_empty,
            "a row that has seen only −∞ gives −∞ − (−∞) = NaN, and every later block inherits "
            "it; for such a row subtract 0, and divide by 1.",
            TILES,
        ),
        Mistake(
            "zero-by-zero",
            zero_by_zero,
            "a row that sees no key at all is divided 0/0 = NaN at the end; its output is 0 and "
            "its log-sum-exp −∞.",
            EMPTY,
        ),
        Mistake(
            "large-negative-for-infinity",
            large_negative_for_infinity,
            "masked scores are a large negative number, so a row that sees no key averages keys "
            "it may not see; its output is 0 and its log-sum-exp −∞.",
            EMPTY,
        ),
    ),
    alternatives=(strips, merged_by_logsumexp, filled_in_place),
    hints=(
        "Write it first for one block that holds every key: m, l and acc start at −∞, 0 and 0, "
        "and one update with all scores must give ordinary attention after a division. Only then "
        "cut.",
        "Two loops: tiles of queries outside, blocks of keys inside. The inside is your "
        "online_softmax_update; what belongs to a tile of queries begins afresh with it. Which "
        "slices can be shorter than block_size?",
        "For the causal tile compare positions in the whole sequences: the tile's row r is query "
        "start + r, which stands at key position start + r + S − T. Then look at a row whose every "
        "score is −∞: what is its l, what do you divide by, and what is the logarithm of 0?",
    ),
    read=TILES,
)
