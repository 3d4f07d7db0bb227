r"""Several attentions side by side, each in its own subspace, and heads that share keys and values.

Head $h$ projects the input with its own matrices, attends, and the results are laid side by side
and mixed by one last matrix:

$$
o^{(h)} = \operatorname{attention}(x W_q^{(h)},\; x W_k^{(h)},\; x W_v^{(h)}) \tag{1}
$$

$$
y = \left[\, o^{(1)} \,\|\, \dots \,\|\, o^{(H)} \,\right] W_o \tag{2}
$$

In grouped-query attention $H$ query heads share $K$ key/value heads, $H / K$ neighbours at a time:

$$
\text{query head } h \text{ reads key/value head } \lfloor h / (H / K) \rfloor \tag{3}
$$

$K = H$ is multi-head attention, $K = 1$ is multi-query attention.

**Shapes.** `x` is `(B, T, C)`. Each weight is stored as `nn.Linear` stores it, (out, in), so the
code multiplies by its transpose: `w_q` and `w_k` are `(H·D, C)`, `w_v` is `(H·Dv, C)`, `w_o` is
`(Cout, H·Dv)`. Rows h·D to (h+1)·D of `w_q` belong to head h.

**Source.** Equations (1) and (2): Vaswani et al., 2017, section 3.2.2. K = 1: Shazeer, 2019.
Equation (3): Ainslie et al., 2023, section 2.2.
"""

from jaxtyping import Bool, Float
from torch import Tensor

from clearhead._checks import require_floating, require_integer

from ._checks import require_mask, require_qkv
from .dot_product import scaled_dot_product


def multi_head(
    x: Float[Tensor, "B T C"],
    w_q: Float[Tensor, "HD C"],
    w_k: Float[Tensor, "HD C"],
    w_v: Float[Tensor, "HDv C"],
    w_o: Float[Tensor, "Cout HDv"],
    *,
    n_heads: int,
    mask: Bool[Tensor, "... #T #T"] | None = None,
) -> Float[Tensor, "B T Cout"]:
    """Multi-head self-attention, equations (1) and (2), without biases.

    `mask` broadcasts to `(B, H, T, T)`. Raises `TypeError` for a wrong dtype and `ValueError` for
    shapes that do not fit or a width that `n_heads` does not divide.
    """
    _require_weights(x, w_q, w_k, w_v, w_o, n_heads)
    q = split_heads(x @ w_q.mT, n_heads)
    k = split_heads(x @ w_k.mT, n_heads)
    v = split_heads(x @ w_v.mT, n_heads)
    output, _ = scaled_dot_product(q, k, v, mask)
    return join_heads(output) @ w_o.mT


def grouped_query(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B K S D"],
    v: Float[Tensor, "B K S Dv"],
    mask: Bool[Tensor, "... #T #S"] | None = None,
    *,
    scale: float | None = None,
) -> Float[Tensor, "B H T Dv"]:
    """Attention in which H / K neighbouring query heads share a key/value head, equation (3).

    Each key/value head is copied for its queries, which is plain and wasteful; `attention` reads
    it in place. Raises `TypeError` for a wrong dtype and `ValueError` for shapes that do not fit.
    """
    require_qkv(q, k, v, grouped=True)
    require_mask(mask, q, k)
    queries_a_head = q.shape[1] // k.shape[1]
    k = k.repeat_interleave(queries_a_head, dim=1)  # B H S D: 0 0 1 1, not 0 1 0 1
    v = v.repeat_interleave(queries_a_head, dim=1)
    output, _ = scaled_dot_product(q, k, v, mask, scale=scale)
    return output


def split_heads(x: Float[Tensor, "B T HD"], n_heads: int) -> Float[Tensor, "B H T D"]:
    """Cut the last axis into heads: head h takes features h·D to (h+1)·D.

    Raises `ValueError` when `n_heads` does not divide the last axis of `x`.
    """
    require_floating(x=x)
    require_integer(1, n_heads=n_heads)
    if x.ndim != 3 or x.shape[-1] % n_heads:
        raise ValueError(
            f"x has shape {tuple(x.shape)} and n_heads is {n_heads}; expected (B, T, n_heads · D)."
        )
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)


def join_heads(x: Float[Tensor, "B H T D"]) -> Float[Tensor, "B T HD"]:
    """Lay the heads side by side again: the inverse of `split_heads`."""
    return x.transpose(1, 2).flatten(-2)


def _require_weights(
    x: Tensor, w_q: Tensor, w_k: Tensor, w_v: Tensor, w_o: Tensor, n_heads: int
) -> None:
    require_floating(x=x, w_q=w_q, w_k=w_k, w_v=w_v, w_o=w_o)
    require_integer(1, n_heads=n_heads)
    if x.ndim != 3:
        raise ValueError(f"x has shape {tuple(x.shape)}; expected (B, T, C).")
    for name, w in {"w_q": w_q, "w_k": w_k, "w_v": w_v}.items():
        if w.ndim != 2 or w.shape[1] != x.shape[-1]:
            raise ValueError(
                f"{name} has shape {tuple(w.shape)}; expected (out, in) with in = {x.shape[-1]}, "
                "the width of x."
            )
        if w.shape[0] % n_heads:
            raise ValueError(
                f"{name} gives {w.shape[0]} features, which {n_heads} heads do not divide; "
                "expected a multiple of n_heads."
            )
    if w_q.shape[0] != w_k.shape[0]:
        raise ValueError(
            f"w_q gives {w_q.shape[0]} features and w_k {w_k.shape[0]}; a query and a key must "
            "have one size."
        )
    if w_o.ndim != 2 or w_o.shape[1] != w_v.shape[0]:
        raise ValueError(
            f"w_o has shape {tuple(w_o.shape)}; expected (out, in) with in = {w_v.shape[0]}, "
            "the features that w_v gives."
        )
