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

**Source.** Williams, Waterman and Patterson, 2009, section 3, where one operation is one kernel.
"""

from collections.abc import Sequence
from typing import NamedTuple

from clearhead._checks import require_finite


class LowerBound(NamedTuple):
    """Seconds, and for each operation what it waits for: `"compute"` or `"memory"`."""

    seconds: float
    limits: list[str]


def time_lower_bound(
    operations: Sequence[tuple[float, float]], peak_flops: float, bandwidth: float
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


def _require_amounts(index: int, flops: float, moved: float) -> None:
    require_finite(flops=flops, bytes=moved)
    if flops < 0 or moved < 0:
        raise ValueError(
            f"operations[{index}] is ({flops}, {moved}); give (flops, bytes), neither negative."
        )
