"""inference.kv_cache_update: new keys and values, each row's at its own place in the cache."""

from functools import partial

import torch

from clearhead.inference import kv_cache_update as reference
from marking.exercise import Exercise, Mistake

# --- situations: every slot holds numbers, also those that no row has used yet --------------------


def _inputs(draw, lengths, *, T=None, room=None):
    """Sizes that all differ. `room` slots stay free behind the longest row."""
    B = len(lengths)
    if draw.level is None:
        free = [n for n in range(2, 9) if n != B and n != T]
        K, D, more = (free[i] for i in draw.sizes(3, 0, len(free) - 1))
    else:
        K, D, more = draw.size(1, 2), draw.size(1, 2), 2
    T = more if T is None else T
    M = max(lengths) + T + (draw.size(2, 4, small=1) if room is None else room)
    M += room is None and M in (B, K, D)
    return {
        "cache_k": draw.normal(B, K, M, D),
        "cache_v": draw.normal(B, K, M, D),
        "k": draw.normal(B, K, T, D),
        "v": draw.normal(B, K, T, D),
        "lengths": torch.tensor(lengths),
    }


def _unequal(draw):
    """Two apart at least; the first row is neither the longest nor the shortest, nor the last."""
    n = 3 if draw.level is not None else draw.size(3, 4)
    low = 1 if draw.level is not None else 2
    ordered = [low + 2 * i + draw.size(0, 1) * (i > 0) for i in range(n)]
    ordered = [max(a, ordered[0] + 2 * i) for i, a in enumerate(ordered)]
    first = ordered.pop(draw.size(1, n - 2))
    rest = [ordered[i] for i in draw.sizes(n - 1, 0, n - 2)]
    return [first, *rest]


def unequal(draw):
    return _inputs(draw, _unequal(draw))


def one_token(draw):
    return _inputs(draw, _unequal(draw), T=1)


def equal(draw):
    return _inputs(draw, [draw.size(2, 5, small=1)] * draw.size(2, 3))


def empty(draw):
    return _inputs(draw, [0] * draw.size(2, 3))


def one_row_empty(draw):
    """A request has joined the batch; it has no row in the cache yet."""
    lengths = _unequal(draw)
    lengths[draw.size(1, len(lengths) - 1)] = 0
    return _inputs(draw, lengths)


def to_the_last_slot(draw):
    return _inputs(draw, _unequal(draw), room=0)


def one_sequence(draw):
    return _inputs(draw, [draw.size(3, 6, small=1)])


def transposed_views(draw):
    """New rows come as (B, T, K, D) with the axes swapped, as from a projection."""
    inputs = _inputs(draw, _unequal(draw))
    for name in ("k", "v"):
        inputs[name] = inputs[name].transpose(1, 2).contiguous().transpose(1, 2)
    return inputs


# --- mistakes: one change each to `_updated`, or a function of their own -------------------------


def _row_by_row(cache, new, start):
    out, T = cache.clone(), new.shape[2]
    for b, n in enumerate(start.tolist()):
        out[b, :, n : n + T] = new[b]
    return out


def _by_index(cache, new, start):
    out = cache.clone()
    rows = torch.arange(len(start))[:, None]
    out[rows, :, start[:, None] + torch.arange(new.shape[2])] = new.transpose(1, 2)
    return out


def _by_scatter(cache, new, start):
    slots = start[:, None] + torch.arange(new.shape[2])
    return cache.scatter(2, slots[:, None, :, None].expand_as(new), new)


def _updated(
    cache_k,
    cache_v,
    k,
    v,
    lengths,
    *,
    start=lambda lengths, cache, new: lengths,
    write=_row_by_row,
    new=lambda k, v: (k, v),
    held=lambda cache_k, cache_v: (cache_k, cache_v),
    advance=lambda lengths, k: lengths + k.shape[2],
    back=lambda cache_k, cache_v, lengths: (cache_k, cache_v, lengths),
):
    """As it stands it is right."""
    (cache_k, cache_v), (k, v) = held(cache_k, cache_v), new(k, v)
    at = start(lengths, cache_k, k)
    return back(write(cache_k, k, at), write(cache_v, v, at), advance(lengths, k))


def _start(start):
    """Written in three ways, which do not all raise the same error where slots run out."""
    ways = (_row_by_row, _by_index, _by_scatter)
    return tuple(partial(_updated, start=start, write=way) for way in ways)


def _one_for_all(pick):
    return lambda lengths, cache, new: pick(lengths).expand(len(lengths))


def _shape_of(axis):
    """T taken from another axis."""

    def write(cache, new, start):
        out, T = cache.clone(), new.shape[axis]
        for b, n in enumerate(start.tolist()):
            out[b, :, n : n + T] = new[b]
        return out

    return write


def _added(cache, new, start):
    out, T = cache.clone(), new.shape[2]
    for b, n in enumerate(start.tolist()):
        out[b, :, n : n + T] += new[b]
    return out


def _into_zeros(cache, new, start):
    return _row_by_row(torch.zeros_like(cache), new, start)


def _rest_cleared(cache, new, start):
    out = _row_by_row(cache, new, start)
    for b, n in enumerate(start.tolist()):
        out[b, :, n + new.shape[2] :] = 0
    return out


def _without_row_index(cache, new, start):
    out, T = cache.clone(), new.shape[2]
    for n in start.tolist():
        out[:, :, n : n + T] = new
    return out


def _without_row_index_row_by_row(cache, new, start):
    out, T = cache.clone(), new.shape[2]
    for b, n in enumerate(start.tolist()):
        out[:, :, n : n + T] = new[b]
    return out


def _rows_not_paired(cache, new, start):
    out = cache.clone()
    out[:, :, start[:, None] + torch.arange(new.shape[2])] = new
    return out


def _slots_before_heads(cache, new, start):
    out, T = cache.clone(), new.shape[2]
    for b, n in enumerate(start.tolist()):
        out[b, n : n + T] = new[b]
    return out


def _slots_before_heads_too(cache, new, start):
    out, T = cache.clone(), new.shape[2]
    for b, n in enumerate(start.tolist()):
        out[b, n : n + T] = new[b].transpose(0, 1)
    return out


def _as_one_number(cache, new, start):
    out, T = cache.clone(), new.shape[2]
    out[:, :, start : start + T] = new
    return out


def _first_token_only(cache, new, start):
    return _row_by_row(cache, new[:, :, :1], start)


def _last_token_only(cache, new, start):
    return _row_by_row(cache, new[:, :, -1:], start)


def _last_token_at_the_end(cache, new, start):
    return _row_by_row(cache, new[:, :, -1:], start + new.shape[2] - 1)


def _concatenated(cache, new, start):
    return torch.cat([cache, new], dim=2)


def _used_slots(cache, new, start):
    return _row_by_row(cache, new, start)[:, :, : int(start.max()) + new.shape[2]]


def _old_then_new(cache, new, start):
    """The used part of the longest row, and the new rows behind it."""
    return torch.cat([cache[:, :, : int(start.max())], new], dim=2)


def _shifted(cache, new, start):
    return torch.cat([cache[:, :, new.shape[2] :], new], dim=2)


def _pushed_aside(cache, new, start):
    """The new rows are put between the old ones, and what stood there moves on."""
    T, M = new.shape[2], cache.shape[2]
    rows = [
        torch.cat([old[:, :n], row, old[:, n : M - T]], dim=1)
        for old, row, n in zip(cache, new, start.tolist(), strict=True)
    ]
    return torch.stack(rows)


def _write(*ways):
    return tuple(partial(_updated, write=way) for way in ways)


first_row = _start(_one_for_all(lambda lengths: lengths[0]))
longest = _start(_one_for_all(lambda lengths: lengths.max()))
shortest = _start(_one_for_all(lambda lengths: lengths.min()))
from_zero = _start(lambda lengths, cache, new: torch.zeros_like(lengths))
one_late = _start(lambda lengths, cache, new: lengths + 1)
one_early = (
    *_start(lambda lengths, cache, new: lengths - 1),
    *_start(lambda lengths, cache, new: (lengths - 1).clamp(min=0)),
)
at_the_end = _start(
    lambda lengths, cache, new: torch.full_like(lengths, cache.shape[2] - new.shape[2])
)
ends_at_length = _start(lambda lengths, cache, new: (lengths - new.shape[2]).clamp(min=0))
behind_the_new = _start(lambda lengths, cache, new: lengths + new.shape[2])

concatenated = _write(_concatenated)
used_slots_only = _write(_used_slots, _old_then_new)
shifted = _write(_shifted)
pushed_aside = _write(_pushed_aside)
added = _write(_added)
into_zeros = _write(_into_zeros)
rest_cleared = _write(_rest_cleared)
row_index_forgotten = _write(_without_row_index, _without_row_index_row_by_row)
rows_not_paired = _write(_rows_not_paired)
slots_before_heads = _write(_slots_before_heads, _slots_before_heads_too)
as_one_number = _write(_as_one_number)
one_token_only = _write(_first_token_only, _last_token_only, _last_token_at_the_end)
tokens_from_heads_axis = (
    partial(_updated, write=_shape_of(1), advance=lambda lengths, k: lengths + k.shape[1]),
    partial(_updated, write=_shape_of(1)),
)

key_for_value = partial(_updated, new=lambda k, v: (k, k))
key_cache_for_value = (
    partial(_updated, back=lambda k, v, lengths: (k, k, lengths)),
    partial(_updated, held=lambda cache_k, cache_v: (cache_k, cache_k)),
)
keys_and_values_swapped = partial(_updated, back=lambda k, v, lengths: (v, k, lengths))
swapped_too = (partial(_updated, new=lambda k, v: (v, k)),)
lengths_stay = partial(_updated, advance=lambda lengths, k: lengths)
lengths_plus_one = partial(_updated, advance=lambda lengths, k: lengths + 1)
index_of_last = partial(_updated, advance=lambda lengths, k: lengths + k.shape[2] - 1)
one_length_for_all = partial(
    _updated, advance=lambda lengths, k: torch.full_like(lengths, int(lengths.max()) + k.shape[2])
)
lengths_are_the_new = partial(
    _updated, advance=lambda lengths, k: torch.full_like(lengths, k.shape[2])
)
lengths_as_slots = partial(
    _updated, advance=lambda lengths, k: lengths[:, None] + torch.arange(k.shape[2])
)
lengths_in_a_list = partial(
    _updated, advance=lambda lengths, k: [n + k.shape[2] for n in lengths.tolist()]
)
no_lengths = partial(_updated, back=lambda cache_k, cache_v, lengths: (cache_k, cache_v))


# --- other right answers ---------------------------------------------------------------------


def row_by_row(cache_k, cache_v, k, v, lengths):
    cache_k, cache_v = cache_k.clone(), cache_v.clone()
    T = k.shape[2]
    for b in range(len(lengths)):
        start = int(lengths[b])
        cache_k[b, :, start : start + T] = k[b]
        cache_v[b, :, start : start + T] = v[b]
    return cache_k, cache_v, lengths + T


def by_index(cache_k, cache_v, k, v, lengths):
    B, _, T, _ = k.shape
    rows = torch.arange(B).unsqueeze(1)
    slots = lengths.unsqueeze(1) + torch.arange(T)
    cache_k, cache_v = torch.clone(cache_k), torch.clone(cache_v)
    cache_k[rows, :, slots] = k.transpose(1, 2)
    cache_v[rows, :, slots] = v.transpose(1, 2)
    return cache_k, cache_v, lengths + T


def by_choice(cache_k, cache_v, k, v, lengths):
    """Slot j gets new row j − length, where there is one."""
    M, T = cache_k.shape[2], k.shape[2]
    source = torch.arange(M) - lengths[:, None]  # B M
    fresh = ((source >= 0) & (source < T))[:, None, :, None]
    index = source.clamp(0, T - 1)[:, None, :, None].expand_as(cache_k)
    return (
        torch.where(fresh, k.gather(2, index), cache_k),
        torch.where(fresh, v.gather(2, index), cache_v),
        lengths + T,
    )


def joined_again(cache_k, cache_v, k, v, lengths):
    T, ends = k.shape[2], [int(n) for n in lengths]

    def new(cache, rows):
        parts = zip(cache, rows, ends, strict=True)
        return torch.stack(
            [torch.cat([old[:, :n], row, old[:, n + T :]], dim=1) for old, row, n in parts]
        )

    return new(cache_k, k), new(cache_v, v), torch.tensor(ends) + T


HOLDS = "inference/01_prefill_and_decode#what-does-the-cache-hold"
PADDING = "inference/01_prefill_and_decode#what-does-padding-change"
UNEQUAL = "inference/04_serving#a-batch-of-unequal-requests"


def _known(id, ways, says, read):
    first, *also = ways if isinstance(ways, tuple) else (ways,)
    return Mistake(id, first, says, read, also=tuple(also))


KV_CACHE_UPDATE = Exercise(
    id="inference.kv_cache_update",
    title="New rows for the cache",
    returns="three tensors: the keys and the values (B, K, M, D), and the lengths (B,) of int64",
    points=3,
    difficulty=1,
    minutes=15,
    reference=reference,
    outputs=("cache_k", "cache_v", "lengths"),
    cases={
        "rows of unequal length": unequal,
        "one new token a row": one_token,
        "rows of equal length": equal,
        "an empty cache": empty,
        "one row without anything yet": one_row_empty,
        "full to the last slot": to_the_last_slot,
        "one sequence": one_sequence,
        "new rows are transposed views": transposed_views,
    },
    mistakes=(
        _known(
            "first-length-for-all",
            first_row,
            "every row's tokens go to the slot that is free in row 0; each row has a length of its "
            "own.",
            UNEQUAL,
        ),
        _known(
            "longest-for-all",
            longest,
            "every row's tokens go behind the longest row, which leaves a gap of stale slots in "
            "the shorter ones.",
            UNEQUAL,
        ),
        _known(
            "shortest-for-all",
            shortest,
            "every row's tokens go behind the shortest row, over rows that longer sequences still "
            "need.",
            UNEQUAL,
        ),
        _known(
            "from-the-start",
            from_zero,
            "the new rows are written from slot 0, over the oldest tokens of the sequence.",
            HOLDS,
        ),
        _known(
            "one-slot-late",
            one_late,
            "the new rows start one slot too late; slots count from 0, so a row with n tokens has "
            "slot n free.",
            HOLDS,
        ),
        _known(
            "one-slot-early",
            one_early,
            "the new rows start one slot too early, over the last token that was there.",
            HOLDS,
        ),
        _known(
            "at-the-end-of-the-slots",
            at_the_end,
            "the new rows go to the last slots that are reserved, however many are used.",
            HOLDS,
        ),
        _known(
            "ends-at-the-length",
            ends_at_length,
            "lengths is read as the count after the update, so the new rows overwrite the newest "
            "old ones; it is the count before.",
            HOLDS,
        ),
        _known(
            "behind-the-new-length",
            behind_the_new,
            "lengths is advanced before the rows are written, so T slots are skipped.",
            HOLDS,
        ),
        _known(
            "concatenated",
            concatenated,
            "the new rows are appended behind all M slots; this cache has its slots already, and "
            "the free ones are to be filled.",
            HOLDS,
        ),
        _known(
            "used-slots-only",
            used_slots_only,
            "only the slots in use come back; a cache of fixed size keeps all M.",
            HOLDS,
        ),
        _known(
            "old-rows-shifted-out",
            shifted,
            "the cache is shifted to the left to make room at its right end, so the oldest rows "
            "fall out.",
            HOLDS,
        ),
        _known(
            "pushed-aside",
            pushed_aside,
            "the new rows are put in between, and what stood there moves on by T; the slots behind "
            "a row's end are free, and are overwritten.",
            HOLDS,
        ),
        _known(
            "added",
            added,
            "the new rows are added to what a slot held; a free slot may hold anything, and is "
            "overwritten.",
            HOLDS,
        ),
        _known(
            "old-rows-lost",
            into_zeros,
            "the new rows are written into a fresh tensor of zeros, and the tokens before them are "
            "gone.",
            HOLDS,
        ),
        _known(
            "rest-cleared",
            rest_cleared,
            "the slots behind the new rows are set to zero; nobody reads them, and here they stay "
            "as they are.",
            HOLDS,
        ),
        _known(
            "row-index-forgotten",
            row_index_forgotten,
            "the loop goes over rows, but writes into all rows at once, so each row's slots are "
            "written in every sequence.",
            UNEQUAL,
        ),
        _known(
            "rows-not-paired",
            rows_not_paired,
            "a table of slots (B, T) indexes the slot axis alone, so every row of the batch gets "
            "the slots of all rows; each row goes with its own.",
            UNEQUAL,
        ),
        _known(
            "slots-before-heads",
            slots_before_heads,
            "the second axis is taken for the slots; it is the heads, the cache is (B, K, M, D).",
            HOLDS,
        ),
        _known(
            "lengths-as-one-number",
            as_one_number,
            "lengths is used in a slice as if it were one number; it holds one for each row, and a "
            "slice takes one only.",
            UNEQUAL,
        ),
        _known(
            "one-token-only",
            one_token_only,
            "only one of the T new tokens is written, as in decoding; a prefill brings many.",
            HOLDS,
        ),
        _known(
            "tokens-from-the-heads-axis",
            tokens_from_heads_axis,
            "the number of new tokens is read from axis 1 of k, which is the heads.",
            HOLDS,
        ),
        _known(
            "key-for-value",
            (key_for_value, *key_cache_for_value),
            "keys end up where values belong: the same rows, or the same cache, serve for both.",
            HOLDS,
        ),
        _known(
            "keys-and-values-swapped",
            (keys_and_values_swapped, *swapped_too),
            "keys and values have changed places.",
            HOLDS,
        ),
        _known(
            "lengths-not-advanced",
            lengths_stay,
            "the lengths come back as they were, so the next token would overwrite this one.",
            HOLDS,
        ),
        _known(
            "lengths-plus-one",
            lengths_plus_one,
            "the lengths grow by 1, which is right for one new token; T have come.",
            HOLDS,
        ),
        _known(
            "index-of-the-last",
            index_of_last,
            "the lengths come back as the index of the last used slot, one less than the count.",
            HOLDS,
        ),
        _known(
            "one-length-for-all",
            one_length_for_all,
            "every row gets the length of the longest.",
            UNEQUAL,
        ),
        _known(
            "lengths-start-anew",
            lengths_are_the_new,
            "the lengths come back as T, as if the cache had been empty.",
            HOLDS,
        ),
        _known(
            "slots-for-lengths",
            lengths_as_slots,
            "the slots that were written come back where the lengths belong; a length is one "
            "number a row.",
            HOLDS,
        ),
        _known(
            "lengths-in-a-list",
            lengths_in_a_list,
            "the lengths come back as a list of Python numbers; they are a tensor (B,).",
            HOLDS,
        ),
        _known(
            "lengths-not-returned",
            no_lengths,
            "only the two caches come back; whoever writes the next token needs the new lengths.",
            HOLDS,
        ),
    ),
    alternatives=(row_by_row, by_index, by_choice, joined_again),
    hints=(
        "Draw a batch of two rows with M = 6 slots, of which 3 and 1 are used, and mark where two "
        "new tokens of each row go. What is the first free slot of a row with n tokens?",
        "Start from copies of both caches. One row at a time is fine: a slice of that row's slots "
        "takes the new rows of that row, all heads at once.",
        "Without a loop you need the slots as a table of shape (B, T), one start a row plus 0 to "
        "T − 1, and beside it an index that says which row of the batch each belongs to.",
    ),
    read=HOLDS,
)
