r"""Training, from text to a model that answers: tokens, rows, labels, losses, steps, the loop."""

from .accumulate import accumulated_loss
from .adamw import AdamW, adamw_step, decay_groups
from .bpe import bpe_decode, bpe_encode, bpe_train
from .chat import render_chat
from .clip import clip_gradients
from .labels import IGNORED, sft_labels
from .loss import next_token_loss, per_token_loss, perplexity, weighted_prompt_loss
from .packing import (
    document_mask,
    document_positions,
    pack_best_fit,
    pack_documents,
    packed_labels,
)
from .schedule import learning_rate, warmup_stable_decay

__all__ = [
    "IGNORED",
    "AdamW",
    "accumulated_loss",
    "adamw_step",
    "bpe_decode",
    "bpe_encode",
    "bpe_train",
    "clip_gradients",
    "decay_groups",
    "document_mask",
    "document_positions",
    "learning_rate",
    "next_token_loss",
    "pack_best_fit",
    "pack_documents",
    "packed_labels",
    "per_token_loss",
    "perplexity",
    "render_chat",
    "sft_labels",
    "warmup_stable_decay",
    "weighted_prompt_loss",
]
