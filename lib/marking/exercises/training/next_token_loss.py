"""training.next_token_loss: the mean surprise at the tokens that came, and at nothing else.

`cross_entropy` is not forbidden. It is what everybody uses, and it answers neither question that
the exercise asks: which position predicts which token, and which predictions count. With labels of
−100 it also sends NaN back to logits that are NaN, as everything does that leaves out too late.
"""

from dataclasses import replace
from functools import partial

import torch
from torch.nn import functional as F

from clearhead.training import next_token_loss
from marking.exercise import Exercise, Mistake, Tolerance
from marking.exercises.training._gradients import loss_and_gradient
from marking.exercises.training._masked import lengths, mean_of_rows, real

# --- situations: a mistake shows in one always or never ------------------------------------------


def _inputs(draw, sizes, sides=None, *, pad=0):
    """Real tokens are 1 to V − 1; the padding holds `pad`, or V + something where it is None."""
    mask = real(sizes, sides or ["right"] * len(sizes))
    V = draw.size(5, 11, small=3)
    ids = draw.integers(1, V, *mask.shape)
    ids[~mask] = V + draw.size(0, 3) if pad is None else pad
    return {"logits": draw.normal(*mask.shape, V, scale=1.5), "ids": ids, "real": mask}


def one_row(draw):
    return _inputs(draw, [draw.size(4, 9, small=3)])


def equal_rows(draw):
    return _inputs(draw, [draw.size(4, 8, small=3)] * draw.size(2, 4))


def padded_right(draw):
    return _inputs(draw, lengths(draw, draw.size(2, 4), 3, 9))


def padded_left(draw):
    sizes = lengths(draw, draw.size(2, 4), 3, 9)
    return _inputs(draw, sizes, ["left"] * len(sizes))


def zero_is_a_word(draw):
    """The padding holds 0, and so does the second token of every row."""
    inputs = padded_right(draw)
    inputs["ids"][:, 1] = 0
    return inputs


def nothing_to_predict(draw):
    """One row has one token, one has none."""
    return _inputs(draw, [*lengths(draw, draw.size(2, 3), 3, 7), 1, 0])


def no_numbers_in_the_padding(draw):
    """As after a softmax in which every key was masked. One row is padded left, one right."""
    inputs = _inputs(draw, lengths(draw, 3, 3, 8), ["right", "left", "right"])
    inputs["logits"][~inputs["real"]] = torch.nan
    return inputs


def beyond_the_vocabulary(draw):
    """A padding token that was added to the tokenizer and not to the model."""
    return _inputs(draw, lengths(draw, 3, 3, 8), ["right", "left", "right"], pad=None)


def large_logits(draw):
    """All lie near 2,000, and at every other position the token that comes 1,500 lower."""
    inputs = _inputs(draw, [draw.size(4, 8, small=3)] * draw.size(1, 3))
    logits, ids = inputs["logits"] + 2000.0, inputs["ids"]
    came = F.one_hot(ids[:, 1:], logits.shape[-1])[:, ::2]
    logits[:, :-1][:, ::2] -= 1500.0 * came.to(logits.dtype)
    return inputs | {"logits": logits}


# --- mistakes: one change each to `_loss` --------------------------------------------------------


def _following(logits, ids, real):
    return logits[:, :-1], ids[:, 1:], real[:, :-1], real[:, 1:]


def _by_gather(z, y, keep):
    return -z.log_softmax(-1).gather(-1, y.masked_fill(~keep, 0)[..., None])[..., 0]


def _by_cross_entropy(z, y, keep):
    return F.cross_entropy(z.transpose(1, 2), y.masked_fill(~keep, 0), reduction="none")


def _clean(z, keep):
    """Nothing is computed from logits that do not count, so nothing is sent back to them."""
    return z.masked_fill(~keep[..., None], 0)


def _as_they_are(z, keep):
    return z


def _over_all(nll, keep, before, after, real):
    return nll[keep].sum() / keep.sum()


def _loss(
    logits,
    ids,
    real,
    *,
    pair=_following,
    counts=lambda before, after, y: before & after,
    read=_clean,
    score=_by_gather,
    mean=_over_all,
    finish=lambda loss: loss,
):
    """As it stands it is right."""
    z, y, before, after = pair(logits, ids, real)
    keep = counts(before, after, y)
    return finish(mean(score(read(z, keep), y, keep), keep, before, after, real))


def _counts(rule):
    """Gathering stops at an id beyond the vocabulary with one error, cross_entropy with another."""
    return partial(_loss, counts=rule), partial(_loss, counts=rule, score=_by_cross_entropy)


def _score(score):
    return partial(_loss, score=score)


def _mean(mean):
    return partial(_loss, mean=mean)


def _finish(finish):
    return partial(_loss, finish=finish)


def _wrapped(logits, ids, real):
    return logits, ids.roll(-1, 1), real, real.roll(-1, 1)


def _rolled_logits(logits, ids, real):
    return logits.roll(1, 1), ids, real.roll(1, 1), real


not_shifted = partial(_loss, pair=lambda logits, ids, real: (logits, ids, real, real))
not_shifted_and_cut = partial(
    _loss, pair=lambda logits, ids, real: (logits[:, :-1], ids[:, :-1], real[:, :-1], real[:, :-1])
)
not_shifted_and_cut_in_front = partial(
    _loss, pair=lambda logits, ids, real: (logits[:, 1:], ids[:, 1:], real[:, 1:], real[:, 1:])
)
shifted_twice = partial(
    _loss, pair=lambda logits, ids, real: (logits[:, :-2], ids[:, 2:], real[:, :-2], real[:, 2:])
)
shifted_twice_from_labels = partial(
    _loss, pair=lambda logits, ids, real: (logits[:, :-2], ids[:, 2:], real[:, 1:-1], real[:, 2:])
)
shifted_back = partial(
    _loss, pair=lambda logits, ids, real: (logits[:, 1:], ids[:, :-1], real[:, 1:], real[:, :-1])
)
wrapped = partial(_loss, pair=_wrapped)
wrapped_logits = partial(_loss, pair=_rolled_logits)

everything_counts = _counts(lambda before, after, y: torch.ones_like(before))
target_alone = _counts(lambda before, after, y: after)
source_alone = _counts(lambda before, after, y: before)
either = _counts(lambda before, after, y: before | after)
inverted = _counts(lambda before, after, y: ~(before & after))
both_padding = _counts(lambda before, after, y: ~before & ~after)
target_not_zero = _counts(lambda before, after, y: y != 0)
real_and_not_zero = _counts(lambda before, after, y: before & after & (y != 0))

rows_first, rows_first_empty_zero, rows_first_empty_nan = (
    _mean(partial(lambda e, nll, keep, *_: mean_of_rows(nll, keep, empty=e), e))
    for e in ("skipped", "zero", "nan")
)
summed = _mean(lambda nll, keep, *_: nll[keep].sum())
all_positions = _mean(lambda nll, keep, *_: nll[keep].sum() / keep.numel())
all_positions_and_the_last = _mean(lambda nll, keep, b, a, real: nll[keep].sum() / real.numel())
over_tokens = _mean(lambda nll, keep, before, after, real: nll[keep].sum() / real.sum())
over_sources = _mean(lambda nll, keep, before, after, real: nll[keep].sum() / before.sum())
over_targets = _mean(lambda nll, keep, before, after, real: nll[keep].sum() / after.sum())
over_rows = _mean(lambda nll, keep, *_: nll[keep].sum() / len(nll))
by_multiplying = partial(
    _loss, read=_as_they_are, mean=lambda nll, keep, *_: (nll * keep).sum() / keep.sum()
)
selected_too_late = partial(_loss, read=_as_they_are)
for_each_token = _mean(lambda nll, keep, *_: nll[keep])
for_each_place = _mean(lambda nll, keep, *_: nll.masked_fill(~keep, 0))
for_each_row = _mean(lambda nll, keep, *_: nll.masked_fill(~keep, 0).sum(-1) / keep.sum(-1))


def _naive_softmax(z):
    return z.exp() / z.exp().sum(-1, keepdim=True)


def _chosen(values, y, keep):
    return values.gather(-1, y.masked_fill(~keep, 0)[..., None])[..., 0]


log_of_softmax = _score(lambda z, y, keep: -_chosen(z.softmax(-1), y, keep).log())
log_of_own_softmax = _score(lambda z, y, keep: -_chosen(_naive_softmax(z), y, keep).log())
own_log_sum = _score(lambda z, y, keep: z.exp().sum(-1).log() - _chosen(z, y, keep))
log_of_softmax_and_little = tuple(
    _score(partial(lambda e, z, y, keep: -(_chosen(z.softmax(-1), y, keep) + e).log(), e))
    for e in (1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12)
)
softmax_twice = _score(lambda z, y, keep: _by_gather(z.softmax(-1), y, keep))
no_softmax = _score(lambda z, y, keep: -_chosen(z, y, keep))
probability = _score(lambda z, y, keep: 1 - _chosen(z.softmax(-1), y, keep))
minus_probability = _score(lambda z, y, keep: -_chosen(z.softmax(-1), y, keep))
over_time = partial(
    _loss, read=_as_they_are, score=lambda z, y, keep: -_chosen(z.log_softmax(1), y, keep)
)
over_all_time = partial(
    _loss,
    pair=lambda logits, *others: _following(logits.log_softmax(1), *others),
    read=_as_they_are,
    score=lambda z, y, keep: -_chosen(z, y, keep),
)
over_batch = partial(
    _loss, read=_as_they_are, score=lambda z, y, keep: -_chosen(z.log_softmax(0), y, keep)
)
in_bits, in_bels = (
    _score(partial(lambda base, z, y, keep: _by_gather(z, y, keep) / base, torch.tensor(b).log()))
    for b in (2.0, 10.0)
)
wrong_guesses = _score(lambda z, y, keep: (z.argmax(-1) != y).to(z.dtype))

sign_forgotten = _finish(lambda loss: -loss)
as_perplexity = _finish(torch.exp)
as_number = _finish(lambda loss: loss.item())
no_gradient = _finish(lambda loss: loss.detach())


def _looked_up(read):
    """Ids in the padding are looked up before they are left out; the logits too, mostly."""
    score = _score(lambda z, y, keep: read(z.log_softmax(-1), y))
    return partial(score, read=_as_they_are), score


def _grid(y):
    return torch.arange(y.shape[0])[:, None], torch.arange(y.shape[1])


looked_up = (
    *_looked_up(lambda p, y: -p.gather(-1, y[..., None])[..., 0]),
    *_looked_up(lambda p, y: -p.flatten(0, 1).gather(1, y.flatten()[:, None]).view(y.shape)),
    *_looked_up(lambda p, y: F.cross_entropy(p.transpose(1, 2), y, reduction="none")),
    *_looked_up(lambda p, y: -p[*_grid(y), y]),
    *_looked_up(lambda p, y: -p.flatten(0, 1)[torch.arange(y.numel()), y.flatten()].view(y.shape)),
    *_looked_up(lambda p, y: -(F.one_hot(y, p.shape[-1]) * p).sum(-1)),
)


def _also_late(mistake):
    """Whoever makes a mistake may also leave out the padding when its logits were computed with.

    Not as a `functools.partial`: another pair for each would be tried.
    """
    if mistake.id == "padding-looked-up":
        return mistake
    codes = [code for code in (mistake.impl, *mistake.also) if "read" not in code.keywords]
    late = [partial(code, read=_as_they_are) for code in codes]
    plain = tuple(partial(lambda code, **inputs: code(**inputs), code) for code in late)
    return replace(mistake, also=(*mistake.also, *plain))


# --- other right answers -------------------------------------------------------------------------


def selected_first(logits, ids, real):
    keep = real[:, 1:] & real[:, :-1]
    return F.cross_entropy(logits[:, :-1][keep], ids[:, 1:][keep])


def clean_first(logits, ids, real):
    """What does not count is made harmless, and then left out by a label of −100."""
    keep = real[:, 1:] & real[:, :-1]
    labels = ids[:, 1:].masked_fill(~keep, -100)
    z = torch.where(keep[..., None], logits[:, :-1], 0)
    return F.cross_entropy(z.flatten(0, 1), labels.flatten())


def row_by_row(logits, ids, real):
    total, count = logits.new_zeros(()), 0
    for b in range(ids.shape[0]):
        for t in range(ids.shape[1] - 1):
            if real[b, t] and real[b, t + 1]:
                z = logits[b, t]
                total = total + z.logsumexp(0) - z[ids[b, t + 1]]
                count += 1
    return total / count


def targets_moved_left(logits, ids, real):
    """The ids move one to the left; the last position predicts nothing."""
    follows = real.roll(-1, dims=1)
    follows[:, -1] = False
    where = (real & follows).nonzero(as_tuple=True)
    z = logits[where]
    z = z - z.amax(dim=-1, keepdim=True)
    came = ids[where[0], where[1] + 1]
    return (z.exp().sum(dim=-1).log() - z[torch.arange(len(came)), came]).mean()


SHIFT = "training/01_next_token#which-position-predicts-which-token"
LOSS = "training/01_next_token#what-does-the-loss-say"
MEANS = "training/02_batches_that_mean_it#is-the-mean-of-means-the-mean"

MISTAKES = (
    Mistake(
        "no-gradient",
        no_gradient,
        "the value is right, but it was taken out of the graph (.item(), torch.tensor, "
        "float()): nothing can be trained with it.",
        LOSS,
    ),
    Mistake(
        "masked-by-multiplying",
        by_multiplying,
        "what does not count is multiplied by 0, and 0 times NaN is NaN; select the logits "
        "that count before you compute anything from them.",
        SHIFT,
    ),
    Mistake(
        "not-shifted",
        not_shifted,
        "position t is scored on its own token, which it has seen; it predicts the token at "
        "t + 1, so leave out the last logits and the first id.",
        SHIFT,
        also=(not_shifted_and_cut, not_shifted_and_cut_in_front),
    ),
    Mistake(
        "shifted-twice",
        shifted_twice,
        "the tokens are moved by two places; position t predicts the token at t + 1. The ids "
        "come unshifted, so one shift is needed and one is enough.",
        SHIFT,
        also=(shifted_twice_from_labels,),
    ),
    Mistake(
        "shifted-backwards",
        shifted_back,
        "position t is scored on the token before it, at t − 1; it predicts the one after it. "
        "Leave out the last logits and the first id, not the other way round.",
        SHIFT,
    ),
    Mistake(
        "wraps-around",
        wrapped,
        "roll moves the first token of a row to its end, so the last position is scored on "
        "it; nothing follows the last token, so leave that position out.",
        SHIFT,
        also=(wrapped_logits,),
    ),
    Mistake(
        "padding-looked-up",
        looked_up[0],
        "ids of the padding are looked up in the logits before they are left out, and an id "
        "may lie beyond the vocabulary there; select what counts before you look anything up.",
        SHIFT,
        also=looked_up[1:],
    ),
    Mistake(
        "selected-too-late",
        selected_too_late,
        "the loss is right and its gradient is NaN: logits of the padding went through the "
        "softmax before they were left out (by torch.where, a label of −100, or a selection "
        "afterwards), and on the way back 0 times NaN is NaN. Select the logits that count "
        "before you compute anything from them.",
        SHIFT,
    ),
    Mistake(
        "padding-counted",
        everything_counts[0],
        "padding counts in the mean; a prediction counts where real is True at t and at t + 1.",
        SHIFT,
        also=(everything_counts[1], *either),
    ),
    Mistake(
        "target-mask-alone",
        target_alone[0],
        "real is looked at for the predicted token alone; with padding at the left the first "
        "real token is then predicted from padding. Position t must be real as well.",
        SHIFT,
        also=target_alone[1:],
    ),
    Mistake(
        "source-mask-alone",
        source_alone[0],
        "real is looked at for the predicting position alone, so the last real token is scored "
        "on the padding behind it; the token at t + 1 must be real as well.",
        SHIFT,
        also=source_alone[1:],
    ),
    Mistake(
        "mask-inverted",
        inverted[0],
        "the padding is kept and the text left out; True in real means that it is a token.",
        SHIFT,
        also=(inverted[1], *both_padding),
    ),
    Mistake(
        "pad-zero",
        target_not_zero[0],
        "tokens with id 0 are taken for padding; here 0 is a token like any other, and only "
        "real says where the padding is.",
        SHIFT,
        also=(target_not_zero[1], *real_and_not_zero),
    ),
    Mistake(
        "mean-of-row-means",
        rows_first,
        "each row is averaged first, then the rows; a token of a short row weighs more than "
        "one of a long row. Add up all predictions and divide by their number.",
        MEANS,
        also=(rows_first_empty_zero, rows_first_empty_nan),
    ),
    Mistake(
        "padding-in-the-divisor",
        all_positions,
        "padding is left out of the sum and yet counted in the divisor; divide by the number "
        "of predictions that count.",
        SHIFT,
        also=(all_positions_and_the_last,),
    ),
    Mistake(
        "tokens-in-the-divisor",
        over_tokens,
        "the sum is divided by the number of real tokens, not of predictions; a row of n "
        "tokens makes n − 1.",
        LOSS,
        also=(over_sources, over_targets),
    ),
    Mistake(
        "rows-in-the-divisor",
        over_rows,
        "the sum is divided by the number of rows; divide by the number of predictions that count.",
        LOSS,
    ),
    Mistake(
        "summed",
        summed,
        "the surprises are added up and not averaged; divide by the number of predictions that "
        "count.",
        LOSS,
    ),
    Mistake(
        "not-averaged",
        for_each_token,
        "a loss for each token (or row) comes back; return one number, the mean over all "
        "predictions that count.",
        LOSS,
        also=(for_each_place, for_each_row),
    ),
    Mistake(
        "logarithm-of-softmax",
        log_of_softmax,
        "the probability is computed first and then its logarithm; one of e^−1500 is 0 in "
        "floats, and its logarithm −∞. Use log_softmax, or logsumexp less the logit.",
        LOSS,
        also=(log_of_own_softmax, own_log_sum, *log_of_softmax_and_little),
    ),
    Mistake(
        "softmax-twice",
        softmax_twice,
        "probabilities are given to a function that takes logits, so the softmax is applied "
        "twice; give the logits as they are.",
        LOSS,
    ),
    Mistake(
        "no-softmax",
        no_softmax,
        "the logit of the token is taken for its logarithm of a probability; subtract the "
        "logsumexp over the vocabulary.",
        LOSS,
    ),
    Mistake(
        "no-logarithm",
        probability,
        "the probability itself is averaged; the loss is the mean of −ln p.",
        LOSS,
        also=(minus_probability,),
    ),
    Mistake(
        "softmax-over-time",
        over_time,
        "the softmax runs over the positions (or the rows); it belongs to the vocabulary, the "
        "last axis.",
        LOSS,
        also=(over_all_time, over_batch),
    ),
    Mistake(
        "in-bits",
        in_bits,
        "the logarithm has base 2 (or 10); the loss takes the natural one.",
        LOSS,
        also=(in_bels,),
    ),
    Mistake(
        "wrong-guesses-counted",
        wrong_guesses,
        "the share of wrong guesses comes back; the loss is the mean of −ln p(token that "
        "came), however likely another was.",
        LOSS,
    ),
    Mistake(
        "sign-forgotten",
        sign_forgotten,
        "the mean of ln p comes back, which is below zero; the loss is its negative.",
        LOSS,
    ),
    Mistake(
        "perplexity-returned",
        as_perplexity,
        "the exponential of the loss comes back, which is the perplexity; return the loss.",
        LOSS,
    ),
    Mistake(
        "a-number-returned",
        as_number,
        "a Python number comes back, and no gradient flows through one; return the scalar tensor.",
        LOSS,
    ),
)

NEXT_TOKEN_LOSS = Exercise(
    id="training.next_token_loss",
    title="The loss of the next token",
    returns="a scalar tensor in the dtype of logits",
    points=4,
    difficulty=2,
    minutes=20,
    reference=next_token_loss,
    through=loss_and_gradient,
    cheap=True,
    tolerance=Tolerance(fp64=1e-6),  # a number of tokens may have become a float32 on the way
    cases={
        "one row": one_row,
        "several rows of one length": equal_rows,
        "padding at the right": padded_right,
        "padding at the left": padded_left,
        "token 0 is a word": zero_is_a_word,
        "rows that predict nothing": nothing_to_predict,
        "no numbers in the padding": no_numbers_in_the_padding,
        "a padding id beyond the vocabulary": beyond_the_vocabulary,
        "large logits": large_logits,
    },
    mistakes=tuple(map(_also_late, MISTAKES)),
    alternatives=(selected_first, clean_first, row_by_row, targets_moved_left),
    hints=(
        "Write down a row of four tokens and, beneath each, the token that its logits are about. "
        "How many predictions are there, and which logits are left over?",
        "Which two entries of real does the prediction made at t depend on? Try it with a row that "
        "is padded at the left, and with one that is padded at the right.",
        "Select what counts before you compute anything from it: the logits, as many rows as there "
        "are predictions, and the tokens that came. What is left is one mean over all of them.",
    ),
    read=SHIFT,
)
