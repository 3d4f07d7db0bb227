"""The exercises of chapter 3, in the order of the book."""

from marking.exercises.inference.chunked_prefill_mask import CHUNKED_PREFILL_MASK
from marking.exercises.inference.decode_step import DECODE_STEP
from marking.exercises.inference.kv_cache_bytes import KV_CACHE_BYTES
from marking.exercises.inference.kv_cache_update import KV_CACHE_UPDATE
from marking.exercises.inference.padded_positions import PADDED_POSITIONS
from marking.exercises.inference.paged_gather import PAGED_GATHER
from marking.exercises.inference.phase_flops import PHASE_FLOPS
from marking.exercises.inference.prefill import PREFILL
from marking.exercises.inference.schedule_step import SCHEDULE_STEP
from marking.exercises.inference.speculative_accept import SPECULATIVE_ACCEPT
from marking.exercises.inference.time_lower_bound import TIME_LOWER_BOUND
from marking.exercises.inference.top_k_top_p import TOP_K_TOP_P

EXERCISES = (
    KV_CACHE_UPDATE,
    PREFILL,
    DECODE_STEP,
    CHUNKED_PREFILL_MASK,
    PADDED_POSITIONS,
    KV_CACHE_BYTES,
    PHASE_FLOPS,
    TIME_LOWER_BOUND,
    TOP_K_TOP_P,
    SPECULATIVE_ACCEPT,
    PAGED_GATHER,
    SCHEDULE_STEP,
)
