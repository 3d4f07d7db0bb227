r"""Documents of unequal length in rows of equal length, and who may see whom in such a row.

`pack_documents` lays the documents end to end, each followed by an end token, and cuts the ribbon
into rows: no padding, and a document may be cut. `pack_best_fit` cuts none that fits in a row and
pads what stays empty. Either way a row holds several documents, told apart by their numbers $d_t$;
a token sees what stands before it in its own document alone:

$$
\text{allowed}(t, s) \iff s \le t \ \wedge\ d_s = d_t \ \wedge\ d_t \ge 0 \tag{1}
$$

Positions count from 0 where a document starts in the row:

$$
p_t = t - \min\{\, s : d_s = d_t \,\} \tag{2}
$$

With (1) and (2) a document's logits are what they would be in a row of its own.

**Shapes.** `ids`, `documents` and `positions` are `(N, length)`, int64; a mask is `(B, T, T)`,
boolean, True where query t (second axis) may attend to key s (third). Padding has the number −1.

**Numerics.** Padding attends to nothing; a fully masked row is zeros in `clearhead.attention`, and
a NaN in a plain softmax.

**Source.** Rows cut from a ribbon, without a mask: Brown et al., 2020, appendix B. Best fit, and
what cutting costs: Ding et al., 2024 ("Fewer truncations improve language modeling").
"""

from bisect import bisect_left, insort
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from clearhead._checks import require_integer

from ._checks import require_documents, require_numbers
from .labels import IGNORED

Packed = tuple[Int[Tensor, "N length"], Int[Tensor, "N length"], Int[Tensor, "N length"]]


def pack_documents(documents: Sequence[Sequence[int]], length: int, eos: int) -> Packed:
    """Rows of `length` tokens cut from all documents, each followed by `eos`.

    Returns `ids`, the number of each token's document in the list (its `eos` included) and the
    positions of equation (2). What is left after the last full row is dropped. Raises `ValueError`
    when all documents together do not fill one row.
    """
    require_integer(1, length=length)
    require_integer(0, eos=eos)
    require_documents(documents)
    ids, numbers = [], []
    for number, document in enumerate(documents):
        ids += [*document, eos]
        numbers += [number] * (len(document) + 1)
    rows = len(ids) // length
    if rows == 0:
        raise ValueError(
            f"The documents hold {len(ids)} tokens, ends included, which is less than one row of "
            f"{length}; give more text or a smaller length."
        )
    ids = torch.tensor(ids[: rows * length]).view(rows, length)
    numbers = torch.tensor(numbers[: rows * length]).view(rows, length)
    return ids, numbers, document_positions(numbers)


def pack_best_fit(documents: Sequence[Sequence[int]], length: int, pad: int) -> Packed:
    """Rows of `length` tokens in which no document is cut that fits in a row.

    The longest document goes first, each into the fullest row that still has room. One longer than
    a row is cut into rows, and what remains is packed like the others. Nothing is appended. Empty
    places hold `pad`, document −1 and position 0. Where a token goes depends on the lengths alone:
    labels packed in the same way, with −100 for `pad`, lie under their ids.

    Raises `ValueError` when there is no document or one is empty.
    """
    require_integer(1, length=length)
    require_integer(IGNORED, pad=pad)
    require_documents(documents)
    pieces = [
        (number, document[start : start + length])
        for number, document in enumerate(documents)
        for start in range(0, len(document), length)
    ]
    if len({number for number, _ in pieces}) < len(documents):
        raise ValueError("A document is empty; leave it out.")
    rows: list[list] = []
    room: list[tuple[int, int]] = []  # (free places, row), smallest first
    for number, piece in sorted(pieces, key=lambda piece: -len(piece[1])):
        place = bisect_left(room, (len(piece), 0))
        if place == len(room):
            rows.append([])
            free, row = length, len(rows) - 1
        else:
            free, row = room.pop(place)
        rows[row].append((number, piece))
        insort(room, (free - len(piece), row))
    ids = torch.full((len(rows), length), pad)
    numbers = torch.full((len(rows), length), -1)
    for row, held in enumerate(rows):
        start = 0
        for number, piece in held:
            ids[row, start : start + len(piece)] = torch.tensor(piece)
            numbers[row, start : start + len(piece)] = number
            start += len(piece)
    return ids, numbers, document_positions(numbers)


def document_mask(documents: Int[Tensor, "B T"]) -> Bool[Tensor, "B T T"]:
    """Equation (1): causal, and within one document.

    For `Decoder` add the axis of the heads: `document_mask(documents)[:, None]`. Raises `TypeError`
    or `ValueError` when `documents` is not a (B, T) tensor of integers.
    """
    require_numbers(documents=documents)
    T = documents.shape[1]
    same = documents[:, :, None] == documents[:, None, :]  # B T T
    causal = torch.ones(T, T, dtype=torch.bool, device=documents.device).tril()
    return same & causal & (documents >= 0)[:, :, None]


def document_positions(documents: Int[Tensor, "B T"]) -> Int[Tensor, "B T"]:
    """Equation (2), for documents that each stand in one piece in a row; 0 at padding."""
    require_numbers(documents=documents)
    place = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    starts = torch.ones_like(documents, dtype=torch.bool)
    starts[:, 1:] = documents[:, 1:] != documents[:, :-1]
    start = torch.where(starts, place, 0).cummax(dim=1).values
    return torch.where(documents >= 0, place - start, 0)


def packed_labels(ids: Int[Tensor, "B T"], documents: Int[Tensor, "B T"]) -> Int[Tensor, "B T"]:
    """The ids, and −100 at a document's first token in the row and at padding.

    The token before a first token belongs to another document, from which it can't be told. Not
    shifted.
    """
    require_numbers(ids=ids, documents=documents)
    first = torch.ones_like(documents, dtype=torch.bool)
    first[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return ids.masked_fill(first | (documents < 0), IGNORED)
