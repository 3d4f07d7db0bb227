r"""Attention, from softmax to FlashAttention: for each idea the plain version and a fast one.

One meaning of a mask everywhere: boolean, `(…, T, S)`, True = this query may attend to this key. A
query that may attend to no key gets zeros and sends back zero gradients.
"""

from .cost import AttentionCost, attention_cost
from .dot_product import attention, scaled_dot_product
from .flash import flash_attention, flash_backward, flash_forward
from .heads import grouped_query, join_heads, multi_head, split_heads
from .masks import causal_mask, sliding_window_mask
from .online_softmax import online_softmax_update
from .rotary import rotary, rotary_angles, rotate
from .softmax import softmax

__all__ = [
    "AttentionCost",
    "attention",
    "attention_cost",
    "causal_mask",
    "flash_attention",
    "flash_backward",
    "flash_forward",
    "grouped_query",
    "join_heads",
    "multi_head",
    "online_softmax_update",
    "rotary",
    "rotary_angles",
    "rotate",
    "scaled_dot_product",
    "sliding_window_mask",
    "softmax",
    "split_heads",
]


def __getattr__(name: str):
    """`flash_forward_triton` is imported when first asked for: Triton is an optional extra."""
    if name == "flash_forward_triton":
        from .flash_triton import flash_forward_triton

        return flash_forward_triton
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
