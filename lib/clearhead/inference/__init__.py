r"""Inference: prefill and decode with a cache, choosing tokens, what both cost, and serving."""

from .cache import Cache, KVCache, StaticCache, kv_cache_update
from .count import MatmulWeights, PhaseFlops, kv_cache_bytes, matmul_weights, phase_flops
from .drafts import Draft, ModelDraft, NgramDraft, early_exit, rounded_copy
from .engine import Engine
from .fast import FastDecoder
from .generate import generate, generate_uncached, left_pad, likeliest, stream
from .intensity import (
    StepBytes,
    attention_intensity,
    cache_crossover_tokens,
    crossover_tokens,
    decode_crossover_tokens,
    mla_bytes_per_token,
    mla_intensity,
    step_bytes,
    weight_intensity,
)
from .known import (
    LLAMA_2_7B,
    LLAMA_3_1_8B,
    LLAMA_3_1_70B,
    LLAMA_3_1_405B,
    QWEN2_5_72B,
    SMOLLM2_135M,
)
from .layer import decode_layer, prefill_layer
from .live import LiveEngine, LiveStatic
from .measure import measure_roof
from .packed import packed_forward
from .paged import blocks_for, gather_row_by_row, paged_gather
from .paged_batch import PagedBatch
from .paged_cache import PagedCache, PagedSequence
from .phases import decode_step, forward_cached, prefill
from .planner import Planner
from .policies import ChunkedPrefill, ContinuousBatching, StaticBatching
from .pool import BlockPool, prefix_names
from .positions import chunked_prefill_mask, padded_positions
from .prediction import Prediction, Roof, predict, step_seconds
from .quantised import Int8Cache, dequantise_rows, quantise_rows
from .replay import Policy, Work, replay
from .request import Request
from .roofline import LowerBound, Operation, phase_operations, time_lower_bound
from .sampler import Sampler, draw, top_k_top_p
from .sampling import min_p, repetition_penalty, temperature, top_k, top_p
from .schedule import Plan, Row, after_preemption, schedule_step
from .served import Replay, Served, Span, StepTimes
from .speculate import Speculation, Statistics, generate_speculative
from .speculative import acceptance, expected_tokens, speculative_accept, speedup
from .steps import EngineStatistics, Event, Step
from .workload import Arrival, draw_trace

__all__ = [
    "LLAMA_2_7B",
    "LLAMA_3_1_8B",
    "LLAMA_3_1_70B",
    "LLAMA_3_1_405B",
    "QWEN2_5_72B",
    "SMOLLM2_135M",
    "Arrival",
    "BlockPool",
    "Cache",
    "ChunkedPrefill",
    "ContinuousBatching",
    "Draft",
    "Engine",
    "EngineStatistics",
    "Event",
    "FastDecoder",
    "Int8Cache",
    "KVCache",
    "LiveEngine",
    "LiveStatic",
    "LowerBound",
    "MatmulWeights",
    "ModelDraft",
    "NgramDraft",
    "Operation",
    "PagedBatch",
    "PagedCache",
    "PagedSequence",
    "PhaseFlops",
    "Plan",
    "Planner",
    "Policy",
    "Prediction",
    "Replay",
    "Request",
    "Roof",
    "Row",
    "Sampler",
    "Served",
    "Span",
    "Speculation",
    "StaticBatching",
    "StaticCache",
    "Statistics",
    "Step",
    "StepBytes",
    "StepTimes",
    "Work",
    "acceptance",
    "after_preemption",
    "attention_intensity",
    "blocks_for",
    "cache_crossover_tokens",
    "chunked_prefill_mask",
    "crossover_tokens",
    "decode_crossover_tokens",
    "decode_layer",
    "decode_step",
    "dequantise_rows",
    "draw",
    "draw_trace",
    "early_exit",
    "expected_tokens",
    "forward_cached",
    "gather_row_by_row",
    "generate",
    "generate_speculative",
    "generate_uncached",
    "kv_cache_bytes",
    "kv_cache_update",
    "left_pad",
    "likeliest",
    "matmul_weights",
    "measure_roof",
    "min_p",
    "mla_bytes_per_token",
    "mla_intensity",
    "packed_forward",
    "padded_positions",
    "paged_gather",
    "phase_flops",
    "phase_operations",
    "predict",
    "prefill",
    "prefill_layer",
    "prefix_names",
    "quantise_rows",
    "repetition_penalty",
    "replay",
    "rounded_copy",
    "schedule_step",
    "speculative_accept",
    "speedup",
    "step_bytes",
    "step_seconds",
    "stream",
    "temperature",
    "time_lower_bound",
    "top_k",
    "top_k_top_p",
    "top_p",
    "weight_intensity",
]
