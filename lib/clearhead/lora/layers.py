r"""LoRA on the layers that hold a language model's matrices: Linear, GPT-2's Conv1D, Embedding.

A linear layer reads and writes along the last axis. In the notation of `forward`, for the rows $X$:

$$
Y = X W_0^\top + b + s \, \bigl(\operatorname{drop}(X) A^\top\bigr) B^\top \tag{1}
$$

Dropout acts on what the adapter reads, and never on what the base reads; it is off in `eval`.

An embedding is a linear layer whose input is one-hot, so $A^\top$ is looked up instead of
multiplied. With $E$ the table, of one row a token, and $i$ a token:

$$
y_i = E_i + s \, B A_{:,i} \tag{2}
$$

There $A$ starts at zero and $B$ does not (loralib, PEFT). A token that training never meets then
keeps $A_{:,i} = 0$, and so its row; with $B = 0$ and a drawn $A$ every row would move with $B$.

**Fast.** Equation (1) is a thin product and one call of `addmm` on the output of the base,
$Y + s\,H B^\top$ with $H = X A^\top$, in a single pass over $Y$. That is for a plain adapter; one
with DoRA, PiSSA, dropout at work or another dtype than its input takes the slower way below.

**Shapes.** `x` is `(…, I)`, ids are `(…)` of integers; the result is `(…, O)`. A "Conv1D" is any
module with a weight `(I, O)`, a bias `(O)`, and that name, as in `transformers`.

**Source.** Hu et al., 2021, section 4.1; `loralib/layers.py`; `peft/tuners/lora/layer.py`.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from .adapter import Adapter
from .dora import dora_fast, per_length, row_lengths
from .layer import LoRALayer


class LoRALinear(LoRALayer):
    """A frozen `nn.Linear`, or one quantised like it, and its adapters, equation (1).

    Raises `TypeError` when `base` is something else.
    """

    def __init__(self, base: nn.Linear):
        if not isinstance(base, nn.Linear):
            raise TypeError(f"LoRALinear adapts an nn.Linear; given a {type(base).__name__}.")
        super().__init__(base)

    @property
    def bias(self) -> Float[Tensor, " O"] | None:
        """The base's bias."""
        return self.base.bias

    def forward(self, x: Float[Tensor, "*batch I"]) -> Float[Tensor, "*batch O"]:
        if self.active is None:
            return self.base(x)
        if self.merged:
            return F.linear(x, self._turn(self.merged_weight), self.base.bias)
        adapter = self.adapters[self.active]
        A = adapter.A
        if not adapter.plain or (adapter.dropout and self.training) or A.dtype != x.dtype:
            return self._slow(x, adapter)
        rows = x.reshape(-1, x.shape[-1])
        y = torch.addmm(self.base(rows), F.linear(rows, A), adapter.B.t(), alpha=adapter.scale)
        return y.view(*x.shape[:-1], y.shape[-1])

    def _slow(self, x: Tensor, adapter: Adapter) -> Tensor:
        A, B = adapter.A.to(x.dtype), adapter.B.to(x.dtype)
        read = F.dropout(x, adapter.dropout) if adapter.dropout and self.training else x
        if adapter.magnitude is None:
            y = self.base(x) if adapter.residual is None else self._linear(x, adapter.residual)
            return y + adapter.scale * F.linear(F.linear(read, A), B)
        W, given = self.stand(adapter), {"rank_stabilized": adapter.rank_stabilized}
        factors = (W, A, B, adapter.magnitude, adapter.alpha)
        if read is x:
            return dora_fast(x, *factors, self.base.bias, **given)
        return self._linear(x, W) + (dora_fast(read, *factors, **given) - F.linear(read, W))

    def _linear(self, x: Tensor, matrix: Tensor) -> Tensor:
        return F.linear(x, matrix, self.base.bias)


class LoRAConv1D(LoRALinear):
    """A frozen `Conv1D` of `transformers`, which stores its weight `(I, O)`, and its adapters.

    Raises `TypeError` when `base` is something else.
    """

    transposed = True

    def __init__(self, base: nn.Module):
        if not is_conv1d(base):
            raise TypeError(f"LoRAConv1D adapts a Conv1D; given a {type(base).__name__}.")
        LoRALayer.__init__(self, base)

    @property
    def sizes(self) -> tuple[int, int]:
        return tuple(self.base.weight.shape[::-1])


class LoRAEmbedding(LoRALayer):
    """A frozen `nn.Embedding` and its adapters, equation (2). Dropout does not act on ids.

    Raises `TypeError` when `base` is something else and `ValueError` for one with `max_norm`, whose
    look-up rewrites the table.
    """

    transposed = True

    def __init__(self, base: nn.Embedding):
        if not isinstance(base, nn.Embedding):
            raise TypeError(f"LoRAEmbedding adapts an nn.Embedding; given a {type(base).__name__}.")
        if base.max_norm is not None:
            raise ValueError(
                f"The embedding has max_norm={base.max_norm}, with which a look-up rewrites the "
                "table; LoRA needs it frozen."
            )
        super().__init__(base)

    @property
    def sizes(self) -> tuple[int, int]:
        return self.base.embedding_dim, self.base.num_embeddings

    def forward(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch O"]:
        if self.active is None:
            return self.base(ids)
        if self.merged:
            return self._look_up(ids, self.merged_weight)
        adapter = self.adapters[self.active]
        if adapter.residual is None:
            y = self.base(ids)
        else:
            y = self._look_up(ids, adapter.residual.mT)
        change = F.linear(self._look_up(ids, adapter.A.mT), adapter.B)
        y = torch.add(y, change.to(y.dtype), alpha=adapter.scale)
        if adapter.magnitude is None:
            return y
        lengths = row_lengths(
            self.stand(adapter),
            *(adapter.A, adapter.B, adapter.alpha),
            rank_stabilized=adapter.rank_stabilized,
        )
        return y * per_length(adapter.magnitude, lengths).to(y.dtype)

    def _look_up(self, ids: Tensor, table: Tensor) -> Tensor:
        return F.embedding(ids, table, self.base.padding_idx)

    def _initial(self, r: int, init: str, dtype, device) -> tuple[Tensor, Tensor]:
        O, I = self.sizes
        given = {"dtype": dtype, "device": device}
        return torch.zeros(r, I, **given), torch.randn(O, r, **given)


def is_conv1d(module: nn.Module) -> bool:
    """Whether this is the `Conv1D` of `transformers`, told by its name and its weight's shape."""
    weight = getattr(module, "weight", None)
    return type(module).__name__ == "Conv1D" and isinstance(weight, Tensor) and weight.ndim == 2


def wrap(module: nn.Module) -> LoRALayer | None:
    """The LoRA layer around `module`, without adapters yet; None when there is none for it."""
    if isinstance(module, nn.Linear):
        return LoRALinear(module)
    if isinstance(module, nn.Embedding):
        return LoRAEmbedding(module)
    return LoRAConv1D(module) if is_conv1d(module) else None
