r"""Rows to train on, and which of them each step reads: a function of the seed and the step alone.

All rows are shuffled, read once, shuffled anew, and so on without end. With $n$ rows, $b$ a step,
and $\pi_e$ the shuffle of round $e$, step $s$ reads the places $j = sb, \dots, sb + b - 1$ of that
endless list:

$$
\text{row}(j) = \pi_e(j \bmod n), \qquad e = \lfloor j / n \rfloor \tag{1}
$$

Nothing is remembered between steps. A run that is killed and resumed at step $s$ reads what it
would have read, and there is no loader whose state one could forget to save.

**Shapes.** `ids`, `labels`, `documents` and `positions` are `(N, T)`, int64; `labels` are not
shifted and −100 where nothing is learned; `documents` is the number of each token's document, −1
at padding (`pack_documents`).
"""

import hashlib
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from clearhead._checks import require_integer

from ._checks import require_numbers
from .labels import IGNORED
from .packing import document_mask, packed_labels


class Rows(NamedTuple):
    """N rows of T tokens. Make them with `make_rows`, which checks them."""

    ids: Int[Tensor, "N T"]
    labels: Int[Tensor, "N T"]
    documents: Int[Tensor, "N T"] | None = None
    positions: Int[Tensor, "N T"] | None = None

    def take(self, index: Int[Tensor, " n"], device: torch.device | str | None = None) -> "Rows":
        """The rows with these numbers, moved to `device`, without the columns that nobody learns.

        A causal model's predictions do not depend on what comes after them, so the columns behind
        the last label are left out.
        """
        learned = (self.labels[index] != IGNORED).any(0).nonzero()
        end = int(learned.max()) + 1 if len(learned) else 2
        parts = [None if x is None else x[index, :end].to(device) for x in self]
        return Rows(*parts)

    def mask(self) -> Bool[Tensor, "N 1 T T"] | None:
        """Who may see whom, for `Decoder`; None where rows hold one document, which is causal."""
        return None if self.documents is None else document_mask(self.documents)[:, None]

    def counted(self) -> int:
        """How many labels there are to learn; the first of a row never is, for want of a past."""
        return int((self.labels[:, 1:] != IGNORED).sum())

    def fingerprint(self) -> int:
        """A number that changes when a token of some row does: a sum modulo 2⁶³, oddly weighted."""
        total = 0
        for x in self:
            numbers = torch.tensor([-7]) if x is None else x.cpu().flatten()
            odd = torch.arange(1, 2 * len(numbers), 2)
            total = total * 31 + int((numbers * odd * odd * 0x9E3779B97F4A7C1).sum())
        return total % 2**63


def make_rows(
    ids: Int[Tensor, "N T"],
    labels: Int[Tensor, "N T"] | None = None,
    *,
    documents: Int[Tensor, "N T"] | None = None,
    positions: Int[Tensor, "N T"] | None = None,
) -> Rows:
    """Rows to train on: texts (`ids` alone), texts packed into rows, or answers (`labels`).

    Without `labels` every token is learned; with `documents`, every one but the first of each
    document. Raises `TypeError` for a wrong dtype and `ValueError` when shapes differ, there is no
    row, or a row has nothing to learn.
    """
    given = {"ids": ids, "labels": labels, "documents": documents, "positions": positions}
    require_numbers(**{name: x for name, x in given.items() if x is not None})
    if ids.shape[0] == 0 or ids.shape[1] < 2:
        raise ValueError(f"ids is {tuple(ids.shape)}; give one row or more, of two tokens or more.")
    if (documents is None) != (positions is None):
        raise ValueError("documents and positions go together; give both, or none of them.")
    if labels is None:
        labels = ids if documents is None else packed_labels(ids, documents)
    nothing = (labels[:, 1:] == IGNORED).all(1).nonzero().flatten().tolist()
    if nothing:
        raise ValueError(
            f"rows without a label to learn: {len(nothing)} of {len(ids)}, the first is row "
            f"{nothing[0]}. Was the answer cut off, or masked with the prompt? Leave them out or "
            "repair them."
        )
    return Rows(*(None if x is None else x.long() for x in (ids, labels, documents, positions)))


def require_rows(rows: Rows) -> None:
    """What is to be trained on was made by `make_rows`."""
    if not isinstance(rows, Rows):
        raise TypeError(f"rows is a {type(rows).__name__}; make_rows(ids, labels) makes them.")


def batch_rows(seed: int, step: int, n_rows: int, batch: int) -> Int[Tensor, " batch"]:
    """The numbers of the rows that step `step` (from 0) reads: equation (1).

    Raises `TypeError` when a number is not an integer and `ValueError` when one is out of range.
    """
    require_integer(0, seed=seed, step=step)
    require_integer(1, n_rows=n_rows, batch=batch)
    places = torch.arange(step * batch, (step + 1) * batch)
    rounds = places // n_rows
    rows = torch.empty_like(places)
    for e in rounds.unique().tolist():
        generator = torch.Generator().manual_seed(derived_seed(seed, e))
        shuffle = torch.randperm(n_rows, generator=generator)
        rows[rounds == e] = shuffle[places[rounds == e] % n_rows]
    return rows


def derived_seed(*numbers: int) -> int:
    """A seed of 63 bits for these numbers: near ones give seeds that have nothing in common."""
    text = "/".join(map(str, numbers)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8]) >> 1
