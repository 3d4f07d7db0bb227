r"""What a training step costs, counted, and which share of the machine it uses.

A weight of a matrix takes part in one multiply-add a token: two operations forward, and two each
for the gradients of its input and of itself backward. With $N$ weights in the blocks' matrices,
$N_V$ in the vocabulary's, $L$ layers, $H$ heads of size $D$, and $B$ rows of $T$ tokens, of which
$n$ predict a label:

$$
\text{step} = 6 N B T + 6 N_V n + 12\, L H D \cdot B \, \frac{T (T + 1)}{2} \tag{1}
$$

The last term is attention: a query and a key that it sees cost $2D$ for the score and $2D$ for the
output, forward, and twice that backward. Only pairs that the causal mask allows are counted.

$$
\text{utilisation} = \frac{\text{operations of (1)}}{\text{seconds} \cdot \text{peak rate}} \tag{2}
$$

is the *model FLOPs utilisation*: what an implementation computes twice to save memory does not
count in its favour, nor do masked pairs that a kernel computes and throws away.

**What is left out.** Norms, softmax, rotary turns, the embedding's look-up, AdamW.

**Sources.** Kaplan et al., 2020, section 2.1, for the 6; Chowdhery et al., 2022 (PaLM, arXiv
2204.02311), appendix B, for (2), which counts all $T^2$ pairs.
"""

from clearhead._checks import require_integer
from clearhead.inference import matmul_weights
from clearhead.model import Config

from ._checks import require_positive


def training_flops(config: Config, batch: int, length: int, *, learned: int | None = None) -> int:
    """Operations of one step on `batch` rows of `length` tokens: equation (1).

    `learned` is n, how many positions the vocabulary's matrix is applied to: `batch · (length − 1)`
    unless given. Raises `TypeError` when a size is not an integer and `ValueError` when `batch` or
    `length` is less than 1, or `learned` is not from 0 to `batch · length`.
    """
    require_integer(1, batch=batch, length=length)
    learned = batch * (length - 1) if learned is None else learned
    require_integer(0, learned=learned)
    weights, tokens = matmul_weights(config), batch * length
    if learned > tokens:
        raise ValueError(f"learned is {learned} of {tokens} positions; give at most all of them.")
    pairs = batch * (length * (length + 1) // 2)
    attention = 12 * config.layers * config.heads * config.head_size * pairs
    return 6 * weights.block * tokens + 6 * weights.head * learned + attention


def utilisation(flops: int | float, seconds: float, peak: float) -> float:
    """The share of `peak` operations a second that was used: equation (2).

    `peak` is a data sheet's rate (`clearhead.hardware`) or one that was measured; say which. Raises
    `ValueError` when a number is not positive.
    """
    require_positive(flops=flops, seconds=seconds, peak=peak)
    return flops / (seconds * peak)
