r"""What attention costs: the arithmetic and the memory traffic of one call, counted, not measured.

Each allowed query-key pair takes part in two products of D multiply-adds, one for its score and one
for its share of the output, and a multiply-add is two operations:

$$
\text{flops} = 4 \, B H D \cdot \text{pairs} \tag{1}
$$

$$
\text{pairs} = T S, \quad\text{or causal:}\quad \sum_{i} \max\bigl(0,\; i + 1 + S - T\bigr) \tag{2}
$$

A fused kernel reads q, k and v and writes the output, once each, at $b$ bytes a value. The plain
version also writes and reads the scores, and writes and reads the weights:

$$
\text{bytes}_\text{flash} = b \, (2 B H T D + 2 B K S D) \tag{3}
$$

$$
\text{bytes}_\text{plain} = \text{bytes}_\text{flash} + 4 \, b \, B H T S \tag{4}
$$

**What is left out.** Softmax's own arithmetic; the second reading of k and v when they do not stay
in fast memory; the log-sum-exp, 4 bytes a row. Equation (4) does not change with `causal`, because
the plain version fills in the whole matrix.

**Source.** The steps of the plain version: Dao et al., 2022, Algorithm 0. Equation (3) is a lower
bound; their Theorem 2 counts what a tiled kernel with a small fast memory really moves.
"""

from typing import NamedTuple

from clearhead._checks import require_integer


class AttentionCost(NamedTuple):
    """Operations, and bytes between the chip and its memory, of one attention forward."""

    flops: int
    bytes_plain: int
    bytes_flash: int


def attention_cost(
    B: int,
    H: int,
    K: int,
    T: int,
    S: int,
    D: int,
    *,
    bytes_per_value: int = 2,
    causal: bool = False,
) -> AttentionCost:
    """Equations (1) to (4), for B sequences, H query heads over K key/value heads of size D.

    Raises `TypeError` when a size is not an integer and `ValueError` when it is negative or K does
    not divide H.
    """
    require_integer(0, B=B, H=H, K=K, T=T, S=S, D=D)
    require_integer(1, bytes_per_value=bytes_per_value)
    if H % K if K else H:
        raise ValueError(
            f"H is {H} and K is {K}; the number of query heads must be a multiple of the number of "
            "key/value heads."
        )
    pairs = T * S
    if causal:
        seeing = min(T, S)  # the queries that see a key; they see S - seeing + 1, …, S of them
        pairs = seeing * (S - seeing) + seeing * (seeing + 1) // 2
    flops = 4 * B * H * D * pairs
    bytes_flash = bytes_per_value * (2 * B * H * T * D + 2 * B * K * S * D)
    bytes_plain = bytes_flash + bytes_per_value * 4 * B * H * T * S
    return AttentionCost(flops, bytes_plain, bytes_flash)
