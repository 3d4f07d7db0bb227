r"""What LoRA saves, counted: parameters, bytes of training state, and multiply-adds.

An adapter of rank $r$ on a matrix of $O \times I$ has a row of $A$ and a column of $B$ for each
rank. In $L$ equal layers with matrices $m$ each:

$$
\text{trainable} = L \sum_m r \, (O_m + I_m) \tag{1}
$$

Training keeps, for a trainable parameter, its value, its gradient and two moments of Adam; for a
frozen one, its value alone. At $b$ bytes a trained number and $f$ a frozen one:

$$
\text{bytes} = f \cdot \text{frozen} + b \, (1 + 1 + 2) \cdot \text{trainable} \tag{2}
$$

Arithmetic shrinks less. A layer of $O \times I$ does $OI$ multiply-adds a token forward, as many
for the gradient of its input, and as many for the gradient of its weight. LoRA leaves out the
third and adds its own three, on two thin matrices:

$$
\text{full} = 3\,OI, \qquad \text{LoRA} = 2\,OI + 3\,r\,(O + I) \tag{3}
$$

So a step of LoRA costs at least two thirds of a step of full fine-tuning, whatever the rank: a
thousand times fewer parameters are not a thousand times faster.

**What is left out.** Activations, which depend on the batch, and are much the same for both.

**Source.** Equation (1): Hu et al., 2021, section 4.2 and table 4: GPT-3 has L = 96 layers of
width 12,288, and r = 1, 4, 8 on $W_q$ and $W_v$ give 4.7, 18.9 (the paper's "18M") and 37.7
million. Equation (3): Schulman et al., 2025 (LoRA Without Regret).
"""

from collections.abc import Sequence
from typing import NamedTuple

from clearhead._checks import require_finite, require_integer

from ._checks import require_rank


class TrainingBytes(NamedTuple):
    """Bytes held all through training, without activations: equation (2) by its parts."""

    weights: float | int
    gradients: float | int
    optimiser: float | int

    @property
    def total(self) -> float | int:
        """The sum of the three."""
        return sum(self)


def trainable_parameters(layers: int, shapes: Sequence[tuple[int, int]], r: int) -> int:
    """Equation (1) for `layers` equal layers, `shapes` the (O, I) of each adapted matrix of one.

    Raises `TypeError` when a size is not an integer and `ValueError` when one is less than 1 or
    `r` is above the smaller side of a matrix.
    """
    require_integer(1, layers=layers)
    for out_features, in_features in shapes:
        require_integer(1, out_features=out_features, in_features=in_features)
        require_rank(r, out_features, in_features)
    return layers * sum(r * (out_features + in_features) for out_features, in_features in shapes)


def training_bytes(
    frozen: int,
    trainable: int,
    *,
    bytes_per_frozen: float | int = 2,
    bytes_per_trainable: float | int = 4,
) -> TrainingBytes:
    """Equation (2) for so many frozen and trainable parameters, by default bf16 and fp32.

    A weight in NF4 with double quantisation has 4.127 bits, so `bytes_per_frozen=4.127 / 8`.
    Raises `TypeError` when a count is not an integer and `ValueError` when it is negative.
    """
    require_integer(0, frozen=frozen, trainable=trainable)
    require_finite(bytes_per_frozen=bytes_per_frozen, bytes_per_trainable=bytes_per_trainable)
    trained = trainable * bytes_per_trainable
    return TrainingBytes(frozen * bytes_per_frozen + trained, trained, 2 * trained)


def multiply_adds(out_features: int, in_features: int, r: int | None = None) -> int:
    """Multiply-adds a token of one training step, equation (3): full, or LoRA of rank `r`.

    Raises `TypeError` when a size is not an integer and `ValueError` when one is less than 1.
    """
    require_integer(1, out_features=out_features, in_features=in_features)
    if r is None:
        return 3 * out_features * in_features
    require_rank(r, out_features, in_features)
    return 2 * out_features * in_features + 3 * r * (out_features + in_features)
