"""A small decoder in fp64 and a few texts of unequal length to train it on."""

import torch

from clearhead.model import Config, Decoder
from clearhead.training import IGNORED, Rows, initialise, make_rows

V = 19
LENGTHS = (4, 11, 2, 7, 9, 3, 12, 5)  # what weighs 1 in a mean of means is not what weighs 1


def small_model(dtype=torch.float64, **changes) -> Decoder:
    """Two layers of width 16, with weights large enough that attention is not uniform."""
    sizes = dict(vocab_size=V, width=16, layers=2, heads=4, kv_heads=2, head_size=4)
    config = Config(**{**sizes, "feed_forward": 24, **changes})
    return initialise(Decoder(config), std=0.3).to(dtype)


def texts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randint(0, V, (n,), generator=generator).tolist() for n in LENGTHS]


def padded_rows() -> Rows:
    """A text a row, filled up with id 0, whose label is −100."""
    ids = torch.zeros(len(LENGTHS), max(LENGTHS), dtype=torch.int64)
    labels = torch.full_like(ids, IGNORED)
    for i, text in enumerate(texts()):
        ids[i, : len(text)] = labels[i, : len(text)] = torch.tensor(text)
    return make_rows(ids, labels)
