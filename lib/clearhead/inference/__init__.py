r"""Inference: prefill and decode with a cache, choosing tokens, what both cost, and serving."""

from .cache import Cache, KVCache, StaticCache, kv_cache_update
from .count import MatmulWeights, PhaseFlops, kv_cache_bytes, matmul_weights, phase_flops
from .generate import generate, generate_uncached, left_pad, likeliest, stream
from .layer import decode_layer, prefill_layer
from .paged import blocks_for, gather_row_by_row, paged_gather
from .phases import decode_step, forward_cached, prefill
from .positions import chunked_prefill_mask, padded_positions
from .roofline import LowerBound, time_lower_bound
from .sampler import draw, top_k_top_p
from .sampling import min_p, repetition_penalty, temperature, top_k, top_p
from .schedule import Plan, Row, after_preemption, schedule_step
from .speculative import speculative_accept

__all__ = [
    "Cache",
    "KVCache",
    "LowerBound",
    "MatmulWeights",
    "PhaseFlops",
    "Plan",
    "Row",
    "StaticCache",
    "after_preemption",
    "blocks_for",
    "chunked_prefill_mask",
    "decode_layer",
    "decode_step",
    "draw",
    "forward_cached",
    "gather_row_by_row",
    "generate",
    "generate_uncached",
    "kv_cache_bytes",
    "kv_cache_update",
    "left_pad",
    "likeliest",
    "matmul_weights",
    "min_p",
    "padded_positions",
    "paged_gather",
    "phase_flops",
    "prefill",
    "prefill_layer",
    "repetition_penalty",
    "schedule_step",
    "speculative_accept",
    "stream",
    "temperature",
    "time_lower_bound",
    "top_k",
    "top_k_top_p",
    "top_p",
]
