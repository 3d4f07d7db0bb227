"""attention.sliding_window_mask: the last `window` keys up to the query's own position."""

from functools import partial

import torch

from clearhead.attention import sliding_window_mask as reference
from marking.exercise import Exercise, Mistake

# --- situations ------------------------------------------------------------------------------


def as_many(draw):
    n = draw.size(6, 9)
    return {"T": n, "S": n, "window": draw.size(3, 4)}


def even_window(draw):
    n = draw.size(6, 9)
    return {"T": n, "S": n, "window": draw.choice(2, 4)}


def fewer_queries(draw):
    T = draw.size(3, 5)
    return {"T": T, "S": T + draw.size(3, 5), "window": draw.choice(2, 3)}


def one_query(draw):
    """The window does not divide the keys, and is wider than half of itself and one more."""
    S, window = draw.size(6, 9), draw.size(3, 4)
    return {"T": 1, "S": S + (S % window == 0), "window": window}


def more_queries(draw):
    S = draw.size(5, 6)
    return {"T": S + draw.size(2, 4), "S": S, "window": draw.choice(2, 3)}


def window_of_one(draw):
    T = draw.size(3, 5)
    return {"T": T, "S": T + draw.size(1, 3), "window": 1}


def window_beyond_all(draw):
    n = draw.size(3, 6)
    return {"T": n, "S": n + draw.size(1, 2), "window": n + draw.size(3, 9)}


# --- mistakes: one change each to `_mask`, or a function of their own ---------------------------


def _mask(
    T,
    S,
    window,
    *,
    shift=lambda T, S: S - T,
    near=lambda behind: behind >= 0,
    far=lambda behind, window: behind < window,
    finish=lambda mask: mask,
):
    """As it stands it is right. `behind` is how far a key lies behind the query."""
    behind = torch.arange(T)[:, None] + shift(T, S) - torch.arange(S)
    return finish(near(behind) & far(behind, window))


top_left = partial(_mask, shift=lambda T, S: 0)
shift_sign = partial(_mask, shift=lambda T, S: T - S)
one_too_many = partial(_mask, far=lambda behind, window: behind <= window)
one_too_few = partial(_mask, far=lambda behind, window: behind < window - 1)
no_window = partial(_mask, far=lambda behind, window: behind < torch.inf)
outside_the_window = partial(_mask, far=lambda behind, window: behind >= window)
both_sides = partial(_mask, far=lambda behind, window: behind.abs() < window, near=lambda b: b == b)
one_more_on_both_sides = partial(
    _mask, far=lambda behind, window: behind.abs() <= window, near=lambda b: b == b
)
centred = partial(
    _mask, far=lambda behind, window: behind.abs() <= window // 2, near=lambda b: b == b
)
looks_ahead = partial(
    _mask, far=lambda behind, window: behind > -window, near=lambda behind: behind <= 0
)
not_causal = partial(_mask, near=lambda behind: behind == behind)
hides_itself_and_too_few = partial(_mask, near=lambda behind: behind > 0)
hides_itself = partial(
    _mask, near=lambda behind: behind > 0, far=lambda behind, window: behind <= window
)
true_is_hidden = partial(_mask, finish=lambda mask: ~mask)
not_boolean = partial(_mask, finish=lambda mask: mask.float())
additive = partial(
    _mask, finish=lambda mask: torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
)


def half_shifted(T, S, window):
    """The causal edge is aligned with the end, the window's far edge is not."""
    return _mask(T, S, window + S - T)


def blocks(T, S, window):
    i, j = torch.arange(T)[:, None] + S - T, torch.arange(S)
    return (j <= i) & (j // window == i // window)


def transposed(T, S, window):
    return _mask(T, S, window).T


# --- other right answers ---------------------------------------------------------------------


def by_two_triangles(T, S, window):
    ones = torch.ones(T, S, dtype=torch.bool)
    return ones.tril(S - T) & ones.triu(S - T - window + 1)


def by_loops(T, S, window):
    mask = torch.zeros(T, S, dtype=torch.bool)
    for i in range(T):
        last = i + S - T
        for j in range(max(0, last - window + 1), min(S, last + 1)):
            mask[i, j] = True
    return mask


def by_difference(T, S, window):
    behind = (torch.arange(T) + S - T).unsqueeze(1) - torch.arange(S)
    return torch.logical_and(behind >= 0, behind < window)


TRUE = "attention/03_masks_heads_positions#which-way-round-is-true"
WINDOW = "attention/03_masks_heads_positions#what-does-a-sliding-window-lose"

SLIDING_WINDOW_MASK = Exercise(
    id="attention.sliding_window_mask",
    title="A sliding window of the last keys",
    returns="a boolean tensor of shape (T, S), True = this query may attend to this key",
    points=2,
    difficulty=2,
    minutes=10,
    reference=reference,
    cases={
        "as many queries as keys": as_many,
        "an even window": even_window,
        "fewer queries than keys": fewer_queries,
        "one new query against a cache": one_query,
        "more queries than keys": more_queries,
        "a window of one": window_of_one,
        "a window longer than everything": window_beyond_all,
    },
    mistakes=(
        Mistake(
            "one-too-many",
            one_too_many,
            "each query sees window + 1 keys; its own position counts as one of the window.",
            WINDOW,
        ),
        Mistake(
            "one-too-few",
            one_too_few,
            "each query sees window − 1 keys; count them for window = 1: the query has to see "
            "itself.",
            WINDOW,
        ),
        Mistake(
            "hides-itself",
            hides_itself,
            "the window holds the keys before the query, and not its own position; the query's own "
            "position is the last of the window.",
            WINDOW,
        ),
        Mistake(
            "hides-itself-and-too-few",
            hides_itself_and_too_few,
            "the query's own position is left out, so only window − 1 keys remain; include it.",
            WINDOW,
        ),
        Mistake(
            "both-sides",
            both_sides,
            "the window reaches as far ahead as back, so a query sees the future; keep only the "
            "side behind it.",
            WINDOW,
        ),
        Mistake(
            "one-more-on-both-sides",
            one_more_on_both_sides,
            "the window holds `window` keys on each side and the query's own; keep only the side "
            "behind, and count its own position as one of the window.",
            WINDOW,
        ),
        Mistake(
            "centred",
            centred,
            "the window is centred on the query, half of it ahead; a causal window ends at the "
            "query's own position.",
            WINDOW,
        ),
        Mistake(
            "looks-ahead",
            looks_ahead,
            "the window starts at the query and runs ahead; it has to end there.",
            WINDOW,
        ),
        Mistake(
            "no-window",
            no_window,
            "this is the plain causal mask; also hide the keys that lie `window` or more positions "
            "back.",
            WINDOW,
        ),
        Mistake(
            "not-causal",
            not_causal,
            "the keys far back are hidden, the future is not; hide the keys after the query too.",
            WINDOW,
        ),
        Mistake(
            "outside-the-window",
            outside_the_window,
            "it keeps the keys that the window should have dropped; keep the recent ones.",
            WINDOW,
        ),
        Mistake(
            "top-left",
            top_left,
            "the band starts at the top left, so with fewer queries than keys each query sees "
            "keys that are too old; query i stands at position i + (S − T).",
            WINDOW,
        ),
        Mistake(
            "shift-sign",
            shift_sign,
            "the band is shifted by T − S, the wrong way; query i stands at position i + (S − T).",
            WINDOW,
        ),
        Mistake(
            "half-shifted",
            half_shifted,
            "the upper edge of the band is shifted by S − T, the lower one is not, so the width "
            "changes with the cache; shift both.",
            WINDOW,
        ),
        Mistake(
            "blocks",
            blocks,
            "the keys are cut into fixed blocks, so a query at the start of a block sees only "
            "itself; the window has to slide with the query.",
            WINDOW,
        ),
        Mistake(
            "true-is-hidden",
            true_is_hidden,
            "True marks the pairs to hide; here True means may attend.",
            TRUE,
        ),
        Mistake(
            "not-boolean",
            not_boolean,
            "the mask holds the numbers 0 and 1; make it boolean.",
            TRUE,
        ),
        Mistake(
            "additive",
            additive,
            "the mask holds 0 and −∞, to be added to the scores; here a mask is boolean, True = "
            "may attend.",
            TRUE,
        ),
        Mistake(
            "transposed",
            transposed,
            "the axes are swapped: keys run down and queries across; queries are the rows.",
            WINDOW,
        ),
    ),
    alternatives=(by_two_triangles, by_loops, by_difference),
    hints=(
        "Start from the causal mask. How far back is the oldest key that a query with window = 1 "
        "may see? With window = 3?",
        "Call the distance from a query back to a key d. Which values of d are allowed? Count "
        "them: there must be exactly `window`.",
        "A query's position is not its row when T and S differ: the two sequences end together. "
        "Work out the table of distances first, then put two conditions on it.",
    ),
    read=WINDOW,
)
