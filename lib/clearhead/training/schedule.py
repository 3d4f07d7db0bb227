r"""How the learning rate moves: up at first, then down, by a cosine or late and straight.

Large steps at the start are those that make a run diverge, so the steps start small and grow for
$w$ updates (*warm-up*). At the end small steps settle what large ones keep shaking. With $t$ = 1,
2, … counting the updates, $\eta$ the peak, $\eta_0$ the floor and $n$ all updates:

$$
\eta_t = \begin{cases}
\eta\, \dfrac{t}{w} & t \le w \\[1ex]
\eta_0 + (\eta - \eta_0)\, \dfrac{1}{2}\Big(1 + \cos \pi \dfrac{t - w}{n - w}\Big)
& w < t \le n \\[1ex]
\eta_0 & t > n
\end{cases} \tag{1}
$$

A cosine must know $n$ beforehand. *Warm-up, stable, decay* holds the peak and spends only the last
$d$ updates going down, so that one long run can be ended wherever one likes:

$$
\eta_t = \begin{cases}
\eta\, t / w & t \le w \\
\eta & w < t \le n - d \\
\eta_0 + (\eta - \eta_0)\, (n - t)/d & n - d < t \le n \\
\eta_0 & t > n
\end{cases} \tag{2}
$$

**Counting.** `step` counts from 0, as loops do, and is the update about to be made: $t$ = step + 1.
So no update is made at rate 0 by warm-up, and the last one, with step $n - 1$, is made at the
floor: give a floor above 0 or waste it.

**Sources.** Loshchilov and Hutter, 2017 (arXiv 1608.03983), equation 5, for the cosine; Hu et al.,
2024 (arXiv 2404.06395), section 4, for (2), with a straight descent as in Hägele et al., 2024
(arXiv 2405.18392).
"""

import math

from clearhead._checks import require_finite, require_integer


def learning_rate(step: int, *, peak: float, warmup: int, total: int, floor: float = 0.0) -> float:
    """The rate of update `step`, which counts from 0: equation (1).

    Raises `TypeError` when a count is not an integer and `ValueError` when a number is out of
    range: the warm-up is not longer than the whole, the floor not above the peak.
    """
    _require_schedule(step, peak, warmup, total, floor)
    t = step + 1
    if t <= warmup:
        return peak * t / warmup
    if t > total:
        return floor
    done = (t - warmup) / (total - warmup)  # from just above 0 to 1
    return floor + (peak - floor) * (1 + math.cos(math.pi * done)) / 2


def warmup_stable_decay(
    step: int, *, peak: float, warmup: int, decay: int, total: int, floor: float = 0.0
) -> float:
    """The rate of update `step`, which counts from 0: equation (2), down over the last `decay`.

    Raises as `learning_rate` does, and when warm-up and decay overlap.
    """
    _require_schedule(step, peak, warmup, total, floor)
    require_integer(1, decay=decay)
    if warmup + decay > total:
        raise ValueError(
            f"warmup {warmup} and decay {decay} are more than the {total} updates; shorten one."
        )
    t = step + 1
    if t <= warmup:
        return peak * t / warmup
    if t <= total - decay:
        return peak
    return floor + (peak - floor) * max(0, total - t) / decay


def _require_schedule(step: int, peak: float, warmup: int, total: int, floor: float) -> None:
    require_integer(0, step=step, warmup=warmup)
    require_integer(1, total=total)
    require_finite(peak=peak, floor=floor)
    if warmup > total:
        raise ValueError(f"warmup is {warmup} of {total} updates; give at most all of them.")
    if not 0 <= floor <= peak:
        raise ValueError(f"floor is {floor} and peak {peak}; expected 0 ≤ floor ≤ peak.")
