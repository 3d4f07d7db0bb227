r"""Training, from text to a model that answers: tokens, rows, labels, losses, steps, the loop."""

from .bpe import bpe_decode, bpe_encode, bpe_train
from .chat import render_chat
from .labels import IGNORED, sft_labels
from .packing import (
    document_mask,
    document_positions,
    pack_best_fit,
    pack_documents,
    packed_labels,
)

__all__ = [
    "IGNORED",
    "bpe_decode",
    "bpe_encode",
    "bpe_train",
    "document_mask",
    "document_positions",
    "pack_best_fit",
    "pack_documents",
    "packed_labels",
    "render_chat",
    "sft_labels",
]
