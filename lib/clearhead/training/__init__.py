r"""Training, from text to a model that answers: tokens, rows, labels, losses, steps, the loop."""

from .accumulate import accumulated_loss
from .adamw import AdamW, adamw_step, decay_groups
from .batches import Rows, batch_rows, make_rows
from .bpe import bpe_decode, bpe_encode, bpe_train
from .byte_bpe import ByteBPE, bpe_train_fast
from .chat import encode_chat, encode_chats, render_chat, right_pad
from .chat_tokenizer import ChatTokenizer
from .checkpoint import load_checkpoint, save_checkpoint
from .chunked import chunked_loss, hidden_states, vocabulary_matrix
from .clip import clip_gradients
from .corpus import corpus, split
from .distributed import local_device
from .evaluate import HeldOut, evaluate
from .flops import training_flops, utilisation
from .initial import initialise
from .labels import IGNORED, sft_labels
from .loop import train
from .loss import next_token_loss, per_token_loss, perplexity, weighted_prompt_loss
from .packing import (
    document_mask,
    document_positions,
    pack_best_fit,
    pack_documents,
    packed_labels,
)
from .recipe import Recipe, Step, progress
from .schedule import learning_rate, warmup_stable_decay

__all__ = [
    "IGNORED",
    "AdamW",
    "ByteBPE",
    "ChatTokenizer",
    "HeldOut",
    "Recipe",
    "Rows",
    "Step",
    "accumulated_loss",
    "adamw_step",
    "batch_rows",
    "bpe_decode",
    "bpe_encode",
    "bpe_train",
    "bpe_train_fast",
    "chunked_loss",
    "clip_gradients",
    "corpus",
    "decay_groups",
    "document_mask",
    "document_positions",
    "encode_chat",
    "encode_chats",
    "evaluate",
    "hidden_states",
    "initialise",
    "learning_rate",
    "load_checkpoint",
    "local_device",
    "make_rows",
    "next_token_loss",
    "pack_best_fit",
    "pack_documents",
    "packed_labels",
    "per_token_loss",
    "perplexity",
    "progress",
    "render_chat",
    "right_pad",
    "save_checkpoint",
    "sft_labels",
    "split",
    "train",
    "training_flops",
    "utilisation",
    "vocabulary_matrix",
    "warmup_stable_decay",
    "weighted_prompt_loss",
]
