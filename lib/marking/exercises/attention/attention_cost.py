"""attention.attention_cost: operations and bytes of one attention call, counted by hand."""

from functools import partial

import torch

from clearhead import attention as library
from marking.exercise import Exercise, Mistake


def reference(B, H, K, T, S, D, bytes_per_value, causal):
    return library.attention_cost(B, H, K, T, S, D, bytes_per_value=bytes_per_value, causal=causal)


# --- situations ------------------------------------------------------------------------------


def _inputs(draw, T, S, *, group, causal=False, bytes_per_value=2):
    K = draw.size(1, 4)
    sizes = {"B": draw.size(1, 5), "H": group * K, "K": K, "T": T, "S": S, "D": draw.size(3, 9)}
    return {**sizes, "bytes_per_value": bytes_per_value, "causal": causal}


def prompt(draw):
    T = draw.size(3, 40)
    return _inputs(draw, T, T, group=1)


def grouped_heads(draw):
    T = draw.size(3, 40)
    return _inputs(draw, T, T, group=draw.size(2, 4))


def against_a_cache(draw):
    T = draw.size(2, 9)
    return _inputs(draw, T, T + draw.size(3, 40), group=draw.size(2, 4))


def one_token(draw):
    return _inputs(draw, 1, draw.size(3, 60), group=draw.size(2, 4), causal=True)


def four_bytes(draw):
    T, S = draw.sizes(2, 3, 30)
    return _inputs(draw, T, S, group=2, bytes_per_value=draw.choice(4, 8))


def causal_prompt(draw):
    T = draw.size(3, 40)
    return _inputs(draw, T, T, group=2, causal=True)


def causal_against_a_cache(draw):
    T = draw.size(2, 12)
    return _inputs(draw, T, T + draw.size(1, 30), group=2, causal=True)


def causal_more_queries(draw):
    """The first T − S queries see no key."""
    S = draw.size(2, 12)
    return _inputs(draw, S + draw.size(2, 20), S, group=1, causal=True)


# --- mistakes: one change each to `_count`, or a function of their own --------------------------


def _allowed(T, S):
    """Keys that each query may see, when causal."""
    return [max(0, i + 1 + S - T) for i in range(T)]


def _causal(pairs):
    """Another count of the pairs when causal."""
    return partial(_count, pairs=pairs)


def _crossings(times):
    return partial(_count, matrix=lambda B, H, K, T, S, pairs: times * B * H * T * S)


def _count(
    B,
    H,
    K,
    T,
    S,
    D,
    bytes_per_value,
    causal,
    *,
    per_pair=lambda D: 4 * D,
    pairs=lambda T, S: sum(_allowed(T, S)),
    flop_heads=lambda H, K: H,
    kv_heads=lambda H, K: K,
    kv_length=lambda T, S: S,
    query_sized=2,
    key_sized=2,
    matrix=lambda B, H, K, T, S, pairs: 4 * B * H * T * S,
    width=lambda bytes_per_value: bytes_per_value,
    whole=lambda n: n,
):
    """As it stands it is right."""
    n = pairs(T, S) if causal else T * S
    flops = B * flop_heads(H, K) * n * per_pair(D)
    values = B * D * (query_sized * H * T + key_sized * kv_heads(H, K) * kv_length(T, S))
    size = width(bytes_per_value)
    plain = size * (values + matrix(B, H, K, T, S, n))
    return whole(flops), whole(plain), whole(size * values)


multiply_add_as_one = partial(_count, per_pair=lambda D: 2 * D)
softmax_counted = partial(_count, per_pair=lambda D: 4 * D + 5)
kv_heads_in_flops = partial(_count, flop_heads=lambda H, K: K)
kv_heads_ignored = partial(_count, kv_heads=lambda H, K: H)
kv_heads_in_matrix = partial(_count, matrix=lambda B, H, K, T, S, pairs: 4 * B * K * T * S)

causal_ignored = _causal(lambda T, S: T * S)
causal_halves = _causal(lambda T, S: T * S // 2)
own_key_left_out = _causal(lambda T, S: sum(max(0, n - 1) for n in _allowed(T, S)))
aligned_top_left = _causal(lambda T, S: sum(min(i + 1, S) for i in range(T)))
negative_rows = _causal(lambda T, S: sum(i + 1 + S - T for i in range(T)))
causal_matrix_traffic = partial(_count, matrix=lambda B, H, K, T, S, pairs: 4 * B * H * pairs)

not_integer = _causal(lambda T, S: T * S / 2)
floats = (_causal(lambda T, S: float(sum(_allowed(T, S)))), partial(_count, whole=float))

one_crossing_forgotten = _crossings(3)
matrix_crosses_twice = _crossings(2)
matrix_crosses_once = _crossings(1)
output_forgotten = partial(_count, query_sized=1)
one_of_keys_and_values = partial(_count, key_sized=1)
keys_as_long_as_queries = partial(_count, kv_length=lambda T, S: T)

values_for_bytes = partial(_count, width=lambda bytes_per_value: 1)
always_two_bytes = partial(_count, width=lambda bytes_per_value: 2)
bits = partial(_count, width=lambda bytes_per_value: 8 * bytes_per_value)


def only_the_matrix(**sizes):
    flops, _, flash = _count(**sizes)
    return flops, _count(**sizes, query_sized=0, key_sized=0)[1], flash


def bytes_swapped(**sizes):
    flops, plain, flash = _count(**sizes)
    return flops, flash, plain


# --- other right answers ---------------------------------------------------------------------


def pair_by_pair(B, H, K, T, S, D, bytes_per_value, causal):
    pairs = sum(1 for i in range(T) for j in range(S) if not causal or j <= i + S - T)
    two_matmuls = 2 * (2 * D) * pairs
    tensors = {"q": B * H * T * D, "o": B * H * T * D, "k": B * K * S * D, "v": B * K * S * D}
    flash = sum(tensors.values()) * bytes_per_value
    steps = ("scores written", "scores read", "weights written", "weights read")
    return B * H * two_matmuls, flash + len(steps) * B * H * T * S * bytes_per_value, flash


def closed_form(B, H, K, T, S, D, bytes_per_value, causal):
    pairs = T * S
    if causal and T <= S:
        pairs = T * (2 * S - T + 1) // 2
    elif causal:
        pairs = S * (S + 1) // 2
    flash = bytes_per_value * 2 * B * D * (H * T + K * S)
    return [4 * B * H * D * pairs, flash + 4 * bytes_per_value * B * H * T * S, flash]


def counted_on_a_mask(B, H, K, T, S, D, bytes_per_value, causal):
    mask = torch.ones(T, S, dtype=torch.bool)
    if causal:
        mask = mask.tril(diagonal=S - T)
    flops = 4 * B * H * D * int(mask.sum())
    q = torch.empty(B, H, T, D, device="meta").numel()
    k = torch.empty(B, K, S, D, device="meta").numel()
    flash = (q + k + k + q) * bytes_per_value
    return flops, flash + 4 * mask.numel() * B * H * bytes_per_value, flash


BYTES = "attention/04_online_softmax#what-does-it-save-bytes-not-flops"
SHARED = "attention/03_masks_heads_positions#why-can-heads-share-keys-and-values"
CAUSAL = "attention/03_masks_heads_positions#what-is-causal-when-there-are-fewer-queries-than-keys"

ATTENTION_COST = Exercise(
    id="attention.attention_cost",
    title="What attention costs",
    returns="three integers: flops, bytes_plain, bytes_flash",
    points=3,
    difficulty=2,
    minutes=20,
    reference=reference,
    cases={
        "a prompt": prompt,
        "fewer key/value heads": grouped_heads,
        "new tokens against a cache": against_a_cache,
        "one new token": one_token,
        "another width of values": four_bytes,
        "a causal prompt": causal_prompt,
        "causal, against a cache": causal_against_a_cache,
        "causal, more queries than keys": causal_more_queries,
    },
    mistakes=(
        Mistake(
            "multiply-add-as-one",
            multiply_add_as_one,
            "flops is half of what it should be: a multiply-add is two operations, and there are "
            "two matrix products, scores and output; count both twos.",
            BYTES,
        ),
        Mistake(
            "softmax-counted",
            softmax_counted,
            "the softmax's own operations are counted; here flops is the two matrix products "
            "alone.",
            BYTES,
        ),
        Mistake(
            "kv-heads-in-flops",
            kv_heads_in_flops,
            "flops uses K heads; every one of the H query heads computes its own scores, shared "
            "keys or not.",
            SHARED,
        ),
        Mistake(
            "kv-heads-ignored",
            kv_heads_ignored,
            "the bytes of keys and values are counted for H heads; there are only K of them, "
            "which is what grouped heads are for.",
            SHARED,
        ),
        Mistake(
            "kv-heads-in-matrix",
            kv_heads_in_matrix,
            "the score matrix is counted for K heads; every one of the H query heads has its own.",
            SHARED,
        ),
        Mistake(
            "causal-halves",
            causal_halves,
            "causal is counted as T·S/2; count the allowed pairs: the diagonal belongs to them, "
            "and against a cache nearly all are allowed.",
            CAUSAL,
        ),
        Mistake(
            "causal-ignored",
            causal_ignored,
            "causal does not change flops; only allowed pairs take part in the products.",
            CAUSAL,
        ),
        Mistake(
            "not-integer",
            not_integer,
            "a count comes back as a float, as every division with / does, and floats lose large "
            "counts; count in whole numbers. T·S/2 is not the number of causal pairs in any case: "
            "the diagonal belongs to them.",
            CAUSAL,
            also=floats,
        ),
        Mistake(
            "own-key-left-out",
            own_key_left_out,
            "a query's own position is not counted among the keys it sees; the diagonal is "
            "allowed.",
            CAUSAL,
        ),
        Mistake(
            "aligned-top-left",
            aligned_top_left,
            "query i is taken to see i + 1 keys; the last query stands at the last key, so it sees "
            "i + 1 + S − T.",
            CAUSAL,
        ),
        Mistake(
            "negative-rows",
            negative_rows,
            "queries that stand before the first key are counted with a negative number of keys; "
            "they see none.",
            CAUSAL,
        ),
        Mistake(
            "causal-matrix-traffic",
            causal_matrix_traffic,
            "the matrix's bytes shrink with causal; the plain version fills in all T·S places, "
            "masked or not.",
            BYTES,
        ),
        Mistake(
            "one-crossing-forgotten",
            one_crossing_forgotten,
            "three crossings of the T × S matrix are counted; there are four: scores written, "
            "scores read, weights written, weights read.",
            BYTES,
        ),
        Mistake(
            "matrix-crosses-twice",
            matrix_crosses_twice,
            "the T × S matrix is counted as written once and read once; scores and weights are two "
            "such matrices, so there are four crossings.",
            BYTES,
        ),
        Mistake(
            "matrix-crosses-once",
            matrix_crosses_once,
            "the T × S matrix is counted once, as room in memory; traffic counts each writing and "
            "each reading of scores and of weights, four crossings.",
            BYTES,
        ),
        Mistake(
            "only-the-matrix",
            only_the_matrix,
            "bytes_plain holds the T × S matrix alone; q, k, v and the output cross memory as "
            "well.",
            BYTES,
        ),
        Mistake(
            "output-forgotten",
            output_forgotten,
            "the output is not counted; it is written once and is as large as q.",
            BYTES,
        ),
        Mistake(
            "one-of-keys-and-values",
            one_of_keys_and_values,
            "only one of keys and values is counted; both are read.",
            BYTES,
        ),
        Mistake(
            "keys-as-long-as-queries",
            keys_as_long_as_queries,
            "keys and values are counted with length T; they have length S.",
            BYTES,
        ),
        Mistake(
            "values-for-bytes",
            values_for_bytes,
            "values are counted in place of bytes; multiply by bytes_per_value.",
            BYTES,
        ),
        Mistake(
            "always-two-bytes",
            always_two_bytes,
            "two bytes a value are assumed; use bytes_per_value.",
            BYTES,
        ),
        Mistake("bits", bits, "bits are counted; bytes_per_value is in bytes already.", BYTES),
        Mistake(
            "bytes-swapped",
            bytes_swapped,
            "bytes_plain and bytes_flash have changed places; the order is flops, bytes_plain, "
            "bytes_flash.",
            BYTES,
        ),
    ),
    alternatives=(pair_by_pair, closed_form, counted_on_a_mask),
    hints=(
        "Take B = H = K = 1, T = S = 2, D = 3 and write out both matrix products on paper. How "
        "many multiplications are there, and how many additions?",
        "Count flops from pairs of a query and a key, then ask how many pairs there are. For "
        "causal, query i sees how many keys when T = S? And how many more when S is larger?",
        "For the bytes list the tensors, each with its shape: four of them cross memory in both "
        "versions. Which two have K in the shape? In the plain version two more tensors, of one "
        "shape, are each written and then read again.",
    ),
    read=BYTES,
)
