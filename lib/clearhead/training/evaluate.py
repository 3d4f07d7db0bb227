r"""How well a model predicts text that it was not trained on.

The mean loss over all held-out labels together, its exponential (perplexity), and the bits a byte
where the number of bytes is known: `clearhead.training.loss`, equations (2) and (3). Bits a byte
compare models with different tokenizers; losses and perplexities do not.
"""

import contextlib
import math
from typing import NamedTuple

import torch
from torch import nn

from clearhead._checks import require_integer
from clearhead.model import Decoder

from .batches import Rows, require_rows
from .chunked import chunked_loss, hidden_states, vocabulary_matrix
from .loss import exponential


class HeldOut(NamedTuple):
    """What `evaluate` measured."""

    loss: float  # in nats a label
    perplexity: float
    bits_per_byte: float | None  # None where the number of bytes was not given
    labels: int


@contextlib.contextmanager
def in_mode(model: nn.Module, *, training: bool):
    """Dropout on or off inside; the model's own mode comes back, after an error too."""
    mode = model.training
    model.train(training)
    try:
        yield
    finally:
        model.train(mode)


@torch.no_grad()
def evaluate(
    model: Decoder, rows: Rows, *, batch: int = 8, chunk: int = 256, n_bytes: int | None = None
) -> HeldOut:
    """The model's loss on `rows`, `batch` of them at a time, with dropout off.

    `n_bytes` is the length in bytes of the text whose tokens are the labels. Sums over batches are
    in fp64. Raises `TypeError` or `ValueError` when a size is not a positive integer.
    """
    require_rows(rows)
    require_integer(1, batch=batch)
    if n_bytes is not None:
        require_integer(1, n_bytes=n_bytes)
    device, matrix = next(model.parameters()).device, vocabulary_matrix(model)
    total, labels = 0.0, 0
    with in_mode(model, training=False):
        for index in torch.arange(len(rows.ids)).split(batch):
            part = rows.take(index, device)
            hidden = hidden_states(model, part.ids, positions=part.positions, mask=part.mask())
            total += chunked_loss(hidden, matrix, part.labels, chunk=chunk, count=1).item()
            labels += part.counted()
    loss = total / labels
    bits = None if n_bytes is None else total / (n_bytes * math.log(2))
    return HeldOut(loss, exponential(loss), bits, labels)
