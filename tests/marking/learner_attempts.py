"""Wrong answers as learners write them, and the mistakes that the diagnosis ought to name.

They were collected by going through each exercise and through public threads in which people
found such errors in their own or in teaching code; none of them is the code of a record's
mistake. `attempt(id, "a", "b")` says that mistakes a and b are both made; without names, no known
mistake fits, and the diagnosis must not claim that one does.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Attempt:
    exercise: str
    mistakes: tuple[str, ...]
    answer: Callable


ATTEMPTS: list[Attempt] = []


def attempt(exercise: str, *mistakes: str):
    def keep(function: Callable) -> Callable:
        ATTEMPTS.append(Attempt(f"attention.{exercise}", mistakes, function))
        return function

    return keep


# --- softmax -----------------------------------------------------------------------------------


@attempt("softmax", "no-max")
def textbook_formula(x, dim):
    return torch.exp(x) / torch.sum(torch.exp(x), dim, True)


@attempt("softmax", "global-max")
def shift_by_the_one_maximum(x, dim):
    x = x - torch.max(x)
    num = torch.exp(x)
    den = num.sum(axis=dim).unsqueeze(dim)
    return num / den


@attempt("softmax", "nan-on-empty")
def stable_but_empty_slices_forgotten(x, dim):
    m, _ = torch.max(x, dim=dim, keepdim=True)
    num = torch.exp(torch.subtract(x, m))
    return torch.div(num, torch.sum(num, dim=dim, keepdim=True))


@attempt("softmax", "always-last-axis")
def rows_only(x, dim):
    shape = x.shape
    out = torch.zeros_like(x).view(-1, shape[-1])
    for i, row in enumerate(x.reshape(-1, shape[-1])):
        top = row.max()
        if top == -math.inf:
            continue
        e = torch.exp(row - top)
        out[i] = e / e.sum()
    return out.view(shape)


@attempt("softmax", "uniform-on-empty")
def clamped_below(x, dim):
    x = torch.clamp(x, min=-1e9)
    e = torch.exp(x - x.max(dim, keepdim=True)[0])
    return e / e.sum(dim, keepdim=True)


@attempt("softmax", "not-normalised")
def forgot_to_divide(x, dim):
    biggest = torch.amax(x, dim, keepdim=True)
    biggest[biggest == float("-inf")] = 0
    return torch.exp(x - biggest)


@attempt("softmax", "log-probabilities")
def log_softmax_by_hand(x, dim):
    m = x.amax(dim, keepdim=True)
    return x - m - torch.log(torch.exp(x - m).sum(dim, keepdim=True))


@attempt("softmax")
def in_base_two(x, dim):
    m = x.amax(dim, keepdim=True).clamp(min=-1e30)
    e = 2.0 ** (x - m)
    return e / e.sum(dim, keepdim=True).clamp(min=1e-30)


@attempt("softmax", "global-sum")
def sum_of_everything(x, dim):
    z = x - x.max(dim=dim, keepdim=True).values
    z = z.exp()
    total = 0
    for value in z.flatten():
        total = total + value
    return z / total


# --- scaled dot product --------------------------------------------------------------------------


@attempt("scaled_dot_product", "no-scale", "nan-on-empty")
def plain_einsum(q, k, v, mask):
    s = torch.einsum("...td,...sd->...ts", q, k)
    if mask is not None:
        s = s.masked_fill(mask == 0, float("-inf"))
    w = F.softmax(s, dim=-1)
    return torch.einsum("...ts,...sd->...td", w, v), w


@attempt("scaled_dot_product", "scale-by-d")
def divided_by_d(q, k, v, mask):
    d_k = k.size(-1)
    attn = torch.matmul(q, k.transpose(-2, -1)) / d_k
    if mask is not None:
        attn = attn.masked_fill(mask == False, -1e9)  # noqa: E712
    attn = torch.softmax(attn, -1)
    if mask is not None:
        attn = attn.masked_fill(mask == False, 0)  # noqa: E712
    return torch.matmul(attn, v), attn


@attempt("scaled_dot_product", "scale-by-keys", "nan-on-empty")
def wrong_axis_for_d(q, k, v, mask):
    """Takes d from size(-2) of k."""
    d = k.size(-2)
    logits = (q @ k.transpose(-1, -2)) * d**-0.5
    if mask is not None:
        bias = torch.zeros_like(mask, dtype=q.dtype)
        bias[~mask] = -math.inf
        logits = logits + bias
    p = logits.softmax(-1)
    return p @ v, p


@attempt("scaled_dot_product", "softmax-over-queries")
def normalised_over_queries(q, k, v, mask):
    scores = torch.einsum("...id,...jd->...ij", q, k) / math.sqrt(q.size(-1))
    if mask is not None:
        scores = torch.where(mask, scores, torch.tensor(-torch.inf, dtype=q.dtype))
    attention = F.softmax(scores, dim=-2).nan_to_num(0.0)
    return torch.einsum("...ij,...jd->...id", attention, v), attention


@attempt("scaled_dot_product", "mask-inverted")
def fills_where_mask_is_true(q, k, v, mask):
    scores = q.matmul(k.transpose(-2, -1)).div(math.sqrt(q.shape[-1]))
    if mask is not None:
        scores = scores.masked_fill(mask, -torch.inf)
    weights = scores.softmax(dim=-1)
    return weights.matmul(v), weights


@attempt("scaled_dot_product", "mask-inverted")
def adds_minus_a_billion_times_the_mask(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores + mask * -1e9
    weights = torch.softmax(scores, -1)
    return weights @ v, weights


@attempt("scaled_dot_product", "uniform-on-empty")
def annotated_transformer(q, k, v, mask):
    d_k = q.size(-1)
    scores = torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(d_k)
    if mask is not None:
        scores = scores.masked_fill(mask == 0, -1e9)
    p_attn = scores.softmax(dim=-1)
    return torch.matmul(p_attn, v), p_attn


@attempt("scaled_dot_product", "nan-on-empty")
def query_loop_with_minus_infinity(q, k, v, mask):
    outs, ws = [], []
    full = None if mask is None else mask.expand(*q.shape[:-1], k.shape[-2])
    for t in range(q.shape[-2]):
        s = torch.einsum("...d,...sd->...s", q[..., t, :], k) / math.sqrt(q.shape[-1])
        if full is not None:
            s = s.masked_fill(~full[..., t, :], -math.inf)
        w = torch.softmax(s, -1)
        ws.append(w)
        outs.append(torch.einsum("...s,...sd->...d", w, v))
    return torch.stack(outs, -2), torch.stack(ws, -2)


@attempt("scaled_dot_product", "mask-after-softmax")
def zeroes_the_weights(q, k, v, mask):
    w = F.softmax(q @ k.transpose(-2, -1) / math.sqrt(k.shape[-1]), dim=-1)
    if mask is not None:
        w = w.masked_fill(~mask, 0.0)
    return torch.einsum("...ts,...sd->...td", w, v), w


@attempt("scaled_dot_product", "mask-multiplies-scores")
def zeroes_the_scores(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(k.shape[-1])
    if mask is not None:
        scores[~mask.expand_as(scores)] = 0
    w = F.softmax(scores, dim=-1)
    return w @ v, w


@attempt("scaled_dot_product", "fill-too-small")
def fills_with_minus_ten(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) * (1.0 / math.sqrt(q.shape[-1]))
    if mask is not None:
        scores = torch.where(mask, scores, torch.full_like(scores, -10.0))
    w = F.softmax(scores, dim=-1)
    return w @ v, w


@attempt("scaled_dot_product", "scale-after-softmax", "nan-on-empty")
def divides_the_weights(q, k, v, mask):
    s = torch.matmul(q, k.mT)
    if mask is not None:
        s = s + torch.zeros_like(s).masked_fill(~mask, -math.inf)
    w = torch.softmax(s, dim=-1) / math.sqrt(k.shape[-1])
    return w @ v, w


@attempt("scaled_dot_product", "no-scale", "softmax-over-queries")
def no_scale_and_columns(q, k, v, mask):
    s = torch.einsum("...td,...sd->...ts", q, k)
    if mask is not None:
        s = s.masked_fill(~mask, -1e30)
    w = torch.softmax(s, dim=-2)
    if mask is not None:
        w = w * mask
    return w @ v, w


@attempt("scaled_dot_product", "softmax-over-axis-one")
def softmax_dim_one(q, k, v, mask):
    s = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        s = s.masked_fill(~mask, -math.inf)
    w = torch.nan_to_num(nn_softmax(s))
    return w @ v, w


nn_softmax = torch.nn.Softmax(dim=1)


@attempt("scaled_dot_product", "axes-counted-from-the-front", "nan-on-empty")
def bmm_style_transpose(q, k, v, mask):
    s = torch.matmul(q, k.transpose(1, 2)) / k.shape[-1] ** 0.5
    if mask is not None:
        s = s.masked_fill(mask.logical_not(), -torch.inf)
    w = s.softmax(-1)
    return torch.matmul(w, v), w


@attempt("scaled_dot_product", "output-only")
def no_weights(q, k, v, mask):
    s = torch.einsum("...td,...sd->...ts", q, k) / math.sqrt(q.shape[-1])
    if mask is not None:
        s = s.masked_fill(~mask, -math.inf)
    return torch.nan_to_num(s.softmax(-1)) @ v


@attempt("scaled_dot_product", "naive-exponentials")
def by_the_formula(q, k, v, mask):
    e = torch.exp(torch.einsum("...td,...sd->...ts", q, k) / math.sqrt(q.shape[-1]))
    if mask is not None:
        e = e * mask
    w = e / (e.sum(-1, keepdim=True) + 1e-30)
    return w @ v, w


@attempt("scaled_dot_product")
def cosine_similarity(q, k, v, mask):
    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    s = q @ k.mT
    if mask is not None:
        s = s.masked_fill(~mask, -math.inf)
    w = torch.nan_to_num(torch.softmax(s, -1))
    return w @ v, w


@attempt("scaled_dot_product")
def dropout_left_on(q, k, v, mask):
    s = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        s = s.masked_fill(~mask, -math.inf)
    w = F.dropout(torch.nan_to_num(torch.softmax(s, -1)), 0.5)
    return w @ v, w


# --- causal mask ---------------------------------------------------------------------------------


@attempt("causal_mask", "top-left")
def buffer_sliced_from_row_zero(T, S):
    """A big triangle, cut to [:T, :S], as when a cache is added to a model that had none."""
    n = max(T, S)
    return torch.tril(torch.ones(n, n, dtype=torch.bool))[:T, :S]


@attempt("causal_mask", "top-left", "true-is-hidden")
def triu_for_masked_fill(T, S):
    mask = torch.triu(torch.ones((T, S)), diagonal=1)
    return mask.bool()


@attempt("causal_mask", "true-is-hidden")
def later_keys_are_true(T, S):
    q = torch.arange(S - T, S).view(-1, 1)
    return torch.arange(S).view(1, -1).gt(q)


@attempt("causal_mask", "hides-itself")
def strictly_before(T, S):
    m = torch.zeros(T, S, dtype=torch.bool)
    for i in range(T):
        m[i, : max(0, i + S - T)] = True
    return m


@attempt("causal_mask", "sees-next")
def range_one_too_long(T, S):
    return torch.tensor([[j <= i + S - T + 1 for j in range(S)] for i in range(T)])


@attempt("causal_mask", "top-left", "additive")
def zeros_and_minus_infinity(T, S):
    m = torch.zeros(T, S)
    m[torch.arange(S)[None] > torch.arange(T)[:, None]] = float("-inf")
    return m


@attempt("causal_mask", "not-boolean")
def ones_and_zeros_as_integers(T, S):
    return (torch.arange(S)[None, :] <= torch.arange(T)[:, None] + S - T).int()


@attempt("causal_mask", "square-of-queries")
def forgets_the_cache(T, S):
    i = torch.arange(T)
    return i[:, None] >= i


@attempt("causal_mask", "extra-axes")
def with_batch_and_heads(T, S):
    return torch.ones(T, S, dtype=torch.bool).tril(S - T)[None, None]


@attempt("causal_mask", "top-left", "hides-itself")
def top_left_without_diagonal(T, S):
    return torch.tril(torch.ones(T, S), diagonal=-1) == 1


@attempt("causal_mask", "transposed")
def axes_swapped(T, S):
    keys, queries = torch.meshgrid(torch.arange(S), torch.arange(T) + S - T, indexing="ij")
    return keys <= queries


# --- multi-head ----------------------------------------------------------------------------------


def _heads(y, H):
    return torch.stack(y.chunk(H, dim=-1), dim=1)


def _softmax_attention(q, k, v, mask):
    a = torch.einsum("bhtd,bhsd->bhts", q, k) / math.sqrt(q.shape[-1])
    if mask is not None:
        a = a.masked_fill(~mask, -math.inf)
    return torch.softmax(a, dim=-1) @ v


@attempt("multi_head", "never-transposed", "nan-on-empty")
def heads_folded_into_the_batch(x, w_q, w_k, w_v, w_o, n_heads, mask):
    B, T, _ = x.shape
    H = n_heads
    q, k, v = (F.linear(x, w).reshape(B * H, T, w.shape[0] // H) for w in (w_q, w_k, w_v))
    s = torch.bmm(q, k.transpose(1, 2)) * q.shape[-1] ** -0.5
    if mask is not None:
        s = s.view(B, H, T, T).masked_fill(~mask, -math.inf).view(B * H, T, T)
    out = torch.bmm(torch.softmax(s, -1), v)
    return F.linear(out.view(B, T, -1), w_o)


@attempt("multi_head", "joined-without-transpose", "nan-on-empty")
def permute_forgotten_at_the_end(x, w_q, w_k, w_v, w_o, n_heads, mask):
    q, k, v = (_heads(F.linear(x, w), n_heads) for w in (w_q, w_k, w_v))
    out = _softmax_attention(q, k, v, mask)
    return F.linear(out.contiguous().view(x.shape[0], x.shape[1], -1), w_o)


@attempt("multi_head", "cut-without-transpose")
def reshaped_straight_to_heads(x, w_q, w_k, w_v, w_o, n_heads, mask):
    B, T, _ = x.shape

    def cut(w):
        return torch.einsum("btc,oc->bto", x, w).reshape(B, n_heads, T, w.shape[0] // n_heads)

    out = torch.nan_to_num(_softmax_attention(cut(w_q), cut(w_k), cut(w_v), mask))
    return torch.einsum("bhtd->bthd", out).flatten(2) @ w_o.t()


@attempt("multi_head", "scale-by-all-heads", "nan-on-empty")
def divided_by_embedding_size(x, w_q, w_k, w_v, w_o, n_heads, mask):
    B, T, _ = x.shape
    embed = w_q.shape[0]
    q, k, v = ((x @ w.T).reshape(B, T, n_heads, -1) for w in (w_q, w_k, w_v))
    energy = torch.einsum("nqhd,nkhd->nhqk", q, k)
    if mask is not None:
        energy = energy.masked_fill(mask == 0, float("-inf"))
    attention = torch.softmax(energy / embed ** (1 / 2), dim=3)
    return torch.einsum("nhql,nlhd->nqhd", attention, v).reshape(B, T, -1) @ w_o.T


@attempt("multi_head", "scale-by-input-width")
def divided_by_model_width(x, w_q, w_k, w_v, w_o, n_heads, mask):
    d_model = x.size(-1)
    q, k, v = (_heads(F.linear(x, w), n_heads) for w in (w_q, w_k, w_v))
    a = q @ k.transpose(-2, -1) / math.sqrt(d_model)
    if mask is not None:
        a = a.masked_fill(~mask, -1e9)
    a = torch.softmax(a, -1)
    a = a if mask is None else a * mask
    out = a @ v
    return torch.cat([out[:, h] for h in range(n_heads)], -1) @ w_o.T


@attempt("multi_head", "weights-not-transposed", "nan-on-empty")
def weights_as_they_are(x, w_q, w_k, w_v, w_o, n_heads, mask):
    q, k, v = (_heads(torch.matmul(x, w), n_heads) for w in (w_q, w_k, w_v))
    out = _softmax_attention(q, k, v, mask).transpose(1, 2).flatten(2)
    return torch.matmul(out, w_o)


@attempt("multi_head", "no-output-projection")
def projection_forgotten(x, w_q, w_k, w_v, w_o, n_heads, mask):
    q, k, v = (_heads(F.linear(x, w), n_heads) for w in (w_q, w_k, w_v))
    out = torch.nan_to_num(_softmax_attention(q, k, v, mask))
    return torch.cat(out.unbind(1), dim=-1)


@attempt("multi_head", "head-size-from-input", "nan-on-empty")
def head_size_from_c(x, w_q, w_k, w_v, w_o, n_heads, mask):
    b, t, c = x.size()
    hs = c // n_heads
    q = F.linear(x, w_q).view(b, t, n_heads, hs).transpose(1, 2)
    k = F.linear(x, w_k).view(b, t, n_heads, hs).transpose(1, 2)
    v = F.linear(x, w_v).view(b, t, n_heads, hs).transpose(1, 2)
    y = _softmax_attention(q, k, v, mask)
    return F.linear(y.transpose(1, 2).contiguous().view(b, t, c), w_o)


@attempt("multi_head", "mask-inverted", "nan-on-empty")
def mask_true_is_hidden(x, w_q, w_k, w_v, w_o, n_heads, mask):
    outs = []
    for h in range(n_heads):
        wq, wk, wv = (w.view(n_heads, -1, w.shape[1])[h] for w in (w_q, w_k, w_v))
        s = (x @ wq.T) @ (x @ wk.T).mT / math.sqrt(wq.shape[0])
        if mask is not None:
            m = mask[:, 0] if mask.ndim == 4 else mask
            s = s.masked_fill(m, -math.inf)
        outs.append(s.softmax(-1) @ (x @ wv.T))
    return torch.cat(outs, -1) @ w_o.T


@attempt("multi_head", "features-interleaved", "nan-on-empty")
def strided_heads(x, w_q, w_k, w_v, w_o, n_heads, mask):
    def cut(w):
        y = F.linear(x, w)
        return torch.stack([y[..., h::n_heads] for h in range(n_heads)], dim=1)

    out = _softmax_attention(cut(w_q), cut(w_k), cut(w_v), mask)
    return F.linear(torch.cat(out.unbind(1), -1), w_o)


@attempt("multi_head", "always-causal")
def causal_built_in(x, w_q, w_k, w_v, w_o, n_heads, mask):
    T = x.shape[1]
    q, k, v = (_heads(F.linear(x, w), n_heads) for w in (w_q, w_k, w_v))
    later = torch.triu(torch.ones(T, T, dtype=torch.bool), diagonal=1)
    out = _softmax_attention(q, k, v, ~later)
    return F.linear(out.permute(0, 2, 1, 3).reshape(*x.shape[:2], -1), w_o)


@attempt("multi_head", "values-from-keys", "nan-on-empty")
def copy_paste_slip(x, w_q, w_k, w_v, w_o, n_heads, mask):
    q = _heads(F.linear(x, w_q), n_heads)
    k = _heads(F.linear(x, w_k), n_heads)
    v = _heads(F.linear(x, w_k), n_heads)
    return F.linear(_softmax_attention(q, k, v, mask).transpose(1, 2).flatten(2), w_o)


@attempt("multi_head", "cut-without-transpose", "no-scale")
def view_and_no_scale(x, w_q, w_k, w_v, w_o, n_heads, mask):
    B, T, _ = x.shape
    q, k, v = (F.linear(x, w).view(B, n_heads, T, -1) for w in (w_q, w_k, w_v))
    s = q @ k.mT
    if mask is not None:
        s = s.masked_fill(~mask, -1e9)
    s = torch.softmax(s, -1)
    s = s if mask is None else s * mask
    return F.linear((s @ v).transpose(1, 2).reshape(B, T, -1), w_o)


# --- grouped query -------------------------------------------------------------------------------


@attempt("grouped_query", "heads-tiled", "nan-on-empty")
def queries_grouped_the_other_way(q, k, v, mask):
    """Cuts the query heads into (group, K) and lets k and v broadcast."""
    B, H, T, D = q.shape
    K = k.shape[1]
    s = q.reshape(B, H // K, K, T, D) @ k.unsqueeze(1).mT / math.sqrt(D)
    s = s.reshape(B, H, T, -1)
    if mask is not None:
        s = s.masked_fill(~mask, -math.inf)
    w = s.softmax(-1).reshape(B, H // K, K, T, -1)
    return (w @ v.unsqueeze(1)).reshape(B, H, T, -1)


@attempt("grouped_query", "heads-tiled")
def modulo_for_division(q, k, v, mask):
    out = []
    for h in range(q.shape[1]):
        kv = h % k.shape[1]
        s = torch.einsum("btd,bsd->bts", q[:, h], k[:, kv]) / q.shape[-1] ** 0.5
        if mask is not None:
            m = mask if mask.ndim == 2 else mask[:, h]
            s = torch.where(m, s, -math.inf)
        out.append(torch.nan_to_num(s.softmax(-1), nan=0.0) @ v[:, kv])
    return torch.stack(out, 1)


@attempt("grouped_query", "values-tiled", "nan-on-empty")
def cat_for_values(q, k, v, mask):
    g = q.shape[1] // k.shape[1]
    k = torch.stack([k] * g, dim=2).flatten(1, 2)
    v = torch.cat([v] * g, dim=1)
    s = q @ k.transpose(2, 3) / math.sqrt(k.shape[-1])
    if mask is not None:
        s = s.masked_fill(~mask, -math.inf)
    return F.softmax(s, dim=-1) @ v


@attempt("grouped_query", "first-head-for-all", "nan-on-empty")
def multi_query_assumed(q, k, v, mask):
    s = torch.einsum("bhtd,bsd->bhts", q, k[:, 0]) / math.sqrt(q.shape[-1])
    if mask is not None:
        s = s.masked_fill(~mask, -math.inf)
    return torch.einsum("bhts,bsd->bhtd", torch.softmax(s, -1), v[:, 0])


@attempt("grouped_query", "no-scale")
def grouped_without_scale(q, k, v, mask):
    B, H, T, D = q.shape
    K = k.shape[1]
    s = torch.einsum("bkgtd,bksd->bkgts", q.view(B, K, H // K, T, D), k).reshape(B, H, T, -1)
    if mask is not None:
        s = s.masked_fill(~mask, -1e30)
    w = s.softmax(-1)
    w = w if mask is None else w * mask
    return torch.einsum("bkgts,bksd->bkgtd", w.view(B, K, H // K, T, -1), v).reshape(B, H, T, -1)


@attempt("grouped_query", "not-shared", "nan-on-empty")
def broadcasting_will_do_it(q, k, v, mask):
    s = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(q.size(-1))
    if mask is not None:
        s = s.masked_fill(~mask, float("-inf"))
    return torch.matmul(s.softmax(-1), v)


@attempt("grouped_query", "uniform-on-empty")
def llama_style(q, k, v, mask):
    B, K, S, D = k.shape
    n_rep = q.shape[1] // K
    k = k[:, :, None, :, :].expand(B, K, n_rep, S, D).reshape(B, K * n_rep, S, D)
    v = v[:, :, None].expand(-1, -1, n_rep, -1, -1).reshape(B, K * n_rep, S, -1)
    a = torch.matmul(q, k.transpose(2, 3)) / math.sqrt(D)
    if mask is not None:
        a = a + (~mask).to(q.dtype) * torch.finfo(q.dtype).min
    return torch.matmul(F.softmax(a, dim=-1), v)


@attempt("grouped_query", "repeated-k-times", "nan-on-empty")
def repeats_by_the_wrong_number(q, k, v, mask):
    K = k.shape[1]
    k = torch.cat([k[:, i : i + 1].expand(-1, K, -1, -1) for i in range(K)], 1)
    v = torch.cat([v[:, i : i + 1].expand(-1, K, -1, -1) for i in range(K)], 1)
    s = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        s = s.masked_fill(~mask, -math.inf)
    return s.softmax(-1) @ v


@attempt("grouped_query", "heads-tiled", "no-scale")
def tiled_and_no_scale(q, k, v, mask):
    g = q.shape[1] // k.shape[1]
    k, v = torch.cat([k] * g, dim=1), torch.cat([v] * g, dim=1)
    s = torch.einsum("bhtd,bhsd->bhts", q, k)
    if mask is not None:
        s = s.masked_fill(~mask, -1e30)
    w = torch.softmax(s, -1)
    return (w if mask is None else w * mask) @ v


# --- rotary --------------------------------------------------------------------------------------


def _frequencies(x, theta):
    D = x.shape[-1]
    return torch.tensor([theta ** (-2 * i / D) for i in range(D // 2)], dtype=torch.float64)


@attempt("rotary", "interleaved")
def as_complex_pairs(x, positions, theta):
    """As in the Llama reference code, whose checkpoints are stored for it."""
    angles = positions.double()[..., None] * _frequencies(x, theta)
    z = torch.view_as_complex(x.double().reshape(*x.shape[:-1], -1, 2).contiguous())
    z = z * torch.polar(torch.ones_like(angles), angles)[:, None]
    return torch.view_as_real(z).flatten(-2).to(x.dtype)


@attempt("rotary", "pairings-mixed")
def repeat_interleave_with_rotate_half(x, positions, theta):
    f = positions[:, None, :, None].double() * _frequencies(x, theta)
    emb = torch.stack((f, f), dim=-1).reshape(*f.shape[:-1], -1)
    D = x.shape[-1]
    rotated = torch.roll(x, D // 2, dims=-1)
    rotated[..., : D // 2] *= -1
    return (x * emb.cos() + rotated * emb.sin()).to(x.dtype)


@attempt("rotary", "angles-not-interleaved")
def rotate_every_two_with_repeat(x, positions, theta):
    f = positions[:, None, :, None].double() * _frequencies(x, theta)
    emb = f.repeat(1, 1, 1, 2)
    x1, x2 = x.unflatten(-1, (-1, 2)).unbind(-1)
    rotated = torch.stack((-x2, x1), dim=-1).flatten(-2)
    return (x * emb.cos() + rotated * emb.sin()).to(x.dtype)


@attempt("rotary", "positions-ignored")
def counts_tokens(x, positions, theta):
    out = x.clone()
    half = x.shape[-1] // 2
    freqs = _frequencies(x, theta)
    for t in range(x.shape[2]):
        c, s = torch.cos(t * freqs).to(x.dtype), torch.sin(t * freqs).to(x.dtype)
        a, b = x[:, :, t, :half], x[:, :, t, half:]
        out[:, :, t] = torch.cat([a * c - b * s, b * c + a * s], -1)
    return out


@attempt("rotary", "theta-ignored")
def constant_base(x, positions, theta):
    half = x.shape[-1] // 2
    angle = positions.double()[:, None, :, None] / 10000 ** (torch.arange(half).double() / half)
    c, s = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x.tensor_split(2, dim=-1)
    return torch.cat([a * c - b * s, b * c + a * s], -1)


@attempt("rotary", "angles-in-float32")
def hugging_face_habit(x, positions, theta):
    D = x.shape[-1]
    inv_freq = 1.0 / (theta ** (torch.arange(0, D, 2, dtype=torch.int64).float() / D))
    freqs = torch.einsum("bt,f->btf", positions.float(), inv_freq)
    emb = torch.cat((freqs, freqs), dim=-1).unsqueeze(1)
    rotated = torch.cat((-x[..., D // 2 :], x[..., : D // 2]), dim=-1)
    return x * emb.cos().to(x.dtype) + rotated * emb.sin().to(x.dtype)


@attempt("rotary", "backwards")
def sine_signs_swapped(x, positions, theta):
    angle = torch.einsum("bt,f->btf", positions.double(), _frequencies(x, theta)).unsqueeze(1)
    c, s = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * c + b * s, b * c - a * s], -1)


@attempt("rotary", "double-exponent")
def even_exponents_over_half(x, positions, theta):
    half = x.shape[-1] // 2
    inv = torch.pow(torch.tensor(theta).double(), -torch.arange(0, 2 * half, 2).double() / half)
    angle = positions.double()[:, None, :, None] * inv
    c, s = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    return torch.cat(
        [x[..., :half] * c - x[..., half:] * s, x[..., :half] * s + x[..., half:] * c], -1
    )


@attempt("rotary", "first-row-for-all")
def table_indexed_by_row_zero(x, positions, theta):
    table = torch.arange(int(positions.max()) + 1).double()[:, None] * _frequencies(x, theta)
    angle = table[positions[0]]
    c, s = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * c - b * s, a * s + b * c], -1)


# --- sliding window ------------------------------------------------------------------------------


@attempt("sliding_window_mask", "one-too-many")
def flash_attention_convention(T, S, window):
    return torch.tensor(
        [[i + S - T - window <= j <= i + S - T for j in range(S)] for i in range(T)]
    )


@attempt("sliding_window_mask", "one-too-few")
def tril_minus_tril_off_by_one(T, S, window):
    ones = torch.ones(T, S)
    return (ones.tril(S - T) - ones.tril(S - T - window + 1)).bool()


@attempt("sliding_window_mask", "one-more-on-both-sides")
def left_and_right(T, S, window):
    d = torch.arange(S)[None] - torch.arange(S - T, S)[:, None]
    return (d >= -window) & (d <= window)


@attempt("sliding_window_mask", "top-left")
def band_by_loops(T, S, window):
    m = torch.zeros(T, S, dtype=torch.bool)
    for i in range(T):
        m[i, max(0, i - window + 1) : i + 1] = True
    return m


@attempt("sliding_window_mask", "no-window")
def window_subtracted_from_nothing(T, S, window):
    return torch.ones(T, S).tril(S - T).bool() & torch.ones(T, S).triu(S - T - S - window).bool()


@attempt("sliding_window_mask", "not-boolean")
def band_of_ones(T, S, window):
    d = torch.arange(T)[:, None] + (S - T) - torch.arange(S)
    return ((d >= 0) * (d < window)).float()


@attempt("sliding_window_mask", "one-too-many", "top-left")
def two_triangles_top_left(T, S, window):
    ones = torch.ones(T, S, dtype=torch.bool)
    return ones.tril() & ~ones.tril(-window - 1)


@attempt("sliding_window_mask", "true-is-hidden")
def hidden_is_true(T, S, window):
    i = torch.arange(S - T, S)[:, None]
    j = torch.arange(S)[None]
    return (j > i) | (i - j >= window)


@attempt("sliding_window_mask", "top-left", "one-too-few")
def top_left_and_too_few(T, S, window):
    m = torch.zeros(T, S, dtype=torch.bool)
    for i in range(T):
        m[i, max(0, i - window + 2) : i + 1] = True
    return m


# --- online softmax ------------------------------------------------------------------------------


@attempt("online_softmax_update", "nan-on-empty")
def by_the_paper(m, l, acc, scores, values):  # noqa: E741
    m_new = torch.max(m, torch.max(scores, dim=-1).values)
    alpha = torch.exp(m - m_new)
    p = torch.exp(scores - m_new.unsqueeze(-1))
    l_new = alpha * l + p.sum(dim=-1)
    acc_new = alpha.unsqueeze(-1) * acc + torch.einsum("...ts,...sd->...td", p, values)
    return m_new, l_new, acc_new


@attempt("online_softmax_update", "no-rescale", "nan-on-empty")
def just_accumulates(m, l, acc, scores, values):  # noqa: E741
    m_new = torch.maximum(m, scores.max(-1)[0])
    p = (scores - m_new[..., None]).exp()
    return m_new, l + p.sum(-1), acc + p @ values


@attempt("online_softmax_update", "output-not-rescaled")
def only_the_sum_is_corrected(m, l, acc, scores, values):  # noqa: E741
    m_new = torch.maximum(m, scores.max(-1)[0])
    safe = m_new.nan_to_num(neginf=0.0)
    p = torch.exp(scores - safe[..., None])
    return m_new, l * torch.exp(m - safe) + p.sum(-1), acc + torch.matmul(p, values)


@attempt("online_softmax_update", "rescale-inverted")
def exponent_the_wrong_way_round(m, l, acc, scores, values):  # noqa: E741
    m_new = torch.maximum(m, scores.max(-1)[0])
    p = torch.exp(scores - m_new.clamp(min=-1e30)[..., None])
    up = torch.exp(m_new - m)
    return m_new, up * l + p.sum(-1), up[..., None] * acc + p @ values


@attempt("online_softmax_update", "block-shifted-by-itself")
def local_weights_not_corrected(m, l, acc, scores, values):  # noqa: E741
    local = scores.max(-1)[0]
    p = torch.exp(scores - local.clamp(min=-1e30)[..., None])
    m_new = torch.maximum(m, local)
    c = torch.exp(m - m_new.clamp(min=-1e30))
    return m_new, c * l + p.sum(-1), c[..., None] * acc + p @ values


@attempt("online_softmax_update", "output-divided")
def normalised_each_time(m, l, acc, scores, values):  # noqa: E741
    m_new = torch.maximum(m, scores.max(-1)[0])
    safe = m_new.clamp(min=-1e30)
    c, p = torch.exp(m - safe), torch.exp(scores - safe[..., None])
    l_new = c * l + p.sum(-1)
    acc_new = (c[..., None] * acc + p @ values) / l_new.clamp(min=1e-30)[..., None]
    return m_new, l_new, acc_new


@attempt("online_softmax_update", "one-maximum-for-all")
def maximum_without_axis(m, l, acc, scores, values):  # noqa: E741
    m_new = torch.max(m, torch.max(scores))
    c = torch.exp(m - m_new)
    p = torch.exp(scores - m_new.unsqueeze(-1))
    return m_new, c * l + p.sum(-1), c.unsqueeze(-1) * acc + p @ values


@attempt("online_softmax_update", "kept-normalised")
def flash_attention_one(m, l, acc, scores, values):  # noqa: E741
    """Algorithm 1 of FlashAttention, which keeps the output normalised at every step."""
    m_new = torch.maximum(m, scores.max(-1)[0])
    safe = m_new.clamp(min=-1e30)
    c, p = torch.exp(m - safe), torch.exp(scores - safe[..., None])
    l_new = c * l + p.sum(-1)
    acc_new = (l * c)[..., None] * acc + p @ values
    return m_new, l_new, acc_new / l_new.clamp(min=1e-30)[..., None]


# --- flash forward -------------------------------------------------------------------------------


def _loop(q, k, v, block, causal, *, scale=None, rescale=True, offset=None, cut=None):
    """Whole query strips against blocks of keys, with a few places to go wrong."""
    T, S = q.shape[-2], k.shape[-2]
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    offset = S - T if offset is None else offset
    m = q.new_full((*q.shape[:-1], 1), -math.inf)
    total, acc = torch.zeros_like(m), q.new_zeros(*q.shape[:-1], v.shape[-1])
    for j in range(0, S if cut is None else cut, block):
        s = q @ k[..., j : j + block, :].mT * scale
        if causal:
            cols = torch.arange(j, j + s.shape[-1])
            s = s.masked_fill(cols > torch.arange(T)[:, None] + offset, -math.inf)
        new = torch.maximum(m, s.amax(-1, keepdim=True))
        safe = new.clamp(min=-1e30)
        p = (s - safe).exp()
        c = (m - safe).exp() if rescale else 1.0
        total = c * total + p.sum(-1, keepdim=True)
        acc = c * acc + p @ v[..., j : j + block, :]
        m = new
    return m, total, acc


def _end(m, total, acc):
    return acc / total.clamp(min=1e-30), (m + total.log()).squeeze(-1)


@attempt("flash_forward", "whole-matrix", "zero-by-zero")
def ordinary_attention(q, k, v, block_size, causal):
    T, S = q.shape[-2], k.shape[-2]
    scores = torch.einsum("...td,...sd->...ts", q, k) / math.sqrt(q.shape[-1])
    if causal:
        allowed = torch.arange(S) <= torch.arange(T)[:, None] + S - T
        scores = torch.where(allowed, scores, -math.inf)
    return torch.softmax(scores, -1) @ v, torch.logsumexp(scores, -1)


@attempt("flash_forward", "no-scale")
def tiles_without_scale(q, k, v, block_size, causal):
    return _end(*_loop(q, k, v, block_size, causal, scale=1.0))


@attempt("flash_forward", "no-rescale")
def tiles_without_rescale(q, k, v, block_size, causal):
    return _end(*_loop(q, k, v, block_size, causal, rescale=False))


@attempt("flash_forward", "aligned-top-left")
def tiles_top_left(q, k, v, block_size, causal):
    return _end(*_loop(q, k, v, block_size, causal, offset=0))


@attempt("flash_forward", "last-block-dropped")
def floor_division_of_blocks(q, k, v, block_size, causal):
    full = k.shape[-2] // block_size * block_size
    return _end(*_loop(q, k, v, block_size, causal, cut=full))


@attempt("flash_forward", "not-divided")
def tiles_not_divided(q, k, v, block_size, causal):
    m, total, acc = _loop(q, k, v, block_size, causal)
    return acc, (m + total.log())[..., 0]


@attempt("flash_forward", "logsumexp-without-maximum")
def logsumexp_lacks_m(q, k, v, block_size, causal):
    _, total, acc = _loop(q, k, v, block_size, causal)
    return acc / total.clamp(min=1e-30), total.log()[..., 0]


@attempt("flash_forward", "zero-by-zero")
def tiles_divided_by_zero(q, k, v, block_size, causal):
    m, total, acc = _loop(q, k, v, block_size, causal)
    return acc / total, m[..., 0] + torch.log(total[..., 0])


@attempt("flash_forward", "causal-ignored")
def tiles_never_masked(q, k, v, block_size, causal):
    return _end(*_loop(q, k, v, block_size, False))


@attempt("flash_forward", "own-key-masked")
def tiles_strictly_before(q, k, v, block_size, causal):
    return _end(*_loop(q, k, v, block_size, causal, offset=k.shape[-2] - q.shape[-2] - 1))


@attempt("flash_forward", "next-key-seen")
def tiles_see_the_next_key(q, k, v, block_size, causal):
    return _end(*_loop(q, k, v, block_size, causal, offset=k.shape[-2] - q.shape[-2] + 1))


@attempt("flash_forward", "no-scale", "aligned-top-left")
def tiles_without_scale_top_left(q, k, v, block_size, causal):
    return _end(*_loop(q, k, v, block_size, causal, scale=1.0, offset=0))


# --- cost ----------------------------------------------------------------------------------------


def _triangle(T, S):
    return sum(len(range(0, max(0, min(S, t + S - T + 1)))) for t in range(T))


@attempt("attention_cost", "multiply-add-as-one")
def macs_not_flops(B, H, K, T, S, D, bytes_per_value, causal):
    pairs = _triangle(T, S) if causal else T * S
    small = (2 * H * T + 2 * K * S) * B * D * bytes_per_value
    return 2 * B * H * D * pairs, small + 4 * B * H * T * S * bytes_per_value, small


@attempt("attention_cost", "causal-halves")
def half_for_causal(B, H, K, T, S, D, bytes_per_value, causal):
    flops = 4 * B * H * D * T * S
    if causal:
        flops //= 2
    small = (2 * H * T + 2 * K * S) * B * D * bytes_per_value
    return flops, small + 4 * B * H * T * S * bytes_per_value, small


@attempt("attention_cost", "causal-ignored")
def dense_flops(B, H, K, T, S, D, bytes_per_value, causal):
    small = 2 * B * D * (H * T + K * S) * bytes_per_value
    return 4 * B * H * D * T * S, small + 4 * B * H * T * S * bytes_per_value, small


@attempt("attention_cost", "kv-heads-ignored")
def keys_for_every_head(B, H, K, T, S, D, bytes_per_value, causal):
    pairs = int(torch.ones(T, S).tril(S - T).sum()) if causal else T * S
    q = o = B * H * T * D
    k = v = B * H * S * D
    small = (q + k + v + o) * bytes_per_value
    return 4 * B * H * D * pairs, small + 4 * B * H * T * S * bytes_per_value, small


@attempt("attention_cost", "matrix-crosses-twice")
def scores_written_and_read(B, H, K, T, S, D, bytes_per_value, causal):
    pairs = _triangle(T, S) if causal else T * S
    io = [B * H * T * D, B * K * S * D, B * K * S * D, B * H * T * D]
    matrix = [B * H * T * S] * 2
    return (
        2 * 2 * B * H * D * pairs,
        sum(io + matrix) * bytes_per_value,
        sum(io) * bytes_per_value,
    )


@attempt("attention_cost", "aligned-top-left")
def triangle_from_the_top(B, H, K, T, S, D, bytes_per_value, causal):
    pairs = int(torch.ones(T, S).tril().sum()) if causal else T * S
    small = 2 * B * D * (H * T + K * S) * bytes_per_value
    return 4 * B * H * D * pairs, small + 4 * B * H * T * S * bytes_per_value, small


@attempt("attention_cost", "always-two-bytes")
def half_precision_assumed(B, H, K, T, S, D, bytes_per_value, causal):
    pairs = _triangle(T, S) if causal else T * S
    small = 4 * B * D * (H * T + K * S)
    return 4 * B * H * D * pairs, small + 8 * B * H * T * S, small


@attempt("attention_cost", "multiply-add-as-one", "causal-ignored")
def macs_and_dense(B, H, K, T, S, D, bytes_per_value, causal):
    small = 2 * B * D * (H * T + K * S) * bytes_per_value
    return 2 * B * H * D * T * S, small + 4 * B * H * T * S * bytes_per_value, small


@attempt("attention_cost", "output-forgotten", "kv-heads-ignored")
def three_tensors_of_h_heads(B, H, K, T, S, D, bytes_per_value, causal):
    pairs = _triangle(T, S) if causal else T * S
    small = bytes_per_value * B * H * D * (T + S + S)
    return 4 * B * H * D * pairs, small + 4 * B * H * T * S * bytes_per_value, small


@attempt("attention_cost")
def one_head_only(B, H, K, T, S, D, bytes_per_value, causal):
    pairs = _triangle(T, S) if causal else T * S
    small = 2 * D * (T + S) * bytes_per_value
    return 4 * D * pairs, small + 4 * T * S * bytes_per_value, small


# --- a second round, over all exercises: more slips, and more of two at once ----------------------


@attempt("softmax", "first-axis")
def default_axis_zero(x, dim):
    """As F.softmax once guessed for one and three axes."""
    m = torch.max(x, 0).values
    m = torch.where(m.isinf(), torch.zeros_like(m), m)
    e = torch.exp(x - m)
    return e / e.sum(0).clamp(min=1e-30)


@attempt("softmax", "no-max")
def epsilon_against_zero(x, dim):
    e = x.exp()
    return e / (e.sum(dim, keepdim=True) + 1e-12)


@attempt("softmax")
def halved_temperature(x, dim):
    z = (x - x.amax(dim, keepdim=True)) / 2
    return z.exp() / z.exp().sum(dim, keepdim=True)


@attempt("scaled_dot_product", "mask-added")
def bool_mask_added_as_a_bias(q, k, v, mask):
    s = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        s += mask
    w = F.softmax(s, -1)
    return w @ v, w


@attempt("scaled_dot_product", "mask-multiplies-scores")
def tiny_fill(q, k, v, mask):
    s = torch.einsum("...id,...jd->...ij", q, k).mul(q.shape[-1] ** -0.5)
    if mask is not None:
        s.masked_fill_(~mask, torch.finfo(q.dtype).tiny)
    w = s.softmax(-1)
    return torch.einsum("...ij,...jd->...id", w, v), w


@attempt("scaled_dot_product", "scores-returned", "nan-on-empty")
def returns_logits(q, k, v, mask):
    s = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        s = torch.where(mask, s, -torch.inf)
    return s.softmax(-1) @ v, s


@attempt("scaled_dot_product", "no-scale", "mask-inverted")
def two_slips(q, k, v, mask):
    s = torch.matmul(q, k.transpose(-1, -2))
    if mask is not None:
        s = torch.where(mask, -math.inf, s)
    w = torch.nan_to_num(torch.softmax(s, dim=-1))
    return w @ v, w


@attempt("scaled_dot_product", "no-scale", "uniform-on-empty")
def loops_without_scale(q, k, v, mask):
    w = torch.empty(*q.shape[:-1], k.shape[-2], dtype=q.dtype)
    for i in range(q.shape[-2]):
        for j in range(k.shape[-2]):
            w[..., i, j] = (q[..., i, :] * k[..., j, :]).sum(-1)
    if mask is not None:
        w = w.masked_fill(~mask, -1e12)
    w = torch.softmax(w, -1)
    return w @ v, w


@attempt("scaled_dot_product", "weights-left-nonzero")
def only_output_zeroed(q, k, v, mask):
    s = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is None:
        w = s.softmax(-1)
        return w @ v, w
    w = s.masked_fill(~mask, -math.inf).softmax(-1)
    return torch.nan_to_num(w @ v), w


@attempt("causal_mask", "shift-sign")
def shift_reversed(T, S):
    return torch.arange(S) <= torch.arange(T).unsqueeze(-1) - (S - T)


@attempt("causal_mask", "true-is-hidden")
def inverted_at_the_end(T, S):
    m = torch.zeros(T, S)
    for t in range(T):
        for s in range(S):
            if s > t + S - T:
                m[t, s] = 1
    return m.bool()


@attempt("causal_mask", "square-of-keys")
def torch_generate_square(T, S):
    return torch.nn.Transformer.generate_square_subsequent_mask(S) == 0


@attempt("causal_mask")
def diagonal_only(T, S):
    return torch.eye(T, S, dtype=torch.bool)


@attempt("multi_head", "output-weight-not-transposed", "nan-on-empty")
def forgot_t_once(x, w_q, w_k, w_v, w_o, n_heads, mask):
    B, T, _ = x.shape
    q = torch.einsum("btc,dc->btd", x, w_q).reshape(B, T, n_heads, -1)
    k = torch.einsum("btc,dc->btd", x, w_k).reshape(B, T, n_heads, -1)
    v = torch.einsum("btc,dc->btd", x, w_v).reshape(B, T, n_heads, -1)
    s = torch.einsum("bthd,bshd->bhts", q, k) / q.shape[-1] ** 0.5
    if mask is not None:
        s = s.masked_fill(~mask, -torch.inf)
    o = torch.einsum("bhts,bshd->bthd", s.softmax(-1), v).flatten(2)
    return torch.einsum("btd,dc->btc", o, w_o)


@attempt("multi_head", "one-head-only", "nan-on-empty")
def heads_argument_unused(x, w_q, w_k, w_v, w_o, n_heads, mask):
    q, k, v = F.linear(x, w_q), F.linear(x, w_k), F.linear(x, w_v)
    s = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        s = s.masked_fill(~(mask[:, 0] if mask.dim() == 4 else mask), -math.inf)
    return F.linear(s.softmax(-1) @ v, w_o)


@attempt("multi_head", "heads-attend-to-heads")
def mha_without_transposes(x, w_q, w_k, w_v, w_o, n_heads, mask):
    B, T, _ = x.shape
    q, k, v = (F.linear(x, w).view(B, T, n_heads, -1) for w in (w_q, w_k, w_v))
    s = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        s = s.masked_fill(~mask, -1e9)
    return F.linear((F.softmax(s, -1) @ v).reshape(B, T, -1), w_o)


@attempt("multi_head", "no-scale", "mask-ignored")
def unscaled_and_unmasked(x, w_q, w_k, w_v, w_o, n_heads, mask):
    q, k, v = (torch.stack(F.linear(x, w).chunk(n_heads, -1), 1) for w in (w_q, w_k, w_v))
    o = (q @ k.mT).softmax(-1) @ v
    return F.linear(torch.cat(o.unbind(1), -1), w_o)


@attempt("multi_head", "softmax-over-heads")
def softmax_dim_1(x, w_q, w_k, w_v, w_o, n_heads, mask):
    q, k, v = (torch.stack(F.linear(x, w).chunk(n_heads, -1), 1) for w in (w_q, w_k, w_v))
    s = q @ k.mT / q.shape[-1] ** 0.5
    if mask is not None:
        s = s.masked_fill(~mask, -1e9)
    w = F.softmax(s, dim=1)
    if mask is not None:
        w = w * mask
    return F.linear((w @ v).transpose(1, 2).flatten(2), w_o)


@attempt("grouped_query", "kv-heads-averaged", "nan-on-empty")
def mean_pooled_heads(q, k, v, mask):
    s = torch.einsum("bhtd,bsd->bhts", q, k.mean(1)) / q.shape[-1] ** 0.5
    if mask is not None:
        s = s.masked_fill(~mask, -math.inf)
    return torch.einsum("bhts,bsd->bhtd", s.softmax(-1), v.mean(1))


@attempt("grouped_query", "heads-out-of-order", "nan-on-empty")
def heads_come_back_wrong(q, k, v, mask):
    H, D = q.shape[1], q.shape[3]
    K = k.shape[1]
    g = H // K
    out = []
    for r in range(g):
        for kv in range(K):
            h = kv * g + r
            s = q[:, h] @ k[:, kv].mT / math.sqrt(D)
            if mask is not None:
                s = s.masked_fill(~(mask if mask.ndim == 2 else mask[:, h]), -math.inf)
            out.append(s.softmax(-1) @ v[:, kv])
    return torch.stack(out, 1)


@attempt("grouped_query", "mask-inverted")
def sdpa_convention_mixed_up(q, k, v, mask):
    g = q.shape[1] // k.shape[1]
    k, v = (t.unsqueeze(2).expand(-1, -1, g, -1, -1).flatten(1, 2) for t in (k, v))
    s = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        s = torch.where(mask, torch.full_like(s, -1e9), s)
    return s.softmax(-1) @ v


@attempt("grouped_query", "weights-too", "nan-on-empty")
def output_and_weights(q, k, v, mask):
    g = q.shape[1] // k.shape[1]
    k, v = (torch.repeat_interleave(t, g, 1) for t in (k, v))
    s = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        s = s.masked_fill(~mask, -math.inf)
    w = s.softmax(-1)
    return w @ v, w


@attempt("rotary", "half-exponent")
def i_over_d(x, positions, theta):
    D = x.shape[-1]
    f = torch.exp(-math.log(theta) * torch.arange(D // 2).double() / D)
    a = (positions.double().unsqueeze(-1) * f).unsqueeze(1)
    x1, x2 = x[..., : D // 2], x[..., D // 2 :]
    c, s = a.cos().to(x.dtype), a.sin().to(x.dtype)
    return torch.cat((x1 * c - x2 * s, x2 * c + x1 * s), -1)


@attempt("rotary", "interleaved", "angles-in-float32")
def polar_in_float32(x, positions, theta):
    D = x.shape[-1]
    f = 1.0 / theta ** (torch.arange(0, D, 2).float() / D)
    a = positions[..., None].float() * f
    z = torch.view_as_complex(x.float().reshape(*x.shape[:-1], D // 2, 2))
    return (
        torch.view_as_real(z * torch.polar(torch.ones_like(a), a)[:, None]).flatten(3).to(x.dtype)
    )


@attempt("rotary", "positions-from-one")
def one_indexed(x, positions, theta):
    h = x.shape[-1] // 2
    y = torch.zeros_like(x)
    for i in range(h):
        a = ((positions + 1).double() * theta ** (-i / h))[:, None]
        y[..., i] = (x[..., i] * a.cos() - x[..., h + i] * a.sin()).to(x.dtype)
        y[..., h + i] = (x[..., i] * a.sin() + x[..., h + i] * a.cos()).to(x.dtype)
    return y


@attempt("sliding_window_mask", "both-sides")
def distance_below_window(T, S, window):
    q = torch.arange(T).view(T, 1) + S - T
    return (torch.arange(S).view(1, S) - q).abs().lt(window)


@attempt("sliding_window_mask", "one-too-many", "not-boolean")
def float_band(T, S, window):
    return torch.ones(T, S).tril(S - T).triu(S - T - window)


@attempt("sliding_window_mask", "hides-itself-and-too-few")
def range_excludes_self(T, S, window):
    m = torch.zeros(T, S).bool()
    for i in range(T):
        for j in range(S):
            m[i, j] = 0 < i + S - T - j < window
    return m


@attempt("sliding_window_mask", "top-left", "both-sides")
def symmetric_from_the_top(T, S, window):
    return (torch.arange(T)[:, None] - torch.arange(S)).abs() < window


@attempt("online_softmax_update", "not-shifted")
def plain_sums(m, l, acc, scores, values):  # noqa: E741
    e = scores.exp()
    return torch.maximum(m, scores.amax(-1)), l + e.sum(-1), acc + torch.matmul(e, values)


@attempt("online_softmax_update", "block-maximum", "nan-on-empty")
def newest_maximum(m, l, acc, scores, values):  # noqa: E741
    top = scores.max(-1).values
    c, p = torch.exp(m - top), torch.exp(scores - top[..., None])
    return top, l * c + p.sum(-1), acc * c[..., None] + p @ values


@attempt("online_softmax_update", "sum-not-rescaled", "nan-on-empty")
def l_forgotten(m, l, acc, scores, values):  # noqa: E741
    top = torch.maximum(m, scores.max(-1).values)
    p = torch.exp(scores - top[..., None])
    return top, l + p.sum(-1), torch.exp(m - top).unsqueeze(-1) * acc + p @ values


def _flash(q, k, v, n, causal, bottom_right=True, log=True, guard=True):
    T, S = q.shape[-2], k.shape[-2]
    out, lse = q.new_zeros(*q.shape[:-1], v.shape[-1]), q.new_zeros(q.shape[:-1])
    for i in range(0, T, n):
        m = q.new_full((*q.shape[:-2], min(n, T - i), 1), -1e30 if guard else -math.inf)
        den, num = torch.zeros_like(m), 0.0
        for j in range(0, S, n):
            s = torch.einsum("...td,...sd->...ts", q[..., i : i + n, :], k[..., j : j + n, :])
            s = s / math.sqrt(q.shape[-1])
            if causal:
                r = torch.arange(i, i + s.shape[-2])[:, None] + (S - T if bottom_right else 0)
                s = s.masked_fill(torch.arange(j, j + s.shape[-1]) > r, -math.inf)
            t = torch.maximum(m, s.amax(-1, keepdim=True))
            c, p = (m - t).exp(), (s - t).exp()
            den, num, m = den * c + p.sum(-1, keepdim=True), num * c + p @ v[..., j : j + n, :], t
        out[..., i : i + n, :] = num / (den.clamp(min=1e-30) if guard else den)
        lse[..., i : i + n] = (m + (den.log() if log else den))[..., 0]
    return out, lse


@attempt("flash_forward", "aligned-top-left")
def fa_v1_alignment(q, k, v, block_size, causal):
    return _flash(q, k, v, block_size, causal, bottom_right=False)


@attempt("flash_forward", "sum-without-logarithm")
def lse_lacks_log(q, k, v, block_size, causal):
    return _flash(q, k, v, block_size, causal, log=False)


@attempt("flash_forward", "nan-on-empty")
def unguarded(q, k, v, block_size, causal):
    return _flash(q, k, v, block_size, causal, guard=False)


@attempt("flash_forward", "aligned-top-left", "sum-without-logarithm")
def two_slips_in_tiles(q, k, v, block_size, causal):
    return _flash(q, k, v, block_size, causal, bottom_right=False, log=False)


@attempt("attention_cost", "own-key-left-out")
def strict_triangle(B, H, K, T, S, D, bytes_per_value, causal):
    n = int(torch.ones(T, S).tril(S - T - 1).sum()) if causal else T * S
    io = 2 * (B * H * T * D + B * K * S * D) * bytes_per_value
    return 4 * n * B * H * D, io + 4 * B * H * T * S * bytes_per_value, io


@attempt("attention_cost", "kv-heads-in-flops")
def cheaper_flops(B, H, K, T, S, D, bytes_per_value, causal):
    n = sum(min(S, max(0, t + 1 + S - T)) for t in range(T)) if causal else T * S
    io = 2 * (B * H * T * D + B * K * S * D) * bytes_per_value
    return 4 * n * B * K * D, io + 4 * B * H * T * S * bytes_per_value, io


@attempt("attention_cost", "matrix-crosses-once", "causal-ignored")
def peak_memory(B, H, K, T, S, D, bytes_per_value, causal):
    io = 2 * (B * H * T * D + B * K * S * D) * bytes_per_value
    return 2 * B * H * T * S * D + 2 * B * H * T * S * D, io + B * H * T * S * bytes_per_value, io


# --- seen in a first pass through the notebook --------------------------------------------------


@attempt("attention_cost", "not-integer")
def half_of_the_square(B, H, K, T, S, D, bytes_per_value, causal):
    pairs = T * S / 2 if causal else T * S
    flash = bytes_per_value * 2 * B * D * (H * T + K * S)
    return 4 * B * H * D * pairs, flash + 4 * bytes_per_value * B * H * T * S, flash


@attempt("attention_cost", "not-integer")
def right_counts_as_floats(B, H, K, T, S, D, bytes_per_value, causal):
    pairs = sum(max(0, i + 1 + S - T) for i in range(T)) if causal else T * S
    flash = bytes_per_value * 2 * B * D * (H * T + K * S)
    plain = flash + 4 * bytes_per_value * B * H * T * S
    return [float(4 * B * H * D * pairs), float(plain), float(flash)]


@attempt("rotary", "no-head-axis")
def angles_by_row_and_token(x, positions, theta):
    D = x.shape[-1]
    angles = positions[..., None] * _frequencies(x, theta)
    a, b = x[..., : D // 2], x[..., D // 2 :]
    c, s = torch.cos(angles).to(x.dtype), torch.sin(angles).to(x.dtype)
    return torch.cat([a * c - b * s, b * c + a * s], dim=-1)


@attempt("rotary", "no-head-axis")  # whose angles nobody sees before they have their axis
def angles_by_row_and_token_in_float32(x, positions, theta):
    D = x.shape[-1]
    f = 1.0 / theta ** (torch.arange(0, D, 2).float() / D)
    angles = positions[..., None].float() * f
    a, b = x[..., : D // 2], x[..., D // 2 :]
    c, s = torch.cos(angles).to(x.dtype), torch.sin(angles).to(x.dtype)
    return torch.cat([a * c - b * s, b * c + a * s], dim=-1)


@attempt("softmax", "no-keepdim")
def maximum_lost_its_axis(x, dim):
    e = torch.exp(x - x.max(dim)[0])
    return e / e.sum(dim, keepdim=True)


@attempt("online_softmax_update", "rescale-without-axis")
def accumulator_times_factor(m, l, acc, scores, values):  # noqa: E741
    top = torch.maximum(m, scores.max(-1).values)
    safe = top.masked_fill(top.isinf(), 0.0)
    r = torch.exp(m - safe)
    p = torch.exp(scores - safe.unsqueeze(-1))
    return top, l * r + p.sum(-1), acc * r + torch.matmul(p, values)


@attempt("flash_forward", "returns-l")
def sum_in_place_of_its_logarithm(q, k, v, block_size, causal):
    T, S = q.shape[-2], k.shape[-2]
    m = q.new_full(q.shape[:-1], -math.inf)
    total = q.new_zeros(q.shape[:-1])
    acc = q.new_zeros(*q.shape[:-1], v.shape[-1])
    for j in range(0, S, block_size):
        kb, vb = k[..., j : j + block_size, :], v[..., j : j + block_size, :]
        s = q @ kb.mT / math.sqrt(q.shape[-1])
        if causal:
            late = j + torch.arange(kb.shape[-2])[None] > torch.arange(T)[:, None] + S - T
            s = s.masked_fill(late, -math.inf)
        new = torch.maximum(m, s.amax(-1))
        safe = new.masked_fill(new.isinf(), 0.0)
        r, p = torch.exp(m - safe), torch.exp(s - safe[..., None])
        m, total, acc = new, r * total + p.sum(-1), r[..., None] * acc + p @ vb
    return acc / total.masked_fill(total == 0, 1.0)[..., None], total


@attempt("multi_head", "view-after-transpose")
def view_of_transposed_heads(x, w_q, w_k, w_v, w_o, n_heads, mask):
    B, T, _ = x.shape
    q = (x @ w_q.T).view(B, T, n_heads, -1).transpose(1, 2)
    k = (x @ w_k.T).view(B, T, n_heads, -1).transpose(1, 2)
    v = (x @ w_v.T).view(B, T, n_heads, -1).transpose(1, 2)
    s = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    if mask is not None:
        s = s.masked_fill(~mask, -math.inf)
    out = torch.nan_to_num(torch.softmax(s, -1), nan=0.0) @ v
    return out.transpose(1, 2).view(B, T, -1) @ w_o.T


@attempt("grouped_query", "not-shared")
def einsum_over_unequal_heads(q, k, v, mask):
    s = torch.einsum("bnqd,bnkd->bnqk", q, k) / math.sqrt(q.shape[-1])
    if mask is not None:
        s = s.masked_fill(~mask, -math.inf)
    return torch.einsum("bnqk,bnkd->bnqd", torch.nan_to_num(torch.softmax(s, -1), nan=0.0), v)


@attempt("grouped_query", "not-shared")
def product_over_unequal_heads(q, k, v, mask):
    s = torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(q.shape[-1])
    if mask is not None:
        s = s.masked_fill(~mask, -math.inf)
    return torch.matmul(torch.nan_to_num(torch.softmax(s, -1), nan=0.0), v)
