"""training.perplexity: how well a model knows a whole text, per token and per byte."""

import math
from functools import partial

import torch

from clearhead.training import perplexity
from marking.exercise import Exercise, Mistake
from marking.exercises.training._masked import lengths, mean_of_rows, real

# --- situations: a mistake shows in one always or never ------------------------------------------


def _inputs(draw, sizes, *, side="right", a_byte_a_token=False):
    """Surprises of 0.5 to 5; the padding holds others, which nobody should read."""
    mask = real(sizes, [side] * len(sizes))
    log_probs = -0.5 - draw.normal(*mask.shape).double().abs().clamp(max=3.0) * 1.5
    log_probs[~mask] = -7.0
    tokens = sum(sizes)
    n_bytes = tokens if a_byte_a_token else tokens * 3 + draw.size(1, tokens, small=1)
    return {"log_probs": log_probs, "real": mask, "n_bytes": n_bytes}


def one_row(draw):
    return _inputs(draw, [draw.size(3, 9, small=2)])


def equal_rows(draw):
    return _inputs(draw, [draw.size(3, 8, small=2)] * draw.size(2, 4))


def unequal_rows(draw):
    return _inputs(draw, lengths(draw, draw.size(2, 4), 2, 10))


def padded_left(draw):
    return _inputs(draw, lengths(draw, draw.size(2, 4), 2, 10), side="left")


def a_row_of_padding(draw):
    return _inputs(draw, [*lengths(draw, draw.size(2, 3), 2, 8), 0])


def a_byte_a_token(draw):
    """As with a tokenizer that has learned no merge."""
    return _inputs(draw, lengths(draw, draw.size(2, 4), 2, 10), a_byte_a_token=True)


def one_row_is_much_harder(draw):
    """Its tokens are e⁹ times less likely: a mean of perplexities is its perplexity alone."""
    inputs = unequal_rows(draw)
    log_probs = inputs["log_probs"].clone()
    log_probs[-1] -= 9.0
    return inputs | {"log_probs": log_probs}


def long_text(draw):
    """The product of all its probabilities is below the smallest float, e⁻⁷⁴⁵."""
    inputs = _inputs(draw, lengths(draw, draw.size(3, 5, small=2), 150, 220))
    return inputs | {"log_probs": inputs["log_probs"] - 1.5}


# --- mistakes: one change each to `_score` -------------------------------------------------------


def _exp_of_mean(total, tokens, mean, n_bytes, rows, log_probs, keep):
    return math.exp(mean)


def _per_byte(total, tokens, mean, n_bytes, rows, log_probs, keep):
    return total / (n_bytes * math.log(2))


def _score(
    log_probs,
    real,
    n_bytes,
    *,
    keeps=lambda real: real,
    cut=lambda log_probs, real: (log_probs, real),
    sign=-1.0,
    average=lambda nll, keep, total: total / int(keep.sum()),
    power=_exp_of_mean,
    bits=_per_byte,
    finish=lambda perplexity, bits: (perplexity, bits),
):
    """As it stands it is right."""
    log_probs, real = cut(log_probs, real)
    keep = keeps(real)
    nll = sign * log_probs
    total = nll[keep].sum().item()
    mean = average(nll, keep, total)
    parts = (total, int(keep.sum()), mean, n_bytes, len(nll), log_probs, keep)
    return finish(power(*parts), bits(*parts))


def _average(average):
    return partial(_score, average=average)


def _power(power):
    return partial(_score, power=power)


def _bits(bits):
    return partial(_score, bits=bits)


def _finish(finish):
    return partial(_score, finish=finish)


def _row_perplexities(*parts, empty="skipped"):
    log_probs, keep = parts[-2:]
    rows = [-row[mask].mean() for row, mask in zip(log_probs, keep, strict=True) if mask.any()]
    if empty == "one":  # of no tokens: exp(0)
        rows += [torch.zeros((), dtype=log_probs.dtype)] * (len(keep) - len(rows))
    return torch.stack(rows).exp().mean().item()


rows_first = _power(_row_perplexities)
rows_first_empty_one = _power(partial(_row_perplexities, empty="one"))
row_means = _average(lambda nll, keep, total: mean_of_rows(nll, keep).item())
row_means_empty_zero = _average(lambda nll, keep, t: mean_of_rows(nll, keep, empty="zero").item())

everything_counts = partial(_score, keeps=lambda real: real > -1)
everything_in_perplexity = _average(lambda nll, keep, total: nll.mean().item())
everything_in_bits = _bits(
    lambda total, n, mean, n_bytes, rows, log_probs, k: (
        -log_probs.sum().item() / (n_bytes * math.log(2))
    )
)
over_all_places = _average(lambda nll, keep, total: total / nll.numel())
over_rows = _average(lambda nll, keep, total: total / len(nll))
over_filled_rows = _average(lambda nll, keep, total: total / int(keep.any(-1).sum()))
first_dropped = partial(_score, cut=lambda log_probs, real: (log_probs[:, 1:], real[:, 1:]))
last_dropped = partial(_score, cut=lambda log_probs, real: (log_probs[:, :-1], real[:, :-1]))


def _from_the_left(real):
    """As many as are real, counted from the left."""
    return torch.arange(real.shape[1]) < real.sum(-1, keepdim=True)


taken_from_the_left = partial(_score, keeps=_from_the_left)

sign_forgotten = partial(_score, sign=1.0)
sign_forgotten_in_perplexity = _power(lambda total, n, mean, *_: math.exp(-mean))
sign_forgotten_in_bits = _bits(lambda *parts: -_per_byte(*parts))


def _exp_of_sum(total, *_):
    try:
        return math.exp(total)
    except OverflowError:
        return math.inf


exp_of_sum = _power(_exp_of_sum)
exp_of_sum_by_python = _power(lambda total, *_: math.exp(total))
per_byte_perplexity = _power(lambda total, n, mean, n_bytes, *_: math.exp(total / n_bytes))
two_to_the_nats = _power(lambda total, n, mean, *_: 2**mean)
ten_to_the_nats = _power(lambda total, n, mean, *_: 10**mean)
loss_returned = _power(lambda total, n, mean, *_: mean)
loss_in_bits = _power(lambda total, n, mean, *_: mean / math.log(2))
perplexity_in_bits = _power(lambda total, n, mean, *_: math.exp(mean / math.log(2)))
mean_probability = _power(lambda *p: 1 / p[-2][p[-1]].exp().mean().item())
mean_of_inverses = _power(lambda *p: (-p[-2][p[-1]]).exp().mean().item())


def _root_of_product(*parts):
    """As torch computes it: of 0 the root is 0, and its inverse ∞."""
    log_probs, keep = parts[-2:]
    return (log_probs[keep].exp().prod() ** (-1 / int(keep.sum()))).item()


def _root_of_product_by_python(*parts):
    log_probs, keep = parts[-2:]
    return math.prod(log_probs[keep].exp().tolist()) ** (-1 / int(keep.sum()))


product = _power(_root_of_product)
product_by_python = _power(_root_of_product_by_python)

nats_a_byte = _bits(lambda total, n, mean, n_bytes, *_: total / n_bytes)
times_ln_2 = _bits(lambda total, n, mean, n_bytes, *_: total * math.log(2) / n_bytes)
bits_a_token = _bits(lambda total, n, mean, *_: total / n / math.log(2))
bits_in_all = _bits(lambda total, *_: total / math.log(2))
mean_over_bytes = _bits(lambda total, n, mean, n_bytes, *_: total / n / math.log(2) / n_bytes)
upside_down = _bits(lambda total, n, mean, n_bytes, *_: total / n / math.log(2) * n_bytes / n)
bytes_a_bit = _bits(lambda total, n, mean, n_bytes, *_: n_bytes * math.log(2) / total)
eight_bits = _bits(lambda total, n, mean, n_bytes, *_: total / (8 * n_bytes * math.log(2)))
times_eight = _bits(lambda total, n, mean, n_bytes, *_: 8 * total / (n_bytes * math.log(2)))
power_a_byte = _bits(lambda total, n, mean, n_bytes, *_: math.exp(total / n_bytes))

order_swapped = _finish(lambda perplexity, bits: (bits, perplexity))
perplexity_alone = _finish(lambda perplexity, bits: perplexity)
as_tensors = _finish(lambda perplexity, bits: (torch.tensor(perplexity), torch.tensor(bits)))
one_as_tensor = _finish(lambda perplexity, bits: (torch.tensor(perplexity).double(), bits))
other_as_tensor = _finish(lambda perplexity, bits: (perplexity, torch.tensor(bits).double()))
as_double_tensors = _finish(
    lambda *parts: tuple(torch.tensor(x, dtype=torch.float64) for x in parts)
)


# --- other right answers -------------------------------------------------------------------------


def by_logarithms_of_two(log_probs, real, n_bytes):
    bits = -(log_probs / math.log(2))[real]
    return 2.0 ** bits.mean().item(), bits.sum().item() / n_bytes


def token_by_token(log_probs, real, n_bytes):
    nll, tokens = 0.0, 0
    for row, mask in zip(log_probs.tolist(), real.tolist(), strict=True):
        for value, counts in zip(row, mask, strict=True):
            if counts:
                nll, tokens = nll - value, tokens + 1
    return math.exp(nll / tokens), nll / n_bytes / math.log(2)


def from_the_perplexity(log_probs, real, n_bytes):
    tokens = int(real.sum())
    mean = torch.where(real, -log_probs, 0.0).sum() / tokens
    value = mean.exp().item()
    return [value, math.log2(value) * tokens / n_bytes]


AVERAGE = "training/01_next_token#what-does-perplexity-average-over"
MEANS = "training/02_batches_that_mean_it#is-the-mean-of-means-the-mean"

PERPLEXITY = Exercise(
    id="training.perplexity",
    title="Perplexity, and bits a byte",
    returns="two Python floats: perplexity, bits a byte",
    outputs=("perplexity", "bits"),
    points=3,
    difficulty=1,
    minutes=15,
    reference=perplexity,
    cases={
        "one row": one_row,
        "rows of one length": equal_rows,
        "rows of unequal length": unequal_rows,
        "padding at the left": padded_left,
        "a row of padding": a_row_of_padding,
        "a byte a token": a_byte_a_token,
        "one row much harder": one_row_is_much_harder,
        "a long text": long_text,
    },
    mistakes=(
        Mistake(
            "mean-of-row-perplexities",
            rows_first,
            "each row gets a perplexity of its own, and these are averaged; one hard row then "
            "outweighs all others. Add up −ln p over all rows, divide by all tokens, and take one "
            "exponential at the end.",
            AVERAGE,
            also=(rows_first_empty_one,),
        ),
        Mistake(
            "mean-of-row-means",
            row_means,
            "the rows' mean losses are averaged, so a token of a short row weighs more than one of "
            "a long row; divide the sum over all rows by the number of all tokens.",
            MEANS,
            also=(row_means_empty_zero,),
        ),
        Mistake(
            "padding-counted",
            everything_counts,
            "padding counts as text; only where real is True is there a token.",
            AVERAGE,
            also=(everything_in_perplexity, everything_in_bits),
        ),
        Mistake(
            "padding-in-the-divisor",
            over_all_places,
            "padding is left out of the sum and yet counted in the divisor; divide by the number "
            "of real tokens.",
            AVERAGE,
        ),
        Mistake(
            "rows-in-the-divisor",
            over_rows,
            "the sum is divided by the number of rows; divide by the number of real tokens.",
            AVERAGE,
            also=(over_filled_rows,),
        ),
        Mistake(
            "taken-from-the-left",
            taken_from_the_left,
            "the first tokens of each row are taken, as many as are real; padding may stand at "
            "the left too, so select by real itself.",
            AVERAGE,
        ),
        Mistake(
            "shifted-again",
            first_dropped,
            "the first (or last) column is left out; log_probs are those of the tokens that came, "
            "so they have been shifted already, and all of them count.",
            AVERAGE,
            also=(last_dropped,),
        ),
        Mistake(
            "sign-forgotten",
            sign_forgotten,
            "the sign is missing: ln p is negative, and surprise is −ln p. A perplexity is never "
            "below 1, and bits are never below 0.",
            AVERAGE,
            also=(sign_forgotten_in_perplexity, sign_forgotten_in_bits),
        ),
        Mistake(
            "exponential-of-the-sum",
            exp_of_sum,
            "the exponential is taken of the sum over all tokens; take it of the mean.",
            AVERAGE,
            also=(exp_of_sum_by_python,),
        ),
        Mistake(
            "bytes-in-the-perplexity",
            per_byte_perplexity,
            "the perplexity is divided among the bytes; it is that of a token, so its divisor is "
            "the number of tokens. The bytes belong to the second number.",
            AVERAGE,
        ),
        Mistake(
            "another-base",
            two_to_the_nats,
            "base and logarithm do not belong together: a mean of natural logarithms is undone by "
            "e, a mean of bits by 2.",
            AVERAGE,
            also=(ten_to_the_nats, perplexity_in_bits),
        ),
        Mistake(
            "loss-returned",
            loss_returned,
            "the mean loss comes back in place of the perplexity; take its exponential.",
            AVERAGE,
            also=(loss_in_bits,),
        ),
        Mistake(
            "probabilities-averaged",
            mean_probability,
            "probabilities (or their inverses) are averaged; perplexity is the exponential of the "
            "averaged −ln p, a geometric mean of 1/p.",
            AVERAGE,
            also=(mean_of_inverses,),
        ),
        Mistake(
            "product-of-probabilities",
            product,
            "the probabilities are multiplied and then the root is taken; the product of a long "
            "text is smaller than any float and becomes 0. Add up logarithms.",
            AVERAGE,
            also=(product_by_python,),
        ),
        Mistake(
            "nats-a-byte",
            nats_a_byte,
            "the second number is in nats; a bit is ln 2 = 0.693 nats, so divide by ln 2.",
            AVERAGE,
        ),
        Mistake(
            "times-ln-2",
            times_ln_2,
            "nats are multiplied by ln 2 to make bits; a bit is smaller than a nat, so there are "
            "more of them: divide by ln 2.",
            AVERAGE,
        ),
        Mistake(
            "bits-a-token",
            bits_a_token,
            "the second number is bits a token, the logarithm of the perplexity; divide the bits "
            "of the whole text by its bytes, so that tokenizers can be compared.",
            AVERAGE,
        ),
        Mistake(
            "bits-not-divided",
            bits_in_all,
            "the bits of the whole text come back; divide them by n_bytes.",
            AVERAGE,
        ),
        Mistake(
            "divided-twice",
            mean_over_bytes,
            "the mean over tokens is divided by the bytes as well; divide the sum over all tokens "
            "by the bytes, once.",
            AVERAGE,
        ),
        Mistake(
            "bytes-upside-down",
            upside_down,
            "bytes stand where tokens belong: bits a byte are bits a token times tokens, divided "
            "by bytes.",
            AVERAGE,
            also=(bytes_a_bit,),
        ),
        Mistake(
            "eight-bits",
            eight_bits,
            "a factor of 8 stands in bits a byte; the bits are those that the model needs for a "
            "byte, not the 8 that a byte has.",
            AVERAGE,
            also=(times_eight,),
        ),
        Mistake(
            "perplexity-a-byte",
            power_a_byte,
            "the second number is an exponential, a perplexity a byte; return its logarithm to "
            "base 2, the bits.",
            AVERAGE,
        ),
        Mistake(
            "order-swapped",
            order_swapped,
            "the two numbers have changed places; perplexity comes first.",
            AVERAGE,
        ),
        Mistake(
            "perplexity-alone",
            perplexity_alone,
            "one number comes back; return two, perplexity and bits a byte.",
            AVERAGE,
        ),
        Mistake(
            "tensors-returned",
            as_double_tensors,
            "a tensor comes back; these are numbers for a report, so return Python floats, by "
            ".item().",
            AVERAGE,
            also=(as_tensors, one_as_tensor, other_as_tensor),
        ),
    ),
    alternatives=(by_logarithms_of_two, token_by_token, from_the_perplexity),
    hints=(
        "Both numbers are made of one sum. What is added up, over which entries, and what are the "
        "two divisors?",
        "A text of 4 tokens and one of 40: how often should each token count in the answer? Does "
        "it, if you finish one row before you begin the next?",
        "The first number is that of a token and undoes a logarithm of base e. The second is that "
        "of a byte and stays a logarithm, in another base: how many nats has one bit?",
    ),
    read=AVERAGE,
)
