r"""A cache keeps the keys and values of every token read so far, so that none is computed twice.

Causal attention never lets a token see a later one. Its key $k_j$ and value $v_j$ are therefore
final the moment they are computed, and a new token $i$ needs of the past nothing else:

$$
o_i = \sum_{j \le i} \operatorname{softmax}_j\!\left(\frac{q_i \cdot k_j}{\sqrt{D}}\right) v_j
\tag{1}
$$

What is kept for each layer, key/value head and token is one key, already rotated to its position,
and one value: $2 \cdot L \cdot K \cdot D$ numbers a token. Queries are never asked for again.

**Shapes.** New rows are `(B, K, T, D)`; `update` appends them to their layer and returns all S rows
of it, `(B, K, S, D)`. A *slot* is one place along S. `length` counts the slots that every layer has
filled; a pass that was cut short leaves some layers longer, and `truncate(length)` drops that.

**The two here.** `KVCache` grows by concatenation, which copies everything at every token.
`StaticCache` reserves `max_length` slots once and writes into them. `Int8Cache` and `PagedCache`
have modules of their own.

**Source.** Shazeer, 2019, section 2.4 (incremental attention); Pope et al., 2022, section 2.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clearhead._checks import require_floating, require_integer

from ._checks import (
    require_counts,
    require_layer,
    require_length,
    require_rows,
    require_same_sequences,
)


@runtime_checkable
class Cache(Protocol):
    """What `prefill`, `decode_step` and `generate` ask of a cache."""

    @property
    def length(self) -> int:
        """Slots filled in every layer."""

    @property
    def nbytes(self) -> int:
        """Bytes of its slots, used or reserved."""

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append T rows to a layer; all of its keys and values come back."""

    def truncate(self, n: int) -> None:
        """Forget everything after the first n slots."""


class KVCache:
    """The plain cache: two tensors a layer that grow by concatenation. It takes any batch size.

    `update` raises `TypeError` and `ValueError` for rows that do not fit those it holds.
    """

    def __init__(self, layers: int):
        require_integer(1, layers=layers)
        self._layers: list[tuple[Tensor, ...]] = [()] * layers

    @property
    def length(self) -> int:
        return min(rows[0].shape[2] if rows else 0 for rows in self._layers)

    @property
    def nbytes(self) -> int:
        """Bytes of its slots; the memory behind a cut is free only after the next `update`."""
        return sum(x.numel() * x.element_size() for rows in self._layers for x in rows)

    def update(
        self, layer: int, k: Float[Tensor, "B K T D"], v: Float[Tensor, "B K T D"]
    ) -> tuple[Float[Tensor, "B K S D"], Float[Tensor, "B K S D"]]:
        require_layer(layer, len(self._layers))
        require_rows(k, v)
        old = self._layers[layer]
        if old:
            require_same_sequences(k, old[0])
            k, v = torch.cat([old[0], k], dim=2), torch.cat([old[1], v], dim=2)
        self._layers[layer] = (k, v)
        return k, v

    def truncate(self, n: int) -> None:
        require_length(n, self.length)
        for layer, rows in enumerate(self._layers):
            self._layers[layer] = tuple(x[:, :, :n] for x in rows) if n else ()


class StaticCache:
    """The fast cache: `max_length` slots a layer, reserved once and written in place.

    `update` returns views, so nothing is copied but the new rows. It raises `ValueError`, with
    nothing written, when the rows do not fit or the slots run out.
    """

    def __init__(
        self,
        layers: int,
        batch: int,
        kv_heads: int,
        max_length: int,
        head_size: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ):
        sizes = dict(layers=layers, batch=batch, kv_heads=kv_heads)
        require_integer(1, **sizes, max_length=max_length, head_size=head_size)
        shape = (batch, kv_heads, max_length, head_size)
        # Zeros: a masked slot has weight 0, and 0 times whatever lies in fresh memory may be NaN.
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]
        self.batch, self.max_length = batch, max_length
        self._used = [0] * layers

    @classmethod
    def for_model(cls, model, *, batch: int, max_length: int) -> "StaticCache":
        """A cache with the sizes, dtype and device of a `Decoder`."""
        c, weight = model.config, model.embedding.weight
        return cls(
            c.layers,
            batch,
            c.kv_heads,
            max_length,
            c.head_size,
            dtype=weight.dtype,
            device=weight.device,
        )

    @property
    def length(self) -> int:
        return min(self._used)

    @property
    def nbytes(self) -> int:
        return 2 * sum(x.numel() * x.element_size() for x in self.keys)

    def update(
        self, layer: int, k: Float[Tensor, "B K T D"], v: Float[Tensor, "B K T D"]
    ) -> tuple[Float[Tensor, "B K S D"], Float[Tensor, "B K S D"]]:
        require_layer(layer, len(self._used))
        require_rows(k, v)
        keys, values = self.keys[layer], self.values[layer]
        require_same_sequences(k, keys)
        start = self._used[layer]
        end = start + k.shape[2]
        if end > self.max_length:
            raise ValueError(
                f"The cache has {self.max_length} slots, {start} of them used; {k.shape[2]} more "
                f"do not fit. Make it with max_length={end} or more."
            )
        keys[:, :, start:end] = k
        values[:, :, start:end] = v
        self._used[layer] = end
        return keys[:, :, :end], values[:, :, :end]

    def mark_used(self, n: int) -> None:
        """Count n slots of every layer as filled, for code that writes `keys` and `values`."""
        require_length(n, self.max_length)
        self._used = [n] * len(self._used)

    def truncate(self, n: int) -> None:
        require_length(n, self.length)
        self._used = [n] * len(self._used)


def kv_cache_update(
    cache_k: Float[Tensor, "B K M D"],
    cache_v: Float[Tensor, "B K M D"],
    k: Float[Tensor, "B K T D"],
    v: Float[Tensor, "B K T D"],
    lengths: Int[Tensor, " B"],
) -> tuple[Float[Tensor, "B K M D"], Float[Tensor, "B K M D"], Int[Tensor, " B"]]:
    r"""Append T rows to each sequence of a ragged batch, in new tensors; the given ones stay.

    Row b of the batch has used `lengths[b]` of its M slots, so its new rows go to slots
    `lengths[b]` to `lengths[b] + T - 1`. Returns keys, values, and `lengths + T`. Raises
    `TypeError` for a wrong dtype and `ValueError` for shapes that do not fit and for a sequence
    that its slots cannot hold.
    """
    require_floating(cache_k=cache_k, cache_v=cache_v, k=k, v=v)
    require_rows(k, v)
    if cache_k.ndim != 4 or cache_k.shape != cache_v.shape:
        raise ValueError(
            f"Given cache_k {tuple(cache_k.shape)} and cache_v {tuple(cache_v.shape)}; "
            "expected (B, K, M, D) for both."
        )
    require_same_sequences(k, cache_k)
    (B, K, T, D), M = k.shape, cache_k.shape[2]
    require_counts(B, lengths=lengths)
    if B and int(lengths.max()) + T > M:
        b = int(lengths.argmax())
        raise ValueError(
            f"Sequence {b} has used {int(lengths[b])} of {M} slots; {T} more rows do not fit."
        )
    slots = lengths.long()[:, None] + torch.arange(T, device=lengths.device)  # B T
    index = slots[:, None, :, None].expand(B, K, T, D)
    return cache_k.scatter(2, index, k), cache_v.scatter(2, index, v), lengths + T
