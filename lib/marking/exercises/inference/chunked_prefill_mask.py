"""inference.chunked_prefill_mask: what the tokens of a chunk may see of a padded, cached batch."""

from functools import partial

import torch

from clearhead.inference import chunked_prefill_mask as reference
from marking.exercise import Exercise, Mistake

# --- situations ------------------------------------------------------------------------------


def _pads(draw, low, high, *, least=0):
    """Unequal; row 0 has neither most nor least, where there are three rows."""
    some, most = sorted(draw.sizes(2, low, high, small=low))
    if draw.level is not None:
        return [some, least]
    return [some, most, least] if draw.size(0, 1) else [some, least, most]


def _inputs(draw, T, past, pads, window=None):
    T += T == len(pads)  # never as many queries as rows
    return {"T": T, "past": past, "pads": torch.tensor(pads), "window": window}


def first_chunk(draw):
    """One request alone."""
    return _inputs(draw, draw.size(4, 7, small=2), 0, [0])


def later_chunk(draw):
    return _inputs(draw, draw.size(4, 7, small=3), draw.size(3, 6, small=1), [0] * 2)


def padded(draw):
    """Padding rows lie in the chunk: those queries see nothing."""
    return _inputs(draw, draw.size(6, 8, small=4), 0, _pads(draw, 2, 4))


def later_chunk_padded(draw):
    """All the padding is in the cache."""
    return _inputs(draw, draw.size(4, 6, small=3), draw.size(5, 7, small=4), _pads(draw, 2, 4))


def padding_reaches_the_chunk(draw):
    """The prompt of one row begins only in the second chunk."""
    past = draw.size(3, 5, small=2)
    most = past + draw.size(2, 3, small=1)
    pads = [past - 1, *([1, most] if draw.size(0, 1) else [most, 1])]
    pads = pads if draw.level is None else [1, most]
    return _inputs(draw, draw.size(5, 8, small=3), past, pads)


def one_new_token(draw):
    return _inputs(draw, 1, draw.size(5, 9, small=4), _pads(draw, 2, 3))


def window_and_past(draw):
    past, window = draw.size(5, 8, small=4), draw.size(3, 4, small=2)
    return _inputs(draw, draw.size(5, 7, small=3), past, [0] * 2, window)


def window_and_pads(draw):
    """The window reaches back over the padding's edge for some queries and not for others."""
    window = draw.size(3, 4, small=2)
    pads = [2, *([0, window + 1] if draw.size(0, 1) else [window + 1, 0])]
    pads = pads if draw.level is None else [0, window + 1]
    return _inputs(draw, draw.size(5, 7, small=4), window + 1, pads, window)


def one_token_in_a_window(draw):
    """The padding of one row ends within the window."""
    past, window = draw.size(6, 9, small=4), draw.size(3, 4, small=2)
    past += past % window == window - 1  # else the window is one block of its own length
    pads = [1, *([0, past - 1] if draw.size(0, 1) else [past - 1, 0])]
    return _inputs(draw, 1, past, pads if draw.level is None else [0, past], window)


def window_of_one(draw):
    return _inputs(draw, draw.size(4, 6, small=3), draw.size(3, 5, small=2), [0] * 2, 1)


def window_beyond_all(draw):
    T, past = draw.size(4, 6, small=3), draw.size(3, 5, small=2)
    return _inputs(draw, T, past, _pads(draw, 1, 2), T + past + draw.size(3, 6, small=2))


# --- mistakes: one change each to `_mask`, or a function of their own -----------------------------


def _slots(T, past):
    return torch.arange(T) + past


def _mask(
    T,
    past,
    pads,
    window,
    *,
    query=_slots,
    key=lambda T, past: torch.arange(past + T),
    near=lambda query, key, past: key <= query,
    far_query=lambda query, T, past: query,
    far=lambda query, key, window: key > query - window,
    window_of=lambda window: window,
    padded=lambda query, key, pads, past: key < pads,
    counts=lambda pads: pads,
    finish=lambda allowed, query, key, pads: allowed,
):
    """As it stands it is right. query (1, T, 1), key (1, 1, S) and pads (B, 1, 1) broadcast."""
    q, k = query(T, past)[None, :, None], key(T, past)[None, None, :]
    pads, window = counts(pads)[:, None, None], window_of(window)
    allowed = near(q, k, past)
    if window is not None:
        allowed = allowed & far(far_query(q, T, past), k, window)
    allowed = allowed & ~padded(q, k, pads, past)
    return finish(allowed, q, k, pads)


def _change(name, *changes):
    return tuple(partial(_mask, **{name: change}) for change in changes)


def _query(*changes):
    return _change("query", *changes)


def _near(*changes):
    return _change("near", *changes)


def _far(*changes):
    return _change("far", *changes)


def _padded(*changes):
    return _change("padded", *changes)


def _finish(*changes):
    return _change("finish", *changes)


past_ignored = (
    partial(
        _mask, query=lambda T, past: torch.arange(T), far_query=lambda query, T, past: query + past
    ),
    partial(_mask, query=lambda T, past: torch.arange(T)),
)
no_columns_for_the_past = (
    partial(_mask, query=lambda T, past: torch.arange(T), key=lambda T, past: torch.arange(T)),
    partial(_mask, key=lambda T, past: torch.arange(past, past + T)),
)
past_hidden = _near(lambda query, key, past: (key <= query) & (key >= past))
chunk_not_causal = _near(lambda query, key, past: key == key)
hides_itself = _near(lambda query, key, past: key < query)
one_ahead = _near(lambda query, key, past: key <= query + 1)
only_the_past = _near(lambda query, key, past: key < past)
looks_ahead = _near(lambda query, key, past: key >= query, lambda query, key, past: key > query)

pads_ignored = _padded(lambda query, key, pads, past: (key < 0) & (pads < 0))
pads_on_the_right = _padded(lambda query, key, pads, past: key >= key.shape[-1] - pads)
first_real_hidden = _padded(lambda query, key, pads, past: key <= pads)
last_pad_seen = _padded(lambda query, key, pads, past: key < pads - 1)
pads_counted_in_the_chunk = _padded(
    lambda query, key, pads, past: (key >= past) & (key < past + pads),
    lambda query, key, pads, past: key < past + pads,
)
pads_of_the_past_only = _padded(lambda query, key, pads, past: (key < pads) & (key < past))
only_pads = _padded(lambda query, key, pads, past: key >= pads)
queries_not_keys = _padded(lambda query, key, pads, past: query < pads)
pads_see_pads = _padded(lambda query, key, pads, past: (key < pads) & (query >= pads))
first_row_for_all = _change("counts", lambda pads: pads[:1].expand(len(pads)))
most_for_all = _change(
    "counts",
    lambda pads: pads.max().expand(len(pads)),
    lambda pads: pads.min().expand(len(pads)),
)
pads_are_the_real = _change("counts", lambda pads: (pads > 0).long())

window_ignored = _change("window_of", lambda window: None)
window_one_more = _far(lambda query, key, window: key >= query - window)
window_one_less = _far(lambda query, key, window: key > query - window + 1)
window_inverted = _far(lambda query, key, window: key <= query - window)
window_from_the_chunk = _change(
    "far_query",
    lambda query, T, past: torch.full_like(query, past),
    lambda query, T, past: torch.full_like(query, past + T - 1),
)
window_without_past = _change("far_query", lambda query, T, past: query - past)
window_on_both_sides = (
    partial(
        _mask,
        near=lambda query, key, past: key == key,
        far=lambda query, key, window: (query - key).abs() < window,
    ),
)
window_in_blocks = _far(lambda query, key, window: query // window == key // window)
window_only_in_the_chunk = _far(
    lambda query, key, window: (key > query - window) | (key < query.min())
)

empty_rows_see_themselves = _finish(
    lambda allowed, query, key, pads: allowed | (query == key),
    lambda allowed, query, key, pads: allowed | (~allowed.any(-1, True) & (query == key)),
    lambda allowed, query, key, pads: allowed | ~allowed.any(-1, keepdim=True),
    lambda allowed, query, key, pads: allowed | (~allowed.any(-1, True) & (key == 0)),
)
true_is_hidden = _finish(lambda allowed, query, key, pads: ~allowed)
not_boolean = _finish(
    lambda allowed, query, key, pads: allowed.float(),
    lambda allowed, query, key, pads: allowed.long(),
)
additive = _finish(
    lambda allowed, query, key, pads: torch.zeros(allowed.shape).masked_fill(~allowed, -torch.inf),
    lambda allowed, query, key, pads: torch.zeros(allowed.shape).masked_fill(
        ~allowed, torch.finfo(torch.float32).min
    ),
    lambda allowed, query, key, pads: torch.zeros(allowed.shape).masked_fill(~allowed, -1e9),
)
transposed = _finish(lambda allowed, query, key, pads: allowed.mT)
axis_for_heads = _finish(lambda allowed, query, key, pads: allowed[:, None])
no_batch_axis = _finish(
    lambda allowed, query, key, pads: allowed[0],
    lambda allowed, query, key, pads: allowed.all(0),
    lambda allowed, query, key, pads: allowed.any(0),
)
one_row_without_pads = _padded(lambda query, key, pads, past: key < 0)


def pads_along_queries(T, past, pads, window):
    """(T, S) meets (B, S): the rows of the batch are laid over the queries."""
    q, k = torch.arange(T)[:, None] + past, torch.arange(past + T)
    allowed = k <= q
    if window is not None:
        allowed = allowed & (k > q - window)
    return allowed & (k >= pads[:, None])


# --- other right answers ---------------------------------------------------------------------


def by_triangles(T, past, pads, window):
    S = past + T
    allowed = torch.ones(T, S, dtype=torch.bool).tril(past)
    if window is not None:
        allowed = allowed & torch.ones(T, S, dtype=torch.bool).triu(past - window + 1)
    real = torch.arange(S)[None] >= pads[:, None]
    return allowed[None] & real[:, None, :]


def by_loops(T, past, pads, window):
    mask = torch.zeros(len(pads), T, past + T, dtype=torch.bool)
    for b in range(len(pads)):
        for t in range(T):
            slot = past + t
            first = int(pads[b]) if window is None else max(int(pads[b]), slot - window + 1)
            if first <= slot:
                mask[b, t, first : slot + 1] = True
    return mask


def last_rows_of_a_square(T, past, pads, window):
    """The mask of the whole sequence so far, of which the chunk's rows are taken."""
    S = past + T
    i, j = torch.arange(S).view(1, S, 1), torch.arange(S).view(1, 1, S)
    window = S if window is None else window
    behind = i - j
    whole = (behind >= 0) & (behind < window) & (j >= pads.view(-1, 1, 1))
    return whole[:, past:]


SEE = "inference/01_prefill_and_decode#what-may-a-chunk-see"
PADDING = "inference/01_prefill_and_decode#what-does-padding-change"


def _known(id, ways, says, read):
    return Mistake(id, ways[0], says, read, also=tuple(ways[1:]))


CHUNKED_PREFILL_MASK = Exercise(
    id="inference.chunked_prefill_mask",
    title="What a chunk may see",
    returns="a boolean tensor of shape (B, T, past + T), True = this query may attend to this slot",
    points=3,
    difficulty=2,
    minutes=20,
    reference=reference,
    cases={
        "a first chunk": first_chunk,
        "a later chunk": later_chunk,
        "a padded batch": padded,
        "a later chunk of a padded batch": later_chunk_padded,
        "padding that reaches into the chunk": padding_reaches_the_chunk,
        "one new token": one_new_token,
        "a window": window_and_past,
        "a window and padding": window_and_pads,
        "one new token in a window": one_token_in_a_window,
        "a window of one": window_of_one,
        "a window longer than everything": window_beyond_all,
    },
    mistakes=(
        _known(
            "past-ignored",
            past_ignored,
            "the triangle begins at slot 0, as if nothing were cached; query i of the chunk stands "
            "at slot past + i.",
            SEE,
        ),
        _known(
            "no-columns-for-the-past",
            no_columns_for_the_past,
            "the mask has columns for the chunk alone; the queries also meet the cached slots.",
            SEE,
        ),
        _known(
            "past-hidden",
            past_hidden,
            "the cached slots are hidden, so each chunk is a prompt of its own.",
            SEE,
        ),
        _known(
            "only-the-past",
            only_the_past,
            "the queries see the cache alone, not the part of their own chunk that lies behind "
            "them.",
            SEE,
        ),
        _known(
            "chunk-not-causal",
            chunk_not_causal,
            "every query sees the whole chunk, also what comes after it.",
            SEE,
        ),
        _known(
            "hides-itself",
            hides_itself,
            "a query can't see its own slot; a real token attends to itself as well.",
            SEE,
        ),
        _known(
            "one-ahead",
            one_ahead,
            "every query sees one slot that comes after it; the triangle is off by one.",
            SEE,
        ),
        _known(
            "looks-ahead",
            looks_ahead,
            "the comparison of slots points the wrong way, so a query sees what follows it.",
            SEE,
        ),
        _known(
            "pads-ignored",
            pads_ignored,
            "pads is not used, so real tokens attend to padding.",
            PADDING,
        ),
        _known(
            "pads-on-the-right",
            pads_on_the_right,
            "the last slots of a row are hidden; its padding stands in the first ones.",
            PADDING,
        ),
        _known(
            "first-real-hidden",
            first_real_hidden,
            "one slot too many is hidden: with pads of 3 the slots 0, 1, 2 are padding, and slot 3 "
            "is real.",
            PADDING,
        ),
        _known(
            "last-pad-seen",
            last_pad_seen,
            "the last slot of padding is left open.",
            PADDING,
        ),
        _known(
            "pads-counted-in-the-chunk",
            pads_counted_in_the_chunk,
            "the padding is looked for at the start of the chunk; it stands at the start of the "
            "row, which may be in the cache.",
            PADDING,
        ),
        _known(
            "pads-of-the-past-only",
            pads_of_the_past_only,
            "padding is hidden only where it is cached; a long padding reaches into the chunk.",
            PADDING,
        ),
        _known(
            "only-padding-seen",
            only_pads,
            "padding is open and real slots are hidden.",
            PADDING,
        ),
        _known(
            "queries-not-keys",
            queries_not_keys,
            "the queries that are padding are emptied, but real queries still see the slots of "
            "padding.",
            PADDING,
        ),
        _known(
            "padding-sees-padding",
            pads_see_pads,
            "slots of padding are hidden from real queries only; here a query that is padding sees "
            "nothing.",
            PADDING,
        ),
        _known(
            "first-row-for-all",
            first_row_for_all,
            "the padding of row 0 is taken for every row.",
            PADDING,
        ),
        _known(
            "one-padding-for-all",
            most_for_all,
            "every row gets the padding of the row that has most, or least.",
            PADDING,
        ),
        _known(
            "pads-as-yes-or-no",
            pads_are_the_real,
            "pads is read as whether there is padding; it counts the slots.",
            PADDING,
        ),
        _known(
            "window-ignored",
            window_ignored,
            "window is not used, so a query sees all that came before.",
            SEE,
        ),
        _known(
            "window-one-more",
            window_one_more,
            "the window is one slot too wide; the query's own slot is one of the window's.",
            SEE,
        ),
        _known(
            "window-one-less",
            window_one_less,
            "the window is one slot too narrow; a window of 1 is the query's own slot.",
            SEE,
        ),
        _known(
            "window-inverted",
            window_inverted,
            "the window hides what lies near and shows what lies far.",
            SEE,
        ),
        _known(
            "window-from-the-chunk",
            window_from_the_chunk,
            "the window is measured from one end of the chunk for all its queries; it moves along "
            "with the query.",
            SEE,
        ),
        _known(
            "window-without-past",
            window_without_past,
            "the window is measured from the query's place in the chunk, not from its slot, so it "
            "never closes on what is cached.",
            SEE,
        ),
        _known(
            "window-on-both-sides",
            window_on_both_sides,
            "the distance is taken without its sign, so the window also opens to what follows, and "
            "without one nothing is hidden.",
            SEE,
        ),
        _known(
            "window-in-blocks",
            window_in_blocks,
            "the slots are cut into blocks as long as the window; each query has a window that "
            "ends at itself.",
            SEE,
        ),
        _known(
            "window-in-the-chunk-only",
            window_only_in_the_chunk,
            "the window hides slots of the chunk alone, and everything cached stays open.",
            SEE,
        ),
        _known(
            "empty-rows-opened",
            empty_rows_see_themselves,
            "a query that is padding is allowed to see something, as libraries do to avoid a "
            "softmax over nothing; here its row is all False.",
            PADDING,
        ),
        _known(
            "true-is-hidden",
            true_is_hidden,
            "True marks what is hidden; here it marks what may be attended to.",
            SEE,
        ),
        _known(
            "not-boolean",
            not_boolean,
            "the mask comes back as numbers 0 and 1; here it is boolean.",
            SEE,
        ),
        _known(
            "additive",
            additive,
            "the mask comes back as numbers to be added to scores; here it is boolean.",
            SEE,
        ),
        _known(
            "transposed",
            transposed,
            "queries and slots have changed places.",
            SEE,
        ),
        _known(
            "axis-for-heads",
            axis_for_heads,
            "the mask has an axis for the heads as well; here it is (B, T, past + T).",
            SEE,
        ),
        _known(
            "no-batch-axis",
            (*no_batch_axis, *one_row_without_pads),
            "there is one mask for all rows; each row of the batch has its own padding.",
            PADDING,
        ),
        _known(
            "pads-along-queries",
            (pads_along_queries,),
            "pads and queries meet on the same axis, so the rows of the batch are laid over the "
            "tokens of the chunk.",
            PADDING,
        ),
    ),
    alternatives=(by_triangles, by_loops, last_rows_of_a_square),
    hints=(
        "Number the slots of one row from 0 to past + T − 1 and write under each whether it is "
        "padding, cached or new. In which slot does query i of the chunk stand?",
        "Three questions are asked of each pair, and all three must say yes: is the slot not after "
        "the query, is it no padding, is it near enough? Which of them differ from row to row?",
        "Lay queries along one axis, slots along another and rows along a third, each as a tensor "
        "with axes of size 1 where it does not vary. What should come out for a query that stands "
        "in the padding itself?",
    ),
    read=SEE,
)
