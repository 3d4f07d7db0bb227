"""inference.padded_positions: where each token of a padded batch stands."""

from functools import partial

import torch

from clearhead.inference import padded_positions as reference
from marking.exercise import Exercise, Mistake

# --- situations ------------------------------------------------------------------------------


def _past(draw, n):
    """Unequal, none 0; row 0 has neither most nor least where there are three or more."""
    past = sorted(draw.sizes(n, 2, 12, small=2))
    if n > 2:
        past.insert(0, past.pop(draw.size(1, n - 2)))
    return past


def _rows(draw, rows, past=None):
    return {
        "real": torch.tensor(rows, dtype=torch.bool),
        "past": torch.tensor([0] * len(rows) if past is None else past),
    }


def _left(draw):
    """Unequal numbers of padding, two or more; none in row 1, which is not the last of them."""
    n = 2 if draw.level is not None else draw.size(3, 4)
    T = draw.size(7, 11, small=4)
    pads = draw.sizes(n - 1, 2, T - 3 if n > 2 else T - 2)
    pads.insert(1, 0)
    return [[False] * p + [True] * (T - p) for p in pads]


def _gaps(draw):
    """− a − … b − c: as many real tokens in no two rows, and padding wherever it can stand."""
    n = 2 if draw.level is not None else draw.size(3, 4)
    T = draw.size(9, 13, small=7)
    rows = []
    for count in draw.sizes(n, 0, T - 6):
        between = [place < count for place in draw.sizes(T - 6, 0, T - 7)]
        rows.append([False, True, False, *between, True, False, True])
    return rows


def left(draw):
    return _rows(draw, _left(draw))


def right(draw):
    return _rows(draw, [row[::-1] for row in _left(draw)])


def gaps(draw):
    return _rows(draw, _gaps(draw))


def no_padding(draw):
    n = draw.size(2, 3)
    T = draw.size(4, 8, small=2)
    return _rows(draw, [[True] * (T + (T == n))] * n)


def behind_a_cache(draw):
    n = 2 if draw.level is not None else draw.size(3, 4)
    T = draw.size(5, 9, small=3)
    return _rows(draw, [[True] * T] * n, _past(draw, n))


def padded_behind_a_cache(draw):
    """Chunks of unequal prompts: padding on the left of what is new, and a cache before it."""
    rows = _left(draw)
    return _rows(draw, rows, _past(draw, len(rows)))


def gaps_behind_a_cache(draw):
    rows = _gaps(draw)
    return _rows(draw, rows, _past(draw, len(rows)))


def one_new_token(draw):
    n = 2 if draw.level is not None else draw.size(3, 9)
    return _rows(draw, [[True]] * n, _past(draw, n))


def nothing_new_in_a_row(draw):
    """One sequence has no new token in this batch."""
    rows = _left(draw)
    rows[draw.size(0, len(rows) - 1)] = [False] * len(rows[0])
    return _rows(draw, rows, _past(draw, len(rows)))


def one_sequence(draw):
    T, pads = draw.size(5, 14, small=4), draw.size(2, 3)
    return _rows(draw, [[False] * pads + [True] * (T - pads)])


# --- mistakes: one change each to `_positions`, or a function of their own ------------------------


def _before(real):
    return real.long().cumsum(-1) - real.long()


def _positions(
    real,
    past,
    *,
    token=lambda real: real,
    before=_before,
    start=lambda past, real: past[:, None],
    padding=lambda positions, real, past: positions.masked_fill(~real, 0),
    finish=lambda positions: positions,
):
    """As it stands it is right."""
    real = token(real)
    return finish(padding(start(past, real) + before(real), real, past))


def _change(name, *changes):
    return tuple(partial(_positions, **{name: change}) for change in changes)


def _count_before(*changes):
    return _change("before", *changes)


def _start(*changes):
    return _change("start", *changes)


def _padding(*changes):
    return _change("padding", *changes)


def _arange(real):
    return torch.arange(real.shape[1]).expand(real.shape)


def _unmasked(positions, real, past):
    return positions


def _cumsum_less_one(real):
    return real.long().cumsum(-1) - 1


padding_counted = (
    *_count_before(_arange),
    partial(_positions, before=_arange, padding=_unmasked),
)
past_ignored_and_padding_counted = partial(
    _positions, before=_arange, padding=_unmasked, start=lambda past, real: 0
)
no_minus_one = (
    *_count_before(lambda real: real.long().cumsum(-1)),
    partial(_positions, before=lambda real: real.long().cumsum(-1), padding=_unmasked),
)
left_assumed = _count_before(
    lambda real: _arange(real) - (~real).sum(-1, keepdim=True),
    lambda real: (_arange(real) - (~real).sum(-1, keepdim=True)).clamp(min=0),
)
from_the_first_token = _count_before(
    lambda real: _arange(real) - real.long().argmax(-1, keepdim=True),
    lambda real: (_arange(real) - real.long().argmax(-1, keepdim=True)).clamp(min=0),
)
from_the_right = _count_before(lambda real: _before(real.flip(-1)).flip(-1))
down_the_batch = _count_before(
    lambda real: real.long().cumsum(0) - real.long(), lambda real: real.long().cumsum(0) - 1
)
last_for_all = _count_before(
    lambda real: real.sum(-1, keepdim=True) - 1, lambda real: real.sum(-1, keepdim=True)
)
pads_before = _count_before(lambda real: (~real).long().cumsum(-1))
first_row_for_all = _change(
    "finish",
    lambda positions: positions[:1].expand_as(positions),
)
first_row_counted = _count_before(lambda real: _before(real)[:1].expand(real.shape))
last_row_counted = _count_before(lambda real: _before(real)[-1:].expand(real.shape))

past_ignored = _start(lambda past, real: 0)
one_past_for_all = _start(
    lambda past, real: past[0],
    lambda past, real: past.max(),
    lambda past, real: past.min(),
)
past_less_one = _start(
    lambda past, real: past[:, None] - 1, lambda past, real: (past[:, None] - 1).clamp(min=0)
)
past_and_pads = _start(
    lambda past, real: past[:, None] + (~real).sum(-1, keepdim=True),
    lambda past, real: past[:, None] - (~real).sum(-1, keepdim=True),
)
past_along_tokens = _start(lambda past, real: past)
past_is_the_end = _start(lambda past, real: past[:, None] - real.sum(-1, keepdim=True))

padding_goes_on = (
    *_padding(_unmasked),
    partial(_positions, before=_cumsum_less_one, padding=_unmasked),
    partial(
        _positions,
        before=lambda real: _cumsum_less_one(real).clamp(min=0),
        padding=_unmasked,
    ),
    partial(
        _positions,
        before=_cumsum_less_one,
        padding=lambda positions, real, past: positions.clamp(min=0),
    ),
)
padding_one = _padding(lambda positions, real, past: positions.masked_fill(~real, 1))
padding_minus_one = _padding(lambda positions, real, past: positions.masked_fill(~real, -1))
past_on_padding = _padding(
    lambda positions, real, past: torch.where(real, positions, past[:, None]),
    lambda positions, real, past: torch.where(real, positions, past[:, None] + 1),
    lambda positions, real, past: torch.where(real, positions, past[:, None] - 1),
)
tokens_zero = _padding(lambda positions, real, past: positions.masked_fill(real, 0))
read_the_other_way = _change("token", lambda real: ~real)

another_dtype = _change("finish", torch.Tensor.float, torch.Tensor.double, torch.Tensor.int)
only_the_real_ones = (partial(_positions, padding=lambda positions, real, past: positions[real]),)


def last_column(real, past):
    return _positions(real, past)[:, -1:]


def last_column_without_axis(real, past):
    return _positions(real, past)[:, -1]


# --- other right answers ---------------------------------------------------------------------


def by_cumsum(real, past):
    return torch.where(real, real.cumsum(dim=1) - 1 + past.unsqueeze(1), 0)


def by_loops(real, past):
    positions = torch.zeros(real.shape, dtype=torch.int64)
    for b in range(real.shape[0]):
        following = int(past[b])
        for t in range(real.shape[1]):
            if real[b, t]:
                positions[b, t] = following
                following += 1
    return positions


def by_comparison(real, past):
    """How many real tokens stand to the left: a strict triangle times the mask."""
    T = real.shape[1]
    earlier = torch.ones(T, T, dtype=torch.int64).tril(-1)
    return (real.long() @ earlier.T + past[:, None]) * real


def row_by_row(real, past):
    rows = []
    for row, n in zip(real, past, strict=True):
        positions = torch.zeros(len(row), dtype=torch.long)
        positions[row] = torch.arange(int(row.sum())) + n
        rows.append(positions)
    return torch.stack(rows)


PADDING = "inference/01_prefill_and_decode#what-does-padding-change"
STANDS = "inference/01_prefill_and_decode#where-does-the-next-token-stand"


def _known(id, ways, says, read=PADDING):
    return Mistake(id, ways[0], says, read, also=tuple(ways[1:]))


PADDED_POSITIONS = Exercise(
    id="inference.padded_positions",
    title="Positions in a padded batch",
    returns="a tensor (B, T) of int64",
    points=2,
    difficulty=1,
    minutes=10,
    reference=reference,
    cases={
        "padding on the left": left,
        "padding on the right": right,
        "padding between tokens": gaps,
        "no padding": no_padding,
        "new tokens behind a cache": behind_a_cache,
        "padded chunks behind a cache": padded_behind_a_cache,
        "gaps behind a cache": gaps_behind_a_cache,
        "one new token a row": one_new_token,
        "a row without a token": nothing_new_in_a_row,
        "one sequence": one_sequence,
    },
    mistakes=(
        _known(
            "padding-counted",
            padding_counted,
            "slots are counted, padding and all; the positions of a prompt must not depend on the "
            "longer prompts beside it.",
        ),
        _known(
            "slots-for-positions",
            (past_ignored_and_padding_counted,),
            "every row gets 0, 1, 2, …, whatever is padding and whatever is cached.",
        ),
        _known(
            "no-minus-one",
            no_minus_one,
            "the sum counts the token itself, so the first one stands at 1.",
        ),
        _known(
            "left-assumed",
            left_assumed,
            "all of a row's padding is taken off from every slot, which is right only if all of it "
            "stands on the left.",
        ),
        _known(
            "from-the-first-token",
            from_the_first_token,
            "slots are counted from the first real token on, so padding between tokens counts as "
            "well.",
        ),
        _known(
            "from-the-right",
            from_the_right,
            "the real tokens are counted from the right end.",
        ),
        _known(
            "down-the-batch",
            down_the_batch,
            "the sum runs down the batch (axis 0); it runs along the tokens of a row.",
        ),
        _known(
            "last-for-all",
            last_for_all,
            "every token of a row gets the number of its tokens, the position of the last one or "
            "the next.",
        ),
        _known(
            "padding-before",
            pads_before,
            "the slots of padding to the left are counted, not the real tokens.",
        ),
        _known(
            "first-row-for-all",
            (*first_row_for_all, *first_row_counted),
            "the positions of row 0 are used for every row; each row has padding of its own.",
        ),
        _known(
            "last-row-for-all",
            last_row_counted,
            "the tokens of the last row are counted for every row.",
        ),
        _known(
            "past-ignored",
            past_ignored,
            "past is not used, so tokens behind a cache start at 0 again.",
            STANDS,
        ),
        _known(
            "one-past-for-all",
            one_past_for_all,
            "every row starts behind the same number of cached tokens; past has one for each row.",
            STANDS,
        ),
        _known(
            "past-less-one",
            past_less_one,
            "the first new token gets the position of the last cached one; with n tokens cached, "
            "at 0 to n − 1, it stands at n.",
            STANDS,
        ),
        _known(
            "past-and-padding",
            past_and_pads,
            "the padding is added to past, or taken off; past counts real tokens already.",
        ),
        _known(
            "past-along-tokens",
            past_along_tokens,
            "past (B,) meets the last axis, which is the tokens.",
            STANDS,
        ),
        _known(
            "past-is-the-end",
            past_is_the_end,
            "past is read as the count after this chunk; it is what the cache holds before it.",
            STANDS,
        ),
        _known(
            "padding-goes-on",
            padding_goes_on,
            "padding gets a number from its neighbours; here it is 0, wherever it stands.",
        ),
        _known(
            "padding-one",
            padding_one,
            "padding gets 1, as transformers fills it; here it gets 0.",
        ),
        _known(
            "padding-minus-one",
            padding_minus_one,
            "padding gets −1, which an embedding or a table of angles would read from its end; "
            "here it gets 0.",
        ),
        _known(
            "past-on-padding",
            past_on_padding,
            "past is added after the padding was set, so padding gets it too.",
        ),
        _known(
            "tokens-zero",
            tokens_zero,
            "the real tokens are set to 0, and padding keeps its number.",
        ),
        _known(
            "read-the-other-way",
            read_the_other_way,
            "True is read as padding; it marks a real token.",
        ),
        _known(
            "another-dtype",
            another_dtype,
            "the positions come back as floats, or as short integers; they are int64.",
        ),
        _known(
            "only-the-real-ones",
            only_the_real_ones,
            "padding is left out, and the rows are strung together; every slot has a number.",
        ),
        _known(
            "last-column-only",
            (last_column, last_column_without_axis),
            "only the last slot's position comes back; a prefill needs one for each token.",
        ),
    ),
    alternatives=(by_cumsum, by_loops, by_comparison, row_by_row),
    hints=(
        "Take one row, − − a b − c, and write under each letter how many letters stand to its "
        "left. Does padding change the count, and does the row beside it?",
        "A running sum of True and False along a row counts real tokens. Does it count the token "
        "it stands at as well?",
        "Now let the row's cache hold seven tokens already. What is added to which slots, and what "
        "is done last so that padding ends up at 0 whatever came before?",
    ),
    read=PADDING,
)
