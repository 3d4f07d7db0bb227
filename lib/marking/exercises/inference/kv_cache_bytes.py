"""inference.kv_cache_bytes: the memory that keys and values take, in blocks of a paged cache."""

import math
from functools import partial

import torch

from clearhead import inference as library
from marking.exercise import Exercise, Mistake


def reference(layers, kv_heads, head_size, lengths, bytes_per_value, block):
    return library.kv_cache_bytes(
        layers, kv_heads, head_size, lengths, bytes_per_value=bytes_per_value, block=block
    )


# --- situations: a mistake shows in one always or never ------------------------------------------


def _inputs(draw, lengths, *, block=1, bytes_per_value=2):
    return {
        "layers": draw.size(3, 40, small=2),
        "kv_heads": draw.size(3, 8, small=2),
        "head_size": 2 * draw.size(5, 64, small=2),
        "lengths": lengths,
        "bytes_per_value": bytes_per_value,
        "block": block,
    }


def _unequal(draw, n, block, *, most=30):
    """Lengths of n different numbers of whole blocks."""
    return [count * block for count in draw.sizes(n, 2, most, small=1)]


def one_sequence(draw):
    return _inputs(draw, [draw.size(5, 900, small=3)])


def several_sequences(draw):
    return _inputs(draw, _unequal(draw, draw.size(3, 6, small=2), 1))


def one_byte(draw):
    return _inputs(draw, _unequal(draw, draw.size(3, 5, small=2), 1), bytes_per_value=1)


def four_bytes(draw):
    return _inputs(draw, _unequal(draw, draw.size(3, 5, small=2), 1), bytes_per_value=4)


def in_blocks(draw):
    """No sequence fills its last block; the first begins it with one token."""
    block = 4 if draw.level is not None else draw.choice(5, 8, 16, 32)
    full = _unequal(draw, draw.size(3, 5, small=2), block)
    begun = [1] + [draw.size(2, block - 1) for _ in full[1:]]
    return _inputs(draw, [n + more for n, more in zip(full, begun, strict=True)], block=block)


def one_in_blocks(draw):
    block = 4 if draw.level is not None else draw.choice(5, 8, 16, 32)
    return _inputs(draw, [block * draw.size(2, 30, small=1) + 1], block=block)


def whole_blocks(draw):
    """Every sequence ends where a block ends."""
    block = 2 if draw.level is not None else draw.choice(4, 8, 16)
    return _inputs(draw, _unequal(draw, draw.size(3, 5, small=2), block), block=block)


def shorter_than_a_block(draw):
    """All together would fit into one block."""
    block = 8 if draw.level is not None else draw.choice(16, 32, 64)
    n = 2 if draw.level is not None else draw.size(2, 3)
    return _inputs(draw, draw.sizes(n, 2, block // 4 + 1), block=block)


def one_empty(draw):
    """A request that has been taken in and has no token yet."""
    block = 4 if draw.level is not None else draw.choice(4, 8, 16)
    return _inputs(draw, [0, *(n + 1 for n in _unequal(draw, 2, block))], block=block)


def a_real_model(draw):
    """Llama 3 8B and 70B, Qwen3 0.6B and 8B: layers, key/value heads, head size."""
    real = draw.choice((32, 8, 128), (80, 8, 128), (28, 8, 128), (36, 8, 128))
    layers, kv_heads, head_size = real if draw.level is None else (2, 2, 4)
    block = 16 if draw.level is None else 4
    inputs = _inputs(draw, [n + 1 for n in _unequal(draw, 3, block, most=500)], block=block)
    return inputs | {"layers": layers, "kv_heads": kv_heads, "head_size": head_size}


# --- mistakes: one change each to `_count` -------------------------------------------------------


def _up(n, block):
    return -(-n // block) * block


def _each(lengths, rounded):
    return sum(rounded(n) for n in lengths)


def _count(
    layers,
    kv_heads,
    head_size,
    lengths,
    bytes_per_value,
    block,
    *,
    both=2,
    depth=lambda layers: layers,
    row=lambda kv_heads, head_size: kv_heads * head_size,
    rounded=_up,
    tokens=_each,
    width=lambda bytes_per_value: bytes_per_value,
    whole=lambda n: n,
):
    """As it stands it is right."""
    slots = tokens(lengths, lambda n: rounded(n, block))
    values = both * depth(layers) * row(kv_heads, head_size) * slots
    return whole(values * width(bytes_per_value))


def _row(row):
    return partial(_count, row=row)


def _rounded(rounded):
    return partial(_count, rounded=rounded)


def _tokens(tokens):
    return partial(_count, tokens=tokens)


def _width(width):
    return partial(_count, width=width)


def _whole(whole):
    return partial(_count, whole=whole)


keys_only = partial(_count, both=1)
keys_and_values_twice = partial(_count, both=4)
one_layer = partial(_count, depth=lambda layers: 1)

no_heads = _row(lambda K, D: D)
no_head_size = _row(lambda K, D: K)
heads_squared = _row(lambda K, D: K * K * D)
width_squared = _row(lambda K, D: (K * D) ** 2)

blocks_ignored = _rounded(lambda n, block: n)
rounded_down = _rounded(lambda n, block: n // block * block)
rounded_to_nearest = _rounded(lambda n, block: round(n / block) * block)
one_block_more = _rounded(lambda n, block: (n // block + 1) * block)
at_least_one_block = _rounded(lambda n, block: max(1, -(-n // block)) * block)
counted_blocks = _rounded(lambda n, block: -(-n // block))
times_the_block = _rounded(lambda n, block: n * block)
plus_a_block = _rounded(lambda n, block: n + block)
plus_a_block_less_one = _rounded(lambda n, block: n + block - 1)

longest_for_all = _tokens(lambda lengths, rounded: len(lengths) * rounded(max(lengths)))
longest_alone = _tokens(lambda lengths, rounded: rounded(max(lengths)))
total_rounded = _tokens(lambda lengths, rounded: rounded(sum(lengths)))
first_alone = _tokens(lambda lengths, rounded: rounded(lengths[0]))
last_alone = _tokens(lambda lengths, rounded: rounded(lengths[-1]))
one_token_each = _tokens(lambda lengths, rounded: len(lengths))
one_block_each = _tokens(lambda lengths, rounded: len(lengths) * rounded(1))
times_batch = _tokens(lambda lengths, rounded: len(lengths) * _each(lengths, rounded))
squared = _tokens(lambda lengths, rounded: sum(rounded(n) ** 2 for n in lengths))
mean_length = _tokens(lambda lengths, rounded: _each(lengths, rounded) / len(lengths))
last_token_less = _tokens(lambda lengths, rounded: sum(rounded(max(n - 1, 0)) for n in lengths))

values_for_bytes = _width(lambda size: 1)
always_two_bytes = _width(lambda size: 2)
always_four_bytes = _width(lambda size: 4)
bits = _width(lambda size: 8 * size)
bits_taken_for_bytes = _width(lambda size: size / 8)
bits_taken_for_bytes_whole = _width(lambda size: size // 8)
width_twice = _width(lambda size: size * size)

as_float = _whole(float)
in_gigabytes = tuple(
    _whole(partial(lambda unit, n: n / unit, unit)) for unit in (2**30, 10**9, 2**20, 10**6)
)
in_gigabytes_rounded = _whole(lambda n: round(n / 2**30, 2))


def keys_and_values_apart(**sizes):
    n = _count(**sizes) // 2
    return n, n


def for_each_sequence(lengths, **sizes):
    return [_count(lengths=[n], **sizes) for n in lengths]


# --- other right answers -------------------------------------------------------------------------


def block_by_block(layers, kv_heads, head_size, lengths, bytes_per_value=2, block=1):
    total = 0
    for length in lengths:
        taken = 0
        while taken * block < length:
            taken += 1
        key_bytes = taken * block * kv_heads * head_size * bytes_per_value
        value_bytes = key_bytes
        total += layers * (key_bytes + value_bytes)
    return total


def ceil_of_a_quotient(layers, kv_heads, head_size, lengths, bytes_per_value=2, block=1):
    blocks = sum(math.ceil(n / block) for n in lengths)
    bytes_per_token = 2 * layers * kv_heads * head_size * bytes_per_value
    return blocks * block * bytes_per_token


def counted_on_tensors(layers, kv_heads, head_size, lengths, bytes_per_value=2, block=1):
    """Tensors without storage, as a pool of blocks would hold them."""
    n_blocks = sum((n + block - 1) // block for n in lengths)
    pool = torch.empty(2, layers, n_blocks, block, kv_heads, head_size, device="meta")
    return pool.numel() * bytes_per_value


SIZE = "inference/02_counting#how-large-is-the-cache"
PAGES = "inference/04_serving#how-does-a-page-table-hold-a-cache"
WASTE = "inference/04_serving#what-does-static-batching-waste"

KV_CACHE_BYTES = Exercise(
    id="inference.kv_cache_bytes",
    title="How large the cache is",
    returns="an integer",
    points=2,
    difficulty=1,
    minutes=15,
    reference=reference,
    cases={
        "one sequence": one_sequence,
        "several sequences": several_sequences,
        "one byte a value": one_byte,
        "four bytes a value": four_bytes,
        "in blocks": in_blocks,
        "one sequence in blocks": one_in_blocks,
        "whole blocks": whole_blocks,
        "shorter than a block": shorter_than_a_block,
        "one still empty": one_empty,
        "a real model": a_real_model,
    },
    mistakes=(
        Mistake(
            "keys-only",
            keys_only,
            "half of the numbers are counted; the cache holds keys and values, two tensors of one "
            "shape.",
            SIZE,
        ),
        Mistake(
            "keys-and-values-twice",
            keys_and_values_twice,
            "the 2 for keys and values stands in the product twice; K and V are two tensors of "
            "one shape.",
            SIZE,
        ),
        Mistake(
            "one-layer-only",
            one_layer,
            "the cache of one layer is counted; every layer keeps keys and values of its own.",
            SIZE,
        ),
        Mistake(
            "heads-left-out",
            no_heads,
            "kv_heads is not in the count; each key/value head has its own row of head_size "
            "numbers for a token.",
            SIZE,
        ),
        Mistake(
            "head-size-left-out",
            no_head_size,
            "head_size is not in the count; a key is a vector of head_size numbers.",
            SIZE,
        ),
        Mistake(
            "row-multiplied-again",
            heads_squared,
            "kv_heads (or the width kv_heads·head_size) is multiplied in more than once; a token "
            "has kv_heads · head_size numbers in K, and as many in V.",
            SIZE,
            also=(width_squared,),
        ),
        Mistake(
            "longest-for-all",
            longest_for_all,
            "every sequence is counted with the length of the longest, as a padded batch would "
            "take; here each keeps its own.",
            WASTE,
        ),
        Mistake(
            "one-sequence-only",
            longest_alone,
            "the cache of one sequence is counted; add up all of them.",
            SIZE,
            also=(first_alone, last_alone),
        ),
        Mistake(
            "one-token-each",
            one_token_each,
            "a single token (or block) a sequence is counted: len(lengths) says how many sequences "
            "there are, and the lengths themselves how many tokens.",
            SIZE,
            also=(one_block_each,),
        ),
        Mistake(
            "batch-multiplied-again",
            times_batch,
            "the total of all sequences is multiplied by their number again; the sum over lengths "
            "has counted each already.",
            SIZE,
        ),
        Mistake(
            "mean-length",
            mean_length,
            "the mean of the lengths is taken where their sum is needed; all sequences lie in "
            "memory together.",
            SIZE,
        ),
        Mistake(
            "length-squared",
            squared,
            "the length is squared, as in the score matrix; the cache has one row of keys and one "
            "of values a token, so it grows with the length itself.",
            SIZE,
        ),
        Mistake(
            "last-token-left-out",
            last_token_less,
            "each sequence is counted one token shorter; all tokens in lengths have keys and "
            "values in the cache.",
            SIZE,
        ),
        Mistake(
            "blocks-ignored",
            blocks_ignored,
            "the block size does not enter; a sequence holds whole blocks, and the unused end of "
            "its last one is taken all the same.",
            PAGES,
        ),
        Mistake(
            "rounded-down",
            rounded_down,
            "the number of blocks is rounded down, so the tokens in the last, part-filled block "
            "have no room; round up.",
            PAGES,
        ),
        Mistake(
            "rounded-to-nearest",
            rounded_to_nearest,
            "the number of blocks is rounded to the nearest; a block that is begun is taken "
            "whole, so round up always.",
            PAGES,
        ),
        Mistake(
            "always-one-block-more",
            one_block_more,
            "there is a block too many where a length fills its blocks exactly: n // block + 1 "
            "does that, and so does counting the token that is yet to come; round up only what is "
            "left over.",
            PAGES,
        ),
        Mistake(
            "at-least-one-block",
            at_least_one_block,
            "an empty sequence is given a block; with no token it holds none.",
            PAGES,
        ),
        Mistake(
            "total-rounded",
            total_rounded,
            "the total is rounded up once; two sequences cannot share a block that each has only "
            "begun, so round every sequence by itself.",
            PAGES,
        ),
        Mistake(
            "blocks-for-tokens",
            counted_blocks,
            "blocks are counted where tokens are meant; each block has room for `block` tokens, so "
            "multiply by it again.",
            PAGES,
        ),
        Mistake(
            "times-the-block",
            times_the_block,
            "each length is multiplied by the block size; it is in tokens already, and only has to "
            "be rounded up to a multiple of it.",
            PAGES,
        ),
        Mistake(
            "block-added",
            plus_a_block,
            "a block (or block − 1) is added to each length; n + block − 1 is only the first step "
            "of rounding up: divide with // and multiply by block after it.",
            PAGES,
            also=(plus_a_block_less_one,),
        ),
        Mistake(
            "values-for-bytes",
            values_for_bytes,
            "numbers are counted in place of bytes; multiply by bytes_per_value.",
            SIZE,
        ),
        Mistake(
            "width-assumed",
            always_two_bytes,
            "two (or four) bytes a value are assumed; use bytes_per_value.",
            SIZE,
            also=(always_four_bytes,),
        ),
        Mistake(
            "bits",
            bits,
            "bits are counted; bytes_per_value is in bytes already, and so is the answer.",
            SIZE,
        ),
        Mistake(
            "taken-for-bits",
            bits_taken_for_bytes,
            "bytes_per_value is divided by 8; it is in bytes, not in bits.",
            SIZE,
            also=(bits_taken_for_bytes_whole,),
        ),
        Mistake(
            "bytes-twice",
            width_twice,
            "bytes_per_value is multiplied in twice; each number takes that many bytes once.",
            SIZE,
        ),
        Mistake(
            "not-integer",
            as_float,
            "the count comes back as a float; count in whole numbers, with // where you divide.",
            SIZE,
        ),
        Mistake(
            "in-gigabytes",
            in_gigabytes[0],
            "the answer is in another unit, GiB, GB, MiB or MB; return bytes, an int.",
            SIZE,
            also=(*in_gigabytes[1:], in_gigabytes_rounded),
        ),
        Mistake(
            "not-added-up",
            keys_and_values_apart,
            "several numbers come back; add up keys and values of all sequences.",
            SIZE,
            also=(for_each_sequence,),
        ),
    ),
    alternatives=(block_by_block, ceil_of_a_quotient, counted_on_tensors),
    hints=(
        "Take one layer, one key/value head, head size 3 and a single token. Write down every "
        "number that has to be kept for it, then let the sizes grow one at a time.",
        "Blocks first, bytes last: how many blocks does a sequence of 5 tokens hold when a block "
        "has room for 4? And two such sequences, which cannot share a block?",
        "Query heads are not in the list of arguments, and neither is the width of the model: "
        "nothing of a query is kept. Every argument is needed, and bytes_per_value is in bytes.",
    ),
    read=SIZE,
)
