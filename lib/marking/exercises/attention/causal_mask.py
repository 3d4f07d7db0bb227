"""attention.causal_mask: no query sees a later key; the two sequences end together."""

import math
from functools import partial

import torch

from clearhead.attention import causal_mask as reference
from marking.exercise import Exercise, Mistake

# --- situations ------------------------------------------------------------------------------


def as_many(draw):
    n = draw.size(3, 8)
    return {"T": n, "S": n}


def fewer_queries(draw):
    T = draw.size(2, 5)
    return {"T": T, "S": T + draw.size(2, 4)}


def one_query(draw):
    return {"T": 1, "S": draw.size(3, 8)}


def more_queries(draw):
    S = draw.size(3, 5)
    return {"T": S + draw.size(2, 4), "S": S}


def one_token(draw):
    return {"T": 1, "S": 1}


# --- mistakes: one change each to `_mask`, or a function of their own ---------------------------


def _later(T, S, diagonal):
    """True from the given diagonal on."""
    return torch.ones(T, S).triu(diagonal=diagonal).bool()


def _mask(T, S, *, shift=lambda T, S: S - T, ahead=0, finish=lambda later: ~later):
    """As it stands it is right."""
    return finish(_later(T, S, shift(T, S) + ahead + 1))


top_left = partial(_mask, shift=lambda T, S: 0)
sign_of_shift = partial(_mask, shift=lambda T, S: T - S)
empty_rows_opened = partial(_mask, shift=lambda T, S: max(S - T, 0))
hides_itself = partial(_mask, ahead=-1)
sees_next = partial(_mask, ahead=1)
true_is_hidden = partial(_mask, finish=lambda later: later)
sees_the_future = partial(_mask, ahead=-1, finish=lambda later: later)
not_boolean = partial(_mask, finish=lambda later: (~later).float())
additive = partial(
    _mask, finish=lambda later: torch.zeros(later.shape).masked_fill(later, -math.inf)
)
extra_axes = partial(_mask, finish=lambda later: ~later[None, None])


def transposed(T, S):
    return _mask(T, S).T


def square_of_queries(T, S):
    return _mask(T, T)


def square_of_keys(T, S):
    return _mask(S, S)


def all_allowed(T, S):
    return torch.ones(T, S).bool()


# --- other right answers ---------------------------------------------------------------------


def by_loops(T, S):
    mask = torch.zeros(T, S, dtype=torch.bool)
    for i in range(T):
        for j in range(S):
            mask[i, j] = T - i <= S - j  # as far from the end, or farther
    return mask


def by_tril(T, S):
    return torch.tril(torch.ones(T, S, dtype=torch.bool), diagonal=S - T)


def by_not_triu(T, S):
    return ~torch.ones(T, S, dtype=torch.bool).triu(1 + S - T)


def last_rows_of_a_square(T, S):
    n = max(T, S)
    square = torch.arange(n).unsqueeze(1) >= torch.arange(n)
    return square[n - T :, n - S :]


TRUE = "attention/03_masks_heads_positions#which-way-round-is-true"
CAUSAL = "attention/03_masks_heads_positions#what-is-causal-when-there-are-fewer-queries-than-keys"

CAUSAL_MASK = Exercise(
    id="attention.causal_mask",
    title="A causal mask, also when T and S differ",
    returns="a boolean tensor of shape (T, S), True = this query may attend to this key",
    points=2,
    difficulty=1,
    minutes=10,
    reference=reference,
    cases={
        "as many queries as keys": as_many,
        "fewer queries than keys": fewer_queries,
        "one new query against a cache": one_query,
        "more queries than keys": more_queries,
        "a single token": one_token,
    },
    mistakes=(
        Mistake(
            "top-left",
            top_left,
            "the triangle starts at the top left, so with fewer queries than keys the last query "
            "does not see the last keys; the sequences end together, so shift the diagonal by "
            "S − T.",
            CAUSAL,
        ),
        Mistake(
            "shift-sign",
            sign_of_shift,
            "the diagonal is shifted by T − S, the wrong way; query i stands at position "
            "i + (S − T).",
            CAUSAL,
        ),
        Mistake(
            "hides-itself",
            hides_itself,
            "a query does not see the key at its own position, so the first one sees nothing; its "
            "own position belongs to what it may see.",
            CAUSAL,
        ),
        Mistake(
            "sees-next",
            sees_next,
            "each query sees one key too many, the next token, which is the very answer it has to "
            "predict; stop at its own position.",
            CAUSAL,
        ),
        Mistake(
            "true-is-hidden",
            true_is_hidden,
            "True marks the pairs to hide, so every query sees only what comes after it; here True "
            "means may attend.",
            TRUE,
        ),
        Mistake(
            "sees-the-future",
            sees_the_future,
            "the triangle is the upper one, so each query sees itself and what comes after it; "
            "keep the keys up to its own position.",
            CAUSAL,
        ),
        Mistake(
            "not-boolean",
            not_boolean,
            "the mask holds the numbers 0 and 1, and ~ or masked_fill will not take it; make it "
            "boolean.",
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
            CAUSAL,
        ),
        Mistake(
            "square-of-queries",
            square_of_queries,
            "the mask is T × T, without the keys that stand before the first query; it needs a "
            "column for each of the S keys.",
            CAUSAL,
        ),
        Mistake(
            "square-of-keys",
            square_of_keys,
            "the mask is S × S; it needs one row for each of the T queries, the last T of those "
            "positions.",
            CAUSAL,
        ),
        Mistake(
            "all-allowed",
            all_allowed,
            "every query sees every key; hide the keys after its own position.",
            CAUSAL,
        ),
        Mistake(
            "extra-axes",
            extra_axes,
            "the mask has axes for batch and heads; return (T, S), which broadcasts by itself.",
            TRUE,
        ),
        Mistake(
            "empty-rows-opened",
            empty_rows_opened,
            "with more queries than keys the shift is cut off at 0; it is negative there, and the "
            "first T − S queries see nothing.",
            CAUSAL,
        ),
    ),
    alternatives=(by_loops, by_tril, by_not_triu, last_rows_of_a_square),
    hints=(
        "Draw T = 2 new queries against S = 5 keys on paper. The last query is the last token: "
        "which keys may it see? And the one before it?",
        "Give each query its position among the keys. The last query stands at position S − 1; "
        "where does query 0 stand?",
        "Compare a column of query positions with a row of key positions; broadcasting makes the "
        "(T, S) table. With T > S the first positions are negative, and that is right.",
    ),
    read=CAUSAL,
)
