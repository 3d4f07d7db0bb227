r"""A LoRA layer is a frozen base with adapters by name, of which one is active, or none.

With $W_0$ the base's weight, the active adapter $(A, B)$ of scale $s$ makes of it

$$
W' = W_0 + s\,BA, \qquad
\text{DoRA:}\quad W'_{o,:} = m_o \, \frac{(W_0 + s\,BA)_{o,:}}{\lVert (W_0 + s\,BA)_{o,:} \rVert}
\tag{1}
$$

**The base stays as it is.** `merge` writes $W'$ beside the base's weight, not into it, and
`unmerge` drops it. So the base comes back bit for bit in every dtype, an adapter can't be added
twice, and a weight that another module shares (an output head tied to the embedding) does not
change under it. The price is a second copy of each adapted weight while it is merged. PEFT adds in
place and subtracts again, which costs no memory and leaves the rounding of both steps behind.

An adapter that PiSSA initialised stands on a frozen matrix of its own in the same way, the residual
$W_0 - s\,BA$ of the start: switched off, the base is what it was.

**What trains.** The base is frozen. The factors of the active adapter require gradients, and the
other adapters' do not. Half-precision weights get factors in fp32, because an optimiser's small
steps vanish in 16 bits; the layer casts them to the dtype of its input.

**Source.** Equation (1): Hu et al., 2021, section 4.1; Liu et al., 2024 (DoRA), equation 5.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ._checks import (
    listed,
    require_known_name,
    require_new_name,
    require_options,
    require_rank,
)
from .adapter import Adapter
from .dora import dora_weight, row_lengths
from .initialise import initial, pissa
from .merge import merge


class LoRALayer(nn.Module):
    """A frozen `base` and its adapters by name. `LoRALinear` and its like say how it runs.

    Inside, every matrix is `(O, I)`. A base that stores its weight `(I, O)` sets `transposed`.
    `active` is the name of the adapter in use, or None; `merged` tells whether it is merged.
    """

    transposed = False

    def __init__(self, base: nn.Module):
        super().__init__()
        self.base = base
        self.adapters = nn.ModuleDict()
        self.active: str | None = None
        self.merged = False
        self.register_buffer("merged_weight", None, persistent=False)
        self.train(base.training)

    @property
    def weight(self) -> Tensor:
        """The base's weight as the base stores it, whatever is active or merged."""
        return self.base.weight

    @property
    def matrix(self) -> Float[Tensor, "O I"]:
        """The base's weight, output features first."""
        return self._turn(self.base.weight)

    @property
    def sizes(self) -> tuple[int, int]:
        """(O, I)."""
        return self.base.out_features, self.base.in_features

    def add(
        self,
        name: str,
        r: int,
        alpha: float | int,
        *,
        rank_stabilized: bool = False,
        init: str = "kaiming",
        dropout: float | int = 0.0,
        dora: bool = False,
    ) -> None:
        """A new adapter, which becomes active when it is the first.

        `init` is "kaiming", "gaussian" or "pissa". Raises `TypeError` or `ValueError`, and changes
        nothing, for a name that exists, a rank that is 0 or above min(O, I), an `alpha` that is not
        finite, a `dropout` outside [0, 1) or an unknown `init`.
        """
        self.require_addable(name, r, alpha, init, dropout)
        W = self.matrix
        dtype, residual = torch.promote_types(W.dtype, torch.float32), None
        if init == "pissa":
            A, B, residual = pissa(W.to(dtype), r, alpha, rank_stabilized=rank_stabilized)
            residual = residual.to(W.dtype)
        else:
            A, B = self._initial(r, init, dtype, W.device)
        given = {"rank_stabilized": rank_stabilized}
        stand = W if residual is None else residual
        magnitude = row_lengths(stand.to(dtype), A, B, alpha, **given) if dora else None
        given |= {"dropout": dropout, "magnitude": magnitude, "residual": residual}
        self.put(name, Adapter(A, B, alpha, **given))

    def put(self, name: str, adapter: Adapter) -> None:
        """Take in a ready adapter, which becomes active when it is the first; freeze the base."""
        require_new_name(name, self.adapters)
        self.base.requires_grad_(False)
        self.adapters[name] = adapter.train(self.training).requires_grad_(False)
        if len(self.adapters) == 1:
            self.switch(name)

    def switch(self, name: str | None) -> None:
        """Make the adapter called `name` the active one, the only one that trains; None: the base.

        Raises `ValueError` when there is no such adapter, or the active one is merged.
        """
        self.require_switchable(name)
        self.active = name
        for known, adapter in self.adapters.items():
            adapter.requires_grad_(known == name)

    @torch.no_grad()
    def merge(self) -> None:
        """Compute equation (1) once: from here on the layer costs what its base costs.

        Raises `ValueError` when the layer is merged already or no adapter is active.
        """
        self.require_mergeable()
        adapter = self.adapters[self.active]
        W, given = self.stand(adapter), {"rank_stabilized": adapter.rank_stabilized}
        if adapter.magnitude is None:
            merged = merge(W, adapter.A, adapter.B, adapter.alpha, **given)
        else:
            merged = dora_weight(W, adapter.A, adapter.B, adapter.magnitude, adapter.alpha, **given)
        self.merged_weight = self._turn(merged).contiguous()
        self.merged = True

    def unmerge(self) -> None:
        """Drop the merged weight. Raises `ValueError` when nothing is merged."""
        self.require_merged()
        self.merged_weight, self.merged = None, False

    def stand(self, adapter: Adapter) -> Float[Tensor, "O I"]:
        """The frozen matrix on which this adapter stands."""
        return self.matrix if adapter.residual is None else adapter.residual

    def require_addable(
        self, name: str, r: int, alpha: float | int, init: str, dropout: float | int
    ) -> None:
        """Raise what `add` raises for these."""
        require_new_name(name, self.adapters)
        require_options(alpha, init, dropout)
        require_rank(r, *self.sizes)
        if init == "pissa":
            self._require_own_weight("PiSSA")

    def require_switchable(self, name: str | None) -> None:
        """Raise what `switch` raises for this name."""
        require_known_name(name, self.adapters)
        if self.merged and name != self.active:
            raise ValueError(
                f"Adapter {self.active!r} is merged; unmerge it before switching to {name!r}."
            )

    def require_mergeable(self) -> None:
        """Raise what `merge` raises."""
        self._require_own_weight("merging")
        if self.merged:
            raise ValueError(
                f"Adapter {self.active!r} is merged already; merging twice would add it twice."
            )
        if self.active is None:
            known = listed(self.adapters)
            raise ValueError(
                f"No adapter is active; switch to one and then merge (known: {known})."
            )

    def require_merged(self) -> None:
        """Raise what `unmerge` raises."""
        if not self.merged:
            raise ValueError("No adapter is merged; there is nothing to unmerge.")

    def _require_own_weight(self, what: str) -> None:
        """Raise `ValueError` when the base has no matrix of its own, because it is quantised."""
        if not isinstance(self.base._parameters.get("weight"), Tensor):
            raise ValueError(
                f"The base is a {type(self.base).__name__}, which keeps no full weight, and {what} "
                "needs one; dequantise it first."
            )

    def _turn(self, matrix: Tensor) -> Tensor:
        """From the base's storage to (O, I), and back."""
        return matrix.mT if self.transposed else matrix

    def _initial(self, r: int, init: str, dtype, device) -> tuple[Tensor, Tensor]:
        O, I = self.sizes
        return initial(r, I, O, method=init, dtype=dtype, device=device)

    def extra_repr(self) -> str:
        return f"active={self.active!r}" + (", merged" if self.merged else "")
