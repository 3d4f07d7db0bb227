"""training.pack_documents: documents laid end to end and cut into rows of one length."""

from functools import partial
from itertools import pairwise, product

import torch

from clearhead.training import pack_documents as reference
from marking.exercise import Exercise, Mistake

# --- situations: where rows and documents end is the same in every draw of one -------------------


def _inputs(draw, ends, length, *, hold_end=None):
    """Documents that end, each with its end token, behind so many tokens of the ribbon.

    None holds the end token itself but number `hold_end`, once.
    """
    eos = draw.size(2, 40, small=2)
    sizes = [end - start - 1 for start, end in pairwise([0, *ends])]
    if draw.level is not None:
        words = iter(range(10, 1000))
        documents = [[next(words) for _ in range(size)] for size in sizes]
    else:
        documents = [draw.integers(50, 900, size).tolist() for size in sizes]
    if hold_end is not None:
        documents[hold_end][len(documents[hold_end]) // 2] = eos
    return {"documents": documents, "length": length, "eos": eos}


def _length(draw, low=6):
    return draw.size(low, 12, small=max(low - 1, 5))


def _inside(draw, length, row):
    """An end inside a row: the next document has two tokens there, and the first row two."""
    return row * length + draw.size(3, length - 2)


def short(draw):
    """Several in a row; the rows' ends cut documents, and something is left over."""
    length = _length(draw, low=10)
    ends = []
    for row in range(draw.size(3, 4, small=2)):
        first = row * length + draw.size(3, 4)
        ends += [first, first + draw.size(3, 4, small=2)]
    return _inputs(draw, ends, length)


def long(draw):
    """One of them goes over several rows."""
    length = _length(draw)
    last = draw.size(3, 5, small=2)
    return _inputs(draw, [_inside(draw, length, row) for row in (0, last, last + 1)], length)


def exactly(draw):
    """Nothing is left over."""
    length = _length(draw)
    inside = [_inside(draw, length, row) for row in range(draw.size(2, 4, small=2))]
    return _inputs(draw, [*inside, len(inside) * length], length)


def ends_with_a_row(draw):
    """The second document's end token is the last of its row."""
    length = _length(draw)
    ends = _inside(draw, length, 0), length, _inside(draw, length, 2), _inside(draw, length, 3)
    return _inputs(draw, ends, length)


def end_begins_a_row(draw):
    """The second document fills its row; its end token stands alone in the next."""
    length = _length(draw)
    ends = _inside(draw, length, 0), length + 1, _inside(draw, length, 2), _inside(draw, length, 3)
    return _inputs(draw, ends, length)


def an_empty_one(draw):
    """A document without a token of its own, in the middle of a row."""
    length = _length(draw, low=8)
    first = draw.size(2, 3)
    rest = [_inside(draw, length, row) for row in (1, 2)]
    return _inputs(draw, [first, first + 1, first + 3, *rest], length)


def holds_the_end(draw):
    """A conversation in which each turn ends with the token that ends documents too."""
    length = _length(draw)
    return _inputs(draw, [_inside(draw, length, row) for row in range(3)], length, hold_end=1)


def one_row(draw):
    length = _length(draw)
    return _inputs(draw, [_inside(draw, length, row) for row in range(2)], length)


def one_document(draw):
    """Its end token is the last of its last row."""
    length = _length(draw)
    return _inputs(draw, [draw.size(2, 4, small=2) * length], length)


# --- mistakes: one change each to `_packed` ------------------------------------------------------


def _with_end(document, eos):
    return [*document, eos]


def _numbers(number, document, eos, size):
    return [number] * size


def _cut(ribbon, length):
    return [ribbon[i : i + length] for i in range(0, len(ribbon) - length + 1, length)]


def _position(row, t, numbers):
    """How many tokens of the same document stand before it in the row."""
    return t - numbers.index(numbers[t])


def _three(ids, numbers, positions):
    return torch.tensor(ids), torch.tensor(numbers), torch.tensor(positions)


def _packed(
    documents,
    length,
    eos,
    *,
    chosen=lambda documents: list(enumerate(documents)),
    ended=_with_end,
    numbered=_numbers,
    whole=lambda ribbon, eos, length: ribbon,
    cut=_cut,
    first=lambda numbers: 0,
    position=_position,
    made=_three,
):
    """As it stands it is right. A token is its id, its document's number and its place there."""
    ribbon = []
    for number, document in chosen(documents):
        tokens = ended(document, eos)
        belongs = numbered(number, document, eos, len(tokens))
        ribbon += [(x, n, place) for place, (x, n) in enumerate(zip(tokens, belongs, strict=True))]
    ribbon = [(*token, i) for i, token in enumerate(whole(ribbon, eos, length))]
    rows = cut(ribbon, length)
    ids = [[token[0] for token in row] for row in rows]
    numbers = [[token[1] for token in row] for row in rows]
    positions = [
        [position(row, t, at) for t in range(len(row))]
        for row, at in zip(rows, numbers, strict=True)
    ]
    numbers = [[n - first(row) for n in row] for row in numbers]
    return made(ids, numbers, positions)


def _change(name, *changes):
    return tuple(partial(_packed, **{name: change}) for change in changes)


def _end_to_the_next(number, document, eos, size):
    return [number] * (size - 1) + [number + 1]


def _number_from_ends(ribbon, eos, length):
    """The numbers counted anew: one more behind every end token."""
    found, number = [], 0
    for x, _, place in ribbon:
        found.append((x, number, place))
        number += x == eos
    return found


def _padded_rest(token, number, place):
    """The last row is filled up with some token, the number of some document, some positions."""

    def pack(documents, length, eos):
        ids = [x for document in documents for x in (*document, eos)]
        numbers = [i for i, document in enumerate(documents) for _ in (*document, eos)]
        rows = [numbers[i : i + length] for i in range(0, len(numbers), length)]
        positions = [_position(row, t, row) for row in rows for t in range(len(row))]
        n, last, at = -len(ids) % length, numbers[-1], positions[-1] + 1
        fill = (
            [eos if token is None else token] * n,
            [{"last": last, "next": last + 1}.get(number, number)] * n,
            {"own": list(range(n)), "on": list(range(at, at + n))}.get(place, [place] * n),
        )
        parts = zip((ids, numbers, positions), fill, strict=True)
        return tuple(torch.tensor(part + more).view(-1, length) for part, more in parts)

    return pack


def _position_but_padding(row, t, numbers):
    return 0 if numbers[t] < 0 else _position(row, t, numbers)


def _per_document(ribbon):
    """The ribbon cut where a document ends."""
    pieces = {}
    for token in ribbon:
        pieces.setdefault(token[1], []).append(token)
    return list(pieces.values())


def _fill(row, length):
    return row + [(0, -1, 0, 0)] * (length - len(row))


def _never_cut(ribbon, length):
    """A document that does not fit begins a row; what stays empty is padding."""
    rows = [[]]
    for piece in _per_document(ribbon):
        for start in range(0, len(piece), length):
            part = piece[start : start + length]
            if len(rows[-1]) + len(part) > length:
                rows.append([])
            rows[-1] += part
    return [_fill(row, length) for row in rows]


def _row_each(ribbon, length):
    return [_fill(piece[:length], length) for piece in _per_document(ribbon)]


def _rest_lost(ribbon, length):
    """The row is full: the rest of the document is forgotten."""
    rows, row = [], []
    for piece in _per_document(ribbon):
        row = row + piece[: length - len(row)]
        if len(row) == length:
            rows.append(row)
            row = []
    return rows


def _tails_lost(ribbon, length):
    return [row for piece in _per_document(ribbon) for row in _cut(piece, length)]


def _columns(ribbon, length):
    n = len(ribbon) // length
    return [ribbon[i : n * length : n] for i in range(n)]


def _flat(ids, numbers, positions):
    return tuple(part.reshape(-1) for part in _three(ids, numbers, positions))


def _as(dtype):
    return lambda *parts: tuple(part.to(dtype) for part in _three(*parts))


no_end = _change("ended", lambda document, eos: list(document))
end_in_front = _change("ended", lambda document, eos: [eos, *document])
end_on_both_sides = _change("ended", lambda document, eos: [eos, *document, eos])
end_once = (
    partial(
        _packed,
        ended=lambda document, eos: list(document),
        whole=lambda ribbon, eos, length: [*ribbon, (eos, ribbon[-1][1], 0)],
    ),
)
end_to_the_next = _change("numbered", _end_to_the_next)
from_ends = _change("whole", _number_from_ends)
empty_skipped = _change(
    "chosen",
    lambda documents: [(i, d) for i, d in enumerate(documents) if d],
    lambda documents: list(enumerate(d for d in documents if d)),
)
numbers_of_the_row = _change("first", lambda numbers: numbers[0])
numbers_from_one = _change("first", lambda numbers: -1)
rest_padded = tuple(
    _padded_rest(*fill)
    for fill in product((None, 0, -1), (-1, "last", 0, "next"), (0, "own", "on", -1))
)
rest_kept = _change(
    "cut", lambda ribbon, length: [ribbon[i : i + length] for i in range(0, len(ribbon), length)]
)
full_row_lost = _change("whole", lambda ribbon, eos, length: ribbon[:-1])
last_row_dropped = _change("cut", lambda ribbon, length: _cut(ribbon, length)[:-1])
rows_overlap = _change(
    "cut",
    lambda ribbon, length: [
        ribbon[i : i + length] for i in range(0, len(ribbon) - length + 1, length - 1)
    ],
    lambda ribbon, length: [ribbon[i : i + length] for i in range(len(ribbon) - length + 1)],
)
one_longer = _change(
    "cut",
    lambda ribbon, length: [
        ribbon[i : i + length + 1] for i in range(0, len(ribbon) - length, length)
    ],
    lambda ribbon, length: _cut(ribbon, length + 1),
)
columns = _change("cut", _columns)
never_cut = tuple(
    partial(_packed, cut=cut, position=position)
    for cut in (_never_cut, _row_each)
    for position in (_position_but_padding, _position)
)
rest_lost = _change("cut", _rest_lost)
tails_lost = _change("cut", _tails_lost)
positions_of_the_row = _change("position", lambda row, t, numbers: t)
positions_go_on = _change("position", lambda row, t, numbers: row[t][2])
positions_of_the_ribbon = _change("position", lambda row, t, numbers: row[t][3])
positions_from_one = _change("position", lambda row, t, numbers: _position(row, t, numbers) + 1)
flat = _change("made", _flat)
lists = _change("made", lambda ids, numbers, positions: (ids, numbers, positions))
other_dtype = _change("made", _as(torch.int32))
two_parts = _change(
    "made",
    lambda *parts: _three(*parts)[:2],
    lambda *parts: _three(*parts)[::2],
    lambda *parts: _three(*parts)[0],
)
swapped = _change("made", lambda ids, numbers, positions: _three(ids, positions, numbers))


# --- other right answers ---------------------------------------------------------------------


def by_tensors(documents, length, eos):
    """The ribbon as tensors; a document starts anew where its number differs from the left."""
    sizes = torch.tensor([len(document) + 1 for document in documents])
    ids = torch.cat([torch.tensor([*document, eos]) for document in documents])
    numbers = torch.arange(len(documents)).repeat_interleave(sizes)
    rows = len(ids) // length
    ids, numbers = (x[: rows * length].reshape(rows, length) for x in (ids, numbers))
    place = torch.arange(length).repeat(rows, 1)
    new = numbers != numbers.roll(1, dims=1)
    new[:, 0] = True
    return ids, numbers, place - (place * new).cummax(1).values


def token_by_token(documents, length, eos):
    """Three open rows, put away when they are full."""
    ids, numbers, positions = [], [], []
    row = [], [], []
    for number, document in enumerate(documents):
        position = 0
        for token in (*document, eos):
            for part, value in zip(row, (token, number, position), strict=True):
                part.append(value)
            position += 1
            if len(row[0]) == length:
                for whole, part in zip((ids, numbers, positions), row, strict=True):
                    whole.append(part)
                row, position = ([], [], []), 0
    return torch.tensor(ids), torch.tensor(numbers), torch.tensor(positions)


def by_comparison(documents, length, eos):
    """A position is the number of earlier places in the row with the same document."""
    pairs = [(t, n) for n, document in enumerate(documents) for t in [*document, eos]]
    pairs = pairs[: len(pairs) // length * length]
    ids, numbers = torch.tensor(pairs).T.reshape(2, -1, length)
    same = numbers[:, :, None] == numbers[:, None, :]
    return ids, numbers, same.tril(-1).sum(-1)


SHARE = "training/02_batches_that_mean_it#how-do-documents-share-a-row"


def _known(id, ways, says, read=SHARE):
    return Mistake(id, ways[0], says, read, also=tuple(ways[1:]))


PACK_DOCUMENTS = Exercise(
    id="training.pack_documents",
    title="Documents share rows",
    returns="three tensors (N, length) of int64: ids, documents, positions",
    points=3,
    difficulty=2,
    minutes=20,
    reference=reference,
    outputs=("ids", "documents", "positions"),
    cases={
        "documents shorter than a row": short,
        "a document over several rows": long,
        "rows filled to the last": exactly,
        "a row that ends with a document": ends_with_a_row,
        "an end token that begins a row": end_begins_a_row,
        "an empty document": an_empty_one,
        "the end token inside a document": holds_the_end,
        "one full row": one_row,
        "one document to the last place": one_document,
    },
    mistakes=(
        _known(
            "no-end-token",
            no_end,
            "no end token is put behind the documents, so a model never learns where a text ends.",
        ),
        _known(
            "end-token-in-front",
            end_in_front,
            "the end token stands in front of each document; it goes behind it.",
        ),
        _known(
            "end-token-on-both-sides",
            end_on_both_sides,
            "each document has an end token in front and behind; one behind it is enough.",
        ),
        _known(
            "end-token-once",
            end_once,
            "there is one end token, behind all documents together; each has its own.",
        ),
        _known(
            "end-token-to-the-next",
            end_to_the_next,
            "the end token is counted with the document that follows; it belongs to the one that "
            "it ends.",
        ),
        _known(
            "documents-from-end-tokens",
            from_ends,
            "the numbers are counted from end tokens in the ids; a document may hold that token "
            "itself, as a conversation does at each turn's end. You know where each one begins.",
        ),
        _known(
            "empty-document-skipped",
            empty_skipped,
            "an empty document is left out; it still has its end token and its number.",
        ),
        _known(
            "numbers-of-the-row",
            numbers_of_the_row,
            "the numbers start at 0 in every row; a document keeps its number in the list.",
        ),
        _known(
            "numbers-from-one",
            numbers_from_one,
            "the first document has number 1; count from 0.",
        ),
        _known(
            "last-row-padded",
            rest_padded,
            "what is left over is filled up to a row; here a last row that is not full is dropped, "
            "and there is no padding.",
        ),
        _known(
            "rest-kept",
            rest_kept,
            "what is left over stays as a shorter row, which no tensor can hold beside the others; "
            "drop it.",
        ),
        _known(
            "full-last-row-lost",
            full_row_lost,
            "a last row that is full is missing: either a loop ends too early, or the last "
            "document has no end token, which would have filled the row.",
        ),
        _known(
            "last-row-always-dropped",
            last_row_dropped,
            "the last full row is dropped too; only what does not fill a row is.",
        ),
        _known(
            "rows-overlap",
            rows_overlap,
            "a row begins before the one above it has ended, so that tokens come twice.",
        ),
        _known(
            "one-token-longer",
            one_longer,
            "a row has length + 1 tokens, as if the targets were cut from it; the loss shifts "
            "within a row of length tokens.",
        ),
        _known(
            "columns-for-rows",
            columns,
            "the ribbon runs down the columns; it runs along the rows.",
        ),
        _known(
            "never-cut",
            never_cut,
            "no document is cut, and rows are filled up with padding; here the end of a row cuts "
            "what stands there, and there is no padding.",
        ),
        _known(
            "rest-of-a-document-lost",
            rest_lost,
            "when a row is full, the rest of the document is forgotten; it goes on in the next "
            "row.",
        ),
        _known(
            "cut-one-by-one",
            tails_lost,
            "each document is cut into rows by itself, and its tail is lost; lay them all end to "
            "end first.",
        ),
        _known(
            "positions-of-the-row",
            positions_of_the_row,
            "positions count through the row; they start again at 0 with each document in it.",
        ),
        _known(
            "positions-go-on",
            positions_go_on,
            "a document that was cut goes on counting in the next row; what it can see there "
            "starts with the row, so count from 0 again.",
        ),
        _known(
            "positions-of-the-ribbon",
            positions_of_the_ribbon,
            "positions count through all documents; they start again at 0 with each document, and "
            "with each row.",
        ),
        _known(
            "positions-from-one",
            positions_from_one,
            "the first token has position 1; count from 0.",
        ),
        _known(
            "not-in-rows",
            flat,
            "the ribbon comes back in one piece; cut it into rows, (N, length).",
        ),
        _known(
            "lists-returned",
            lists,
            "lists come back; return tensors.",
        ),
        _known(
            "another-dtype",
            other_dtype,
            "the tensors come back in another dtype; all three are int64.",
        ),
        _known(
            "parts-missing",
            two_parts,
            "a part is missing; return ids, documents and positions.",
        ),
        _known(
            "parts-swapped",
            swapped,
            "documents and positions have changed places.",
        ),
    ),
    alternatives=(by_tensors, token_by_token, by_comparison),
    hints=(
        "Write three short documents on a strip of paper, an end token behind each, and cut the "
        "strip every six tokens. What stands in the last piece, and which tokens begin a row?",
        "Lay a second strip under the first that says of each token which document it belongs to, "
        "its end token too. Cut both with the same scissors; the third strip follows from the "
        "second.",
        "A position is how far a token stands from the first one of its document in this row. "
        "Where does that first one stand if the document began a row earlier?",
    ),
    read=SHARE,
)
