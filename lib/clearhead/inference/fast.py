r"""`FastDecoder` runs a `Decoder`'s weights fast: fused matrices, reserved cache, no second check.

It gives the tokens of the plain path, `phases`, by other means: the fused products of `fused`; a
`StaticCache`, written in place; rotary tables that are computed once; and attention of one new
token in which the H / K queries of a key/value head stand as rows of one small product, so that no
key is copied:

$$
o_{b,k} = \operatorname{softmax}\!\left(\frac{Q_{b,k} K_{b,k}^\top}{\sqrt{D}}\right) V_{b,k},
\qquad Q_{b,k} \in \mathbb{R}^{(H/K) \times D},\quad K_{b,k}, V_{b,k} \in \mathbb{R}^{S \times D}
\tag{1}
$$

On a GPU a decode step is a CUDA graph (`static_step`): a step launches hundreds of small kernels,
and launching them one by one from Python would take longer than running them.

**Use.** `generate(FastDecoder(model), ids, n)`; or keep a cache, made by `new_cache`, and empty it
by `truncate(0)`: on a GPU its graphs are then recorded only once.

**Checks.** `prefill` refuses what `phases.prefill` refuses. `decode_step` checks shapes and room
only; an id outside the vocabulary is an `IndexError` on a CPU and crashes a GPU, as in any look-up.

**Source.** The same recipe as gpt-fast's (PyTorch, 2023) for the static cache and the graph.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from clearhead.attention import attention
from clearhead.model import Decoder

from ._checks import (
    require_at_least_one,
    require_ids,
    require_pads,
    require_room,
    require_static_like,
    require_step,
)
from .cache import StaticCache
from .fused import finish, fuse, last_logits, project, turn_table
from .phases import placed
from .static_step import StaticSteps


class FastDecoder:
    """The weights of `model`, fused, with `prefill` and `decode_step` of its own.

    Only the fused matrices are copies and the rest is shared, so that `model` must not change
    afterwards; make a new `FastDecoder` after a step of training.

    `batch` is how many rows it is to decode; it takes any number, and is fastest with that.
    `static` decodes by `static_step` (the default on CUDA), which a `backend` of `torch.compile`
    translates first; "auto" is "inductor" on CUDA where Triton is installed, otherwise None, which
    translates nothing. Raises `TypeError` for a model with layers other than plain ones, such as
    adapters that are not merged.
    """

    def __init__(
        self,
        model: Decoder,
        *,
        batch: int = 1,
        static: bool | None = None,
        backend: str | None = "auto",
    ):
        require_at_least_one(batch=batch)
        self.config, self.embedding = model.config, model.embedding
        self.fused = fuse(model, batch=batch)
        device = self.fused.embedding.device
        on_gpu = device.type == "cuda" if static is None else static
        self._steps = StaticSteps(self.fused, backend) if on_gpu else None
        self._cos, self._sin = turn_table(self.config, 0, self.fused.embedding)

    def new_cache(self, batch: int, max_length: int) -> StaticCache:
        """An empty cache for `batch` sequences of up to `max_length` tokens."""
        return StaticCache.for_model(self, batch=batch, max_length=max_length)

    @torch.no_grad()
    def prefill(
        self,
        ids: Int[Tensor, "B T"],
        cache: StaticCache,
        *,
        pads: Int[Tensor, " B"] | None = None,
        window: int | None = None,
        chunk: int | None = None,
    ) -> Float[Tensor, "B V"]:
        """As `phases.prefill`; any cache but a `StaticCache` is refused."""
        require_ids(ids, self)
        require_static_like(cache, self.fused.embedding, len(ids))
        require_pads(pads, len(ids), cache.length + ids.shape[1])
        require_room(cache, ids.shape[1], 0)
        require_at_least_one(window=window, chunk=chunk)
        for part in ids.split(chunk or ids.shape[1], dim=1):
            x = self._run(part, cache, pads, window)
        return last_logits(x, self.fused)

    @torch.no_grad()
    def decode_step(
        self,
        ids: Int[Tensor, " B"],
        cache: StaticCache,
        *,
        pads: Int[Tensor, " B"] | None = None,
        window: int | None = None,
    ) -> Float[Tensor, "B V"]:
        """As `phases.decode_step`."""
        require_step(ids, cache)
        if self._steps is not None:
            logits = self._steps(ids, cache, pads, window)
        else:
            logits = last_logits(self._run(ids[:, None], cache, pads, window), self.fused)
        return logits

    def _run(self, ids: Tensor, cache: StaticCache, pads, window) -> Float[Tensor, "B T C"]:
        """T new tokens through every block, their keys and values into the cache."""
        (B, T), c, past = ids.shape, self.config, cache.length
        end, queries = past + T, c.heads // c.kv_heads
        cos, sin, mask, start = self._placed(T, past, pads, window)
        x = F.embedding(ids, self.fused.embedding)  # B T C
        for layer, block in enumerate(self.fused.blocks):
            q, k, v = project(x, block, c, cos, sin)
            keys, values = cache.keys[layer], cache.values[layer]
            keys[:, :, past:end] = k.transpose(1, 2)
            values[:, :, past:end] = v.transpose(1, 2)
            keys, values = keys[:, :, start:end], values[:, :, start:end]  # B K S D
            if T == 1:  # equation (1)
                q = q.reshape(B, c.kv_heads, queries, c.head_size)
                heads = F.scaled_dot_product_attention(q, keys, values, mask).reshape(B, 1, -1)
            else:
                heads = attention(q.transpose(1, 2), keys, values, mask, causal=mask is None)
                heads = heads.transpose(1, 2).flatten(2)
            x = finish(x, heads, block, c)
        cache.mark_used(end)
        return x

    def _placed(self, T: int, past: int, pads, window):
        """Factors of the rotation, the mask or None, and the first slot that is looked at."""
        end = past + T
        if end > len(self._cos):
            length = 2 ** (end - 1).bit_length()
            self._cos, self._sin = turn_table(self.config, length, self.fused.embedding)
        if T == 1:  # one token sees a slice; only padding needs a mask
            start = 0 if window is None else max(0, end - window)
            if pads is None:
                return self._cos[past:end, None], self._sin[past:end, None], None, start
            positions = (past - pads).clamp(min=0)[:, None]  # of padding: 0
            key = torch.arange(start, end, device=pads.device)
            mask = (key >= pads[:, None])[:, None, None]
            return self._cos[positions][:, :, None], self._sin[positions][:, :, None], mask, start
        if pads is None and window is None:
            return self._cos[past:end, None], self._sin[past:end, None], None, 0
        if pads is None:
            pads = torch.zeros(1, dtype=torch.long, device=self._cos.device)
        positions, mask = placed(T, past, pads, window)
        return self._cos[positions][:, :, None], self._sin[positions][:, :, None], mask[:, None], 0
