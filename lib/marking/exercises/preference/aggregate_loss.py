"""preference.aggregate_loss: one number of the losses of answers of unequal length."""

from functools import partial

import torch

from clearhead.preference import aggregate_loss
from marking.exercise import Exercise, Mistake, Tolerance
from marking.exercises.preference._alone import alone

# --- situations: a mistake shows in one always or never ------------------------------------------


def _inputs(draw, how, counts, *, padding=None, prompt=0):
    """Rows with so many counted tokens, behind `prompt` tokens that do not count, with padding."""
    B, T = len(counts), prompt + max(*counts, 3) + 2
    mask = torch.zeros(B, T, dtype=torch.bool)
    for row, n in zip(mask, counts, strict=True):
        row[prompt : prompt + n] = True
    losses = 0.5 + draw.normal(B, T).abs() + torch.arange(B).to(draw.dtype)[:, None]
    if padding is not None:
        stands = torch.tensor(padding, dtype=losses.dtype).repeat(B * T)[: B * T].view(B, T)
        losses = torch.where(mask, losses, stands)
    return {"losses": losses, "mask": mask, "how": how, "length": T + draw.size(2, 6, small=2)}


def _unequal(draw):
    """Three or four answers, each of another length."""
    return draw.sizes(draw.size(3, 4, small=2), 2, 7, small=1)


def answers_of_one_length(draw):
    n = draw.size(2, 6)
    return _inputs(draw, "sequence", [n] * draw.size(2, 4))


def by_answers(draw):
    """One of them is a single token."""
    return _inputs(draw, "sequence", [*_unequal(draw), 1])


def by_tokens(draw):
    return _inputs(draw, "token", _unequal(draw))


def by_a_constant(draw):
    return _inputs(draw, "constant", _unequal(draw))


def one_answer(draw):
    return _inputs(draw, "sequence", [draw.size(2, 7)])


def by_answers_one_filtered_out(draw):
    return _inputs(draw, "sequence", [*_unequal(draw), 0])


def by_tokens_one_filtered_out(draw):
    return _inputs(draw, "token", [0, *_unequal(draw)])


def by_a_constant_one_filtered_out(draw):
    return _inputs(draw, "constant", [*_unequal(draw), 0])


def by_answers_behind_prompts(draw):
    return _inputs(draw, "sequence", _unequal(draw), prompt=draw.size(2, 3, small=1))


def by_tokens_behind_prompts(draw):
    return _inputs(draw, "token", _unequal(draw), prompt=draw.size(2, 3, small=1))


def by_answers_nothing_counts(draw):
    return _inputs(draw, "sequence", [0] * draw.size(2, 4))


def by_tokens_nothing_counts(draw):
    return _inputs(draw, "token", [0] * draw.size(2, 4))


def by_a_constant_nothing_counts(draw):
    return _inputs(draw, "constant", [0] * draw.size(2, 4))


def no_numbers_in_the_padding(draw):
    return _inputs(draw, "token", _unequal(draw), padding=[torch.nan])


def no_numbers_in_the_padding_by_answers(draw):
    return _inputs(draw, "sequence", _unequal(draw), padding=[torch.nan])


def no_numbers_in_the_padding_by_a_constant(draw):
    return _inputs(draw, "constant", _unequal(draw), padding=[torch.nan])


INFINITE = [torch.inf, -torch.inf]


def infinite_padding_by_answers(draw):
    return _inputs(draw, "sequence", _unequal(draw), padding=INFINITE)


def infinite_padding_by_tokens(draw):
    return _inputs(draw, "token", _unequal(draw), padding=INFINITE)


def infinite_padding_by_a_constant(draw):
    return _inputs(draw, "constant", _unequal(draw), padding=INFINITE)


# --- mistakes: one change each to `_aggregate` ---------------------------------------------------


def _selected(losses, mask):
    return torch.where(mask, losses, 0.0)


def _at_least_one(n):
    return n.clamp(min=1)


def _by_answers(x, mask, some, length):
    return (x.sum(1) / some(mask.sum(1))).mean()


def _by_tokens(x, mask, some, length):
    return x.sum() / some(mask.sum())


def _by_a_constant(x, mask, some, length):
    return x.sum() / (len(x) * length)


def _aggregate(
    losses,
    mask,
    how,
    length,
    *,
    kept=lambda mask: mask,
    read=_selected,
    some=_at_least_one,
    sequence=_by_answers,
    token=_by_tokens,
    constant=_by_a_constant,
    finish=lambda loss: loss,
):
    """As it stands it is right."""
    ways = {"sequence": sequence, "token": token, "constant": constant}
    mask = kept(mask)
    return finish(ways[how](read(losses, mask), mask, some, length))


def _ways(**ways):
    return partial(_aggregate, **ways)


def _finish(finish):
    return partial(_aggregate, finish=finish)


def _mean_of_all(x, mask, some, length):
    return x.mean()


def _without_the_empty(x, mask, some, length):
    rows = mask.any(1)
    if not rows.any():
        return x.sum() * 0
    return (x.sum(1) / some(mask.sum(1)))[rows].mean()


def _without_the_empty_or_nan(x, mask, some, length):
    rows = mask.any(1)
    return (x.sum(1) / some(mask.sum(1)))[rows].mean()


def _answers_summed(x, mask, some, length):
    return (x.sum(1) / some(mask.sum(1))).sum()


def _sum(x, mask, some, length):
    return x.sum()


def _over_answers(x, mask, some, length):
    return x.sum() / len(x)


def _over_length(x, mask, some, length):
    return x.sum() / length


def _over_width(x, mask, some, length):
    return x.sum() / x.numel()


def _over_longest(x, mask, some, length):
    return x.sum() / (len(x) * some(mask.sum(1).max()))


def _over_tokens_and_answers(x, mask, some, length):
    return x.sum() / some(mask.sum()) / len(x)


def _over_tokens_and_length(x, mask, some, length):
    return x.sum() / some(mask.sum()) / length


def _rows_over_length(x, mask, some, length):
    return (x.sum(1) / length).sum()


def _of_each(x, mask, some, length):
    return x.sum(1) / some(mask.sum(1))


def _of_columns(x, mask, some, length):
    return (x.sum(0) / some(mask.sum(0))).mean()


places_for_tokens = _ways(sequence=_mean_of_all, token=_mean_of_all)
places_by_answers = alone(_ways(sequence=_mean_of_all))
places_by_tokens = alone(_ways(token=_mean_of_all))
token_is_mean_of_means = _ways(token=_by_answers)
sequence_is_token = _ways(sequence=_by_tokens)
ways_swapped = _ways(sequence=_by_tokens, token=_by_answers)
constant_is_token = _ways(constant=_by_tokens)
constant_is_sequence = alone(_ways(constant=_by_answers))
all_are_tokens = alone(_ways(sequence=_by_tokens, constant=_by_tokens))
all_are_answers = alone(_ways(token=_by_answers, constant=_by_answers))
all_are_constant = alone(_ways(token=_by_a_constant, sequence=_by_a_constant))

empty_left_out = _ways(sequence=_without_the_empty)
empty_left_out_or_nan = _ways(sequence=_without_the_empty_or_nan)
empty_is_nan = partial(_aggregate, some=lambda n: n)
by_multiplying = partial(_aggregate, read=lambda losses, mask: losses * mask)
nan_alone_removed = partial(
    _aggregate, read=lambda losses, mask: torch.where(losses.isnan(), 0.0, losses) * mask
)


def by_multiplying_here_and_there(ways):
    """Some of the three ways select, and the others multiply."""

    def aggregate(losses, mask, how, length):
        read = (lambda losses, mask: losses * mask) if how in ways else _selected
        return _aggregate(losses, mask, how, length, read=read)

    return aggregate


multiplied_in_some = tuple(
    by_multiplying_here_and_there(ways)
    for ways in (
        ("constant",),
        ("token",),
        ("sequence",),
        ("token", "constant"),
        ("sequence", "constant"),
        ("sequence", "token"),
    )
)


def _share_of_the_mean(x, mask, some, length):
    return x.sum() / mask.sum() * (mask.sum() / (len(x) * length))


constant_is_nan = _ways(constant=_share_of_the_mean)
all_in_the_sum = partial(_aggregate, read=lambda losses, mask: losses)
mask_ignored = partial(_aggregate, kept=torch.ones_like)
inverted = partial(_aggregate, kept=torch.logical_not)

answers_summed = _ways(sequence=_answers_summed)
tokens_over_answers = _ways(token=_over_answers)
tokens_summed = _ways(token=_sum)
tokens_over_tokens_and_answers = alone(_ways(token=_over_tokens_and_answers))
columns_averaged = _ways(sequence=_of_columns)

without_the_answers = _ways(constant=_over_length)
rows_over_length = alone(_ways(constant=_rows_over_length))
width_for_length = _ways(constant=_over_width)
longest_for_length = _ways(constant=_over_longest)
without_the_length = _ways(constant=_over_answers)
tokens_and_length = alone(_ways(constant=_over_tokens_and_length))
not_divided = alone(_ways(constant=_sum))

sign_turned = _finish(torch.neg)
as_number = _finish(lambda loss: loss.item())
one_dimensional = _finish(lambda loss: loss.view(1))
one_for_each = _ways(sequence=_of_each)


# --- other right answers -------------------------------------------------------------------------


def answer_by_answer(losses, mask, how, length):
    zero = losses.new_zeros(())
    sums = [row[m].sum() for row, m in zip(losses, mask, strict=True)]
    counts = [int(m.sum()) for m in mask]
    if how == "sequence":
        means = [s / max(n, 1) for s, n in zip(sums, counts, strict=True)]
        return sum(means, zero) / len(means)
    if how == "token":
        return sum(sums, zero) / max(sum(counts), 1)
    return sum(sums, zero) / (len(sums) * length)


def weights_first(losses, mask, how, length):
    """What each token counts; then one product."""
    B, n = len(losses), mask.sum(1, keepdim=True)
    weight = {
        "sequence": 1 / (B * n.clamp(min=1).to(losses.dtype)),
        "token": 1 / n.sum().clamp(min=1).to(losses.dtype),
        "constant": torch.tensor(1 / (B * length), dtype=losses.dtype),
    }[how]
    return (weight.expand_as(losses)[mask] * losses[mask]).sum()


def weights_by_integers(losses, mask, how, length):
    """A mask divided by a number of tokens is a float32, whatever the losses are."""
    if how == "sequence":
        weights = mask / mask.sum(1, keepdim=True).clamp(min=1) / len(mask)
    elif how == "token":
        weights = mask / mask.sum().clamp(min=1)
    else:
        weights = mask / (len(mask) * length)
    return (weights * losses.masked_fill(~mask, 0)).sum()


def divisor_chosen(losses, mask, how, length):
    total = losses.masked_fill(~mask, 0)
    if how == "token":
        return total.sum() / torch.clamp(mask.sum(), min=1)
    per_answer = mask.sum(-1).clamp(min=1) if how == "sequence" else length
    return (total.sum(-1) / per_answer).mean()


LONG = "preference/04_dapo#how-long-is-a-mean"

AGGREGATE_LOSS = Exercise(
    id="preference.aggregate_loss",
    title="How long is a mean?",
    returns="a scalar tensor in the dtype of losses",
    points=4,
    difficulty=2,
    minutes=20,
    reference=aggregate_loss,
    trains=("losses",),
    tolerance=Tolerance(fp64=1e-6),  # a number of tokens may have become a float32 on the way
    cases={
        "answers of one length": answers_of_one_length,
        "by answers": by_answers,
        "by tokens": by_tokens,
        "by a constant": by_a_constant,
        "by answers, one answer": one_answer,
        "by answers, one filtered out": by_answers_one_filtered_out,
        "by tokens, one filtered out": by_tokens_one_filtered_out,
        "by a constant, one filtered out": by_a_constant_one_filtered_out,
        "by answers, behind prompts": by_answers_behind_prompts,
        "by tokens, behind prompts": by_tokens_behind_prompts,
        "by answers, nothing counts": by_answers_nothing_counts,
        "by tokens, nothing counts": by_tokens_nothing_counts,
        "by a constant, nothing counts": by_a_constant_nothing_counts,
        "by answers, no numbers in the padding": no_numbers_in_the_padding_by_answers,
        "by tokens, no numbers in the padding": no_numbers_in_the_padding,
        "by a constant, no numbers in the padding": no_numbers_in_the_padding_by_a_constant,
        "by answers, infinities in the padding": infinite_padding_by_answers,
        "by tokens, infinities in the padding": infinite_padding_by_tokens,
        "by a constant, infinities in the padding": infinite_padding_by_a_constant,
    },
    mistakes=(
        Mistake(
            "token-is-mean-of-means",
            token_is_mean_of_means,
            "'token' averages each answer first, so that a token of a long answer counts less; sum "
            "over the whole batch, and divide once.",
            LONG,
        ),
        Mistake(
            "mean-over-places",
            places_for_tokens,
            "the mean runs over all places, padding included; divide by the number of tokens that "
            "count.",
            LONG,
            also=(places_by_answers, places_by_tokens),
        ),
        Mistake(
            "sequence-is-token",
            sequence_is_token,
            "'sequence' takes one mean over all tokens; each answer has its own mean first, and "
            "counts the same.",
            LONG,
        ),
        Mistake(
            "sequence-and-token-swapped",
            ways_swapped,
            "'sequence' and 'token' have changed places: by answers each answer counts the same, "
            "by tokens each token.",
            LONG,
        ),
        Mistake(
            "how-ignored",
            all_are_tokens,
            "how is not looked at: all three come out as one and the same mean.",
            LONG,
            also=(all_are_answers, all_are_constant),
        ),
        Mistake(
            "empty-answer-left-out",
            empty_left_out,
            "an answer without counted tokens is left out of the mean over answers; it adds 0 and "
            "still counts in B.",
            LONG,
            also=(empty_left_out_or_nan,),
        ),
        Mistake(
            "empty-is-nan",
            empty_is_nan,
            "where nothing counts 0 is divided by 0; a divisor of at least 1 makes that 0.",
            LONG,
            also=(constant_is_nan,),
        ),
        Mistake(
            "masked-by-multiplying",
            by_multiplying,
            "what does not count is multiplied by 0, and 0 times NaN or ∞ is NaN; select by the "
            "mask, with torch.where for example.",
            LONG,
            also=(nan_alone_removed, *multiplied_in_some),
        ),
        Mistake(
            "padding-in-the-sum",
            all_in_the_sum,
            "every loss is in the sum, and only those that count are in the divisor.",
            LONG,
        ),
        Mistake(
            "mask-ignored",
            mask_ignored,
            "mask is not looked at; where it is False a loss counts neither above nor below.",
            LONG,
        ),
        Mistake(
            "mask-inverted",
            inverted,
            "what counts is left out and the rest is kept; True in mask means that it counts.",
            LONG,
        ),
        Mistake(
            "constant-without-the-answers",
            without_the_answers,
            "'constant' divides by length alone; the divisor is B · length.",
            LONG,
            also=(rows_over_length,),
        ),
        Mistake(
            "constant-without-the-length",
            without_the_length,
            "'constant' divides by the number of answers alone, or not at all; the divisor is "
            "B · length.",
            LONG,
            also=(not_divided,),
        ),
        Mistake(
            "width-for-length",
            width_for_length,
            "'constant' divides by the width of this batch; that depends on what was written. "
            "Divide by B · length, which never changes.",
            LONG,
        ),
        Mistake(
            "longest-for-length",
            longest_for_length,
            "'constant' divides by the longest answer of this batch; divide by B · length, which "
            "does not depend on what was written.",
            LONG,
        ),
        Mistake(
            "constant-counts-tokens",
            constant_is_token,
            "'constant' divides by something that is counted in the batch; its divisor, B · length,"
            " does not depend on what was written.",
            LONG,
            also=(constant_is_sequence, tokens_and_length),
        ),
        Mistake(
            "summed",
            answers_summed,
            "the means of the answers are added up; 'sequence' is their mean.",
            LONG,
        ),
        Mistake(
            "token-divided-by-answers",
            tokens_over_answers,
            "'token' divides by the number of answers, or not at all; divide by the number of "
            "tokens that count, once.",
            LONG,
            also=(tokens_summed, tokens_over_tokens_and_answers),
        ),
        Mistake(
            "columns-for-rows",
            columns_averaged,
            "'sequence' averages over the answers at each position; an answer is a row.",
            LONG,
        ),
        Mistake(
            "sign-turned",
            sign_turned,
            "the sign is turned; the losses have theirs already.",
            LONG,
        ),
        Mistake(
            "not-a-scalar-tensor",
            as_number,
            "a Python number comes back, through which no gradient flows, or there is an axis too "
            "many; return a scalar tensor.",
            LONG,
            also=(one_dimensional, one_for_each),
        ),
    ),
    alternatives=(answer_by_answer, weights_first, weights_by_integers, divisor_chosen),
    hints=(
        "Two answers, one of 2 tokens and one of 8. By how much does one token of each move the "
        "loss, in each of the three ways?",
        "All three put the same sum above the bar, or sums of rows. Which of the divisors depend "
        "on the answers of this batch, and which on nothing?",
        "Now the answer of 2 tokens is filtered out. Which of the three numbers change their "
        "divisor, and what becomes of 0 divided by 0? Look, too, at what multiplying by a mask "
        "makes of a NaN.",
    ),
    read=LONG,
)
