"""Wrong answers to the inference exercises as learners write them; see learner_attempts.py."""

import math
from bisect import bisect_left

import torch
import torch.nn.functional as F
from learner_attempts import Attempt

ATTEMPTS: list[Attempt] = []


def attempt(exercise: str, *mistakes: str):
    def keep(function):
        ATTEMPTS.append(Attempt(f"inference.{exercise}", mistakes, function))
        return function

    return keep


def rotary(x, positions, theta):
    """As a given cell of the notebook has it."""
    D = x.shape[-1]
    pair = torch.arange(D // 2, dtype=torch.float64)
    angles = positions[:, None, :, None] * theta ** (-2 * pair / D)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


# --- kv_cache_update -----------------------------------------------------------------------------


@attempt("kv_cache_update", "first-length-for-all")
def slice_at_the_first_length(cache_k, cache_v, k, v, lengths):
    start = lengths[0].item()
    end = start + k.size(2)
    new_k, new_v = cache_k.clone(), cache_v.clone()
    new_k[:, :, start:end] = k
    new_v[:, :, start:end] = v
    return new_k, new_v, lengths + k.size(2)


@attempt("kv_cache_update", "longest-for-all")
def slice_at_the_maximum(cache_k, cache_v, k, v, lengths):
    T = k.shape[2]
    pos = int(lengths.max())
    ck = torch.cat([cache_k[:, :, :pos], k, cache_k[:, :, pos + T :]], dim=2)
    cv = torch.cat([cache_v[:, :, :pos], v, cache_v[:, :, pos + T :]], dim=2)
    return ck, cv, lengths + T


@attempt("kv_cache_update", "lengths-plus-one")
def counts_one_token(cache_k, cache_v, k, v, lengths):
    cache_k, cache_v = cache_k.clone(), cache_v.clone()
    for b, n in enumerate(lengths.tolist()):
        for t in range(k.shape[2]):
            cache_k[b, :, n + t] = k[b, :, t]
            cache_v[b, :, n + t] = v[b, :, t]
    return cache_k, cache_v, lengths + 1


@attempt("kv_cache_update", "concatenated")
def dynamic_cache_style(cache_k, cache_v, k, v, lengths):
    return torch.cat((cache_k, k), -2), torch.cat((cache_v, v), -2), lengths + k.shape[-2]


@attempt("kv_cache_update", "row-index-forgotten")
def slots_of_all_rows(cache_k, cache_v, k, v, lengths):
    B, T = k.shape[0], k.shape[2]
    slots = lengths[:, None] + torch.arange(T)
    out_k, out_v = cache_k.clone(), cache_v.clone()
    for b in range(B):
        out_k[:, :, slots[b]] = k[b]
        out_v[:, :, slots[b]] = v[b]
    return out_k, out_v, lengths + T


@attempt("kv_cache_update", "one-slot-early")
def index_of_the_last(cache_k, cache_v, k, v, lengths):
    T = k.shape[2]
    ck, cv = cache_k.clone(), cache_v.clone()
    for b in range(len(lengths)):
        i = lengths[b] - 1
        if i < 0:
            i = 0
        ck[b, :, i : i + T] = k[b]
        cv[b, :, i : i + T] = v[b]
    return ck, cv, lengths + T


@attempt("kv_cache_update", "one-token-only")
def writes_the_last_one(cache_k, cache_v, k, v, lengths):
    ck, cv = cache_k.clone(), cache_v.clone()
    rows = torch.arange(k.shape[0])
    ck[rows, :, lengths] = k[:, :, 0]
    cv[rows, :, lengths] = v[:, :, 0]
    return ck, cv, lengths + k.shape[2]


@attempt("kv_cache_update", "key-for-value")
def copy_and_paste(cache_k, cache_v, k, v, lengths):
    ck, cv = cache_k.clone(), cache_v.clone()
    for b, n in enumerate(lengths):
        ck[b, :, n : n + k.shape[2], :] = k[b]
        cv[b, :, n : n + k.shape[2], :] = k[b]
    return ck, cv, lengths + k.shape[2]


@attempt("kv_cache_update", "old-rows-lost")
def into_zeros(cache_k, cache_v, k, v, lengths):
    def put(cache, new):
        out = torch.zeros_like(cache)
        for row, start, values in zip(out, lengths.tolist(), new, strict=True):
            row[:, start : start + values.shape[1]] = values
        return out

    return put(cache_k, k), put(cache_v, v), lengths + k.shape[2]


@attempt("kv_cache_update", "lengths-not-advanced")
def keeps_the_lengths(cache_k, cache_v, k, v, lengths):
    T = k.shape[2]
    index = (lengths[:, None] + torch.arange(T))[:, None, :, None].expand_as(k)
    return cache_k.scatter(2, index, k), cache_v.scatter(2, index, v), lengths


@attempt("kv_cache_update", "rest-cleared")
def pads_again(cache_k, cache_v, k, v, lengths):
    M, T = cache_k.shape[2], k.shape[2]
    rows_k, rows_v = [], []
    for b, n in enumerate(lengths.tolist()):
        for rows, cache, new in ((rows_k, cache_k, k), (rows_v, cache_v, v)):
            used = torch.cat([cache[b, :, :n], new[b]], dim=1)
            rows.append(F.pad(used, (0, 0, 0, M - used.shape[1])))
    return torch.stack(rows_k), torch.stack(rows_v), lengths + T


@attempt("kv_cache_update")
def in_place(cache_k, cache_v, k, v, lengths):
    for b, n in enumerate(lengths.tolist()):
        cache_k[b, :, n : n + k.shape[2]] = k[b]
        cache_v[b, :, n : n + k.shape[2]] = v[b]
    return cache_k, cache_v, lengths + k.shape[2]


# --- prefill -------------------------------------------------------------------------------------


def heads_of(x, w, n):
    B, T, _ = x.shape
    return (x @ w.T).view(B, T, n, -1).transpose(1, 2)


def attention(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1) @ v


def merged(o):
    B, H, T, D = o.shape
    return o.transpose(1, 2).reshape(B, T, H * D)


@attempt("prefill", "unrotated-kept")
def caches_before_rotating(x, w_q, w_k, w_v, w_o, *, n_heads, n_kv_heads, theta=10000.0):
    B, T, _ = x.shape
    q, k, v = heads_of(x, w_q, n_heads), heads_of(x, w_k, n_kv_heads), heads_of(x, w_v, n_kv_heads)
    cached = k, v
    pos = torch.arange(T).expand(B, T)
    q, k = rotary(q, pos, theta), rotary(k, pos, theta)
    k = k.repeat_interleave(n_heads // n_kv_heads, dim=1)
    v = v.repeat_interleave(n_heads // n_kv_heads, dim=1)
    out = attention(q, k, v, torch.ones(T, T, dtype=torch.bool).tril())
    return merged(out) @ w_o.T, *cached


@attempt("prefill", "copied-heads-kept")
def overwrites_k_and_v(x, w_q, w_k, w_v, w_o, *, n_heads, n_kv_heads, theta=10000.0):
    B, T, _ = x.shape
    pos = torch.arange(T)[None].repeat(B, 1)
    q = rotary(heads_of(x, w_q, n_heads), pos, theta)
    k = rotary(heads_of(x, w_k, n_kv_heads), pos, theta)
    v = heads_of(x, w_v, n_kv_heads)
    groups = n_heads // n_kv_heads
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    y = merged(attention(q, k, v, torch.tril(torch.ones(T, T)).bool())) @ w_o.T
    return y, k, v


@attempt("prefill", "heads-tiled")
def repeats_with_repeat(x, w_q, w_k, w_v, w_o, *, n_heads, n_kv_heads, theta=10000.0):
    B, T, _ = x.shape
    pos = torch.arange(T).unsqueeze(0).expand(B, -1)
    q = rotary(heads_of(x, w_q, n_heads), pos, theta)
    k = rotary(heads_of(x, w_k, n_kv_heads), pos, theta)
    v = heads_of(x, w_v, n_kv_heads)
    n = n_heads // n_kv_heads
    mask = torch.arange(T)[:, None] >= torch.arange(T)
    return merged(attention(q, k.repeat(1, n, 1, 1), v.repeat(1, n, 1, 1), mask)) @ w_o.T, k, v


@attempt("prefill", "not-causal")
def forgets_the_mask(x, w_q, w_k, w_v, w_o, *, n_heads, n_kv_heads, theta=10000.0):
    B, T, _ = x.shape
    pos = torch.arange(T).expand(B, T)
    q = rotary(heads_of(x, w_q, n_heads), pos, theta)
    k = rotary(heads_of(x, w_k, n_kv_heads), pos, theta)
    v = heads_of(x, w_v, n_kv_heads)
    kk = torch.repeat_interleave(k, n_heads // n_kv_heads, dim=1)
    vv = torch.repeat_interleave(v, n_heads // n_kv_heads, dim=1)
    return F.linear(merged(attention(q, kk, vv)), w_o), k, v


@attempt("prefill", "rotated-along-heads")
def rotates_before_transposing(x, w_q, w_k, w_v, w_o, *, n_heads, n_kv_heads, theta=10000.0):
    B, T, _ = x.shape
    pos = torch.arange(T).expand(B, T)
    q = (x @ w_q.T).view(B, T, n_heads, -1)
    k = (x @ w_k.T).view(B, T, n_kv_heads, -1)
    v = (x @ w_v.T).view(B, T, n_kv_heads, -1)
    q, k = rotary(q, pos, theta), rotary(k, pos, theta)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    n = n_heads // n_kv_heads
    out = attention(
        q, k.repeat_interleave(n, 1), v.repeat_interleave(n, 1), torch.ones(T, T).tril().bool()
    )
    return merged(out) @ w_o.T, k, v


@attempt("prefill", "positions-from-one")
def counts_positions_from_one(x, w_q, w_k, w_v, w_o, *, n_heads, n_kv_heads, theta=10000.0):
    B, T, _ = x.shape
    positions = torch.arange(1, T + 1).expand(B, T)
    q = rotary(heads_of(x, w_q, n_heads), positions, theta)
    k = rotary(heads_of(x, w_k, n_kv_heads), positions, theta)
    v = heads_of(x, w_v, n_kv_heads)
    g = n_heads // n_kv_heads
    q5 = q.unflatten(1, (n_kv_heads, g))
    s = torch.einsum("bkgtd,bksd->bkgts", q5, k) * q.shape[-1] ** -0.5
    s = s + torch.full((T, T), float("-inf"), dtype=x.dtype).triu(1)
    o = torch.einsum("bkgts,bksd->bkgtd", s.softmax(-1), v).flatten(1, 2)
    return merged(o) @ w_o.T, k, v


@attempt("prefill", "theta-ignored")
def hard_codes_ten_thousand(x, w_q, w_k, w_v, w_o, *, n_heads, n_kv_heads, theta=10000.0):
    T, D = x.shape[1], w_q.shape[0] // n_heads
    freqs = 1.0 / (10000 ** (torch.arange(0, D, 2, dtype=torch.float64) / D))
    angle = torch.outer(torch.arange(T, dtype=torch.float64), freqs)
    cos = torch.cat([angle, angle], -1).cos().to(x.dtype)
    sin = torch.cat([angle, angle], -1).sin().to(x.dtype)

    def turn(z):
        half = torch.cat([-z[..., D // 2 :], z[..., : D // 2]], -1)
        return z * cos + half * sin

    q, k = turn(heads_of(x, w_q, n_heads)), turn(heads_of(x, w_k, n_kv_heads))
    v = heads_of(x, w_v, n_kv_heads)
    n = n_heads // n_kv_heads
    mask = torch.ones(T, T, dtype=torch.bool).tril()
    o = attention(q, k.repeat_interleave(n, 1), v.repeat_interleave(n, 1), mask)
    return merged(o) @ w_o.T, k, v


@attempt("prefill", "joined-without-transpose")
def reshapes_the_output(x, w_q, w_k, w_v, w_o, *, n_heads, n_kv_heads, theta=10000.0):
    B, T, _ = x.shape
    pos = torch.arange(T).expand(B, T)
    q = rotary(heads_of(x, w_q, n_heads), pos, theta)
    k = rotary(heads_of(x, w_k, n_kv_heads), pos, theta)
    v = heads_of(x, w_v, n_kv_heads)
    n = n_heads // n_kv_heads
    causal = torch.ones(T, T, dtype=torch.bool).tril()
    o = attention(q, k.repeat_interleave(n, 1), v.repeat_interleave(n, 1), causal)
    return o.reshape(B, T, -1) @ w_o.T, k, v


@attempt("prefill", "last-query-only")
def only_what_the_head_needs(x, w_q, w_k, w_v, w_o, *, n_heads, n_kv_heads, theta=10000.0):
    B, T, _ = x.shape
    pos = torch.arange(T).expand(B, T)
    q = rotary(heads_of(x, w_q, n_heads), pos, theta)[:, :, -1:]
    k = rotary(heads_of(x, w_k, n_kv_heads), pos, theta)
    v = heads_of(x, w_v, n_kv_heads)
    n = n_heads // n_kv_heads
    o = attention(q, k.repeat_interleave(n, 1), v.repeat_interleave(n, 1))
    return merged(o) @ w_o.T, k, v


@attempt("prefill", "no-scale", "not-rotated")
def no_scale_and_no_positions(x, w_q, w_k, w_v, w_o, *, n_heads, n_kv_heads, theta=10000.0):
    T = x.shape[1]
    q, k, v = heads_of(x, w_q, n_heads), heads_of(x, w_k, n_kv_heads), heads_of(x, w_v, n_kv_heads)
    n = n_heads // n_kv_heads
    scores = q @ k.repeat_interleave(n, 1).mT
    scores = scores.masked_fill(torch.ones(T, T).triu(1).bool(), -torch.inf)
    return merged(scores.softmax(-1) @ v.repeat_interleave(n, 1)) @ w_o.T, k, v


# --- decode_step ---------------------------------------------------------------------------------


def decoded(q, k, v, w_o):
    n = q.shape[1] // k.shape[1]
    return merged(attention(q, k.repeat_interleave(n, 1), v.repeat_interleave(n, 1))) @ w_o.T


@attempt("decode_step", "position-zero")
def arange_of_the_new_tokens(
    x, cache_k, cache_v, w_q, w_k, w_v, w_o, *, n_heads, n_kv_heads, theta=10000.0
):
    B, T, _ = x.shape
    pos = torch.arange(T).expand(B, T)
    q = rotary(heads_of(x, w_q, n_heads), pos, theta)
    k = torch.cat([cache_k, rotary(heads_of(x, w_k, n_kv_heads), pos, theta)], 2)
    v = torch.cat([cache_v, heads_of(x, w_v, n_kv_heads)], 2)
    return decoded(q, k, v, w_o), k, v


@attempt("decode_step", "position-one-early")
def last_position_of_the_cache(
    x, cache_k, cache_v, w_q, w_k, w_v, w_o, *, n_heads, n_kv_heads, theta=10000.0
):
    pos = torch.full((x.shape[0], 1), cache_k.shape[2] - 1)
    q = rotary(heads_of(x, w_q, n_heads), pos, theta)
    new_k = rotary(heads_of(x, w_k, n_kv_heads), pos, theta)
    new_v = heads_of(x, w_v, n_kv_heads)
    k, v = torch.cat((cache_k, new_k), dim=2), torch.cat((cache_v, new_v), dim=2)
    return decoded(q, k, v, w_o), k, v


@attempt("decode_step", "cache-rotated-again")
def rotates_the_whole_cache(
    x, cache_k, cache_v, w_q, w_k, w_v, w_o, *, n_heads, n_kv_heads, theta=10000.0
):
    B, S = x.shape[0], cache_k.shape[2]
    k = torch.cat([cache_k, heads_of(x, w_k, n_kv_heads)], dim=2)
    v = torch.cat([cache_v, heads_of(x, w_v, n_kv_heads)], dim=2)
    q = rotary(heads_of(x, w_q, n_heads), torch.full((B, 1), S), theta)
    k = rotary(k, torch.arange(S + 1).expand(B, -1), theta)
    return decoded(q, k, v, w_o), k, v


@attempt("decode_step", "new-token-left-out")
def attends_to_the_old_cache(
    x, cache_k, cache_v, w_q, w_k, w_v, w_o, *, n_heads, n_kv_heads, theta=10000.0
):
    pos = torch.full((x.shape[0], 1), cache_k.shape[2])
    q = rotary(heads_of(x, w_q, n_heads), pos, theta)
    k = rotary(heads_of(x, w_k, n_kv_heads), pos, theta)
    v = heads_of(x, w_v, n_kv_heads)
    y = decoded(q, cache_k, cache_v, w_o)
    return y, torch.cat([cache_k, k], 2), torch.cat([cache_v, v], 2)


@attempt("decode_step", "only-new-rows")
def leaves_the_joining_to_others(
    x, cache_k, cache_v, w_q, w_k, w_v, w_o, *, n_heads, n_kv_heads, theta=10000.0
):
    pos = torch.full((x.shape[0], 1), cache_k.shape[2])
    q = rotary(heads_of(x, w_q, n_heads), pos, theta)
    k = rotary(heads_of(x, w_k, n_kv_heads), pos, theta)
    v = heads_of(x, w_v, n_kv_heads)
    y = decoded(q, torch.cat([cache_k, k], 2), torch.cat([cache_v, v], 2), w_o)
    return y, k, v


@attempt("decode_step", "only-the-first-key")
def keeps_the_triangle(
    x, cache_k, cache_v, w_q, w_k, w_v, w_o, *, n_heads, n_kv_heads, theta=10000.0
):
    S = cache_k.shape[2]
    pos = torch.full((x.shape[0], 1), S)
    q = rotary(heads_of(x, w_q, n_heads), pos, theta)
    k = torch.cat([cache_k, rotary(heads_of(x, w_k, n_kv_heads), pos, theta)], 2)
    v = torch.cat([cache_v, heads_of(x, w_v, n_kv_heads)], 2)
    mask = torch.tril(torch.ones(q.shape[2], k.shape[2], dtype=torch.bool))
    n = n_heads // n_kv_heads
    o = attention(q, k.repeat_interleave(n, 1), v.repeat_interleave(n, 1), mask)
    return merged(o) @ w_o.T, k, v


@attempt("decode_step", "position-from-another-axis")
def length_is_size_one(
    x, cache_k, cache_v, w_q, w_k, w_v, w_o, *, n_heads, n_kv_heads, theta=10000.0
):
    start = cache_k.size(1)
    pos = torch.arange(start, start + 1).expand(x.size(0), 1)
    q = rotary(heads_of(x, w_q, n_heads), pos, theta)
    k = torch.cat([cache_k, rotary(heads_of(x, w_k, n_kv_heads), pos, theta)], 2)
    v = torch.cat([cache_v, heads_of(x, w_v, n_kv_heads)], 2)
    return decoded(q, k, v, w_o), k, v


@attempt("decode_step", "cache-not-grown")
def returns_what_was_given(
    x, cache_k, cache_v, w_q, w_k, w_v, w_o, *, n_heads, n_kv_heads, theta=10000.0
):
    position = torch.full((len(x), 1), cache_k.shape[-2])
    q = rotary(heads_of(x, w_q, n_heads), position, theta)
    k_all = torch.cat([cache_k, rotary(heads_of(x, w_k, n_kv_heads), position, theta)], -2)
    v_all = torch.cat([cache_v, heads_of(x, w_v, n_kv_heads)], -2)
    return decoded(q, k_all, v_all, w_o), cache_k, cache_v


@attempt("decode_step", "unrotated-kept")
def cat_first_rotate_later(
    x, cache_k, cache_v, w_q, w_k, w_v, w_o, *, n_heads, n_kv_heads, theta=10000.0
):
    pos = torch.full((x.shape[0], 1), cache_k.shape[2])
    k_new, v_new = heads_of(x, w_k, n_kv_heads), heads_of(x, w_v, n_kv_heads)
    kept_k, kept_v = torch.cat([cache_k, k_new], 2), torch.cat([cache_v, v_new], 2)
    k = torch.cat([cache_k, rotary(k_new, pos, theta)], 2)
    q = rotary(heads_of(x, w_q, n_heads), pos, theta)
    return decoded(q, k, kept_v, w_o), kept_k, kept_v


@attempt("decode_step", "no-output-projection")
def stops_at_the_heads(
    x, cache_k, cache_v, w_q, w_k, w_v, w_o, *, n_heads, n_kv_heads, theta=10000.0
):
    pos = torch.full((x.shape[0], 1), cache_k.shape[2])
    q = rotary(heads_of(x, w_q, n_heads), pos, theta)
    k = torch.cat([cache_k, rotary(heads_of(x, w_k, n_kv_heads), pos, theta)], 2)
    v = torch.cat([cache_v, heads_of(x, w_v, n_kv_heads)], 2)
    n = n_heads // n_kv_heads
    return merged(attention(q, k.repeat_interleave(n, 1), v.repeat_interleave(n, 1))), k, v


# --- chunked_prefill_mask ------------------------------------------------------------------------


@attempt("chunked_prefill_mask", "past-ignored")
def square_triangle_made_wider(T, past, pads, *, window=None):
    S = past + T
    mask = torch.tril(torch.ones(T, S, dtype=torch.bool))
    mask = mask[None] & (torch.arange(S)[None, None, :] >= pads[:, None, None])
    if window is not None:
        i, j = torch.arange(T)[:, None], torch.arange(S)
        mask = mask & (i - j < window)
    return mask


@attempt("chunked_prefill_mask", "pads-ignored")
def one_mask_expanded(T, past, pads, *, window=None):
    q = past + torch.arange(T)
    k = torch.arange(past + T)
    m = k[None, :] <= q[:, None]
    if window:
        m &= k[None, :] > q[:, None] - window
    return m.expand(len(pads), -1, -1)


@attempt("chunked_prefill_mask", "window-one-more")
def window_with_less_or_equal(T, past, pads, *, window=None):
    rows = []
    for pad in pads.tolist():
        rows.append(torch.zeros(T, past + T, dtype=torch.bool))
        for i in range(T):
            for j in range(pad, past + i + 1):
                if window is None or past + i - j <= window:
                    rows[-1][i, j] = True
    return torch.stack(rows)


@attempt("chunked_prefill_mask", "first-real-hidden")
def greater_than_pads(T, past, pads, *, window=None):
    slot = torch.arange(past + T)
    query = slot[past:, None]
    allowed = slot <= query
    if window is not None:
        allowed = allowed & (query - slot < window)
    return allowed.unsqueeze(0) & (slot > pads.unsqueeze(1)).unsqueeze(1)


@attempt("chunked_prefill_mask", "hides-itself")
def strictly_before(T, past, pads, *, window=None):
    i = torch.arange(past, past + T).view(1, T, 1)
    j = torch.arange(past + T).view(1, 1, -1)
    out = (j < i) & (j >= pads.view(-1, 1, 1))
    return out if window is None else out & (j > i - window)


@attempt("chunked_prefill_mask", "window-without-past")
def distance_inside_the_chunk(T, past, pads, *, window=None):
    S = past + T
    out = torch.ones(len(pads), T, S, dtype=torch.bool).tril(past)
    for b, p in enumerate(pads):
        out[b, :, :p] = False
    if window is not None:
        for i in range(T):
            out[:, i, : max(0, i - window + 1)] = False
    return out


@attempt("chunked_prefill_mask", "padding-sees-padding")
def real_queries_hide_the_padding(T, past, pads, *, window=None):
    i = (past + torch.arange(T))[None, :, None]
    j = torch.arange(past + T)[None, None]
    p = pads[:, None, None]
    mask = (j <= i) & ((j >= p) | (i < p))
    if window is not None:
        mask = mask & (j > i - window)
    return mask


@attempt("chunked_prefill_mask", "additive")
def minus_infinity(T, past, pads, *, window=None):
    i, j = torch.arange(past, past + T)[:, None], torch.arange(past + T)
    ok = (j <= i)[None] & (j >= pads[:, None, None])
    if window is not None:
        ok = ok & (j > i - window)
    return torch.zeros(ok.shape).masked_fill(~ok, float("-inf"))


@attempt("chunked_prefill_mask", "pads-counted-in-the-chunk")
def hides_the_start_of_the_chunk(T, past, pads, *, window=None):
    i, j = torch.arange(past, past + T)[:, None], torch.arange(past + T)
    ok = ((j <= i) if window is None else (j <= i) & (i - j < window)).repeat(len(pads), 1, 1)
    for b, n in enumerate(pads.tolist()):
        ok[b, :, past : past + n] = False
    return ok


@attempt("chunked_prefill_mask", "axis-for-heads")
def ready_for_broadcasting(T, past, pads, *, window=None):
    i, j = torch.arange(past, past + T)[:, None], torch.arange(past + T)
    ok = (j <= i) & (j >= pads.reshape(-1, 1, 1, 1))
    return ok & (i - j < window) if window else ok


@attempt("chunked_prefill_mask", "window-one-less", "pads-on-the-right")
def two_ends_mixed_up(T, past, pads, *, window=None):
    S = past + T
    i, j = torch.arange(past, S)[:, None], torch.arange(S)
    ok = (j <= i) & (j < S - pads[:, None, None])
    return ok if window is None else ok & (j > i - window + 1)


# --- padded_positions ----------------------------------------------------------------------------


@attempt("padded_positions", "no-minus-one")
def plain_cumsum(real, past):
    pos = real.long().cumsum(dim=1) + past[:, None]
    return torch.where(real, pos, 0)


@attempt("padded_positions", "padding-one")
def as_transformers_does(real, past):
    position_ids = real.long().cumsum(-1) - 1 + past.unsqueeze(-1)
    position_ids.masked_fill_(~real, 1)
    return position_ids


@attempt("padded_positions", "padding-counted", "past-ignored")
def arange_for_every_row(real, past):
    B, T = real.shape
    return torch.arange(T).repeat(B, 1) * real


@attempt("padded_positions", "past-ignored")
def forgets_past(real, past):
    out = torch.zeros(real.shape, dtype=torch.int64)
    for b in range(real.shape[0]):
        n = 0
        for t in range(real.shape[1]):
            if real[b, t]:
                out[b, t] = n
                n += 1
    return out


@attempt("padded_positions", "padding-goes-on")
def cumsum_without_a_mask(real, past):
    return (real.long().cumsum(-1) - 1).clamp(min=0) + past[:, None]


@attempt("padded_positions", "left-assumed")
def subtracts_the_padding(real, past):
    T = real.shape[1]
    pads = (~real).sum(dim=1, keepdim=True)
    pos = (torch.arange(T) - pads).clamp(min=0) + past.view(-1, 1)
    return pos * real


@attempt("padded_positions", "from-the-first-token")
def counts_from_the_first(real, past):
    first = real.int().argmax(dim=1)
    pos = torch.arange(real.shape[1])[None] - first[:, None] + past[:, None]
    return torch.where(real, pos, torch.zeros_like(pos))


@attempt("padded_positions", "down-the-batch")
def cumsum_of_dim_zero(real, past):
    pos = torch.cumsum(real.to(torch.int64), dim=0) - 1 + past[:, None]
    return pos * real.to(torch.int64)


@attempt("padded_positions", "past-on-padding")
def adds_past_at_the_end(real, past):
    inside = (real.long().cumsum(1) - 1) * real.long()
    return inside + past[:, None]


@attempt("padded_positions", "another-dtype")
def comes_back_as_float(real, past):
    r = real.float()
    return (torch.cumsum(r, 1) - r + past[:, None]) * r


@attempt("padded_positions", "past-less-one")
def continues_at_the_last(real, past):
    start = (past - 1).clamp(min=0)
    pos = real.long().cumsum(-1) - 1 + start[:, None]
    return pos.masked_fill(~real, 0)


# --- kv_cache_bytes ------------------------------------------------------------------------------


@attempt("kv_cache_bytes", "keys-only")
def one_tensor_a_layer(layers, kv_heads, head_size, lengths, *, bytes_per_value=2, block=1):
    blocks = sum(math.ceil(n / block) for n in lengths)
    return layers * kv_heads * head_size * blocks * block * bytes_per_value


@attempt("kv_cache_bytes", "longest-for-all")
def padded_batch(layers, kv_heads, head_size, lengths, *, bytes_per_value=2, block=1):
    batch, seq = len(lengths), max(lengths)
    if seq % block:
        seq += block - seq % block
    return 2 * batch * seq * layers * kv_heads * head_size * bytes_per_value


@attempt("kv_cache_bytes", "total-rounded")
def rounds_the_sum(layers, kv_heads, head_size, lengths, *, bytes_per_value=2, block=1):
    total = sum(lengths)
    n_blocks = (total + block - 1) // block
    return n_blocks * block * 2 * layers * kv_heads * head_size * bytes_per_value


@attempt("kv_cache_bytes", "rounded-down")
def floor_division(layers, kv_heads, head_size, lengths, *, bytes_per_value=2, block=1):
    per_token = 2 * layers * kv_heads * head_size * bytes_per_value
    size = 0
    for length in lengths:
        size += (length // block) * block * per_token
    return size


@attempt("kv_cache_bytes", "blocks-ignored")
def never_heard_of_blocks(layers, kv_heads, head_size, lengths, *, bytes_per_value=2, block=1):
    kv = 0
    for _ in range(layers):
        for n in lengths:
            kv += n * kv_heads * head_size + n * kv_heads * head_size
    return kv * bytes_per_value


@attempt("kv_cache_bytes", "always-one-block-more")
def one_for_the_rest(layers, kv_heads, head_size, lengths, *, bytes_per_value=2, block=1):
    tokens = sum([(n // block + 1) * block for n in lengths])
    return tokens * kv_heads * head_size * layers * 2 * bytes_per_value


@attempt("kv_cache_bytes", "bits")
def eight_bits(layers, kv_heads, head_size, lengths, *, bytes_per_value=2, block=1):
    slots = sum(-(-n // block) for n in lengths) * block
    bits = slots * layers * kv_heads * head_size * 2 * (bytes_per_value * 8)
    return bits


@attempt("kv_cache_bytes", "blocks-for-tokens")
def forgets_the_block_size(layers, kv_heads, head_size, lengths, *, bytes_per_value=2, block=1):
    n_blocks = 0
    for n in lengths:
        n_blocks += n // block + (n % block > 0)
    return n_blocks * layers * 2 * kv_heads * head_size * bytes_per_value


@attempt("kv_cache_bytes", "in-gigabytes")
def gigabytes(layers, kv_heads, head_size, lengths, *, bytes_per_value=2, block=1):
    tokens = sum(math.ceil(n / block) * block for n in lengths)
    return 2 * layers * kv_heads * head_size * tokens * bytes_per_value / 1024**3


@attempt("kv_cache_bytes", "width-assumed")
def sixteen_bits(layers, kv_heads, head_size, lengths, *, bytes_per_value=2, block=1):
    tokens = sum(math.ceil(n / block) * block for n in lengths)
    return 4 * layers * kv_heads * head_size * tokens


@attempt("kv_cache_bytes", "keys-only", "values-for-bytes")
def numbers_of_keys(layers, kv_heads, head_size, lengths, *, bytes_per_value=2, block=1):
    return layers * kv_heads * head_size * sum(math.ceil(n / block) * block for n in lengths)


@attempt("kv_cache_bytes", "one-layer-only", "blocks-ignored")
def a_single_layer(layers, kv_heads, head_size, lengths, *, bytes_per_value=2, block=1):
    return sum(2 * kv_heads * head_size * n * bytes_per_value for n in lengths)


@attempt("kv_cache_bytes", "not-integer")
def division_leaves_a_float(layers, kv_heads, head_size, lengths, *, bytes_per_value=2, block=1):
    size = sum(math.ceil(n / block) * block for n in lengths)
    return size * layers * kv_heads * head_size * 2 * bytes_per_value * 8 / 8


# --- phase_flops ---------------------------------------------------------------------------------


@attempt("phase_flops", "full-square")
def quadratic_prefill(block_weights, head_weights, layers, heads, head_size, prompt, generated):
    attn = 4 * layers * heads * head_size * prompt**2
    prefill = 2 * block_weights * prompt + 2 * head_weights + attn
    decode = 0
    for step in range(1, generated):
        context = prompt + step
        decode += 2 * (block_weights + head_weights) + 4 * layers * heads * head_size * context
    return prefill, decode


@attempt("phase_flops", "head-at-every-position")
def all_weights_times_tokens(
    block_weights, head_weights, layers, heads, head_size, prompt, generated
):
    n_params = block_weights + head_weights
    d = heads * head_size
    prefill = 2 * n_params * prompt + 2 * layers * d * prompt * (prompt + 1)
    decode = sum(2 * n_params + 4 * layers * d * (prompt + i) for i in range(1, generated))
    return prefill, decode


@attempt("phase_flops", "one-step-too-many")
def a_step_for_each_token(block_weights, head_weights, layers, heads, head_size, prompt, generated):
    a = 4 * layers * heads * head_size
    prefill = 2 * block_weights * prompt + 2 * head_weights + a * prompt * (prompt + 1) // 2
    decode = 0
    for i in range(1, generated + 1):
        decode += 2 * (block_weights + head_weights) + a * (prompt + i)
    return prefill, decode


@attempt("phase_flops", "keys-stay-at-prompt")
def constant_context(block_weights, head_weights, layers, heads, head_size, prompt, generated):
    per_pair = 4 * layers * heads * head_size
    pairs = prompt * (prompt + 1) // 2
    step = 2 * (block_weights + head_weights) + per_pair * prompt
    return 2 * block_weights * prompt + 2 * head_weights + per_pair * pairs, step * (generated - 1)


@attempt("phase_flops", "no-attention")
def two_n_rule(block_weights, head_weights, layers, heads, head_size, prompt, generated):
    prefill = 2 * block_weights * prompt + 2 * head_weights
    decode = 2 * (block_weights + head_weights) * (generated - 1)
    return prefill, decode


@attempt("phase_flops", "own-key-left-out")
def pairs_below_the_diagonal(
    block_weights, head_weights, layers, heads, head_size, prompt, generated
):
    C = heads * head_size
    prefill = 2 * block_weights * prompt + 2 * head_weights
    prefill += sum(4 * layers * C * t for t in range(prompt))
    decode = 0
    for i in range(1, generated):
        decode += 2 * block_weights + 2 * head_weights + 4 * layers * C * (prompt + i)
    return prefill, decode


@attempt("phase_flops", "one-key-too-few")
def starts_the_loop_at_zero(
    block_weights, head_weights, layers, heads, head_size, prompt, generated
):
    c = layers * heads * head_size
    prefill = 2 * (block_weights * prompt + head_weights) + 2 * c * prompt * (prompt + 1)
    decode = sum(
        2 * (block_weights + head_weights) + 4 * c * (prompt + i) for i in range(generated - 1)
    )
    return prefill, decode


@attempt("phase_flops", "no-cache")
def runs_everything_again(block_weights, head_weights, layers, heads, head_size, prompt, generated):
    def forward(n):
        return (
            2 * block_weights * n + 2 * head_weights + 2 * layers * heads * head_size * n * (n + 1)
        )

    return forward(prompt), sum(forward(prompt + i) for i in range(1, generated))


@attempt("phase_flops", "not-integer")
def halves_with_a_slash(block_weights, head_weights, layers, heads, head_size, prompt, generated):
    a = 4 * layers * heads * head_size
    prefill = 2 * block_weights * prompt + 2 * head_weights + a * prompt * (prompt + 1) / 2
    decode = (generated - 1) * 2 * (block_weights + head_weights)
    decode += a * sum(range(prompt + 1, prompt + generated))
    return prefill, decode


@attempt("phase_flops", "attention-halved")
def only_q_times_k(block_weights, head_weights, layers, heads, head_size, prompt, generated):
    a = 2 * layers * heads * head_size
    prefill = 2 * block_weights * prompt + 2 * head_weights + a * prompt * (prompt + 1) // 2
    steps = range(prompt + 1, prompt + generated)
    return prefill, sum(2 * (block_weights + head_weights) + a * keys for keys in steps)


@attempt("phase_flops", "multiply-add-as-one")
def counts_macs(block_weights, head_weights, layers, heads, head_size, prompt, generated):
    a = 2 * layers * heads * head_size
    prefill = block_weights * prompt + head_weights + a * prompt * (prompt + 1) // 2
    steps = range(prompt + 1, prompt + generated)
    return prefill, sum(block_weights + head_weights + a * keys for keys in steps)


@attempt("phase_flops", "full-square", "one-step-too-many")
def square_and_a_step(block_weights, head_weights, layers, heads, head_size, prompt, generated):
    a = 4 * layers * heads * head_size
    decode = 0
    for i in range(generated):
        decode += 2 * (block_weights + head_weights) + a * (prompt + i + 1)
    return 2 * (block_weights * prompt + head_weights) + a * prompt * prompt, decode


@attempt("phase_flops", "no-head-in-decode")
def head_only_once(block_weights, head_weights, layers, heads, head_size, prompt, generated):
    width = heads * head_size
    prefill = 2 * block_weights * prompt + 2 * head_weights
    prefill += 4 * layers * width * sum(range(1, prompt + 1))
    decode = sum(2 * block_weights + 4 * layers * width * (prompt + i) for i in range(1, generated))
    return prefill, decode


# --- time_lower_bound ----------------------------------------------------------------------------


@attempt("time_lower_bound", "both-times-added")
def one_after_the_other(operations, peak_flops, bandwidth):
    seconds, limits = 0.0, []
    for flops, nbytes in operations:
        seconds += flops / peak_flops + nbytes / bandwidth
        limits.append("compute" if flops / peak_flops >= nbytes / bandwidth else "memory")
    return seconds, limits


@attempt("time_lower_bound", "totals-compared")
def roofline_of_the_sum(operations, peak_flops, bandwidth):
    total_flops = sum(op[0] for op in operations)
    total_bytes = sum(op[1] for op in operations)
    ridge = peak_flops / bandwidth
    limits = ["compute" if f >= ridge * b else "memory" for f, b in operations]
    return max(total_flops / peak_flops, total_bytes / bandwidth), limits


@attempt("time_lower_bound", "totals-compared", "one-limit-for-all")
def one_roofline_for_all(operations, peak_flops, bandwidth):
    t_compute = sum(f for f, _ in operations) / peak_flops
    t_memory = sum(b for _, b in operations) / bandwidth
    limit = "compute" if t_compute >= t_memory else "memory"
    return max(t_compute, t_memory), [limit] * len(operations)


@attempt("time_lower_bound", "tie-to-memory")
def strictly_greater(operations, peak_flops, bandwidth):
    times = [(f / peak_flops, b / bandwidth) for f, b in operations]
    return sum(map(max, times)), ["compute" if c > m else "memory" for c, m in times]


@attempt("time_lower_bound", "divided-by-no-bytes")
def arithmetic_intensity(operations, peak_flops, bandwidth):
    seconds = 0
    limits = []
    for flops, moved in operations:
        intensity = flops / moved
        if intensity >= peak_flops / bandwidth:
            limits.append("compute")
            seconds += flops / peak_flops
        else:
            limits.append("memory")
            seconds += moved / bandwidth
    return seconds, limits


@attempt("time_lower_bound", "limits-swapped")
def names_the_faster_one(operations, peak_flops, bandwidth):
    seconds = 0.0
    limits = []
    for f, b in operations:
        c, m = f / peak_flops, b / bandwidth
        seconds += c if c > m else m
        limits.append("compute" if c < m else "memory")
    return seconds, limits


@attempt("time_lower_bound", "other-words")
def compute_bound(operations, peak_flops, bandwidth):
    out = []
    total = 0.0
    for f, b in operations:
        t_c, t_m = f / peak_flops, b / bandwidth
        total += max(t_c, t_m)
        out.append("compute-bound" if t_c >= t_m else "memory-bound")
    return total, out


@attempt("time_lower_bound", "not-added-up")
def list_of_times(operations, peak_flops, bandwidth):
    seconds = [max(f / peak_flops, b / bandwidth) for f, b in operations]
    limits = ["compute" if f / peak_flops >= b / bandwidth else "memory" for f, b in operations]
    return seconds, limits


@attempt("time_lower_bound", "not-in-seconds")
def milliseconds(operations, peak_flops, bandwidth):
    ms, limits = 0.0, []
    for f, b in operations:
        compute_ms, memory_ms = f / peak_flops * 1000, b / bandwidth * 1000
        ms += max(compute_ms, memory_ms)
        limits.append("memory" if memory_ms > compute_ms else "compute")
    return ms, limits


@attempt("time_lower_bound", "shorter-time")
def minimum(operations, peak_flops, bandwidth):
    t = 0.0
    for f, b in operations:
        t += min(f / peak_flops, b / bandwidth)
    return t, ["compute" if f * bandwidth >= b * peak_flops else "memory" for f, b in operations]


@attempt("time_lower_bound", "flops-against-bytes")
def more_work_than_data(operations, peak_flops, bandwidth):
    seconds = sum(max(f / peak_flops, b / bandwidth) for f, b in operations)
    return seconds, ["compute" if f > b else "memory" for f, b in operations]


@attempt("time_lower_bound", "longest-operation-only")
def bottleneck(operations, peak_flops, bandwidth):
    times = [max(f / peak_flops, b / bandwidth) for f, b in operations]
    limits = ["compute" if f / peak_flops >= b / bandwidth else "memory" for f, b in operations]
    return max(times), limits


# --- top_k_top_p ---------------------------------------------------------------------------------


def kept_by_k(logits, k):
    if k == 0 or k >= logits.shape[-1]:
        return logits
    least = torch.topk(logits, k).values[..., -1, None]
    return logits.masked_fill(logits < least, float("-inf"))


def kept_by_p(logits, p):
    if p >= 1.0:
        return logits
    ordered, index = torch.sort(logits, descending=True, stable=True)
    probs = ordered.softmax(-1)
    remove = probs.cumsum(-1) - probs >= p
    return logits.masked_fill(remove.scatter(-1, index, remove), float("-inf"))


@attempt("top_k_top_p", "crossing-token-dropped")
def mask_without_a_shift(logits, *, temperature, k, p):
    logits = kept_by_k(logits / temperature, k)
    if p < 1.0:
        sorted_logits, sorted_indices = torch.sort(logits, descending=True)
        cumulative_probs = F.softmax(sorted_logits, dim=-1).cumsum(dim=-1)
        remove = cumulative_probs > p
        mask = torch.zeros_like(remove).scatter(-1, sorted_indices, remove)
        logits = logits.masked_fill(mask, -float("inf"))
    return F.softmax(logits, dim=-1)


@attempt("top_k_top_p", "crossing-token-dropped")
def mask_without_a_shift_at_one_too(logits, *, temperature, k, p):
    probs = kept_by_k(logits / temperature, k).softmax(-1)
    sorted_probs, index = probs.sort(dim=-1, descending=True)
    keep = sorted_probs.cumsum(-1) <= p
    keep[..., 0] = True
    probs = torch.where(torch.zeros_like(keep).scatter(-1, index, keep), probs, 0.0)
    return probs / probs.sum(-1, keepdim=True)


@attempt("top_k_top_p", "temperature-last")
def temperature_at_the_end(logits, *, temperature, k, p):
    return (kept_by_p(kept_by_k(logits, k), p) / temperature).softmax(dim=-1)


@attempt("top_k_top_p", "p-before-k")
def nucleus_then_top_k(logits, *, temperature, k, p):
    return kept_by_k(kept_by_p(logits / temperature, p), k).softmax(dim=-1)


@attempt("top_k_top_p", "temperature-multiplies")
def hot_is_large(logits, *, temperature, k, p):
    return kept_by_p(kept_by_k(temperature * logits, k), p).softmax(-1)


@attempt("top_k_top_p", "not-renormalised")
def zeroes_and_returns(logits, *, temperature, k, p):
    scaled = logits / temperature
    probs = scaled.softmax(-1)
    left = kept_by_p(kept_by_k(scaled, k), p)
    return torch.where(left.isinf(), torch.zeros_like(probs), probs)


@attempt("top_k_top_p", "zero-for-removed")
def multiplies_logits_by_the_mask(logits, *, temperature, k, p):
    x = logits / temperature
    if 0 < k < x.shape[-1]:
        x = x * (x >= x.topk(k).values[..., -1:])
    if p < 1:
        s, i = x.sort(dim=-1, descending=True, stable=True)
        probs = s.softmax(-1)
        keep = probs.cumsum(-1) - probs < p
        x = x * torch.zeros_like(keep).scatter(-1, i, keep)
    return x.softmax(-1)


@attempt("top_k_top_p", "ties-at-k-cut")
def scatters_the_top_k(logits, *, temperature, k, p):
    x = logits / temperature
    if k > 0:
        values, indices = torch.topk(x, min(k, x.size(-1)), dim=-1)
        x = torch.full_like(x, float("-inf")).scatter(-1, indices, values)
    return kept_by_p(x, p).softmax(-1)


@attempt("top_k_top_p", "k-beyond-the-vocabulary")
def topk_of_too_many(logits, *, temperature, k, p):
    x = logits / temperature
    if k > 0:
        v, _ = torch.topk(x, k)
        x = torch.where(x < v[..., [-1]], -torch.inf, x)
    return kept_by_p(x, p).softmax(-1)


@attempt("top_k_top_p", "mask-not-put-back")
def forgets_to_scatter(logits, *, temperature, k, p):
    x = kept_by_k(logits / temperature, k)
    if p < 1:
        probs = x.softmax(-1).sort(dim=-1, descending=True).values
        before = torch.cat([torch.zeros_like(probs[..., :1]), probs.cumsum(-1)[..., :-1]], -1)
        x = x.masked_fill(before >= p, -torch.inf)
    return x.softmax(-1)


@attempt("top_k_top_p", "result-in-sorted-order")
def returns_the_sorted_ones(logits, *, temperature, k, p):
    s, _ = torch.sort(kept_by_k(logits / temperature, k), dim=-1, descending=True)
    probs = s.softmax(-1)
    if p < 1:
        probs = probs * (probs.cumsum(-1) - probs < p)
    return probs / probs.sum(-1, keepdim=True)


@attempt("top_k_top_p", "share-against-p")
def each_probability_against_p(logits, *, temperature, k, p):
    x = kept_by_k(logits / temperature, k)
    probs = x.softmax(-1)
    if p < 1:
        probs = probs * (probs >= 1 - p)
    return probs / probs.sum(-1, keepdim=True)


@attempt("top_k_top_p", "p-in-order-of-ids")
def cumsum_without_sort(logits, *, temperature, k, p):
    x = kept_by_k(logits / temperature, k)
    if p < 1:
        probs = x.softmax(-1)
        x = x.masked_fill(probs.cumsum(-1) - probs >= p, -torch.inf)
    return x.softmax(-1)


@attempt("top_k_top_p", "greedy")
def argmax_id(logits, *, temperature, k, p):
    return torch.argmax(kept_by_p(kept_by_k(logits / temperature, k), p).softmax(-1), dim=-1)


@attempt("top_k_top_p", "softmax-over-rows")
def softmax_of_dim_zero(logits, *, temperature, k, p):
    return kept_by_p(kept_by_k(logits / temperature, k), p).softmax(0)


@attempt("top_k_top_p", "temperature-ignored", "p-ignored")
def only_top_k(logits, *, temperature, k, p):
    return torch.softmax(kept_by_k(logits, k), dim=-1)


@attempt("top_k_top_p")
def smooths_what_is_left(logits, *, temperature, k, p):
    probs = kept_by_p(kept_by_k(logits / temperature, k), p).softmax(-1)
    return (probs + 0.01) / (probs + 0.01).sum(-1, keepdim=True)


# --- speculative_accept --------------------------------------------------------------------------


def inverse_cdf(weights, u):
    for i, c in enumerate((weights / weights.sum()).cumsum(0)):
        if c > u:
            return i
    return len(weights) - 1


@attempt("speculative_accept", "likelier-only")
def accepts_if_the_model_agrees(draft_tokens, draft_probs, target_probs, uniforms):
    out = []
    for i, x in enumerate(draft_tokens.tolist()):
        if target_probs[i, x] >= draft_probs[i, x]:
            out.append(x)
        else:
            rest = (target_probs[i] - draft_probs[i]).clamp(min=0)
            return torch.tensor([*out, inverse_cdf(rest, uniforms[-1])])
    return torch.tensor([*out, inverse_cdf(target_probs[-1], uniforms[-1])])


@attempt("speculative_accept", "replacement-from-target")
def resamples_from_the_model(draft_tokens, draft_probs, target_probs, uniforms):
    out = []
    for i in range(len(draft_tokens)):
        x = int(draft_tokens[i])
        if uniforms[i] < target_probs[i, x] / draft_probs[i, x]:
            out.append(x)
        else:
            out.append(inverse_cdf(target_probs[i], uniforms[-1]))
            break
    else:
        out.append(inverse_cdf(target_probs[-1], uniforms[-1]))
    return torch.tensor(out)


@attempt("speculative_accept", "no-bonus")
def n_tokens_at_most(draft_tokens, draft_probs, target_probs, uniforms):
    accepted = []
    for x, q, p, u in zip(
        draft_tokens.tolist(), draft_probs, target_probs[:-1], uniforms, strict=False
    ):
        if u >= p[x] / q[x]:
            accepted.append(inverse_cdf((p - q).clamp(min=0), uniforms[-1]))
            break
        accepted.append(x)
    return torch.tensor(accepted, dtype=torch.long)


@attempt("speculative_accept", "rest-not-normalised")
def searches_in_raw_differences(draft_tokens, draft_probs, target_probs, uniforms):
    n, V = draft_probs.shape
    for i in range(n):
        x = draft_tokens[i]
        if uniforms[i] * draft_probs[i, x] >= target_probs[i, x]:
            cdf = torch.relu(target_probs[i] - draft_probs[i]).cumsum(0)
            new = torch.searchsorted(cdf, uniforms[-1], right=True).clamp(max=V - 1)
            return torch.cat([draft_tokens[:i], new.view(1)])
    cdf = target_probs[n].cumsum(0)
    new = torch.searchsorted(cdf, uniforms[-1], right=True).clamp(max=V - 1)
    return torch.cat([draft_tokens, new.view(1)])


@attempt("speculative_accept", "accepted-anywhere")
def sums_the_mask(draft_tokens, draft_probs, target_probs, uniforms):
    n = draft_tokens.numel()
    idx = torch.arange(n)
    ratio = target_probs[idx, draft_tokens] / draft_probs[idx, draft_tokens]
    accepted = int((uniforms[:n] < ratio).sum())
    if accepted == n:
        dist = target_probs[n]
    else:
        dist = (target_probs[accepted] - draft_probs[accepted]).clamp_min(0)
    own = inverse_cdf(dist, uniforms[n])
    return torch.cat([draft_tokens[:accepted], torch.tensor([own])])


@attempt("speculative_accept", "ratio-upside-down")
def q_over_p(draft_tokens, draft_probs, target_probs, uniforms):
    out = []
    for i, x in enumerate(draft_tokens.tolist()):
        q, p = draft_probs[i], target_probs[i]
        r = q[x] / p[x] if p[x] > 0 else torch.tensor(float("inf"))
        if uniforms[i] < r:
            out.append(x)
        else:
            out.append(inverse_cdf((p - q).clamp(min=0), uniforms[-1]))
            return torch.tensor(out)
    out.append(inverse_cdf(target_probs[-1], uniforms[-1]))
    return torch.tensor(out)


@attempt("speculative_accept", "number-of-the-rejected")
def same_number_again(draft_tokens, draft_probs, target_probs, uniforms):
    out = []
    for i, x in enumerate(draft_tokens.tolist()):
        p, q, u = target_probs[i], draft_probs[i], uniforms[i]
        if u * q[x] < p[x]:
            out.append(x)
        else:
            return torch.tensor([*out, inverse_cdf((p - q).clamp(min=0), u)])
    return torch.tensor([*out, inverse_cdf(target_probs[-1], uniforms[-1])])


@attempt("speculative_accept", "likeliest-taken")
def argmax_of_the_rest(draft_tokens, draft_probs, target_probs, uniforms):
    kept = 0
    while kept < len(draft_tokens):
        x = draft_tokens[kept]
        if uniforms[kept] * draft_probs[kept, x] >= target_probs[kept, x]:
            break
        kept += 1
    weights = target_probs[kept]
    if kept < len(draft_tokens):
        weights = (weights - draft_probs[kept]).clamp(min=0)
    return torch.cat([draft_tokens[:kept], weights.argmax().view(1)])


@attempt("speculative_accept", "goes-on-after-rejection")
def replaces_and_carries_on(draft_tokens, draft_probs, target_probs, uniforms):
    n = len(draft_tokens)
    out = draft_tokens.clone()
    all_ok = True
    for i in range(n):
        x = draft_tokens[i]
        if not uniforms[i] * draft_probs[i, x] < target_probs[i, x]:
            all_ok = False
            out[i] = inverse_cdf((target_probs[i] - draft_probs[i]).clamp(min=0), uniforms[n])
    if all_ok:
        out = torch.cat([out, torch.tensor([inverse_cdf(target_probs[n], uniforms[n])])])
    return out


@attempt("speculative_accept", "difference-upside-down")
def draft_minus_target(draft_tokens, draft_probs, target_probs, uniforms):
    n = len(draft_tokens)
    q = draft_probs.gather(1, draft_tokens.unsqueeze(1)).squeeze(1)
    p = target_probs[:n].gather(1, draft_tokens.unsqueeze(1)).squeeze(1)
    ok = (uniforms[:n] * q < p).int().cumprod(0).sum().item()
    w = target_probs[n] if ok == n else (draft_probs[ok] - target_probs[ok]).clamp(min=0)
    return torch.cat([draft_tokens[:ok], torch.tensor([inverse_cdf(w, uniforms[n])])])


@attempt("speculative_accept", "not-a-row-of-ids")
def a_python_list(draft_tokens, draft_probs, target_probs, uniforms):
    out = []
    for i, x in enumerate(draft_tokens.tolist()):
        p, q = target_probs[i], draft_probs[i]
        if uniforms[i] * q[x] < p[x]:
            out.append(x)
        else:
            return [*out, inverse_cdf((p - q).clamp(min=0), uniforms[-1])]
    return [*out, inverse_cdf(target_probs[-1], uniforms[-1])]


@attempt("speculative_accept", "sum-reaches")
def searches_from_the_left(draft_tokens, draft_probs, target_probs, uniforms):
    def pick(weights):
        cdf = (weights / weights.sum()).cumsum(0)
        return min(bisect_left(cdf.tolist(), float(uniforms[-1])), len(weights) - 1)

    for i, x in enumerate(draft_tokens):
        if uniforms[i] * draft_probs[i, x] >= target_probs[i, x]:
            own = pick((target_probs[i] - draft_probs[i]).clamp(min=0))
            return torch.cat([draft_tokens[:i], torch.tensor([own])])
    return torch.cat([draft_tokens, torch.tensor([pick(target_probs[-1])])])


@attempt("speculative_accept", "replacement-from-target", "bonus-from-the-row-before")
def last_row_but_one(draft_tokens, draft_probs, target_probs, uniforms):
    out, last = [], len(draft_tokens) - 1
    for i, x in enumerate(draft_tokens.tolist()):
        if uniforms[i] * draft_probs[i, x] >= target_probs[i, x]:
            return torch.tensor([*out, inverse_cdf(target_probs[i], uniforms[-1])])
        out.append(x)
    return torch.tensor([*out, inverse_cdf(target_probs[last], uniforms[-1])])


@attempt("speculative_accept")
def a_random_replacement(draft_tokens, draft_probs, target_probs, uniforms):
    out = []
    for i, x in enumerate(draft_tokens.tolist()):
        if uniforms[i] * draft_probs[i, x] < target_probs[i, x]:
            out.append(x)
        else:
            rest = (target_probs[i] - draft_probs[i]).clamp(min=0)
            return torch.tensor([*out, (inverse_cdf(rest, uniforms[-1]) + i + 1) % len(rest)])
    return torch.tensor([*out, inverse_cdf(target_probs[-1], 1 - uniforms[-1])])


# --- paged_gather --------------------------------------------------------------------------------


@attempt("paged_gather", "rest-not-cleared")
def gathers_and_cuts(pool, table, lengths):
    B, M = table.shape
    _, block, K, D = pool.shape
    rows = pool[table.clamp(min=0)].reshape(B, M * block, K, D)
    return rows[:, : int(lengths.max())].permute(0, 2, 1, 3)


@attempt("paged_gather", "tokens-before-heads")
def leaves_the_axes_alone(pool, table, lengths):
    S = int(lengths.max())
    out = pool.new_zeros(len(table), S, *pool.shape[2:])
    for b, n in enumerate(lengths.tolist()):
        for j in range(n):
            out[b, j] = pool[table[b, j // pool.shape[1]], j % pool.shape[1]]
    return out


@attempt("paged_gather", "quotient-and-remainder")
def mod_where_div_belongs(pool, table, lengths):
    _, block, K, D = pool.shape
    S = lengths.max().item()
    out = torch.zeros(table.shape[0], K, S, D, dtype=pool.dtype)
    for b in range(table.shape[0]):
        for j in range(lengths[b]):
            page, offset = j % block, j // block
            out[b, :, j] = pool[table[b, page], offset]
    return out


@attempt("paged_gather", "heads-for-slots")
def block_size_of_axis_two(pool, table, lengths):
    block = pool.size(2)
    S = int(lengths.max())
    out = pool.new_zeros(table.size(0), pool.size(2), S, pool.size(3))
    for b in range(table.size(0)):
        for j in range(int(lengths[b])):
            out[b, :, j] = pool[table[b, j // block], j % block]
    return out


@attempt("paged_gather", "table-not-read")
def counts_through_the_pool(pool, table, lengths):
    rows = []
    for n in lengths.tolist():
        flat = pool.flatten(0, 1)[:n]
        rows.append(F.pad(flat.transpose(0, 1), (0, 0, 0, int(lengths.max()) - n)))
    return torch.stack(rows)


@attempt("paged_gather", "as-long-as-the-table")
def room_for_all_entries(pool, table, lengths):
    gathered = pool[table.clamp(min=0)].flatten(1, 2)
    valid = torch.arange(gathered.shape[1])[None] < lengths[:, None]
    return (gathered * valid[..., None, None]).transpose(1, 2)


@attempt("paged_gather", "reshaped-into-heads")
def view_for_transpose(pool, table, lengths):
    B, S = len(table), int(lengths.max())
    _, _, K, D = pool.shape
    rows = pool[table.clamp(min=0)].flatten(1, 2)[:, :S].clone()
    for b in range(B):
        rows[b, lengths[b] :] = 0
    return rows.reshape(B, K, S, D)


@attempt("paged_gather", "strung-together")
def packed_rows(pool, table, lengths):
    m = pool.shape[1]
    out = []
    for row, n in zip(table.tolist(), lengths.tolist(), strict=True):
        out += [pool[row[j // m], j % m] for j in range(n)]
    return torch.stack(out)


@attempt("paged_gather", "last-block-whole")
def whole_blocks_only(pool, table, lengths):
    m, S = pool.shape[1], int(lengths.max())
    out = pool.new_zeros(len(table), pool.shape[2], S, pool.shape[3])
    for b, n in enumerate(lengths.tolist()):
        for i in range(math.ceil(n / m)):
            piece = pool[table[b, i]].transpose(0, 1)
            end = min(S, (i + 1) * m)
            out[b, :, i * m : end] = piece[:, : end - i * m]
    return out


@attempt("paged_gather", "aligned-right")
def left_padded(pool, table, lengths):
    m, S = pool.shape[1], int(lengths.max())
    out = pool.new_zeros(len(table), pool.shape[2], S, pool.shape[3])
    for b, n in enumerate(lengths.tolist()):
        for j in range(n):
            out[b, :, S - n + j] = pool[table[b, j // m], j % m]
    return out


# --- schedule_step -------------------------------------------------------------------------------


def ceil_div(a, b):
    return (a + b - 1) // b


class Step:
    """A learner's answer, right as it stands; each attempt below changes a method, as people do."""

    def __init__(self, running, waiting, free_blocks, block, budget):
        self.running, self.waiting = list(running), list(waiting)
        self.free, self.block, self.left = free_blocks, block, budget
        self.tokens, self.preempted = {}, []

    def run(self):
        self.decode()
        self.prefill([r for r in self.running if r[2] < r[1]])
        if not self.preempted:
            self.admit()
        return {"tokens": self.tokens, "preempted": self.preempted}

    def decode(self):
        for request in [r for r in self.running if r[2] >= r[1]]:
            if self.left == 0:
                break
            if request not in self.running:
                continue
            if request[2] % self.block == 0:
                while self.free == 0 and request in self.running:
                    self.evict()
                if request not in self.running:
                    continue
                self.free -= 1
            self.tokens[request[0]] = 1
            self.left -= 1

    def evict(self):
        victim = self.running.pop()
        self.preempted.append(victim[0])
        self.free += ceil_div(victim[2], self.block)

    def chunk(self, request):
        _, prompt, done = request
        slots = ceil_div(done, self.block) * self.block - done + self.free * self.block
        return min(prompt - done, self.left, slots)

    def serve(self, request):
        id, _, done = request
        n = self.chunk(request)
        if n > 0:
            self.tokens[id] = n
            self.left -= n
            self.free -= ceil_div(done + n, self.block) - ceil_div(done, self.block)
        return n > 0

    def prefill(self, requests):
        for request in requests:
            self.serve(request)

    def admit(self):
        for request in self.waiting:
            if not self.serve(request):
                break


def planned(step):
    """The class as a function with the exercise's signature."""

    def schedule_step(running, waiting, *, free_blocks, block, budget):
        return step(running, waiting, free_blocks, block, budget).run()

    schedule_step.__name__ = step.__name__
    return schedule_step


def attempt_at_step(*mistakes):
    def keep(step):
        attempt("schedule_step", *mistakes)(planned(step))
        return step

    return keep


@attempt_at_step("prompts-first")
class PrefillComesFirst(Step):
    def run(self):
        self.prefill([r for r in self.running if r[2] < r[1]])
        self.decode()
        if not self.preempted:
            self.admit()
        return {"tokens": self.tokens, "preempted": self.preempted}


@attempt_at_step("admits-after-preemption")
class AdmitsWheneverItCan(Step):
    def run(self):
        self.decode()
        self.prefill([r for r in self.running if r[1] > r[2]])
        self.admit()
        return dict(tokens=self.tokens, preempted=self.preempted)


@attempt_at_step("oldest-gives-way")
class PopsTheFront(Step):
    def evict(self):
        victim = self.running.pop(0)
        self.preempted.append(victim[0])
        self.free += ceil_div(victim[2], self.block)


@attempt_at_step("freed-wrongly")
class FreesFullBlocks(Step):
    def evict(self):
        id, _, done = self.running.pop()
        self.preempted.append(id)
        self.free += done // self.block


@attempt_at_step("freed-blocks-lost")
class ForgetsToFree(Step):
    def evict(self):
        self.preempted.append(self.running.pop(-1)[0])


@attempt_at_step("open-block-forgotten")
class OnlyFreeBlocks(Step):
    def chunk(self, request):
        return min(request[1] - request[2], self.left, self.free * self.block)


@attempt_at_step("room-not-heeded")
class ChunkByBudget(Step):
    def chunk(self, request):
        return min(request[1] - request[2], self.left)


@attempt_at_step("blocks-of-the-chunk")
class BlocksOfTheChunk(Step):
    def serve(self, request):
        n = self.chunk(request)
        if n <= 0:
            return False
        self.tokens[request[0]] = n
        self.left -= n
        self.free -= math.ceil(n / self.block)
        return True


@attempt_at_step("block-one-early")
class CountsTheNewToken(Step):
    def decode(self):
        for request in list(self.running):
            id, prompt, done = request
            if done < prompt or request not in self.running or self.left == 0:
                continue
            need = (done + 1) % self.block == 0
            while need and self.free == 0 and request in self.running:
                self.evict()
            if request in self.running:
                self.tokens[id] = 1
                self.left -= 1
                self.free -= int(need)


@attempt_at_step("nobody-gives-way")
class WaitsForABlock(Step):
    def decode(self):
        for id, prompt, done in self.running:
            if done >= prompt and self.left > 0:
                if done % self.block == 0:
                    if self.free == 0:
                        continue
                    self.free -= 1
                self.tokens[id] = 1
                self.left -= 1


@attempt_at_step("way-without-budget")
class EvictsBeforeLooking(Step):
    def decode(self):
        for request in [r for r in self.running if r[2] >= r[1]]:
            if request not in self.running:
                continue
            need = request[2] % self.block == 0
            while need and self.free == 0 and request in self.running:
                self.evict()
            if request in self.running and self.left > 0:
                self.tokens[request[0]] = 1
                self.left -= 1
                self.free -= need


@attempt_at_step("one-gives-way")
class IfInsteadOfWhile(Step):
    def decode(self):
        for request in [r for r in self.running if r[2] >= r[1]]:
            if self.left == 0 or request not in self.running:
                continue
            if request[2] % self.block == 0:
                if self.free == 0:
                    self.evict()
                if request not in self.running or self.free == 0:
                    continue
                self.free -= 1
            self.tokens[request[0]] = 1
            self.left -= 1


@attempt_at_step("whole-prompt-or-nothing")
class NoChunks(Step):
    def chunk(self, request):
        n = request[1] - request[2]
        return n if n <= super().chunk(request) else 0


@attempt_at_step("still-in-its-prompt")
class MoreThanThePrompt(Step):
    def run(self):
        decoding = [r for r in self.running if r[2] > r[1]]
        equal = [r for r in self.running if r[2] == r[1]]
        self.running = [r for r in self.running if r not in equal]
        assert len(decoding) + len(equal) <= 16
        self.decode()
        self.prefill([r for r in self.running if r[2] < r[1]])
        if not self.preempted:
            self.admit()
        return {"tokens": self.tokens, "preempted": self.preempted}


@attempt_at_step("noughts-listed")
class ListsEverybody(Step):
    def run(self):
        for id, *_ in self.running + self.waiting:
            self.tokens[id] = 0
        return super().run()


@attempt_at_step("last-come-first")
class PopsTheQueue(Step):
    def admit(self):
        while self.waiting and self.serve(self.waiting.pop()):
            pass


@attempt_at_step("budget-not-spent")
class BudgetForEach(Step):
    def serve(self, request):
        left = self.left
        done = super().serve(request)
        self.left = left
        return done

    def decode(self):
        left, self.left = self.left, 10**6
        super().decode()
        self.left = left


@attempt_at_step("blocks-not-taken")
class FreeBlocksStay(Step):
    def serve(self, request):
        free = self.free
        done = super().serve(request)
        self.free = free
        return done

    def decode(self):
        for request in [r for r in self.running if r[2] >= r[1]]:
            if self.left == 0 or request not in self.running:
                continue
            while request[2] % self.block == 0 and self.free == 0 and request in self.running:
                self.evict()
            if request in self.running:
                self.tokens[request[0]] = 1
                self.left -= 1


@attempt_at_step("preempted-by-age", "admits-after-preemption")
class TwoSlips(Step):
    def run(self):
        self.decode()
        self.prefill([r for r in self.running if r[2] < r[1]])
        self.admit()
        return {"tokens": self.tokens, "preempted": list(reversed(self.preempted))}


@attempt_at_step()
class HalfOfTheBudgetForPrompts(Step):
    def prefill(self, requests):
        self.left //= 2
        super().prefill(requests)
