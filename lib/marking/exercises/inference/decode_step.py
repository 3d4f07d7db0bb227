"""inference.decode_step: one new token attends to the cache and to itself."""

import math
from functools import partial

import torch

from clearhead.inference import decode_layer as reference
from marking.exercise import Exercise, Mistake, Tolerance
from marking.exercises.inference import _layer as parts
from marking.exercises.inference._given import rotary
from marking.exercises.inference._layer import HANDS, HOLDS, STANDS, alone, head_size, layer, shared

# --- situations ------------------------------------------------------------------------------


def _inputs(draw, H, K, *, S=None, B=None, theta=10000.0, **how):
    """B, S, H, K and D are all different, but where H = K."""
    B = parts.unlike(draw, 2, 3, H, K) if B is None else B
    D = head_size(draw)
    S = parts.unlike(draw, 3, 9, B, H, K, D) if S is None else S
    matrices = parts.weights(draw, H, K, D, **how)
    C = matrices["w_q"].shape[1]
    return {
        "x": draw.normal(B, 1, C),
        "cache_k": draw.normal(B, K, S, D, scale=1.5),
        "cache_v": draw.normal(B, K, S, D),
        **matrices,
        **{"n_heads": H, "n_kv_heads": K, "theta": theta},
    }


def three_a_head(draw):
    return _inputs(draw, 6, 2) if draw.level is None else _inputs(draw, 4, 2)


def two_a_head(draw):
    return _inputs(draw, 6, 3, B=2)


def one_kv_head(draw):
    return _inputs(draw, draw.size(3, 4, small=2), 1, B=2)


def one_each(draw):
    H = draw.size(2, 4)
    return _inputs(draw, H, H)


def one_cached(draw):
    return _inputs(draw, 4, 2, S=1, B=3)


def empty_cache(draw):
    """The first token of a request that had no prompt: it stands at position 0."""
    return _inputs(draw, 4, 2, S=0, B=3)


def long_cache(draw):
    return _inputs(draw, 4, 2, S=draw.size(20, 40, small=6), B=3)


def another_theta(draw):
    """One request alone."""
    return _inputs(draw, 4, 2, B=1, theta=draw.choice(50.0, 100.0, 500.0))


def width_of_all_heads(draw):
    return _inputs(draw, 4, 2, square=True)


def transposed_views(draw):
    """The cache is kept as (B, S, K, D), the weights as transposes."""
    inputs = _inputs(draw, 4, 2, B=3)
    for name in ("cache_k", "cache_v"):
        inputs[name] = inputs[name].transpose(1, 2).contiguous().transpose(1, 2)
    return inputs | parts.as_transposes(inputs, "w_q", "w_k", "w_v", "w_o")


# --- mistakes: one change each to `_decode`, or a function of their own ---------------------------


def _appended(cache, new):
    return torch.cat([cache, new], dim=2)


def _grown(k, v, new_k, new_v):
    return k, v


def _decode(
    x,
    cache_k,
    cache_v,
    w_q,
    w_k,
    w_v,
    w_o,
    n_heads,
    n_kv_heads,
    theta,
    *,
    position=lambda cache_k: cache_k.shape[2],
    grow=_appended,
    grow_values=None,
    held=lambda cache_k, cache_v: (cache_k, cache_v),
    old_keys=lambda k, theta: k,
    seen=_grown,
    allowed=lambda S: None,
    kept=parts.turned,
    back=lambda y, k, v, cache_k, cache_v, new_k, new_v: (y, k, v),
    **changes,
):
    """As it stands it is right; `changes` are for `layer`."""
    given = (x, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, theta)
    cache_k, cache_v = held(cache_k, cache_v)
    at = torch.full((len(x), 1), position(cache_k))

    def attended(k, raw, v):
        keys = old_keys(grow(cache_k, k), theta)
        values = (grow_values or grow)(cache_v, v)
        keys, values = seen(keys, values, k, v)
        return keys, values, allowed(keys.shape[2])

    y, k, raw, v, *_ = layer(*given, at, attended, **changes)
    new = kept(k, raw)
    keys, values = grow(cache_k, new), (grow_values or grow)(cache_v, v)
    return back(y, keys, values, cache_k, cache_v, new, v)


def _all_turned(k, theta):
    return rotary(k, torch.arange(k.shape[2])[None], theta)


def _old_turned(k, theta):
    """The cached keys are turned by their positions once more, the new one is not."""
    old, new = k[:, :, :-1], k[:, :, -1:]
    return torch.cat([_all_turned(old, theta), new], dim=2)


def cache_rotated_again(x, cache_k, cache_v, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, theta):
    """Keys are appended as they are, and all of them are turned and returned."""
    given = (x, cache_k, cache_v, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, theta)
    y, k, v = _decode(*given, old_keys=_old_turned)
    return y, _old_turned(k, theta), v


def cache_rotated_with_kept_raw(
    x, cache_k, cache_v, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, theta
):
    """The convention of a cache of raw keys: turned at every step, kept as they are."""
    given = (x, cache_k, cache_v, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, theta)
    return _decode(*given, old_keys=_old_turned, kept=parts.raw)


rotated_again_too = (alone(_decode, old_keys=_old_turned), cache_rotated_with_kept_raw)


def _position(position):
    return partial(_decode, position=position)


def _grow(grow):
    return partial(_decode, grow=grow)


def _seen(seen):
    return partial(_decode, seen=seen)


def _back(back):
    return alone(_decode, back=back)


position_zero = _position(lambda cache_k: 0)
position_late = _position(lambda cache_k: cache_k.shape[2] + 1)
position_early = _position(lambda cache_k: cache_k.shape[2] - 1)
position_from_heads = alone(_decode, position=lambda cache_k: cache_k.shape[1])
position_from_batch = (
    alone(_decode, position=lambda cache_k: cache_k.shape[0]),
    alone(_decode, position=lambda cache_k: cache_k.shape[-1]),
)


def query_one_ahead(x, cache_k, cache_v, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, theta):
    """The key stands at S, the query at S + 1: the cache has grown in between."""

    later = torch.full((len(x), 1), cache_k.shape[2] + 1)
    given = (x, cache_k, cache_v, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, theta)
    return _decode(*given, queries=lambda turned, raw: rotary(raw, later, theta))


unrotated_kept = partial(_decode, kept=parts.raw)
new_token_left_out = _seen(lambda k, v, new_k, new_v: (k[:, :, :-1], v[:, :, :-1]))
only_new_token = _seen(lambda k, v, new_k, new_v: (new_k, new_v))
only_first_key = partial(_decode, allowed=lambda S: torch.arange(S) == 0)
new_row_first = alone(_decode, grow=lambda cache, new: torch.cat([new, cache], dim=2))
last_overwritten = _grow(lambda cache, new: torch.cat([cache[:, :, :-1], new], dim=2))
oldest_dropped = alone(_decode, grow=lambda cache, new: torch.cat([cache[:, :, 1:], new], dim=2))
along_heads = alone(_decode, grow=lambda cache, new: torch.cat([cache, new], dim=1))
along_features = (
    alone(_decode, grow=lambda cache, new: torch.cat([cache, new], dim=-1)),
    alone(_decode, grow=lambda cache, new: torch.cat([cache, new], dim=0)),
    alone(_decode, grow=lambda cache, new: torch.cat([cache, new])),
)
values_not_grown = alone(_decode, grow_values=lambda cache, new: cache)
keys_not_grown = (alone(_decode, grow=lambda cache, new: cache, grow_values=_appended),)
key_cache_for_value = alone(_decode, held=lambda cache_k, cache_v: (cache_k, cache_k))
key_for_value = (_back(lambda y, k, v, cache_k, cache_v, new_k, new_v: (y, k, k)),)
swapped = _back(lambda y, k, v, cache_k, cache_v, new_k, new_v: (y, v, k))
swapped_caches = (alone(_decode, held=lambda cache_k, cache_v: (cache_v, cache_k)),)
cache_not_grown = _back(lambda y, k, v, cache_k, cache_v, new_k, new_v: (y, cache_k, cache_v))
only_new_rows = _back(lambda y, k, v, cache_k, cache_v, new_k, new_v: (y, new_k, new_v))
token_axis_dropped = _back(lambda y, k, v, cache_k, cache_v, new_k, new_v: (y[:, 0], k, v))
cache_not_returned = _back(lambda y, k, v, cache_k, cache_v, new_k, new_v: y)
cache_before_y = _back(lambda y, k, v, cache_k, cache_v, new_k, new_v: (k, v, y))
cache_in_a_pair = (_back(lambda y, k, v, cache_k, cache_v, new_k, new_v: (y, (k, v))),)


def copied_heads_kept(x, cache_k, cache_v, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, theta):
    given = (x, cache_k, cache_v, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, theta)
    y, k, v = _decode(*given)
    return y, parts.neighbours(k, n_heads), parts.neighbours(v, n_heads)


def whole_prompt_again(x, cache_k, cache_v, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, theta):
    """The new token's key and value are put in for every token of the cache."""
    given = (x, cache_k, cache_v, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, theta)
    return _decode(*given, grow=lambda cache, new: new.expand(-1, -1, cache.shape[2] + 1, -1))


def head_size_from_width(x, cache_k, cache_v, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, theta):
    D = x.shape[-1] // n_heads

    def cut(y, n):
        return y.reshape(*y.shape[:2], n, D).transpose(1, 2)

    given = (x, cache_k, cache_v, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, theta)
    return _decode(*given, cut=cut)


# --- other right answers ---------------------------------------------------------------------


def by_grouped_einsum(x, cache_k, cache_v, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, theta):
    B, K, S, D = cache_k.shape
    at = torch.full((B, 1), S)
    q = rotary((x @ w_q.T).view(B, n_heads, 1, D), at, theta).view(B, K, n_heads // K, D)
    k = torch.cat([cache_k, rotary((x @ w_k.T).view(B, K, 1, D), at, theta)], dim=2)
    v = torch.cat([cache_v, (x @ w_v.T).view(B, K, 1, D)], dim=2)
    weights = torch.softmax(torch.einsum("bkgd,bksd->bkgs", q, k) / math.sqrt(D), dim=-1)
    heads = torch.einsum("bkgs,bksd->bkgd", weights, v)
    return heads.reshape(B, 1, n_heads * D) @ w_o.T, k, v


def by_fused_attention(x, cache_k, cache_v, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, theta):
    """No mask: the new token may see everything that is there."""
    at = torch.tensor([[cache_k.size(2)]])
    q = torch.nn.functional.linear(x, w_q).unflatten(-1, (n_heads, -1)).transpose(1, 2)
    k = torch.nn.functional.linear(x, w_k).unflatten(-1, (n_kv_heads, -1)).transpose(1, 2)
    v = torch.nn.functional.linear(x, w_v).unflatten(-1, (n_kv_heads, -1)).transpose(1, 2)
    k = torch.cat((cache_k, rotary(k, at, theta)), dim=-2)
    v = torch.cat((cache_v, v), dim=-2)
    copies = n_heads // n_kv_heads
    heads = torch.nn.functional.scaled_dot_product_attention(
        rotary(q, at, theta), k.repeat_interleave(copies, 1), v.repeat_interleave(copies, 1)
    )
    return heads.transpose(1, 2).flatten(2) @ w_o.T, k, v


def into_one_more_slot(x, cache_k, cache_v, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, theta):
    """Room for S + 1 rows, then head by head."""
    B, K, S, D = cache_k.shape
    k, v = (cache.new_zeros(B, K, S + 1, D) for cache in (cache_k, cache_v))
    k[:, :, :S], v[:, :, :S] = cache_k, cache_v
    at = torch.full((B, 1), S)
    k[:, :, S:] = rotary((x @ w_k.T).reshape(B, K, 1, D), at, theta)
    v[:, :, S] = (x @ w_v.T).reshape(B, K, D)
    q = rotary((x @ w_q.T).reshape(B, n_heads, 1, D), at, theta)
    heads = []
    for h in range(n_heads):
        kv = h // (n_heads // K)
        scores = (q[:, h] * k[:, kv]).sum(-1, keepdim=True) / D**0.5  # B S+1 1
        heads.append((torch.softmax(scores, dim=1) * v[:, kv]).sum(1))
    return (torch.cat(heads, dim=-1) @ w_o.T)[:, None], k, v


DECODE_STEP = Exercise(
    id="inference.decode_step",
    title="Decode: one token against the cache",
    returns="three tensors: y (B, 1, C), the keys and the values (B, K, S + 1, D)",
    points=4,
    difficulty=2,
    minutes=25,
    reference=reference,
    outputs=("y", "k", "v"),
    cases={
        "2 key/value heads, 6 query heads": three_a_head,
        "3 key/value heads, 6 query heads": two_a_head,
        "one key/value head": one_kv_head,
        "as many key/value heads as query heads": one_each,
        "one token in the cache": one_cached,
        "an empty cache": empty_cache,
        "a long cache": long_cache,
        "another theta": another_theta,
        "as wide as all heads together": width_of_all_heads,
        "transposed views": transposed_views,
    },
    # Angles in float32 are off by 3e-6 at position 40, and are no mistake here.
    tolerance=Tolerance(fp32=1e-4, fp64=1e-5),
    mistakes=(
        Mistake(
            "position-zero",
            position_zero,
            "query and key of the new token are not turned, or by position 0, as if it were the "
            "first; S tokens stand before it.",
            STANDS,
        ),
        Mistake(
            "position-one-late",
            position_late,
            "the new token is put at position S + 1; positions count from 0.",
            STANDS,
        ),
        Mistake(
            "position-one-early",
            position_early,
            "the new token is put at position S − 1, where the last cached one stands.",
            STANDS,
        ),
        Mistake(
            "position-from-another-axis",
            position_from_heads,
            "the position is read from an axis of the cache that does not count tokens.",
            STANDS,
            also=position_from_batch,
        ),
        Mistake(
            "query-one-ahead",
            query_one_ahead,
            "query and key of the new token are turned by different positions, the query by one "
            "more, as happens when the length is read again after the cache has grown.",
            STANDS,
        ),
        Mistake(
            "cache-rotated-again",
            cache_rotated_again,
            "the cached keys are turned a second time; they were turned when they were written.",
            HOLDS,
            also=rotated_again_too,
        ),
        Mistake(
            "unrotated-kept",
            unrotated_kept,
            "the attention is right, but the new key goes into the cache as it was before the "
            "rotation, among keys that are turned.",
            HOLDS,
        ),
        Mistake(
            "new-token-left-out",
            new_token_left_out,
            "the new token attends to the cache as it was, without itself.",
            HANDS,
        ),
        Mistake(
            "only-the-new-token",
            only_new_token,
            "the new token attends to itself alone, and the cache is only passed on.",
            HANDS,
        ),
        Mistake(
            "only-the-first-key",
            only_first_key,
            "a causal mask aligned at the top left (is_causal=True) is laid over one query, which "
            "then sees the first slot alone.",
            "inference/01_prefill_and_decode#what-may-a-chunk-see",
        ),
        Mistake(
            "cache-not-grown",
            cache_not_grown,
            "the cache comes back as it was given, so the next step would not know of this token.",
            HOLDS,
        ),
        Mistake(
            "only-new-rows",
            only_new_rows,
            "only the new token's key and value come back, not the whole cache.",
            HOLDS,
        ),
        Mistake(
            "new-row-first",
            new_row_first,
            "the new row is put before the cached ones; y is the same, but the slots no longer "
            "stand in the order of the tokens.",
            HOLDS,
        ),
        Mistake(
            "last-slot-overwritten",
            last_overwritten,
            "the new row takes the place of the last cached one.",
            HOLDS,
        ),
        Mistake(
            "oldest-dropped",
            oldest_dropped,
            "the oldest row falls out as the new one comes in, as in a window; here all are kept.",
            HOLDS,
        ),
        Mistake(
            "joined-along-another-axis",
            along_heads,
            "the new row is joined to the cache along an axis that does not count tokens.",
            HOLDS,
            also=along_features,
        ),
        Mistake(
            "one-of-two-not-grown",
            values_not_grown,
            "only one of the two, keys or values, gets its new row, so S + 1 weights meet S rows.",
            HOLDS,
            also=keys_not_grown,
        ),
        Mistake(
            "all-rows-the-new-one",
            whole_prompt_again,
            "every slot gets the new token's key and value, and what was cached is lost.",
            HOLDS,
        ),
        Mistake(
            "key-for-value",
            key_cache_for_value,
            "keys end up where values belong: the key cache serves for both, or comes back twice.",
            HOLDS,
            also=key_for_value,
        ),
        Mistake(
            "keys-and-values-swapped",
            swapped,
            "keys and values have changed places in the cache.",
            HOLDS,
            also=swapped_caches,
        ),
        Mistake(
            "copied-heads-kept",
            copied_heads_kept,
            "the cache comes back with a copy for each query head, H / K times what has to be "
            "kept.",
            HOLDS,
        ),
        Mistake(
            "token-axis-dropped",
            token_axis_dropped,
            "y comes back as (B, C); the axis of the one token is missing.",
            HANDS,
        ),
        Mistake(
            "cache-not-returned",
            cache_not_returned,
            "only y comes back, and the new key and value are lost.",
            HOLDS,
        ),
        Mistake(
            "order-of-the-three",
            cache_before_y,
            "the three results come back in another order, or keys and values as a pair; y comes "
            "first, then the keys, then the values.",
            HANDS,
            also=cache_in_a_pair,
        ),
        *shared(
            _decode,
            "queries-not-rotated",
            "keys-not-rotated",
            "values-rotated",
            "interleaved",
            "backwards",
            "theta-ignored",
            "rotated-before-the-cut",
            "no-scale",
            "scale-by-d",
            "scale-by-width",
            "softmax-over-queries",
            "heads-tiled",
            "not-shared",
            "first-head-for-all",
            "kv-cut-into-query-heads",
            "values-from-keys",
            "weights-not-transposed",
            "no-output-projection",
        ),
        Mistake(
            "head-size-from-width",
            head_size_from_width,
            "the head size is taken as C // n_heads, but the width of x need not be H·D.",
            HANDS,
        ),
    ),
    alternatives=(by_grouped_einsum, by_fused_attention, into_one_more_slot),
    hints=(
        "The cache holds S tokens, at positions 0 to S − 1. Where does the new one stand, and "
        "which of its three vectors have to know?",
        "One query, S + 1 keys. Which of them must it not see? And in what state are the keys "
        "that come out of the cache: do they still need anything?",
        "Run your prefill on T tokens, then on T − 1 and this step on the last one. Compare y "
        "first, and if it agrees, the last row of the keys; where they part tells you what to "
        "look at.",
    ),
    read=HANDS,
)
