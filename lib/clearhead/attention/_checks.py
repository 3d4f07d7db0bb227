r"""Refuse wrong input at the edge, in one sentence that says what came and what is expected.

The jaxtyping shapes in the signatures are checked only in tests; these checks are for you.
Each function returns nothing and raises `TypeError` (wrong kind or dtype) or `ValueError` (wrong
shape, size or device).
"""

import torch
from torch import Tensor

from clearhead._checks import require_floating


def require_qkv(q: Tensor, k: Tensor, v: Tensor, *, grouped: bool = False) -> None:
    """q, k and v fit together as `(*batch, T, D)`, `(*batch, S, D)` and `(*batch, S, Dv)`.

    With `grouped`, as `(B, H, T, D)`, `(B, K, S, D)` and `(B, K, S, Dv)` with K a divisor of H.
    """
    require_floating(q=q, k=k, v=v)
    shapes = f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
    axes = 4 if grouped else max(q.ndim, 2)
    if not q.ndim == k.ndim == v.ndim == axes:
        wanted = "(B, H, T, D), (B, K, S, D), (B, K, S, Dv)" if grouped else "(*batch, T, D)"
        raise ValueError(f"Given {shapes}; expected shapes {wanted}, with equally many axes.")
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(
            f"q has head size {q.shape[-1]} and k has {k.shape[-1]} ({shapes}); "
            "the last axes of q and k must be equal."
        )
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(
            f"k has {k.shape[-2]} keys and v has {v.shape[-2]} values ({shapes}); "
            "each key needs one value."
        )
    batch = q.shape[:1] if grouped else q.shape[:-2]
    if k.shape[: len(batch)] != batch or k.shape[:-2] != v.shape[:-2]:
        if not grouped and _shares_heads(q, k, v):
            raise ValueError(
                f"q has {q.shape[1]} heads and k has {k.shape[1]} ({shapes}); for heads that share "
                "keys and values call grouped_query or attention."
            )
        expand = "" if grouped else " (use .expand to repeat one that is smaller)"
        raise ValueError(f"Given {shapes}; the batch axes must be equal{expand}.")
    if grouped and (k.shape[1] == 0 or q.shape[1] % k.shape[1]):
        raise ValueError(
            f"q has {q.shape[1]} heads and k has {k.shape[1]}; "
            "the number of query heads must be a multiple of the number of key/value heads."
        )


def _shares_heads(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """The shapes are those of grouped-query attention, with K a proper divisor of H."""
    if q.ndim != 4 or k.shape[:-2] != v.shape[:-2] or q.shape[0] != k.shape[0]:
        return False
    return 0 < k.shape[1] < q.shape[1] and q.shape[1] % k.shape[1] == 0


def require_scale(scale: float | None) -> None:
    """`scale` is a number: a tensor would turn fused kernels away, a string fail far from here."""
    if scale is not None and (isinstance(scale, bool) or not isinstance(scale, int | float)):
        raise TypeError(f"scale is a {type(scale).__name__}; give a number such as D**-0.5.")


def require_mask(mask: Tensor | None, q: Tensor, k: Tensor) -> None:
    """`mask` is boolean and broadcasts to the scores, `(*q.shape[:-1], S)`."""
    if mask is None:
        return
    if isinstance(mask, Tensor) and mask.dtype != torch.bool:
        raise TypeError(
            f"mask is {mask.dtype}; give a boolean mask (True = this query may attend to this "
            "key), or pass an additive term as bias=."
        )
    _require_fits("mask", mask, q, k)


def require_bias(bias: Tensor | None, q: Tensor, k: Tensor) -> None:
    """`bias` is floating-point and broadcasts to the scores, `(*q.shape[:-1], S)`."""
    if bias is None:
        return
    if isinstance(bias, Tensor) and not bias.is_floating_point():
        raise TypeError(
            f"bias is {bias.dtype}; give a floating-point term to add to the scores, "
            "or pass a boolean mask as mask=."
        )
    _require_fits("bias", bias, q, k)


def _require_fits(name: str, x: Tensor, q: Tensor, k: Tensor) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} is a {type(x).__name__}; give a torch.Tensor.")
    scores = (*q.shape[:-1], k.shape[-2])
    fits = 2 <= x.ndim <= len(scores) and all(
        size in (1, wanted) for size, wanted in zip(x.shape[::-1], scores[::-1], strict=False)
    )
    if not fits:
        raise ValueError(
            f"{name} has shape {tuple(x.shape)}; expected one that broadcasts to the scores, "
            f"{scores} = (…, T, S), and at least two axes."
        )
    if x.device != q.device:
        raise ValueError(
            f"{name} is on {x.device} and q is on {q.device}; move {name} with .to(q.device)."
        )
