"""training.document_mask: who may see whom when documents share a row."""

import math
from functools import partial

import torch

from clearhead.training import document_mask as reference
from marking.exercise import Exercise, Mistake

PAD = -1

# --- situations ------------------------------------------------------------------------------


def _row(numbers, sizes):
    return [number for number, size in zip(numbers, sizes, strict=True) for _ in range(size)]


def _inputs(*rows):
    return {"documents": torch.tensor(rows)}


def _two(draw, first, second):
    """Both rows; the first alone if small, so that its mask can be drawn."""
    return _inputs(first) if draw.level is not None else _inputs(first, second)


def _sizes(draw, T, n):
    """n sizes of two or more, T together."""
    cuts = [2] * n
    for _ in range(T - 2 * n):
        cuts[draw.size(0, n - 1)] += 1
    return cuts


def two_documents(draw):
    return _inputs(_row([0, 1], draw.sizes(2, 2, 9)))


def several_rows(draw):
    """Other borders in each; the later ones begin with a document that was cut."""
    T, rows = draw.size(7, 14, small=5), draw.size(2, 4, small=2)
    firsts = draw.sizes(rows, 2, T - 2)
    return _inputs(*(_row([b, b + 1], [first, T - first]) for b, first in enumerate(firsts)))


def one_document(draw):
    return _inputs([draw.size(1, 9, small=1)] * draw.size(4, 15, small=3))


def one_token_each(draw):
    return _inputs(list(range(draw.size(4, 13, small=3))))


def padding_at_the_end(draw):
    T = draw.size(8, 14, small=7)
    one, other = draw.sizes(2, 2, T - 5, small=1)
    rest = draw.size(1, 2, small=1)
    first = _row([0, 1, PAD], [one, T - one - 2, 2])
    return _two(draw, first, _row([2, 3, PAD], [other, T - other - 2 - rest, 2 + rest]))


def padding_at_the_front(draw):
    """As it stands in a batch that is to be continued."""
    T = draw.size(7, 14, small=5)
    pads = draw.sizes(2, 2, T - 3, small=1)
    return _two(draw, *(_row([PAD, b], [n, T - n]) for b, n in enumerate(pads)))


def padding_between(draw):
    T = draw.size(8, 14, small=6)
    rows = [
        _row([2 * b, PAD, 2 * b + 1], [size, 2, T - size - 2])
        for b, size in enumerate(draw.sizes(2, 2, T - 4, small=1))
    ]
    return _two(draw, *rows)


def a_row_of_padding(draw):
    T = draw.size(5, 9, small=4)
    first = draw.size(2, T - 2)
    return _inputs(_row([0, 1], [first, T - first]), [PAD] * T)


def in_any_order(draw):
    """As best fit packs them: numbers that fall, and with gaps."""
    T = draw.size(8, 14, small=6)
    low, middle, high = sorted(draw.sizes(3, 3, 60, small=3))
    sizes = _sizes(draw, T, 3)
    others = _row([middle + 70, low + 70], [3, T - 3])
    return _two(draw, _row([high, low, middle], sizes), others)


def one_token(draw):
    """One in each row, as at the start of a generation."""
    return _inputs(*([number] for number in draw.sizes(draw.size(3, 9, small=2), 1, 30, small=1)))


# --- mistakes: one change each to `_mask` --------------------------------------------------------


def _mask(
    documents,
    *,
    near=lambda query, key: key <= query,
    same=lambda query, key: query == key,
    real=lambda query, key: (query >= 0) & (key >= 0),
    finish=lambda allowed, documents: allowed,
):
    """As it stands it is right."""
    at = torch.arange(documents.shape[1])
    query, key = documents[:, :, None], documents[:, None, :]
    allowed = near(at[:, None], at[None, :]) & same(query, key) & real(query, key)
    return finish(allowed, documents)


def _change(name, *changes):
    return tuple(partial(_mask, **{name: change}) for change in changes)


def _any(query, key):
    return torch.ones_like(query == key)


causal_only = (
    *_change("same", _any),
    partial(_mask, same=_any, real=lambda query, key: (query == query) & (key >= 0)),
    partial(_mask, same=_any, real=_any),
)
not_causal = _change("near", lambda query, key: (query == query) & (key == key))
hides_itself = _change("near", lambda query, key: key < query)
looks_ahead = _change("near", lambda query, key: key >= query)
after_only = _change("near", lambda query, key: key > query)
one_ahead = _change("near", lambda query, key: key <= query + 1)
other_documents = _change("same", lambda query, key: query != key)
earlier_numbers = _change("same", lambda query, key: key <= query)

padding_sees_padding = _change("real", _any)
zero_hidden = _change(
    "real",
    lambda query, key: (query > 0) & (key > 0),
    lambda query, key: (query != 0) & (key != 0),
)


def _itself(allowed, documents):
    return allowed | torch.eye(allowed.shape[-1], dtype=torch.bool)


def _empty_see_all(allowed, documents):
    return allowed | ~allowed.any(-1, keepdim=True)


def _empty_see_the_first(allowed, documents):
    first = torch.arange(allowed.shape[-1]) == 0
    return allowed | (~allowed.any(-1, keepdim=True) & first)


def _added(hidden):
    def finish(allowed, documents):
        return torch.zeros(allowed.shape).masked_fill(~allowed, hidden)

    return finish


def _after_a_border(allowed, documents):
    """The first token of a document sees what stands to its left."""
    T = allowed.shape[-1]
    left = torch.arange(T)[:, None] == torch.arange(T)[None, :] + 1
    return allowed | (left & (documents >= 0)[:, :, None] & (documents >= 0)[:, None, :])


padding_sees_itself = _change("finish", _itself)
empty_opened = _change("finish", _empty_see_all, _empty_see_the_first)
sees_over_the_border = _change("finish", _after_a_border)
true_is_hidden = _change("finish", lambda allowed, documents: ~allowed)
not_boolean = _change(
    "finish", lambda allowed, documents: allowed.long(), lambda allowed, documents: allowed.float()
)
additive = _change(
    "finish", _added(-math.inf), _added(torch.finfo(torch.float32).min), _added(-1e9)
)
axis_for_heads = _change("finish", lambda allowed, documents: allowed[:, None])
one_for_all = _change(
    "finish",
    lambda allowed, documents: allowed[:1].expand_as(allowed),
    lambda allowed, documents: allowed[0],
    lambda allowed, documents: allowed.all(0),
    lambda allowed, documents: allowed.any(0),
)
per_token = _change("finish", lambda allowed, documents: allowed.any(-1))


def rows_laid_together(documents):
    """All rows of the batch as one."""
    B, T = documents.shape
    return _mask(documents.reshape(1, -1)).view(B * T, B * T)


# --- other right answers ---------------------------------------------------------------------


def by_loops(documents):
    B, T = documents.shape
    mask = torch.zeros(B, T, T, dtype=torch.bool)
    for b in range(B):
        for query in range(T):
            number = int(documents[b, query])
            for key in range(query, -1, -1):
                if number < 0 or int(documents[b, key]) != number:
                    break
                mask[b, query, key] = True
    return mask


def by_blocks(documents):
    """A triangle for each piece, set into a square of False."""
    masks = []
    for row in documents:
        mask = torch.zeros(len(row), len(row), dtype=torch.bool)
        numbers, counts = row.unique_consecutive(return_counts=True)
        ends = counts.cumsum(0)
        for number, start, end in zip(numbers, ends - counts, ends, strict=True):
            if number >= 0:
                size = int(end - start)
                mask[start:end, start:end] = torch.ones(size, size, dtype=torch.bool).tril()
        masks.append(mask)
    return torch.stack(masks)


def by_one_hot(documents):
    """Rows of ones and zeros, one for each number: their product is 1 within a document."""
    numbers = documents.unique()
    hot = (documents[:, :, None] == numbers[numbers >= 0]).double()
    return (hot @ hot.transpose(1, 2)).tril() > 0


def by_tril(documents):
    d = documents.masked_fill(documents < 0, -1)
    same = torch.eq(d.unsqueeze(2), d.unsqueeze(1))
    return torch.tril(same.masked_fill((d == -1).unsqueeze(2), False))


SEE = "training/02_batches_that_mean_it#what-may-a-token-see"


def _known(id, ways, says):
    return Mistake(id, ways[0], says, SEE, also=tuple(ways[1:]))


DOCUMENT_MASK = Exercise(
    id="training.document_mask",
    title="Who may see whom in a packed row",
    returns="a boolean tensor (B, T, T), True = this query (second axis) may attend to this key",
    points=2,
    difficulty=1,
    minutes=10,
    reference=reference,
    cases={
        "two documents": two_documents,
        "several rows": several_rows,
        "one document": one_document,
        "documents of one token": one_token_each,
        "padding at the end": padding_at_the_end,
        "padding at the front": padding_at_the_front,
        "padding between documents": padding_between,
        "a row of padding": a_row_of_padding,
        "numbers in any order": in_any_order,
        "one token a row": one_token,
    },
    mistakes=(
        _known(
            "causal-only",
            causal_only,
            "the triangle is there and the documents are not asked for, so a token sees the "
            "documents before its own.",
        ),
        _known(
            "not-causal",
            not_causal,
            "a token sees what follows it in its document, which is what it has to predict; the "
            "mask is causal as well.",
        ),
        _known(
            "hides-itself",
            hides_itself,
            "a token does not see itself, so the first one of a document sees nothing; the "
            "diagonal is open.",
        ),
        _known(
            "looks-ahead",
            looks_ahead,
            "the triangle is the upper one, or queries and keys have changed places, so a token "
            "sees itself and what follows; the second axis is the query.",
        ),
        _known(
            "only-what-follows",
            after_only,
            "the triangle is the upper one without its diagonal; a token sees what stands before "
            "it, and itself.",
        ),
        _known(
            "one-ahead",
            one_ahead,
            "every token sees one more that follows it, the very one it has to predict.",
        ),
        _known(
            "other-documents",
            other_documents,
            "a token sees the other documents and not its own.",
        ),
        _known(
            "earlier-documents-too",
            earlier_numbers,
            "numbers are compared with <=, so that documents with smaller numbers are seen too; "
            "only the same number is the same document.",
        ),
        _known(
            "sees-over-the-border",
            sees_over_the_border,
            "the first token of a document sees the last one of the document before it.",
        ),
        _known(
            "padding-sees-padding",
            padding_sees_padding,
            "padding is treated as a document with the number −1, so padding attends to padding; "
            "it sees nothing and nobody sees it.",
        ),
        _known(
            "padding-sees-itself",
            padding_sees_itself,
            "each slot of padding sees itself, as libraries open it to avoid a softmax over "
            "nothing; here its row is all False.",
        ),
        _known(
            "empty-rows-opened",
            empty_opened,
            "a slot that may see nothing is allowed to see something after all; here its row is "
            "all False.",
        ),
        _known(
            "document-0-hidden",
            zero_hidden,
            "document 0 is taken for padding; padding has the number −1.",
        ),
        _known(
            "true-is-hidden",
            true_is_hidden,
            "True marks what is hidden; here it marks what may be attended to.",
        ),
        _known(
            "not-boolean",
            not_boolean,
            "the mask comes back as numbers 0 and 1; here it is boolean.",
        ),
        _known(
            "additive",
            additive,
            "the mask comes back as numbers to be added to scores; here it is boolean.",
        ),
        _known(
            "axis-for-heads",
            axis_for_heads,
            "the mask has an axis for the heads as well; here it is (B, T, T).",
        ),
        _known(
            "one-mask-for-all",
            one_for_all,
            "there is one mask for all rows; each row has borders of its own.",
        ),
        _known(
            "one-value-a-token",
            per_token,
            "there is one value for each token; there must be one for each pair of tokens.",
        ),
        _known(
            "rows-laid-together",
            (rows_laid_together,),
            "the rows of the batch are laid end to end, and the mask is one large square; each row "
            "has a square of its own.",
        ),
    ),
    alternatives=(by_loops, by_blocks, by_one_hot, by_tril),
    hints=(
        "Draw a square for a row with the documents 0 0 0 1 1 and shade what each token may see. "
        "Which shape has each document's part?",
        "Two questions are asked of each pair, is the key not later, and is it in the same "
        "document; both must say yes. Lay the numbers once along the rows and once along the "
        "columns.",
        "What does the comparison of −1 with −1 say, and what should it? And look at document 0: "
        "is it a document?",
    ),
    read=SEE,
)
