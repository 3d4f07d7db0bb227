"""lora.nf4: blocks of weights as indices into a fixed code, and the largest of each block."""

from functools import partial

import torch
from torch.nn import functional as F

from clearhead.lora import NF4 as CODE
from clearhead.lora import nf4
from marking.exercise import Exercise, Mistake, Tolerance

SHORT_CODE = (-1.0, -0.4, 0.0, 0.3, 1.0)

# --- situations ------------------------------------------------------------------------------


def _settled(values, code, block_size):
    """The values, those halfway between two code points moved to one side.

    Rounding must not decide an index: float32 and float64 have to agree on it.
    """
    middles = (code[1:] + code[:-1]) / 2
    moved = []
    for block in values.split(block_size):
        largest = block.abs().max()
        close = ((block[:, None] / largest - middles).abs() < 0.004).any(dim=1)  # not if NaN
        moved.append(block + torch.where(close, 0.01 * largest, 0.0 * block))
    return torch.cat(moved)


def _telling(values, code, block_size) -> bool:
    """Do these values show every mistake that values can show?

    A block's largest is negative, and nothing in it comes near as far above zero; some values are
    nearest to the level above them, some to that below; evenly spaced levels would give others; and
    the blocks are not the columns of a matrix.
    """
    blocks = [block / block.abs().max() for block in values.split(block_size) if block.any()]
    scaled = torch.cat(blocks)
    if block_size == 1:
        return bool((scaled < 0).any() and (scaled > 0).any())
    index = _nearest(scaled, code)
    gap = code[index] - scaled
    even = ((scaled + 1) / 2 * (len(code) - 1)).round().long()
    evenly_spaced = bool(code.diff().diff().abs().max() < 1e-6)
    columns = F.pad(values, (0, -len(values) % block_size)).view(block_size, -1).abs().amax(0)
    largest = torch.stack([block.abs().max() for block in values.split(block_size)])
    return (
        any(block.min() == -1 and block.max() < 0.6 for block in blocks)
        and bool((gap > 0.01).any() and (gap < -0.01).any())
        and (evenly_spaced or not torch.equal(even, index))
        and (len(values) < block_size or not torch.equal(columns, largest))
    )


def _inputs(draw, N, block_size, *, code=CODE, change=lambda values: values):
    """`change` alters the values before those that stand halfway are moved."""
    code = torch.tensor(code, dtype=torch.float64).to(draw.dtype)

    def make():
        values = change(draw.normal(N, scale=0.05 if draw.level is None else 1.0))
        return _settled(values, code, block_size)

    values = draw.until(make, lambda values: _telling(values, code, block_size))
    return {"values": values, "code": code, "block_size": block_size}


def _sizes(draw, blocks, block_size, rest=None):
    """N and a block's size: so many blocks and a rest. Cut into as many blocks as one has values,
    N gives another number of them."""

    def make():
        size = draw.size(*block_size, small=3)
        more = 0 if rest is None else draw.size(rest, size - 1)
        return draw.size(*blocks, small=min(2, blocks[0])) * size + more, size

    def other_number(sizes):
        N, size = sizes
        return -(-N // -(-N // size)) != -(-N // size)

    return draw.until(make, other_number)


def whole_blocks(draw):
    return _inputs(draw, *_sizes(draw, (3, 5), (4, 9)))


def short_last_block(draw):
    return _inputs(draw, *_sizes(draw, (2, 4) if draw.level is None else (1, 4), (5, 9), rest=2))


def one_short_block(draw):
    N = draw.size(3, 8, small=2)
    return _inputs(draw, N, N + draw.size(1, 56))


def block_of_zeros(draw):
    block_size = draw.size(4, 7, small=2)

    def zeroed(values):
        values[block_size : 2 * block_size] = 0.0
        return values

    return _inputs(draw, 3 * block_size, block_size, change=zeroed)


def all_zeros(draw):
    N, block_size = _sizes(draw, (1, 3), (3, 4), rest=2)
    code = torch.tensor(CODE, dtype=torch.float64).to(draw.dtype)
    return {"values": torch.zeros(N, dtype=draw.dtype), "code": code, "block_size": block_size}


def largest_is_negative(draw):
    N, block_size = _sizes(draw, (2, 4), (4, 7))

    def turned(values):
        blocks = values.view(-1, block_size)
        largest = blocks.gather(1, blocks.abs().argmax(dim=1, keepdim=True))
        return (-blocks * largest.sign()).flatten()

    return _inputs(draw, N, block_size, change=turned)


def blocks_far_apart(draw):
    """One block is a thousand times as large as its neighbours."""
    block_size = draw.size(4, 7, small=2)
    large = draw.choice(10.0, 1000.0) * torch.ones(block_size, dtype=draw.dtype)
    factor = torch.cat([torch.ones_like(large), large, torch.ones_like(large)])
    return _inputs(draw, 3 * block_size, block_size, change=lambda values: values * factor)


def large_values(draw):
    N, block_size = _sizes(draw, (2, 3), (4, 7), rest=2)
    return _inputs(draw, N, block_size, change=lambda values: 700.0 * values)


def whole_number_code(draw):
    """The fifteen levels −7/7 to 7/7, evenly spaced."""
    levels = tuple(k / 7 for k in range(-7, 8))
    return _inputs(draw, *_sizes(draw, (2, 3), (4, 7)), code=levels)


def short_code(draw):
    sizes = _sizes(draw, (2, 3) if draw.level is None else (1, 3), (4, 7), rest=2)
    return _inputs(draw, *sizes, code=SHORT_CODE)


def blocks_of_one(draw):
    return _inputs(draw, draw.size(4, 9, small=2), 1)


# --- mistakes: one change each to `_quantised`, or a function of their own ----------------------


def _nearest(scaled, code):
    return (scaled[:, None] - code).abs().argmin(dim=1)


def _quantised(
    values,
    code,
    block_size,
    *,
    cut=lambda values, block_size: values.split(block_size),
    largest=lambda block: block.abs().max(),
    divide=lambda block, largest: block / largest if largest != 0 else block,
    nearest=_nearest,
    back=lambda indices, absmax: (indices, absmax),
):
    """As it stands it is right."""
    blocks = cut(values, block_size)
    absmax = [largest(block) for block in blocks]
    pairs = zip(blocks, absmax, strict=True)
    indices = [nearest(divide(block, largest), code) for block, largest in pairs]
    return back(torch.cat(indices), torch.stack(absmax))


def _whole(values, block_size):
    return [values]


one_for_all = partial(_quantised, cut=_whole)


def one_for_all_repeated(values, code, block_size):
    indices, absmax = one_for_all(values, code, block_size)
    return indices, absmax.expand(-(-len(values) // block_size))


one_for_all_too = (
    partial(_quantised, cut=_whole, back=lambda indices, absmax: (indices, absmax[0])),
    one_for_all_repeated,
)

not_absolute = partial(_quantised, largest=lambda block: block.max())
signed = partial(_quantised, largest=lambda block: block[block.abs().argmax()])
deviation = partial(_quantised, largest=lambda block: block.std())
mean_absolute = partial(_quantised, largest=lambda block: block.abs().mean())
root_mean_square = partial(_quantised, largest=lambda block: block.square().mean().sqrt())
unscaled = partial(_quantised, divide=lambda block, largest: block)
nan_on_zeros = partial(_quantised, divide=lambda block, largest: block / largest)
nan_by_midpoints = partial(
    _quantised,
    divide=lambda block, largest: block / largest,
    nearest=lambda scaled, code: torch.bucketize(scaled, (code[1:] + code[:-1]) / 2),
)
zeros_kept_as_one = partial(
    _quantised,
    largest=lambda block: block.abs().max() if block.any() else torch.ones_like(block[0]),
)
min_to_max = partial(
    _quantised,
    divide=lambda block, largest: (
        2 * (block - block.min()) / (block.max() - block.min()).clamp(min=1e-12) - 1
    ),
)
number_of_blocks = partial(_quantised, cut=lambda values, block_size: values.chunk(block_size))

level_above = partial(
    _quantised,
    nearest=lambda scaled, code: torch.searchsorted(code, scaled).clamp(max=len(code) - 1),
)
level_below = partial(
    _quantised,
    nearest=lambda scaled, code: torch.searchsorted(code, scaled, right=True) - 1,
)
evenly_spaced = partial(
    _quantised,
    nearest=lambda scaled, code: ((scaled + 1) / 2 * (len(code) - 1)).round().long(),
)
distance_signed = partial(
    _quantised, nearest=lambda scaled, code: (scaled[:, None] - code).argmin(dim=1)
)
over_values = partial(
    _quantised, nearest=lambda scaled, code: (scaled[:, None] - code).abs().argmin(dim=0)
)
furthest = partial(
    _quantised, nearest=lambda scaled, code: (scaled[:, None] - code).abs().argmax(dim=1)
)

swapped = partial(_quantised, back=lambda indices, absmax: (absmax, indices))
bytes_back = partial(_quantised, back=lambda indices, absmax: (indices.to(torch.uint8), absmax))
inverse_back = partial(_quantised, back=lambda indices, absmax: (indices, 1 / absmax))


def levels_back(values, code, block_size):
    indices, absmax = _quantised(values, code, block_size)
    return code[indices], absmax


def values_back(values, code, block_size):
    indices, absmax = _quantised(values, code, block_size)
    return code[indices] * absmax.repeat_interleave(block_size)[: len(values)], absmax


def absmax_for_each_value(values, code, block_size):
    indices, absmax = _quantised(values, code, block_size)
    return indices, absmax.repeat_interleave(block_size)[: len(values)]


def _grid(blocks, code, axis):
    """Indices and absmax of a matrix whose blocks lie along `axis`."""
    absmax = blocks.abs().amax(dim=axis)
    scaled = blocks / absmax.masked_fill(absmax == 0, 1.0).unsqueeze(axis)
    return _nearest(scaled.flatten(), code), absmax


def _filled_up(values, block_size):
    return F.pad(values, (0, -len(values) % block_size))


def padding_returned(values, code, block_size):
    return _grid(_filled_up(values, block_size).view(-1, block_size), code, 1)


def every_nth_value(values, code, block_size):
    """The rows of the matrix are taken for blocks, and they are its columns."""
    indices, absmax = _grid(_filled_up(values, block_size).view(block_size, -1), code, 0)
    return indices[: len(values)], absmax


def whole_blocks_only(values, code, block_size):
    return _grid(values.view(-1, block_size), code, 1)


def last_block_dropped(values, code, block_size):
    n = len(values) // block_size
    return _grid(values[: n * block_size].view(n, block_size), code, 1)


# --- other right answers ---------------------------------------------------------------------


def by_midpoints(values, code, block_size):
    blocks = _filled_up(values, block_size).reshape(-1, block_size)
    absmax = blocks.abs().max(dim=1).values
    scaled = blocks / torch.where(absmax > 0, absmax, torch.ones_like(absmax))[:, None]
    indices = torch.bucketize(scaled, (code[1:] + code[:-1]) / 2)
    return indices.flatten()[: len(values)], absmax


def against_stretched_levels(values, code, block_size):
    """The code is brought to the block's size, and nothing is divided."""
    indices, absmax = [], []
    for start in range(0, len(values), block_size):
        block = values[start : start + block_size]
        largest = torch.linalg.vector_norm(block, ord=torch.inf)
        zero = int(code.abs().argmin())
        for value in block:
            nearest = torch.argmin((value - largest * code) ** 2) if largest > 0 else zero
            indices.append(int(nearest))
        absmax.append(largest)
    return torch.tensor(indices), torch.stack(absmax)


def with_a_small_number(values, code, block_size):
    absmax = torch.stack([block.abs().max() for block in torch.split(values, block_size)])
    each = absmax.repeat_interleave(block_size)[: len(values)]
    distance = torch.cdist((values / (each + 1e-30))[:, None], code[:, None])
    return distance.min(dim=1).indices, absmax


NF4_PAGE = "lora/04_fine_tune#qlora-the-frozen-weights-in-four-bits"

NF4 = Exercise(
    id="lora.nf4",
    title="Four bits a weight",
    returns="indices, an int64 tensor (N,), and absmax, a tensor with one value for each block",
    points=3,
    difficulty=2,
    minutes=20,
    reference=nf4,
    outputs=("indices", "absmax"),
    cases={
        "whole blocks": whole_blocks,
        "a short last block": short_last_block,
        "one short block": one_short_block,
        "a block of zeros": block_of_zeros,
        "nothing but zeros": all_zeros,
        "the largest of each block is negative": largest_is_negative,
        "one block far larger": blocks_far_apart,
        "large values": large_values,
        "a code of evenly spaced levels": whole_number_code,
        "a code of five levels": short_code,
        "blocks of one value": blocks_of_one,
    },
    # absmax is one of the values: nothing is rounded. A guard such as 1e-8 against 0/0 may stay.
    tolerance=Tolerance(fp32=1e-6, fp64=1e-6),
    mistakes=(
        Mistake(
            "one-for-all",
            one_for_all,
            "the largest value of the whole tensor is used; each block has its own, or one large "
            "weight would cost every other its digits.",
            NF4_PAGE,
            also=one_for_all_too,
        ),
        Mistake(
            "not-absolute",
            not_absolute,
            "the largest value is taken with its sign; a block whose largest weight is negative "
            "then reaches below −1. Take the absolute values first.",
            NF4_PAGE,
        ),
        Mistake(
            "signed",
            signed,
            "the value furthest from zero is divided by with its sign, which mirrors a block in "
            "which it is negative; absmax is its absolute value.",
            NF4_PAGE,
        ),
        Mistake(
            "by-deviation",
            deviation,
            "the block is divided by its standard deviation, or by another mean size, so its "
            "largest weights fall outside the code; divide by the largest absolute value.",
            NF4_PAGE,
            also=(mean_absolute, root_mean_square),
        ),
        Mistake(
            "unscaled",
            unscaled,
            "the values are compared with the code as they are; divide each block by its largest "
            "absolute value first.",
            NF4_PAGE,
        ),
        Mistake(
            "min-to-max",
            min_to_max,
            "the block is stretched from its smallest to its largest value, which moves its zero; "
            "divide by absmax, and 0 stays 0.",
            NF4_PAGE,
        ),
        Mistake(
            "nan-on-zeros",
            nan_on_zeros,
            "a block of zeros gives 0/0 = NaN, and a wrong index; its indices are that of 0, and "
            "its absmax is 0.",
            NF4_PAGE,
            also=(nan_by_midpoints,),
        ),
        Mistake(
            "zeros-kept-as-one",
            zeros_kept_as_one,
            "the 1 that guards a block of zeros against 0/0 comes back as its absmax; divide by a "
            "guarded copy, and return 0.",
            NF4_PAGE,
        ),
        Mistake(
            "level-above",
            level_above,
            "the next code point above is taken, not the nearest; compare with the midpoints "
            "between code points, or take the smallest distance.",
            NF4_PAGE,
        ),
        Mistake(
            "level-below",
            level_below,
            "the next code point below is taken, not the nearest; compare with the midpoints "
            "between code points, or take the smallest distance.",
            NF4_PAGE,
        ),
        Mistake(
            "evenly-spaced",
            evenly_spaced,
            "the index is found by rounding, as if the code points were evenly spaced; they stand "
            "closer together near 0, so look for the nearest.",
            NF4_PAGE,
        ),
        Mistake(
            "distance-signed",
            distance_signed,
            "the smallest difference is taken, sign and all, and that is always the one to the "
            "largest code point; take absolute values.",
            NF4_PAGE,
        ),
        Mistake(
            "nearest-value-for-each-level",
            over_values,
            "argmin runs over the values, and finds for each code point a value; run it over the "
            "code.",
            NF4_PAGE,
        ),
        Mistake(
            "furthest",
            furthest,
            "the code point with the largest distance is taken; take the one with the smallest.",
            NF4_PAGE,
        ),
        Mistake(
            "number-of-blocks",
            number_of_blocks,
            "block_size is read as the number of blocks, as chunk reads it; it is how many values "
            "a block has, as in split.",
            NF4_PAGE,
        ),
        Mistake(
            "every-nth-value",
            every_nth_value,
            "the values are laid out with block_size rows, so a block is made of values that stand "
            "apart; a block is block_size values in a row.",
            NF4_PAGE,
        ),
        Mistake(
            "whole-blocks-only",
            whole_blocks_only,
            "the values are reshaped to (blocks, block_size), which fails when the last block is "
            "short; fill it up with zeros first, or go through the blocks one by one.",
            NF4_PAGE,
        ),
        Mistake(
            "last-block-dropped",
            last_block_dropped,
            "the values after the last whole block are left out; they are a block of their own.",
            NF4_PAGE,
        ),
        Mistake(
            "padding-returned",
            padding_returned,
            "the zeros that fill up the last block come back as indices; return N of them.",
            NF4_PAGE,
        ),
        Mistake(
            "levels-not-indices",
            levels_back,
            "the code points come back, or the values they stand for; four bits hold an index.",
            NF4_PAGE,
            also=(values_back,),
        ),
        Mistake(
            "absmax-for-each-value",
            absmax_for_each_value,
            "absmax is repeated for every value, which costs more than it saves; return one for "
            "each block.",
            NF4_PAGE,
        ),
        Mistake(
            "inverse-absmax",
            inverse_back,
            "1/absmax comes back; return absmax itself, by which an index is turned into a weight.",
            NF4_PAGE,
        ),
        Mistake(
            "not-int64",
            bytes_back,
            "the indices are right but not int64, the type in which torch indexes; leave out the "
            "conversion.",
            NF4_PAGE,
        ),
        Mistake(
            "swapped",
            swapped,
            "absmax and the indices have changed places; the indices come first.",
            NF4_PAGE,
        ),
    ),
    alternatives=(by_midpoints, against_stretched_levels, with_a_small_number),
    hints=(
        "Take one block by hand, [0.2, −0.4, 0.1], and the code [−1, −0.4, 0, 0.3, 1]. What does "
        "the block become when its largest is brought to ±1, and which code point is nearest to "
        "each?",
        "All distances between n values and 16 code points are one table, (n, 16), that "
        "broadcasting fills; what you look for is the place of the least in each row.",
        "Try three awkward inputs: a number of values that block_size does not divide, a block of "
        "zeros, and a block whose largest weight is negative. How many indices and how many absmax "
        "come back from each?",
    ),
    read=NF4_PAGE,
)
