r"""The least time that work can take on a chip: arithmetic or memory, whichever takes longer.

An operation of $f$ floating-point operations that moves $b$ bytes cannot end before the arithmetic
is done, at $P$ operations a second at most, nor before the bytes have moved, at $W$ bytes a second
at most. Operations that run one after another add up:

$$
t \ge \sum_{o} \max\!\left( \frac{f_o}{P},\ \frac{b_o}{W} \right) \tag{1}
$$

An operation is limited by *compute* when its first term is the larger one (or they are equal), that
is, when $f_o / b_o$ reaches the ridge $P / W$, and by *memory* otherwise. Equation (1) lies above
the maximum of the two sums: what one operation leaves idle, another one cannot use.

A forward pass takes in $n_s$ new tokens of each sequence, of which $p_s$ tokens are cached. With
$n = \sum_s n_s$, a matrix of $O \times I$ that reads all of them has

$$
f = 2 \, n \, O I, \qquad b = w \, O I + v \, n \, (I + O) \tag{2}
$$

at $w$ bytes a weight and $v$ an activation; attention in one layer has

$$
f = 4 H D \sum_s \Bigl( n_s p_s + \frac{n_s (n_s + 1)}{2} \Bigr), \qquad
b = v \sum_s \bigl( 2 K D \, (p_s + n_s) + 2 H D \, n_s \bigr) \tag{3}
$$

and the head reads one position of each sequence. A prefill is $p_s = 0$, a decode step $n_s = 1$, a
chunk neither.

**What is left out.** Norms, softmax, the rotary turn, the look-up in the embedding, and what a
program does between two operations (`overhead` of `predict` stands for that).

**Source.** Equation (1): Williams, Waterman and Patterson, 2009, section 3, where one operation is
one kernel.
"""

from collections.abc import Sequence
from typing import NamedTuple

from clearhead._checks import require_finite, require_integer
from clearhead.model import Config


class LowerBound(NamedTuple):
    """Seconds, and for each operation what it waits for: `"compute"` or `"memory"`."""

    seconds: float
    limits: list[str]


class Operation(NamedTuple):
    """The same operation in all layers together: operations, and bytes between chip and memory."""

    name: str
    flops: int
    bytes: int

    @property
    def intensity(self) -> float:
        """Operations a byte."""
        return self.flops / self.bytes


def time_lower_bound(
    operations: Sequence[tuple[float | int, float | int]],
    peak_flops: float | int,
    bandwidth: float | int,
) -> LowerBound:
    """Equation (1) for `operations`, each `(flops, bytes)`, that run one after another.

    `peak_flops` is in operations a second, `bandwidth` in bytes a second. Raises `TypeError` for
    what is not a number and `ValueError` for a negative amount or a rate that is not positive.
    """
    require_finite(peak_flops=peak_flops, bandwidth=bandwidth)
    for name, rate in (("peak_flops", peak_flops), ("bandwidth", bandwidth)):
        if rate <= 0:
            raise ValueError(f"{name} is {rate}; give a positive number, a second.")
    seconds, limits = 0.0, []
    for index, (flops, moved) in enumerate(operations):
        _require_amounts(index, flops, moved)
        compute, memory = flops / peak_flops, moved / bandwidth
        seconds += max(compute, memory)
        limits.append("compute" if compute >= memory else "memory")
    return LowerBound(seconds, limits)


def phase_operations(
    config: Config,
    new: Sequence[int],
    past: Sequence[int],
    *,
    bytes_per_weight: int = 2,
    bytes_per_value: int = 2,
) -> list[Operation]:
    """The matrix products and the attention of one forward pass, equations (2) and (3).

    `new[s]` tokens of sequence s are taken in, `past[s]` of its tokens are cached. A prefill of
    one prompt is `([T], [0])`, a decode step of B sequences `([1] * B, lengths)`; both kinds can
    stand side by side. Each operation counts all L layers; the last is the head. Raises `TypeError`
    and `ValueError` for numbers that are not integers, too small, or not as many of both.
    """
    _require_sequences(new, past)
    require_integer(1, bytes_per_weight=bytes_per_weight, bytes_per_value=bytes_per_value)
    C, F, L = config.width, config.feed_forward, config.layers
    HD, KD = config.heads * config.head_size, config.kv_heads * config.head_size

    def product(name: str, out_size: int, in_size: int, rows: int, times: int) -> Operation:
        weights = out_size * in_size
        activations = rows * (in_size + out_size)
        moved = bytes_per_weight * weights + bytes_per_value * activations
        return Operation(name, times * 2 * rows * weights, times * moved)

    n = sum(new)
    pairs = sum(t * p + t * (t + 1) // 2 for t, p in zip(new, past, strict=True))
    touched = 2 * KD * (n + sum(past)) + 2 * HD * n  # keys and values; queries and output
    return [
        product("query, key, value", HD + 2 * KD, C, n, L),
        Operation("attention", L * 4 * HD * pairs, L * bytes_per_value * touched),
        product("output", C, HD, n, L),
        product("gate, up", 2 * F, C, n, L),
        product("down", C, F, n, L),
        product("head", config.vocab_size, C, len(new), 1),
    ]


def _require_amounts(index: int, flops: float | int, moved: float | int) -> None:
    require_finite(flops=flops, bytes=moved)
    if flops < 0 or moved < 0:
        raise ValueError(
            f"operations[{index}] is ({flops}, {moved}); give (flops, bytes), neither negative."
        )


def _require_sequences(new: Sequence[int], past: Sequence[int]) -> None:
    if len(new) != len(past) or len(new) == 0:
        raise ValueError(
            f"new has {len(new)} numbers and past {len(past)}; give one of each for every "
            "sequence, and one sequence or more."
        )
    for index, (taken_in, cached) in enumerate(zip(new, past, strict=True)):
        require_integer(1, **{f"new[{index}]": taken_in})
        require_integer(0, **{f"past[{index}]": cached})
