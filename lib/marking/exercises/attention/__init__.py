"""The exercises of chapter 1, in the order of the book."""

from marking.exercises.attention.attention_cost import ATTENTION_COST
from marking.exercises.attention.causal_mask import CAUSAL_MASK
from marking.exercises.attention.flash_forward import FLASH_FORWARD
from marking.exercises.attention.grouped_query import GROUPED_QUERY
from marking.exercises.attention.multi_head import MULTI_HEAD
from marking.exercises.attention.online_softmax_update import ONLINE_SOFTMAX_UPDATE
from marking.exercises.attention.rotary import ROTARY
from marking.exercises.attention.scaled_dot_product import SCALED_DOT_PRODUCT
from marking.exercises.attention.sliding_window_mask import SLIDING_WINDOW_MASK
from marking.exercises.attention.softmax import SOFTMAX

EXERCISES = (
    SOFTMAX,
    SCALED_DOT_PRODUCT,
    CAUSAL_MASK,
    MULTI_HEAD,
    GROUPED_QUERY,
    ROTARY,
    SLIDING_WINDOW_MASK,
    ONLINE_SOFTMAX_UPDATE,
    FLASH_FORWARD,
    ATTENTION_COST,
)
