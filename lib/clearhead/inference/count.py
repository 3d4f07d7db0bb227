r"""What a prompt and its answer cost, counted: operations of both phases, bytes of cache and step.

A weight of a matrix takes part in one multiply-add a token, which is two operations. A query and a
key that it sees take part in $D$ multiply-adds for the score and $D$ for the output. With $N$
weights in the blocks' matrices, $N_V$ in the head, $L$ layers, $H$ query heads of size $D$:

$$
\text{prefill}(T) = 2 N T + 2 N_V + 4 L H D \, \frac{T(T+1)}{2} \tag{1}
$$

The head reads the last position only. The first generated token comes out of the prefill, so that
$n$ generated tokens need $n - 1$ decode steps; step $i$ has $T + i$ keys to read:

$$
\text{decode}(T, n) = \sum_{i=1}^{n-1} \bigl( 2 (N + N_V) + 4 L H D \, (T + i) \bigr) \tag{2}
$$

The cache keeps a key and a value for each token, layer and key/value head, at $b$ bytes a number.
A sequence of length $T_s$ takes whole blocks of $m$ tokens:

$$
\text{cache} = 2 \, L K D \, b \sum_{s} m \left\lceil \frac{T_s}{m} \right\rceil \tag{3}
$$

**What is left out.** Norms, softmax, rotary turns, biases and the embedding's look-up: none is a
matrix product.

**Source.** Equations (1) and (2): the counting of Kaplan et al., 2020, section 2.1, with causal
attention and the head counted where it runs. Equation (3): Kwon et al., 2023, sections 3 and 4.
"""

from collections.abc import Sequence
from typing import NamedTuple

from clearhead._checks import require_integer
from clearhead.model import Config


class PhaseFlops(NamedTuple):
    """Operations of the prefill, and of all decode steps together."""

    prefill: int
    decode: int


class MatmulWeights(NamedTuple):
    """Weights that every token is multiplied by: of all blocks together, and of the head."""

    block: int
    head: int


def kv_cache_bytes(
    layers: int,
    kv_heads: int,
    head_size: int,
    lengths: Sequence[int],
    *,
    bytes_per_value: int = 2,
    block: int = 1,
) -> int:
    """Bytes of the keys and values of sequences of these `lengths`, equation (3).

    Each length is rounded up to whole blocks of `block` tokens. Raises `TypeError` when a size is
    not an integer and `ValueError` when a length is negative or another size is less than 1.
    """
    require_integer(1, layers=layers, kv_heads=kv_heads, head_size=head_size)
    require_integer(1, bytes_per_value=bytes_per_value, block=block)
    for index, length in enumerate(lengths):
        require_integer(0, **{f"lengths[{index}]": length})
    slots = sum(-(-length // block) * block for length in lengths)
    return 2 * layers * kv_heads * head_size * bytes_per_value * slots


def phase_flops(
    block_weights: int,
    head_weights: int,
    layers: int,
    heads: int,
    head_size: int,
    prompt: int,
    generated: int,
) -> PhaseFlops:
    """`(prefill, decode)` for a prompt of so many tokens and so many generated: (1) and (2).

    Raises `TypeError` when a size is not an integer and `ValueError` when one is less than 1 (of
    the weights: less than 0). Even one generated token needs the prefill, and no token needs
    nothing.
    """
    require_integer(0, block_weights=block_weights, head_weights=head_weights)
    require_integer(1, layers=layers, heads=heads, head_size=head_size)
    require_integer(1, prompt=prompt, generated=generated)
    pair = 4 * layers * heads * head_size  # one query that sees one key
    prefill = 2 * block_weights * prompt + 2 * head_weights + pair * (prompt * (prompt + 1) // 2)
    steps = generated - 1
    keys = steps * prompt + steps * (steps + 1) // 2  # the sum of prompt + i, i = 1 … steps
    return PhaseFlops(prefill, 2 * (block_weights + head_weights) * steps + pair * keys)


def matmul_weights(config: Config) -> MatmulWeights:
    """The weights of `config` that count in equations (1) and (2), biases and norms left out.

    A tied head counts: it has no bytes of its own, and is multiplied by all the same.
    """
    C, HD, KD = config.width, config.heads * config.head_size, config.kv_heads * config.head_size
    block = 2 * C * HD + 2 * C * KD + 3 * C * config.feed_forward
    return MatmulWeights(config.layers * block, config.vocab_size * C)
