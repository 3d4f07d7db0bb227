r"""Operations for each byte that moves: what a decode step reads, and where attention overtakes.

A decode step for sequences of $S_s$ cached tokens reads every weight once, however many sequences
there are, and each sequence's cache once. With $w$ bytes a weight and $b$ a cached number:

$$
\text{step} = w \, (N + N_V) + 2 \, L K D \, b \sum_s S_s \tag{1}
$$

More sequences share the weights: $B$ sequences do $2B$ operations for each weight of $w$ bytes.
Nobody shares a cache. A cached key and value, $2 D b$ bytes a key/value head, serve the $H / K$
queries of their group, $4 D$ operations each, times $T$ when $T$ new tokens are read at once:

$$
\frac{\text{operations}}{\text{byte}} = \frac{2 B}{w} \;\text{(weights)}, \qquad
\frac{2 \, T H}{b K} \;\text{(cache, whatever } B \text{)} \tag{2}
$$

In a prefill the blocks' products take $2N$ operations a token and attention $4 L H D$ for each
key seen. They are level at a prompt of $T^*$ tokens, on average $T^*/2$ of them seen; without a
causal mask all of them are seen, and $T^*$ is half as long:

$$
T^* = \frac{N}{L H D} - 1 \;\text{(causal)}, \qquad \frac{N}{2 L H D} \;\text{(not causal)} \tag{3}
$$

**Latent attention** (MLA) caches one vector of $R$ numbers and a rotary key of $D_r$ a token and
layer, for all heads. With the projections absorbed, each of the $H$ queries does $R + D_r$
multiply-adds with it for the score and $R$ for the output:

$$
\frac{\text{operations}}{\text{byte}} = \frac{2 H (2 R + D_r)}{b \, (R + D_r)} \tag{4}
$$

**What is left out.** Norms, biases, activations, the new key and value that a step writes, and the
look-up of one row of the embedding.

**Source.** Equations (1) and (2): Pope et al., 2022, section 2; Ainslie et al., 2023, section 1.
Equation (4): DeepSeek-AI, 2024 (V2), section 2.1 for the cache and the absorbed form.
"""

from collections.abc import Sequence
from typing import NamedTuple

from clearhead._checks import require_integer
from clearhead.model import Config

from .count import kv_cache_bytes, matmul_weights


class StepBytes(NamedTuple):
    """Bytes that a decode step reads: weights, shared by all sequences, and their caches."""

    weights: int
    cache: int

    @property
    def total(self) -> int:
        """The sum of the two."""
        return sum(self)


def step_bytes(
    config: Config,
    lengths: Sequence[int],
    *,
    bytes_per_weight: int = 2,
    bytes_per_value: int = 2,
) -> StepBytes:
    """Equation (1) for one new token for each of the sequences with `lengths` cached tokens.

    Raises `TypeError` when a number is not an integer and `ValueError` when it is too small.
    """
    require_integer(1, bytes_per_weight=bytes_per_weight)
    sizes = config.layers, config.kv_heads, config.head_size
    cache = kv_cache_bytes(*sizes, lengths, bytes_per_value=bytes_per_value)
    return StepBytes(bytes_per_weight * sum(matmul_weights(config)), cache)


def weight_intensity(batch: int, *, bytes_per_weight: int = 2) -> float:
    """Operations a byte of weights for `batch` tokens at once, equation (2): 1 a token in bf16."""
    require_integer(1, batch=batch, bytes_per_weight=bytes_per_weight)
    return 2 * batch / bytes_per_weight


def attention_intensity(config: Config, *, queries: int = 1, bytes_per_value: int = 2) -> float:
    """Operations a byte of cache, equation (2), when each sequence has `queries` new tokens.

    One new token in bf16 gives H / K, whatever the batch and the length.
    """
    require_integer(1, queries=queries, bytes_per_value=bytes_per_value)
    return 2 * queries * config.heads / (bytes_per_value * config.kv_heads)


def crossover_tokens(config: Config, *, causal: bool = True) -> float:
    """Equation (3): the prompt for which attention takes as many operations as the blocks."""
    attention = config.layers * config.heads * config.head_size
    block = matmul_weights(config).block
    return block / attention - 1 if causal else block / (2 * attention)


def decode_crossover_tokens(config: Config) -> float:
    """The cached tokens for which a decode step's attention takes as many operations as the rest.

    The head is part of the rest: it reads every new token of a decode step.
    """
    return sum(matmul_weights(config)) / (2 * config.layers * config.heads * config.head_size)


def cache_crossover_tokens(
    config: Config, *, bytes_per_weight: int = 2, bytes_per_value: int = 2
) -> float:
    """The cached tokens, of all sequences together, that are as many bytes as the weights, (1)."""
    held = step_bytes(
        config, [1], bytes_per_weight=bytes_per_weight, bytes_per_value=bytes_per_value
    )
    return held.weights / held.cache


def mla_bytes_per_token(layers: int, rank: int, rotary: int, *, bytes_per_value: int = 2) -> int:
    """Bytes that latent attention caches for one token: `rank` + `rotary` numbers a layer.

    Raises `TypeError` when a size is not an integer and `ValueError` when it is too small.
    """
    require_integer(1, layers=layers, rank=rank, bytes_per_value=bytes_per_value)
    require_integer(0, rotary=rotary)
    return layers * (rank + rotary) * bytes_per_value


def mla_intensity(heads: int, rank: int, rotary: int, *, bytes_per_value: int = 2) -> float:
    """Operations a byte of latent attention's cache for one new token, equation (4)."""
    require_integer(1, heads=heads, rank=rank, bytes_per_value=bytes_per_value)
    require_integer(0, rotary=rotary)
    return 2 * heads * (2 * rank + rotary) / (bytes_per_value * (rank + rotary))
