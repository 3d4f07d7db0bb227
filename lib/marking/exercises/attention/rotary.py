"""attention.rotary: turn pairs of features by an angle that grows with the position, half-split."""

import math
from functools import partial

import torch

from clearhead import attention as library
from marking.exercise import Exercise, Mistake, Tolerance


def reference(x, positions, theta):
    return library.rotary(x, positions, theta=theta)


# --- situations ------------------------------------------------------------------------------


def _shape(draw):
    """Two rows at least, and never as many heads as rows, so that neither passes for the other."""
    B, H = draw.size(2, 3, small=1), draw.size(1, 2)
    H += H >= B and draw.level is None
    return B, H, draw.size(2, 6), 2 * draw.size(2, 5)


def _uneven(draw, B, T, start=0):
    """Positions that grow by uneven steps, no two rows alike."""
    return draw.increasing(B, T, start=start) + 5 * torch.arange(B)[:, None]


def _any(draw, low, high, B, T):
    """Positions from low to high · B, no two rows alike."""
    return draw.integers(low, high, B, T) * B + torch.arange(B)[:, None]


def counting_from_zero(draw):
    B, H, T, D = _shape(draw)
    positions = torch.arange(T).expand(B, T).contiguous()
    return {"x": draw.normal(B, H, T, D), "positions": positions, "theta": 10000.0}


def gaps(draw):
    B, H, T, D = _shape(draw)
    positions = draw.increasing(1, T, start=draw.size(1, 9)).expand(B, T).contiguous()
    return {"x": draw.normal(B, H, T, D), "positions": positions, "theta": 10000.0}


def rows_differ(draw):
    """As in a batch padded on the left, or sequences that resume at different places."""
    B, H, T, D = _shape(draw)
    if draw.level is not None:
        B = 2
    x = draw.normal(B, H, T, D)
    return {"x": x, "positions": _uneven(draw, B, T), "theta": 10000.0}


def any_order(draw):
    B, H, T, D = _shape(draw)
    x = draw.normal(B, H, T, D)
    return {"x": x, "positions": _any(draw, 0, 12, B, T), "theta": 10000.0}


def one_token(draw):
    B, H, _, D = _shape(draw)
    x = draw.normal(B, H, 1, D)
    return {"x": x, "positions": _any(draw, 1, 8, B, 1), "theta": 10000.0}


def another_theta(draw):
    B, H, T, D = _shape(draw)
    x = draw.normal(B, H, T, D)
    return {"x": x, "positions": _uneven(draw, B, T), "theta": draw.choice(3.0, 50.0)}


def far_along(draw):
    """Where neighbouring float32 numbers are 0.008 apart, and so would be the angles."""
    (B, H), T, D = _shape(draw)[:2], draw.size(2, 4), 2 * draw.size(12, 20)
    positions = draw.integers(90_000, 100_000, B, T)
    return {"x": draw.normal(B, H, T, D, scale=3.0), "positions": positions, "theta": 10000.0}


def not_contiguous(draw):
    """x as it comes out of a head split: a transposed view."""
    B, H, T, D = _shape(draw)
    x = draw.normal(B, T, H, D).transpose(1, 2)
    return {"x": x, "positions": _uneven(draw, B, T, start=2), "theta": 10000.0}


# --- mistakes: one change each to `_rotated`, or a function of their own ------------------------


def _halves(x, angles):
    a, b = x.chunk(2, dim=-1)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


def _rotated(
    x,
    positions,
    theta,
    *,
    at=lambda positions, x: positions,
    line_up=lambda positions: positions[:, None, :, None],
    base=lambda theta: theta,
    exponent=lambda i, D: 2 * i / D,
    power=lambda base, exponent: 1.0 / base**exponent,
    dtype=torch.float64,
    turn=_halves,
):
    """As it stands it is right. The angles are B 1 T D/2."""
    D = x.shape[-1]
    frequencies = power(base(theta), exponent(torch.arange(D // 2, dtype=dtype), D))
    return turn(x, line_up(at(positions, x)).to(dtype) * frequencies)


def identity(x, positions, theta):
    return x.clone()


half_exponent = partial(_rotated, exponent=lambda i, D: i / D)
double_exponent = partial(_rotated, exponent=lambda i, D: 2 * i / (D // 2))
growing_frequencies = partial(_rotated, exponent=lambda i, D: -2 * i / D)
pairs_from_one = partial(_rotated, exponent=lambda i, D: 2 * (i + 1) / D)
theta_ignored = partial(_rotated, base=lambda theta: 10000.0)
angles_in_float32 = partial(_rotated, dtype=torch.float32)
rounded_otherwise = (
    partial(_rotated, dtype=torch.float32, power=lambda base, exponent: base**-exponent),
    partial(
        _rotated,
        dtype=torch.float32,
        power=lambda base, exponent: torch.exp(-exponent * math.log(base)),
    ),
)

positions_from_one = partial(_rotated, at=lambda positions, x: positions + 1)
positions_ignored = partial(
    _rotated, at=lambda positions, x: torch.arange(x.shape[2]).expand(x.shape[0], -1)
)
no_head_axis = partial(_rotated, line_up=lambda positions: positions[:, :, None])
first_row_for_all = partial(_rotated, at=lambda positions, x: positions[:1])


def _no_minus(x, angles):
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos + b * sin, b * cos + a * sin), dim=-1)


def _neighbours(x, angles):
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2)


def _halves_by_neighbours_angles(x, angles):
    angles = angles.repeat_interleave(2, dim=-1)
    a, b = x.chunk(2, dim=-1)
    return x * angles.cos().to(x.dtype) + torch.cat((-b, a), -1) * angles.sin().to(x.dtype)


def _neighbours_by_halves_angles(x, angles):
    angles = angles.repeat(1, 1, 1, 2)
    rotated = torch.stack((-x[..., 1::2], x[..., 0::2]), dim=-1).flatten(-2)
    return x * angles.cos().to(x.dtype) + rotated * angles.sin().to(x.dtype)


def _neighbours_to_halves(x, angles):
    return _halves(torch.cat((x[..., 0::2], x[..., 1::2]), dim=-1), angles)


def _swapped(x, angles):
    return torch.cat(_halves(x, angles).chunk(2, dim=-1)[::-1], dim=-1)


backwards = partial(_rotated, turn=lambda x, angles: _halves(x, -angles))
no_minus = partial(_rotated, turn=_no_minus)
interleaved = partial(_rotated, turn=_neighbours)
pairings_mixed = partial(_rotated, turn=_halves_by_neighbours_angles)
angles_not_interleaved = partial(_rotated, turn=_neighbours_by_halves_angles)
neighbours_in_halves_out = partial(_rotated, turn=_neighbours_to_halves)
halves_swapped = partial(_rotated, turn=_swapped)


# --- other right answers ---------------------------------------------------------------------


def rotate_half(x, positions, theta):
    D = x.shape[-1]
    inverse = 1.0 / (theta ** (torch.arange(0, D, 2, dtype=torch.float64) / D))
    angles = torch.einsum("bt,d->btd", positions.double(), inverse)
    angles = torch.cat((angles, angles), dim=-1)[:, None]
    rotated = torch.cat((-x[..., D // 2 :], x[..., : D // 2]), dim=-1)
    return x * angles.cos().to(x.dtype) + rotated * angles.sin().to(x.dtype)


def complex_numbers(x, positions, theta):
    D = x.shape[-1]
    frequencies = torch.exp(
        -torch.arange(0, D, 2, dtype=torch.float64) / D * torch.tensor(theta).double().log()
    )
    angles = positions[:, None, :, None] * frequencies
    turn = torch.polar(torch.ones_like(angles), angles)
    z = torch.complex(x[..., : D // 2].double(), x[..., D // 2 :].double()) * turn
    return torch.cat((z.real, z.imag), dim=-1).to(x.dtype)


def pair_by_pair(x, positions, theta):
    half = x.shape[-1] // 2
    y = torch.empty_like(x)
    for i in range(half):
        angle = (positions.double() / theta ** (i / half))[:, None, :]
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        y[..., i] = x[..., i] * cos - x[..., i + half] * sin
        y[..., i + half] = x[..., i + half] * cos + x[..., i] * sin
    return y


ROPE = "attention/03_masks_heads_positions#rope-why-do-only-differences-count"
PAIRS = "attention/03_masks_heads_positions#half-split-and-interleaved-one-permutation-apart"
POSITIONS = "attention/03_masks_heads_positions#positions-are-not-always-0-1-2"

ROTARY = Exercise(
    id="attention.rotary",
    title="Rotary positions",
    returns="a tensor of the shape and dtype of x",
    points=4,
    difficulty=2,
    minutes=25,
    reference=reference,
    cases={
        "positions 0, 1, 2, …": counting_from_zero,
        "positions with gaps": gaps,
        "rows at different positions": rows_differ,
        "positions in any order": any_order,
        "one token further on": one_token,
        "another theta": another_theta,
        "positions up to 100,000": far_along,
        "x is a transposed view": not_contiguous,
    },
    # Angles in float32 are off by 3e-6 at ordinary positions: only far along do they count.
    tolerance=Tolerance(fp32=1e-5, fp64=1e-5),
    mistakes=(
        Mistake(
            "identity",
            identity,
            "x comes back as it went in; turn each pair of features by its angle.",
            ROPE,
        ),
        Mistake(
            "half-exponent",
            half_exponent,
            "the exponent of theta is −i/D, so the angles fall off half as fast as they should; "
            "pair i has the exponent −2i/D.",
            ROPE,
        ),
        Mistake(
            "double-exponent",
            double_exponent,
            "the 2i of the exponent is divided by the number of pairs, D/2, so the angles fall "
            "off twice as fast; divide it by D.",
            ROPE,
        ),
        Mistake(
            "growing-frequencies",
            growing_frequencies,
            "the exponent of theta is positive, so later pairs turn faster; it is −2i/D, and they "
            "turn more slowly.",
            ROPE,
        ),
        Mistake(
            "pairs-from-one",
            pairs_from_one,
            "pairs are numbered from 1, so no pair turns by the whole position; number them from 0 "
            "(where the paper counts from 1 it writes i − 1).",
            ROPE,
        ),
        Mistake(
            "theta-ignored",
            theta_ignored,
            "theta is taken as 10000 whatever is passed; use the argument.",
            ROPE,
        ),
        Mistake(
            "positions-from-one",
            positions_from_one,
            "one is added to the positions; position 0 is not turned at all.",
            POSITIONS,
        ),
        Mistake(
            "positions-ignored",
            positions_ignored,
            "tokens are counted 0, 1, 2, … in place of reading positions; a token that continues "
            "a cache or follows padding is then turned by the wrong angle.",
            POSITIONS,
        ),
        Mistake(
            "first-row-for-all",
            first_row_for_all,
            "the positions of the first row of the batch are used for every row; each row has its "
            "own.",
            POSITIONS,
        ),
        Mistake(
            "backwards",
            backwards,
            "every pair is turned by minus its angle; the first of a pair becomes a·cos − b·sin. "
            "Scores among your own queries and keys stay the same, but a checkpoint trained the "
            "other way breaks.",
            ROPE,
        ),
        Mistake(
            "no-minus",
            no_minus,
            "both halves add the sine term, which is no rotation and changes the length of a "
            "pair; one of the two terms is subtracted.",
            ROPE,
        ),
        Mistake(
            "interleaved",
            interleaved,
            "neighbours 2i and 2i + 1 are paired, as in the paper; here feature i goes with i + "
            "D/2, as in Llama.",
            PAIRS,
        ),
        Mistake(
            "pairings-mixed",
            pairings_mixed,
            "halves are paired, but the angles are repeated for neighbours, so the two of a pair "
            "turn by different angles; repeat the whole list of angles once for each half.",
            PAIRS,
        ),
        Mistake(
            "angles-not-interleaved",
            angles_not_interleaved,
            "neighbours are paired, but the list of angles is repeated once for each half, so the "
            "two of a pair turn by different angles; here feature i goes with i + D/2, and that "
            "order of angles fits.",
            ROPE,
        ),
        Mistake(
            "neighbours-in-halves-out",
            neighbours_in_halves_out,
            "pairs are read as neighbours and written as halves, which reorders the features; "
            "read and write feature i with i + D/2.",
            PAIRS,
        ),
        Mistake(
            "halves-swapped",
            halves_swapped,
            "the turned halves are joined in the wrong order; a·cos − b·sin comes first.",
            PAIRS,
        ),
        Mistake(
            "no-head-axis",
            no_head_axis,
            "the angles (B, T, D/2) have no axis for the heads, so they meet x (B, H, T, D/2) "
            "along the wrong axes; put an axis of size 1 between B and T.",
            ROPE,
        ),
        Mistake(
            "angles-in-float32",
            angles_in_float32,
            "the angles are computed in float32, whose numbers near 100,000 are 0.008 apart, so "
            "far positions turn by a visibly wrong angle; compute them in float64 and round cos "
            "and sin.",
            ROPE,
            also=rounded_otherwise,
        ),
    ),
    alternatives=(rotate_half, complex_numbers, pair_by_pair),
    hints=(
        "Take D = 2 and position 1 first: one pair, one angle, and a rotation of the plane. Which "
        "feature is its partner when D = 8?",
        "You need one angle for each row, token and pair: a tensor of shape (B, T, D/2). Which "
        "axis is missing before it lines up with x, and which dtype keeps a position of 100,000 "
        "exact after it is multiplied by a fraction?",
        "Cut x into its first and second half along the last axis. Each new half needs both old "
        "halves, the cosine once and the sine once; draw the rotation of a point by 90° to see "
        "where the minus sign goes. Then join the halves in the order you cut them.",
    ),
    read=ROPE,
)
