r"""One attention layer in its two phases: a whole prompt at once, then one token at a time.

*Prefill* has all T tokens of the prompt and computes them together; what it leaves behind is the
keys, already rotated, and the values:

$$
q_t = R_t W_q x_t, \qquad k_t = R_t W_k x_t, \qquad v_t = W_v x_t, \qquad t = 0 \dots T - 1 \tag{1}
$$

$$
y_t = W_o \sum_{j \le t} \operatorname{softmax}_j\!\left(\frac{q_t \cdot k_j}{\sqrt{D}}\right) v_j
\tag{2}
$$

*Decode* has one new token, at position S behind S cached ones. It computes (1) for that token
alone, appends its key and value, and (2) for t = S. No mask is needed: everything in the cache lies
before it.

**Shapes.** `x` and `y` are `(B, T, C)`; `w_q` is `(H·D, C)`, `w_k` and `w_v` `(K·D, C)`, `w_o`
`(C, H·D)`, applied as `x @ w.mT`. Keys and values are `(B, K, S, D)`; query head h reads key/value
head h // (H / K). The rotation $R_t$ is the half-split one of `rotary`.

**Source.** Pope et al., 2022, section 2.2, for the phases; Shazeer, 2019, section 2.4.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead._checks import require_floating, require_integer
from clearhead.attention import causal_mask, grouped_query, join_heads, rotary, split_heads

from ._checks import require_rows


def prefill_layer(
    x: Float[Tensor, "B T C"],
    w_q: Float[Tensor, "HD C"],
    w_k: Float[Tensor, "KD C"],
    w_v: Float[Tensor, "KD C"],
    w_o: Float[Tensor, "C HD"],
    *,
    n_heads: int,
    n_kv_heads: int,
    theta: float = 10000.0,
) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "B K T D"], Float[Tensor, "B K T D"]]:
    """Causal attention over a prompt, equations (1) and (2). Returns y and the layer's cache.

    Raises `TypeError` for a wrong dtype and `ValueError` for shapes that do not fit.
    """
    _require_layer(x, w_q, w_k, w_v, w_o, n_heads, n_kv_heads)
    B, T, _ = x.shape
    positions = torch.arange(T, device=x.device).expand(B, T)
    q = rotary(split_heads(x @ w_q.mT, n_heads), positions, theta=theta)  # B H T D
    k = rotary(split_heads(x @ w_k.mT, n_kv_heads), positions, theta=theta)  # B K T D
    v = split_heads(x @ w_v.mT, n_kv_heads)
    heads = grouped_query(q, k, v, causal_mask(T, T, device=x.device))
    return join_heads(heads) @ w_o.mT, k, v


def decode_layer(
    x: Float[Tensor, "B 1 C"],
    cache_k: Float[Tensor, "B K S D"],
    cache_v: Float[Tensor, "B K S D"],
    w_q: Float[Tensor, "HD C"],
    w_k: Float[Tensor, "KD C"],
    w_v: Float[Tensor, "KD C"],
    w_o: Float[Tensor, "C HD"],
    *,
    n_heads: int,
    n_kv_heads: int,
    theta: float = 10000.0,
) -> tuple[Float[Tensor, "B 1 C"], Float[Tensor, "B K S+1 D"], Float[Tensor, "B K S+1 D"]]:
    """Attention of one new token over the cache and itself. Returns y and the grown cache.

    The cached keys are rotated; the new token stands at position S. The given cache is not changed.
    Raises `TypeError` for a wrong dtype and `ValueError` for shapes that do not fit.
    """
    _require_layer(x, w_q, w_k, w_v, w_o, n_heads, n_kv_heads)
    require_floating(x=x, cache_k=cache_k, cache_v=cache_v)
    require_rows(cache_k, cache_v)
    expected = (len(x), n_kv_heads, cache_k.shape[2], w_k.shape[0] // n_kv_heads)
    if x.shape[1] != 1 or tuple(cache_k.shape) != expected:
        raise ValueError(
            f"Given x {tuple(x.shape)} and a cache of {tuple(cache_k.shape)}; expected x (B, 1, C) "
            f"and a cache (B, K, S, D) with K = {expected[1]} and D = {expected[3]}."
        )
    S = cache_k.shape[2]
    position = torch.full((len(x), 1), S, device=x.device)  # B 1
    q = rotary(split_heads(x @ w_q.mT, n_heads), position, theta=theta)  # B H 1 D
    k = rotary(split_heads(x @ w_k.mT, n_kv_heads), position, theta=theta)  # B K 1 D
    k = torch.cat([cache_k, k], dim=2)  # B K S+1 D
    v = torch.cat([cache_v, split_heads(x @ w_v.mT, n_kv_heads)], dim=2)
    return join_heads(grouped_query(q, k, v)) @ w_o.mT, k, v


def _require_layer(x, w_q, w_k, w_v, w_o, n_heads: int, n_kv_heads: int) -> None:
    require_floating(x=x, w_q=w_q, w_k=w_k, w_v=w_v, w_o=w_o)
    require_integer(1, n_heads=n_heads, n_kv_heads=n_kv_heads)
    if x.ndim != 3 or any(w.ndim != 2 for w in (w_q, w_k, w_v, w_o)):
        raise ValueError(
            f"Given x {tuple(x.shape)}; expected x (B, T, C) and matrices for weights."
        )
    C, HD = x.shape[-1], w_q.shape[0]
    D = HD // n_heads
    fits = (
        HD == n_heads * D
        and n_heads % n_kv_heads == 0
        and w_q.shape[1] == C
        and w_k.shape == w_v.shape == (n_kv_heads * D, C)
        and w_o.shape == (C, HD)
    )
    if not fits:
        given = {"x": x, "w_q": w_q, "w_k": w_k, "w_v": w_v, "w_o": w_o}
        shapes = ", ".join(f"{name} {tuple(w.shape)}" for name, w in given.items())
        raise ValueError(
            f"Given {shapes} with {n_heads} heads and {n_kv_heads} key/value heads; expected w_q "
            "(H·D, C), w_k and w_v (K·D, C), w_o (C, H·D), and H a multiple of K."
        )
