"""The exercises of chapter 4, in the order of the book."""

from marking.exercises.training.accumulated_loss import ACCUMULATED_LOSS
from marking.exercises.training.adamw_step import ADAMW_STEP
from marking.exercises.training.bpe_encode import BPE_ENCODE
from marking.exercises.training.bpe_train import BPE_TRAIN
from marking.exercises.training.document_mask import DOCUMENT_MASK
from marking.exercises.training.learning_rate import LEARNING_RATE
from marking.exercises.training.next_token_loss import NEXT_TOKEN_LOSS
from marking.exercises.training.pack_documents import PACK_DOCUMENTS
from marking.exercises.training.perplexity import PERPLEXITY
from marking.exercises.training.render_chat import RENDER_CHAT
from marking.exercises.training.sft_labels import SFT_LABELS
from marking.exercises.training.weighted_prompt_loss import WEIGHTED_PROMPT_LOSS

EXERCISES = (
    BPE_TRAIN,
    BPE_ENCODE,
    NEXT_TOKEN_LOSS,
    PERPLEXITY,
    PACK_DOCUMENTS,
    DOCUMENT_MASK,
    RENDER_CHAT,
    SFT_LABELS,
    ACCUMULATED_LOSS,
    ADAMW_STEP,
    LEARNING_RATE,
    WEIGHTED_PROMPT_LOSS,
)
