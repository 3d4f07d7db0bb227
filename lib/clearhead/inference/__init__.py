r"""Inference: prefill and decode with a cache, choosing tokens, what both cost, and serving."""

from .count import MatmulWeights, PhaseFlops, kv_cache_bytes, matmul_weights, phase_flops
from .roofline import LowerBound, time_lower_bound
from .sampler import draw, top_k_top_p
from .sampling import min_p, repetition_penalty, temperature, top_k, top_p
from .speculative import speculative_accept

__all__ = [
    "LowerBound",
    "MatmulWeights",
    "PhaseFlops",
    "draw",
    "kv_cache_bytes",
    "matmul_weights",
    "min_p",
    "phase_flops",
    "repetition_penalty",
    "speculative_accept",
    "temperature",
    "time_lower_bound",
    "top_k",
    "top_k_top_p",
    "top_p",
]
