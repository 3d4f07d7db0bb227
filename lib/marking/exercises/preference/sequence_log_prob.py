"""preference.sequence_log_prob: what a model thinks of a whole answer, and of nothing else."""

from functools import partial

import torch
from torch.nn import functional as F

from clearhead.preference import sequence_log_prob
from marking.exercise import Exercise, Mistake
from marking.exercises.preference._alone import alone


def log_prob_or_zero(logits, ids, completion):
    """The library's, which refuses a row without an answer; here such a row is 0."""
    some = completion[:, 1:].any(1)
    sums = sequence_log_prob(logits[some], ids[some], completion[some])
    return sums.new_zeros(len(ids)).masked_scatter(some, sums)


# --- situations: a mistake shows in one always or never ------------------------------------------


def _inputs(draw, rows):
    """From texts such as "pppaa.": p is the prompt, a the answer, anything else is neither."""
    T = max(map(len, rows))
    rows = [row.ljust(T, ".") for row in rows]
    V = draw.size(5, 13, small=3)
    completion = torch.tensor([[letter == "a" for letter in row] for row in rows])

    def make():
        return draw.normal(len(rows), T, V, scale=1.5), draw.integers(0, V, len(rows), T)

    def not_the_likeliest_alone(made):
        logits, ids = made
        return bool((logits.argmax(-1)[:, :-1] != ids[:, 1:])[completion[:, 1:]].any())

    logits, ids = draw.until(make, not_the_likeliest_alone)
    return {"logits": logits, "ids": ids, "completion": completion}


def _row(draw):
    """At least two tokens of each."""
    return "p" * draw.size(2, 6) + "a" * draw.size(2, 6)


def _rows(draw):
    """Prompts of different lengths, and answers: so many rows that no two are alike."""
    n = draw.size(2, 5)
    both = zip(draw.sizes(n, 2, 8), draw.sizes(n, 2, 8), strict=True)
    return ["p" * p + "a" * a for p, a in both]


def one_row(draw):
    return _inputs(draw, [_row(draw) + "."])


def equal_rows(draw):
    return _inputs(draw, [_row(draw) + "."] * draw.size(2, 4))


def unequal_rows(draw):
    return _inputs(draw, [row + "." * draw.size(1, 2) for row in _rows(draw)])


def padded_left(draw):
    rows = _rows(draw)
    T = max(map(len, rows)) + 1
    return _inputs(draw, [row.rjust(T, ".") for row in rows])


def several_turns(draw):
    """The model spoke twice or more; what the user said is not its answer."""
    turns = ["".join(_row(draw) for _ in range(n)) for n in draw.sizes(2, 2, 3)]
    return _inputs(draw, [row + "." for row in turns])


def one_token(draw):
    """Yes, or no."""
    return _inputs(draw, ["p" * n + "a." for n in draw.sizes(draw.size(2, 5), 2, 8)])


def two_tokens(draw):
    """A prompt of one token and an answer of one: a single place to predict from."""
    return _inputs(draw, ["pa"] * draw.size(2, 4))


def no_prompt(draw):
    """The first token is marked too; nothing stands before it, so nothing predicts it."""
    return _inputs(draw, ["a" * n + "." for n in draw.sizes(draw.size(2, 4), 3, 9)])


def no_answer(draw):
    """One row has a prompt alone, as when an answer was filtered out."""
    rows = [row + "." for row in _rows(draw)]
    where = draw.size(0, len(rows))
    return _inputs(draw, [*rows[:where], "p" * draw.size(2, 6), *rows[where:]])


def large_logits(draw):
    """Positions near 2,000 beside others near −2,000; of each answer one token comes 1,500 lower.

    What the last token of an answer is predicted from lies on the other side than the rest of the
    row, and the rows take turns: no maximum of more than one position helps.
    """
    inputs = _inputs(draw, [row + "a." for row in _rows(draw)])
    logits, ids, completion = inputs["logits"], inputs["ids"], inputs["completion"]
    last = completion & ~F.pad(completion[:, 1:], (0, 1))
    low = F.pad(last[:, 1:], (0, 1)) ^ (torch.arange(len(ids)) % 2 == 1)[:, None]
    logits = exact_in_float32(logits) + torch.where(low, -2000.0, 2000.0)[..., None].to(draw.dtype)
    first = completion & (completion.cumsum(1) == 1)
    came = F.one_hot(ids, logits.shape[-1]) * first[..., None]
    logits[:, :-1] -= 1500.0 * came[:, 1:].to(logits.dtype)
    return inputs | {"logits": logits}


def exact_in_float32(x):
    """Multiples of 1/1024, so that they stay what they are when 2,000 is added or taken off."""
    return x.mul(1024).round().div(1024)


# --- mistakes: one change each to `_answer` ------------------------------------------------------


def _following(logits, ids, completion):
    return logits[:, :-1], ids[:, 1:], completion[:, 1:]


def _chosen(values, y):
    return values.gather(-1, y[..., None])[..., 0]


def _by_log_softmax(z, y):
    return _chosen(z.log_softmax(-1), y)


def _answer(
    logits,
    ids,
    completion,
    *,
    pair=_following,
    counts=lambda mask, y: mask,
    score=_by_log_softmax,
    total=lambda x, mask: x.masked_fill(~mask, 0).sum(-1),
    finish=lambda sums: sums,
):
    """As it stands it is right."""
    z, y, mask = pair(logits, ids, completion)
    return finish(total(score(z, y), counts(mask, y)))


def _pair(pair):
    return partial(_answer, pair=pair)


def _counts(rule):
    return partial(_answer, counts=rule)


def _score(score):
    return partial(_answer, score=score)


def _total(total):
    return partial(_answer, total=total)


def _kept(x, mask):
    return x.masked_fill(~mask, 0)


not_shifted = _pair(lambda logits, ids, mask: (logits, ids, mask))
not_shifted_cut_behind = _pair(
    lambda logits, ids, mask: (logits[:, :-1], ids[:, :-1], mask[:, :-1])
)
not_shifted_cut_in_front = _pair(lambda logits, ids, mask: (logits[:, 1:], ids[:, 1:], mask[:, 1:]))
mask_not_shifted = _pair(lambda logits, ids, mask: (logits[:, :-1], ids[:, 1:], mask[:, :-1]))
both_must_count = _pair(
    lambda logits, ids, mask: (logits[:, :-1], ids[:, 1:], mask[:, :-1] & mask[:, 1:])
)
one_may_count = _pair(
    lambda logits, ids, mask: (logits[:, :-1], ids[:, 1:], mask[:, :-1] | mask[:, 1:])
)
mask_shifted_twice = _pair(
    lambda logits, ids, mask: (logits[:, :-1], ids[:, 1:], F.pad(mask[:, 2:], (0, 1)))
)
shifted_twice = _pair(lambda logits, ids, mask: (logits[:, :-2], ids[:, 2:], mask[:, 2:]))
shifted_back = _pair(lambda logits, ids, mask: (logits[:, 1:], ids[:, :-1], mask[:, :-1]))
shifted_back_with_mask = _pair(lambda logits, ids, mask: (logits[:, 1:], ids[:, :-1], mask[:, 1:]))
ids_not_shifted = _pair(lambda logits, ids, mask: (logits[:, :-1], ids[:, :-1], mask[:, 1:]))
wrapped = _pair(lambda logits, ids, mask: (logits, ids.roll(-1, 1), mask.roll(-1, 1)))
wrapped_logits = _pair(lambda logits, ids, mask: (logits.roll(1, 1), ids, mask))

squeezed = _score(lambda z, y: z.log_softmax(-1).gather(-1, y[..., None]).squeeze())

everything = _counts(lambda mask, y: torch.ones_like(mask))
inverted = _counts(lambda mask, y: ~mask)


def _last_run(mask, y):
    """The last unbroken run of each row."""
    starts = mask & ~F.pad(mask[:, :-1], (1, 0))
    run = starts.cumsum(1)
    return mask & (run == run[:, -1:])


last_answer = _counts(_last_run)
last_left_out = _counts(lambda mask, y: mask & F.pad(mask[:, 1:], (0, 1)))


def _since_the_first(mask, y):
    return mask.cumsum(1) > 0


since_the_first = _counts(_since_the_first)

averaged = _total(lambda x, mask: _kept(x, mask).sum(-1) / mask.sum(-1))
over_all = _total(lambda x, mask: _kept(x, mask).mean(-1))
over_all_and_the_first = _total(lambda x, mask: _kept(x, mask).sum(-1) / (x.shape[-1] + 1))
over_batch_tokens = _total(lambda x, mask: _kept(x, mask).sum(-1) / mask.sum())
over_root = _total(lambda x, mask: _kept(x, mask).sum(-1) / mask.sum(-1).sqrt())
one_sum = _total(lambda x, mask: _kept(x, mask).sum())
one_mean = _total(lambda x, mask: x[mask].mean())
mean_of_sums = _total(lambda x, mask: _kept(x, mask).sum(-1).mean())
sums_over_rows = _total(lambda x, mask: _kept(x, mask).sum(0))
for_each_token = _total(_kept)
for_each_kept_token = _total(lambda x, mask: x[mask])
kept_axis = _total(lambda x, mask: _kept(x, mask).sum(-1, keepdim=True))
running = _total(lambda x, mask: _kept(x, mask).cumsum(-1))
multiplied = _total(lambda x, mask: x.masked_fill(~mask, 1).prod(-1))
least_likely = _total(lambda x, mask: x.masked_fill(~mask, 0).amin(-1))
as_list = _total(lambda x, mask: list(_kept(x, mask).sum(-1)))
as_numbers = _total(lambda x, mask: _kept(x, mask).sum(-1).tolist())

log_of_softmax = _score(lambda z, y: _chosen(z.softmax(-1), y).log())
log_of_own_softmax = _score(lambda z, y: _chosen(z.exp() / z.exp().sum(-1, keepdim=True), y).log())
own_log_sum = _score(lambda z, y: _chosen(z, y) - z.exp().sum(-1).log())
log_of_softmax_and_little = tuple(
    _score(partial(lambda e, z, y: (_chosen(z.softmax(-1), y) + e).log(), e))
    for e in (1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12)
)


def _lowered(by, z, y):
    z = z - by(z)
    return _chosen(z, y) - z.exp().sum(-1).log()


one_maximum = _score(partial(_lowered, torch.max))
one_maximum_elsewhere = tuple(
    alone(_score(partial(_lowered, by)))
    for by in (
        lambda z: z.amax((1, 2), keepdim=True),
        lambda z: z.amax((0, 2), keepdim=True),
        lambda z: z.amax((0, 1), keepdim=True),
        lambda z: z.amax(1, keepdim=True),
        lambda z: z.amax(0, keepdim=True),
        lambda z: 2000.0,
    )
)
no_softmax = _score(_chosen)
softmax_twice = _score(lambda z, y: _by_log_softmax(z.softmax(-1), y))
probability = _score(lambda z, y: _chosen(z.softmax(-1), y))
likeliest = _score(lambda z, y: z.log_softmax(-1).amax(-1))
over_time = _score(lambda z, y: _chosen(z.log_softmax(1), y))
over_batch = _score(lambda z, y: _chosen(z.log_softmax(0), y))
in_bits = _score(lambda z, y: _by_log_softmax(z, y) / torch.tensor(2.0).log())
in_bels = _score(lambda z, y: _by_log_softmax(z, y) / torch.tensor(10.0).log())

negated = partial(_answer, finish=torch.neg)
exponentiated = partial(_answer, finish=torch.exp)
perplexity = partial(_answer, finish=lambda sums: (-sums).exp())


def averaged_over_the_mark(logits, ids, completion):
    """A first token that is marked is in the divisor, though nothing predicts it."""
    return _answer(logits, ids, completion) / completion.sum(-1)


def log_of_summed_probabilities(logits, ids, completion):
    p = _chosen(logits[:, :-1].softmax(-1), ids[:, 1:])
    return _kept(p, completion[:, 1:]).sum(-1).log()


# --- other right answers -------------------------------------------------------------------------


def minus_one_hundred(logits, ids, completion):
    """Labels that cross_entropy leaves out, as everybody has them."""
    labels = ids.masked_fill(~completion, -100)[:, 1:]
    nll = F.cross_entropy(logits[:, :-1].transpose(1, 2), labels, reduction="none")
    return -nll.sum(dim=1)


def token_by_token(logits, ids, completion):
    sums = []
    for z, row, counts in zip(logits, ids, completion, strict=True):
        total = z.new_zeros(())
        for t in range(1, len(row)):
            if counts[t]:
                total = total + z[t - 1, row[t]] - z[t - 1].logsumexp(0)
        sums.append(total)
    return torch.stack(sums)


def selected_then_added(logits, ids, completion):
    """What counts is selected before anything is computed from it."""
    row, t = completion[:, 1:].nonzero(as_tuple=True)
    z = logits[row, t]
    p = z.log_softmax(dim=1)[torch.arange(len(row)), ids[row, t + 1]]
    return p.new_zeros(len(ids)).index_add(0, row, p)


def multiplied_by_the_mask(logits, ids, completion):
    p = torch.log_softmax(logits, dim=-1)[:, :-1]
    picked = torch.gather(p, 2, ids[:, 1:].unsqueeze(2)).squeeze(2)
    return (picked * completion[:, 1:]).sum(dim=1)


ANSWERS = "preference/02_dpo#what-is-the-log-probability-of-an-answer"

SEQUENCE_LOG_PROB = Exercise(
    id="preference.sequence_log_prob",
    title="The log-probability of an answer",
    returns="a tensor (B,) in the dtype of logits",
    points=4,
    difficulty=2,
    minutes=20,
    reference=log_prob_or_zero,
    trains=("logits",),
    cases={
        "one row": one_row,
        "rows of one length": equal_rows,
        "prompts and answers of unequal length": unequal_rows,
        "padding at the left": padded_left,
        "several turns": several_turns,
        "an answer of one token": one_token,
        "two tokens in all": two_tokens,
        "no prompt": no_prompt,
        "a row without an answer": no_answer,
        "large logits": large_logits,
    },
    mistakes=(
        Mistake(
            "averaged",
            averaged,
            "the log-probabilities are divided by a number of tokens; a whole answer's is their "
            "sum. A mean is what IPO and SimPO ask for by name, and DPO does not have.",
            ANSWERS,
            also=(
                averaged_over_the_mark,
                over_all,
                *map(alone, (over_all_and_the_first, over_batch_tokens, over_root)),
            ),
        ),
        Mistake(
            "not-shifted",
            not_shifted,
            "the logits at t are scored on the token at t, which the model has seen there; they "
            "predict the token at t + 1.",
            ANSWERS,
            also=(not_shifted_cut_behind, *map(alone, (not_shifted_cut_in_front, ids_not_shifted))),
        ),
        Mistake(
            "mask-not-shifted",
            mask_not_shifted,
            "the mask is looked at where the prediction is made; it marks tokens, so that it moves "
            "with the ids. As it is, the answer's first token is left out and one behind its last "
            "is counted.",
            ANSWERS,
            also=(alone(one_may_count),),
        ),
        Mistake(
            "squeezed",
            squeezed,
            "squeeze() takes away every axis of size 1, and where a single token is predicted also "
            "the axis of the tokens, so that each row is masked by all of them; name the axis that "
            "gather left, squeeze(2).",
            ANSWERS,
        ),
        Mistake(
            "prompt-counted",
            everything,
            "completion is not looked at, so that the prompt and the padding count; only the "
            "answer's tokens do.",
            ANSWERS,
        ),
        Mistake(
            "sign-forgotten",
            negated,
            "the surprise comes back, which is above zero; the log-probability is its negative.",
            ANSWERS,
        ),
        Mistake(
            "logarithm-of-softmax",
            log_of_softmax,
            "the probability is computed first and then its logarithm; one of e^−1500 is 0 in "
            "floats, and its logarithm −∞. Use log_softmax, or the logit less logsumexp.",
            ANSWERS,
            also=(
                *map(alone, (log_of_own_softmax, own_log_sum)),
                *map(alone, log_of_softmax_and_little),
            ),
        ),
        Mistake(
            "one-maximum-for-all",
            one_maximum,
            "one maximum, of the batch or of a row, is subtracted from all positions; where the "
            "logits lie far below it every exponential is 0. Each position needs its own, which "
            "log_softmax and logsumexp take.",
            ANSWERS,
            also=one_maximum_elsewhere,
        ),
        Mistake(
            "no-softmax",
            no_softmax,
            "the logit of the token is taken for its logarithm of a probability; subtract the "
            "logsumexp over the vocabulary.",
            ANSWERS,
        ),
        Mistake(
            "one-number-for-the-batch",
            one_sum,
            "one number comes back for the whole batch; return one for each row.",
            ANSWERS,
            also=(
                one_mean,
                alone(mean_of_sums),
            ),
        ),
        Mistake(
            "exponentiated",
            exponentiated,
            "the probability of the answer comes back, which is 0 in floats for an answer of a few "
            "hundred tokens; return its logarithm.",
            ANSWERS,
            also=(alone(perplexity),),
        ),
        Mistake(
            "no-logarithm",
            probability,
            "probabilities are added up, or the logarithms multiplied; the answer's probability is "
            "a product, so its logarithm is a sum of logarithms.",
            ANSWERS,
            also=(*map(alone, (log_of_summed_probabilities, multiplied)),),
        ),
        Mistake(
            "wraps-around",
            wrapped,
            "roll moves a token across the end of its row; nothing stands before the first token, "
            "so nothing predicts it: leave it out.",
            ANSWERS,
            also=(alone(wrapped_logits),),
        ),
        Mistake(
            "first-of-the-answer-left-out",
            both_must_count,
            "the first token of each answer is left out; it is predicted from the prompt's last "
            "token, and counts.",
            ANSWERS,
        ),
        Mistake(
            "last-of-the-answer-left-out",
            last_left_out,
            "the last token of each answer is left out; it says where the answer ends, and counts.",
            ANSWERS,
        ),
        Mistake(
            "shifted-twice",
            shifted_twice,
            "the tokens or the mask are moved by two places; the logits at t predict the token at "
            "t + 1.",
            ANSWERS,
            also=(alone(mask_shifted_twice),),
        ),
        Mistake(
            "shifted-backwards",
            shifted_back,
            "the logits at t are scored on the token before it, at t − 1; they predict the one "
            "after it.",
            ANSWERS,
            also=(alone(shifted_back_with_mask),),
        ),
        Mistake(
            "mask-inverted",
            inverted,
            "the prompt is counted and the answer left out; True in completion means that a token "
            "counts.",
            ANSWERS,
        ),
        Mistake(
            "all-behind-the-prompt",
            since_the_first,
            "everything behind the first prompt counts, padding and the user's later words too; "
            "only what completion marks does.",
            ANSWERS,
        ),
        Mistake(
            "last-turn-alone",
            last_answer,
            "only the last answer of a conversation counts; every token that completion marks "
            "does.",
            ANSWERS,
        ),
        Mistake(
            "not-summed",
            for_each_token,
            "a number for each token (or an axis too many, or a list) comes back; return a tensor "
            "(B,), one sum for each row.",
            ANSWERS,
            also=(
                *map(
                    alone,
                    (for_each_kept_token, kept_axis, running, sums_over_rows, as_list, as_numbers),
                ),
            ),
        ),
        Mistake(
            "softmax-twice",
            softmax_twice,
            "probabilities are given to a function that takes logits, so the softmax is applied "
            "twice; give the logits as they are.",
            ANSWERS,
        ),
        Mistake(
            "softmax-over-time",
            over_time,
            "the softmax runs over the positions (or the rows); it belongs to the vocabulary, the "
            "last axis.",
            ANSWERS,
            also=(alone(over_batch),),
        ),
        Mistake(
            "likeliest-taken",
            likeliest,
            "the likeliest token's log-probability is taken, or the least one of the answer; look "
            "up that of each token that came, and add up all.",
            ANSWERS,
            also=(alone(least_likely),),
        ),
        Mistake(
            "in-bits",
            in_bits,
            "the logarithm has base 2 (or 10); take the natural one.",
            ANSWERS,
            also=(alone(in_bels),),
        ),
    ),
    alternatives=(
        minus_one_hundred,
        token_by_token,
        selected_then_added,
        multiplied_by_the_mask,
    ),
    hints=(
        "Write down a row of a prompt of two tokens and an answer of two. Beneath each token write "
        "the logits that it was predicted by. Which of them does the answer need?",
        "completion marks tokens, not predictions. When the ids move, what has to move with them? "
        "Try it with an answer that begins with the row's first token.",
        "If three tokens have probabilities ½, ½ and ¼, what is the answer's? Take its logarithm, "
        "and compare with your function on logits that give just these. Then with very large ones.",
    ),
    read=ANSWERS,
)
