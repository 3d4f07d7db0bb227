r"""Training, from text to a model that answers: tokens, rows, labels, losses, steps, the loop."""

from .accumulate import accumulated_loss
from .adamw import AdamW, adamw_step, decay_groups
from .bpe import bpe_decode, bpe_encode, bpe_train
from .byte_bpe import ByteBPE, bpe_train_fast
from .chat import encode_chat, encode_chats, render_chat, right_pad
from .chat_tokenizer import ChatTokenizer
from .clip import clip_gradients
from .corpus import corpus, split
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
    "ByteBPE",
    "ChatTokenizer",
    "accumulated_loss",
    "adamw_step",
    "bpe_decode",
    "bpe_encode",
    "bpe_train",
    "bpe_train_fast",
    "clip_gradients",
    "corpus",
    "decay_groups",
    "document_mask",
    "document_positions",
    "encode_chat",
    "encode_chats",
    "learning_rate",
    "next_token_loss",
    "pack_best_fit",
    "pack_documents",
    "packed_labels",
    "per_token_loss",
    "perplexity",
    "render_chat",
    "right_pad",
    "sft_labels",
    "split",
    "warmup_stable_decay",
    "weighted_prompt_loss",
]
