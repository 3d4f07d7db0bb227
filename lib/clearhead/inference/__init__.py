r"""Inference: prefill and decode with a cache, choosing tokens, what both cost, and serving."""

from .count import MatmulWeights, PhaseFlops, kv_cache_bytes, matmul_weights, phase_flops
from .paged import blocks_for, gather_row_by_row, paged_gather
from .roofline import LowerBound, time_lower_bound
from .sampler import draw, top_k_top_p
from .sampling import min_p, repetition_penalty, temperature, top_k, top_p
from .schedule import Plan, Row, after_preemption, schedule_step
from .speculative import speculative_accept

__all__ = [
    "LowerBound",
    "MatmulWeights",
    "PhaseFlops",
    "Plan",
    "Row",
    "after_preemption",
    "blocks_for",
    "draw",
    "gather_row_by_row",
    "kv_cache_bytes",
    "matmul_weights",
    "min_p",
    "paged_gather",
    "phase_flops",
    "repetition_penalty",
    "schedule_step",
    "speculative_accept",
    "temperature",
    "time_lower_bound",
    "top_k",
    "top_k_top_p",
    "top_p",
]
