r"""A decode step whose shapes never change, so that it can be compiled, and recorded as a graph.

How many slots of the cache are used is a number in a tensor, $s$, not a shape. The step writes the
new row to slot $s$ and attends over S slots, of which a mask shows the used ones of each row b:

$$
\text{allowed}(b, j) \iff \text{pads}_b \le j \le s \quad\text{and}\quad j > s - w \tag{1}
$$

A recorded graph is replayed by one launch, on the addresses that it was recorded with: ids, s and
pads are copied into tensors of its own first. S is the smallest of 256, 512, 1024, …, max_length
that holds the step, so a cache is recorded a few times and at most twice the used slots are read.

**Numerics.** Masked slots have weight 0; they hold zeros or older rows, never NaN.

**Not run yet.** Recording and replaying need a CUDA device, and there was none when this was
written. On a CPU the step runs unrecorded, as it is and compiled, and gives the plain path's tokens
(`tests/inference`); `tests/gpu` holds what remains to be seen.
"""

import importlib.util
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from .cache import StaticCache
from .fused import Fused, finish, last_logits, project, turn_table

SMALLEST = 256
# With one token a product is a reduction: this makes Inductor write it as one, and tune it.
INDUCTOR = {"coordinate_descent_tuning": True}


def static_step(
    ids: Int[Tensor, " B"],
    used: Int[Tensor, "1"],
    pads: Int[Tensor, " B"],
    fused: Fused,
    keys: list[Float[Tensor, "B K M D"]],
    values: list[Float[Tensor, "B K M D"]],
    cos: Float[Tensor, "M D"],
    sin: Float[Tensor, "M D"],
    slots: int,
    window: int | None,
) -> Float[Tensor, "B V"]:
    """One token a row into slot `used`, attending over the first `slots` slots, equation (1)."""
    c, B = fused.config, len(ids)
    key = torch.arange(slots, device=ids.device)
    mask = (key <= used) & (key >= pads[:, None])
    if window is not None:
        mask = mask & (key > used - window)
    mask = mask[:, None, None]  # B 1 1 S
    position = used - pads  # B
    turn = cos[position][:, None, None], sin[position][:, None, None]  # B 1 1 D
    x = F.embedding(ids, fused.embedding)[:, None]  # B 1 C
    for layer, block in enumerate(fused.blocks):
        q, k, v = project(x, block, c, *turn)
        keys[layer][:, :, used] = k.transpose(1, 2)
        values[layer][:, :, used] = v.transpose(1, 2)
        q = q.reshape(B, c.kv_heads, c.heads // c.kv_heads, c.head_size)
        heads = F.scaled_dot_product_attention(
            q, keys[layer][:, :, :slots], values[layer][:, :, :slots], mask
        )
        x = finish(x, heads.reshape(B, 1, -1), block, c)
    return last_logits(x, fused)


class StaticSteps:
    """The static steps of one model: one a cache, number of slots and window, made when needed."""

    def __init__(self, fused: Fused, backend: str | None):
        on_gpu = fused.embedding.device.type == "cuda"
        if backend == "auto":
            backend = "inductor" if on_gpu and importlib.util.find_spec("triton") else None
        self.fused, self.backend, self.record = fused, backend, on_gpu
        self._made: WeakKeyDictionary[StaticCache, dict] = WeakKeyDictionary()

    def __call__(self, ids, cache: StaticCache, pads, window: int | None) -> Float[Tensor, "B V"]:
        used = cache.length
        slots = min(cache.max_length, max(SMALLEST, 2 ** used.bit_length()))
        made = self._made.setdefault(cache, {})
        if (slots, window) not in made:
            made[slots, window] = _Step(self, cache, slots, window)
        logits = made[slots, window](ids, used, pads)
        cache.mark_used(used + 1)
        return logits


class _Step:
    """A static step with its own input tensors; on CUDA recorded at its first call."""

    def __init__(self, steps: StaticSteps, cache: StaticCache, slots: int, window: int | None):
        device = steps.fused.embedding.device
        self.ids, self.pads = torch.zeros(2, cache.batch, dtype=torch.long, device=device).unbind()
        self.used = torch.zeros(1, dtype=torch.long, device=device)
        table = turn_table(steps.fused.config, cache.max_length, steps.fused.embedding)
        self.rest = (steps.fused, cache.keys, cache.values, *table, slots, window)
        self.function, self.record, self.graph = static_step, steps.record, None
        if steps.backend is not None:
            options = INDUCTOR if steps.backend == "inductor" else None
            self.function = torch.compile(
                static_step, fullgraph=True, dynamic=False, backend=steps.backend, options=options
            )

    def __call__(self, ids: Tensor, used: int, pads: Tensor | None) -> Tensor:
        self.ids.copy_(ids)
        self.used.fill_(used)
        self.pads.zero_() if pads is None else self.pads.copy_(pads)
        if not self.record:
            return self.run()
        if self.graph is None:
            self.record_graph()
        self.graph.replay()
        return self.logits.clone()  # the next replay writes into self.logits

    def run(self) -> Tensor:
        # Every cache, size and window compiles once; torch's default stops after eight.
        with torch._dynamo.config.patch(recompile_limit=1000, accumulated_recompile_limit=10_000):
            return self.function(self.ids, self.used, self.pads, *self.rest)

    def record_graph(self) -> None:
        """Run three times on the side, to compile and tune, then record. A run that is repeated
        writes the same row to the same slot."""
        with torch.cuda.device(self.ids.device):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    self.run()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self.logits = self.run()
            self.graph = graph
