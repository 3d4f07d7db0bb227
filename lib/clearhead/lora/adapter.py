r"""An adapter: two thin factors, and all that says how a layer uses them.

$$
s = \frac{\alpha}{r} \quad\text{or}\quad s = \frac{\alpha}{\sqrt r}, \qquad \Delta W = s\,BA \tag{1}
$$

It holds its own numbers and no base: a layer that holds both runs them (`clearhead.lora.layers`).

**Shapes.** `A` is `(R, I)`, `B` is `(O, R)`; DoRA's `magnitude` is `(O)`; the `residual` on which a
PiSSA adapter stands is `(O, I)`, frozen.

**Source.** Hu et al., 2021, section 4.1; Kalajdzievski, 2023 (the second scale).
"""

from jaxtyping import Float
from torch import Tensor, nn

from .forward import scale


class Adapter(nn.Module):
    """The factors `A` "R I" and `B` "O R" of one adapter, with all that says how they are used.

    `magnitude` is DoRA's, or None; `residual` is the frozen matrix (O, I) that PiSSA leaves, or
    None.
    """

    def __init__(
        self,
        A: Float[Tensor, "R I"],
        B: Float[Tensor, "O R"],
        alpha: float | int,
        *,
        rank_stabilized: bool = False,
        dropout: float | int = 0.0,
        magnitude: Float[Tensor, " O"] | None = None,
        residual: Float[Tensor, "O I"] | None = None,
    ):
        super().__init__()
        self.A, self.B = nn.Parameter(A), nn.Parameter(B)
        self.magnitude = None if magnitude is None else nn.Parameter(magnitude)
        self.register_buffer("residual", residual)
        self.r, self.alpha, self.rank_stabilized = A.shape[0], alpha, rank_stabilized
        self.scale = scale(alpha, self.r, rank_stabilized=rank_stabilized)
        self.dropout = dropout
        self.plain = magnitude is None and residual is None

    def extra_repr(self) -> str:
        parts = [f"r={self.r}", f"alpha={self.alpha}", f"scale={self.scale:.4g}"]
        parts += [f"dropout={self.dropout}"] if self.dropout else []
        parts += ["dora"] if self.magnitude is not None else []
        return ", ".join(parts)
