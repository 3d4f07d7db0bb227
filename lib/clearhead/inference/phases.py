r"""The two phases of a whole model: `prefill` reads a prompt, `decode_step` adds one token.

Both run the blocks of a `Decoder` on new tokens only; what the tokens before them left behind comes
from a cache. For T new tokens behind `past` cached ones, in every layer

$$
o_i = \sum_{j \in \text{allowed}(i)}
\operatorname{softmax}_j\!\left(\frac{q_i \cdot k_j}{\sqrt{D}}\right) v_j,
\qquad i = \text{past}, \dots, \text{past} + T - 1 \tag{1}
$$

*Prefill* is (1) with T = the prompt's length, or chunk by chunk with a smaller T; only the last
position goes through the head, because only its prediction is asked for. *Decode* is (1) with
T = 1. Chunked or whole, with a cache or without: the same numbers up to rounding.

**Shapes.** `ids` is `(B, T)` in prefill and `(B,)` in a decode step; logits are `(B, V)`. `pads`,
`(B,)`, counts the padding in each row's first slots (`left_pad` makes both); the positions and the
mask of such a batch are those of `positions`.

**A model** is a `Decoder`, or anything with `prefill` and `decode_step` of its own, which are then
called: a `FastDecoder`.

**Source.** Pope et al., 2022, section 2.2; Agrawal et al., 2023 (Sarathi), section 4, for chunks.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clearhead.attention import attention

from ._checks import require_at_least_one, require_ids, require_mask, require_pads, require_room
from .cache import Cache
from .positions import chunked_prefill_mask, padded_positions


def prefill(
    model,
    ids: Int[Tensor, "B T"],
    cache: Cache,
    *,
    pads: Int[Tensor, " B"] | None = None,
    window: int | None = None,
    chunk: int | None = None,
) -> Float[Tensor, "B V"]:
    """Read a prompt, or what follows a cached one, into `cache`. Logits for the next token.

    `chunk` reads that many tokens at a time; with `window` a token sees the last `window` slots.
    Raises `TypeError` and `ValueError` for an empty prompt, ids outside the vocabulary, a row that
    is all padding, and a cache that is of another batch or too small.
    """
    if hasattr(model, "prefill"):
        return model.prefill(ids, cache, pads=pads, window=window, chunk=chunk)
    require_ids(ids, model)
    require_pads(pads, len(ids), cache.length + ids.shape[1])
    require_room(cache, ids.shape[1], 0)
    require_at_least_one(window=window, chunk=chunk)
    for part in ids.split(chunk or ids.shape[1], dim=1):
        x = _run_placed(model, part, cache, pads, window)
    return _logits(model, x[:, -1:])[:, -1]


def decode_step(
    model,
    ids: Int[Tensor, " B"],
    cache: Cache,
    *,
    pads: Int[Tensor, " B"] | None = None,
    window: int | None = None,
) -> Float[Tensor, "B V"]:
    """Add one token to each row of `cache`. Logits for the token after it. Raises as `prefill`."""
    if hasattr(model, "decode_step"):
        return model.decode_step(ids, cache, pads=pads, window=window)
    if isinstance(ids, Tensor) and ids.ndim != 1:
        raise ValueError(f"ids has shape {tuple(ids.shape)}; give one token a row, (B,).")
    require_ids(ids[:, None] if isinstance(ids, Tensor) else ids, model)
    require_pads(pads, len(ids), cache.length + 1)
    return _logits(model, _run_placed(model, ids[:, None], cache, pads, window))[:, -1]


def forward_cached(
    model,
    ids: Int[Tensor, "B T"],
    cache: Cache,
    *,
    positions: Int[Tensor, "B T"] | None = None,
    mask: Bool[Tensor, "..."] | None = None,
    last_only: bool = False,
) -> Float[Tensor, "B t V"]:
    """Logits of T new tokens behind the cached ones: the step that both phases are made of.

    `positions` default to the slots that follow the cached ones. `mask`, `(T, past + T)` or
    `(B, T, past + T)`, defaults to the causal one, aligned bottom-right. With `last_only` only the
    last token's logits are computed. Raises as `prefill`.
    """
    require_ids(ids, model)
    require_mask(mask, *ids.shape, cache.length)
    x = run_blocks(model, ids, cache, positions, mask)
    return _logits(model, x[:, -1:] if last_only else x)


@torch.no_grad()
def run_blocks(model, ids, cache, positions=None, mask=None) -> Float[Tensor, "B T C"]:
    """Equation (1) in every block of a `Decoder`: the residual stream before the last norm."""
    B, T = ids.shape
    past = cache.length
    cache.truncate(past)  # what a pass that was cut short has left in the first layers
    if positions is None:
        positions = torch.arange(past, past + T, device=ids.device).expand(B, T)
    if mask is not None and mask.ndim == 3:
        mask = mask[:, None]  # the same for every head
    turn = model.turn(ids, positions)
    x = model.embedding(ids)  # B T C
    for layer, block in enumerate(model.blocks):
        q, k, v = block.attention.project(block.attention_norm(x), turn)
        keys, values = cache.update(layer, k, v)  # B K past+T D
        heads = attention(q, keys, values, mask, causal=mask is None and T > 1)
        x = x + block.attention.merge(heads)
        x = x + block.feed_forward(block.feed_forward_norm(x))
    return x


def placed(
    T: int, past: int, pads: Tensor, window: int | None
) -> tuple[Int[Tensor, "B {T}"], Bool[Tensor, "B {T} {past+T}"]]:
    """Positions and mask of T new slots of a left-padded batch."""
    real = torch.arange(past, past + T, device=pads.device) >= pads[:, None]
    positions = padded_positions(real, (past - pads).clamp(min=0))
    return positions, chunked_prefill_mask(T, past, pads, window=window)


def _run_placed(model, ids, cache, pads, window) -> Tensor:
    if pads is None and window is None:
        return run_blocks(model, ids, cache)
    pads = torch.zeros(len(ids), dtype=torch.long, device=ids.device) if pads is None else pads
    return run_blocks(model, ids, cache, *placed(ids.shape[1], cache.length, pads, window))


@torch.no_grad()
def _logits(model, x: Tensor) -> Tensor:
    return model.logits(x)
