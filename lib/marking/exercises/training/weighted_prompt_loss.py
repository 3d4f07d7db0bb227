"""training.weighted_prompt_loss: fine-tuning in which the prompt counts a little."""

from functools import partial

import torch

from clearhead.training import weighted_prompt_loss
from marking.exercise import Exercise, Mistake, Tolerance
from marking.exercises.training._gradients import loss_and_gradient
from marking.exercises.training._masked import lengths, mean_of_rows

# --- situations: a mistake shows in one always or never ------------------------------------------


def _masks(rows):
    """From texts such as "ppprr": p is the prompt, r the response, anything else neither."""
    T = max(map(len, rows))
    letters = [list(row.ljust(T, ".")) for row in rows]
    return tuple(
        torch.tensor([[letter == kind for letter in row] for row in letters]) for kind in "pr"
    )


def _inputs(draw, make, weight):
    """Rows as `make` draws them, and no divisor that is right by chance."""

    def tell_apart(rows):
        prompts, responses = ("".join(rows).count(kind) for kind in "pr")
        return responses not in (prompts, prompts * (1 - weight))

    prompt, response = _masks(draw.until(make, tell_apart))
    nll = 0.5 + draw.normal(*prompt.shape).abs()
    return {"nll": nll, "prompt": prompt, "response": response, "weight": weight}


def _little(draw):
    """Exact in any float: a bool times a Python number is a float32."""
    return draw.choice(0.125, 0.25)


def _row(draw):
    return "p" * draw.size(3, 7, small=2) + "r" * draw.size(2, 5, small=1)


def _unequal(draw):
    """Prompts and responses of different lengths, in rows of different lengths."""
    n = draw.size(2, 4)
    pairs = zip(lengths(draw, n, 2, 7), lengths(draw, n, 1, 5), strict=True)
    return ["p" * p + "r" * r for p, r in pairs]


def _turns(draw, n):
    return "".join("p" * draw.size(1, 3) + "r" * draw.size(1, 3) + "." for _ in range(n))


def one_row(draw):
    return _inputs(draw, lambda: [_row(draw)], _little(draw))


def equal_rows(draw):
    """Each row has as many tokens of each kind as the next: the mean of means is the mean."""
    return _inputs(draw, lambda: [_row(draw)] * draw.size(2, 4), _little(draw))


def unequal_rows(draw):
    return _inputs(draw, lambda: _unequal(draw), _little(draw))


def weight_zero(draw):
    return _inputs(draw, lambda: _unequal(draw), 0.0)


def weight_one(draw):
    return _inputs(draw, lambda: _unequal(draw), 1.0)


def several_turns(draw):
    """Prompt and response take turns; the line break after an answer is neither."""
    return _inputs(draw, lambda: [_turns(draw, 2), _turns(draw, 3)], _little(draw))


def a_row_without_answer(draw):
    """Cut off before the answer."""
    return _inputs(draw, lambda: [*_unequal(draw), "p" * draw.size(3, 6)], _little(draw))


def no_prompts(draw):
    """Plain text, of which every token counts whole."""
    rows = ["r" * n for n in lengths(draw, draw.size(2, 3), 2, 7)]
    return _inputs(draw, lambda: rows, _little(draw))


def no_numbers_in_the_padding(draw):
    inputs = unequal_rows(draw)
    neither = ~(inputs["prompt"] | inputs["response"])
    return inputs | {"nll": inputs["nll"].masked_fill(neither, torch.nan)}


# --- mistakes: one change each to `_loss` --------------------------------------------------------


def _weights(prompt, response, weight):
    return weight * prompt + 1.0 * response


def _clean(nll, prompt, response):
    return nll.masked_fill(~(prompt | response), 0)


def _mean(nll, w, prompt, response, weight):
    return (w * nll).sum() / w.sum()


def _loss(
    nll,
    prompt,
    response,
    weight,
    *,
    kinds=lambda prompt, response: (prompt, response),
    weigh=_weights,
    read=_clean,
    reduce=_mean,
    finish=lambda loss: loss,
):
    """As it stands it is right."""
    prompt, response = kinds(prompt, response)
    w = weigh(prompt, response, weight).to(nll.dtype)
    return finish(reduce(read(nll, prompt, response), w, prompt, response, weight))


def _kinds(kinds):
    return partial(_loss, kinds=kinds)


def _weigh(weigh):
    return partial(_loss, weigh=weigh)


def _reduce(reduce):
    return partial(_loss, reduce=reduce)


def _finish(finish):
    return partial(_loss, finish=finish)


def _means(nll, prompt, response, empty):
    """Of the prompt's tokens and of the responses'; of none NaN, or 0."""
    both = nll[prompt].mean(), nll[response].mean()
    return tuple(x.nan_to_num(0.0) for x in both) if empty == "zero" else both


def _of_means(join):
    return tuple(
        _reduce(
            partial(
                lambda e, nll, w, prompt, response, weight: join(
                    *_means(nll, prompt, response, e), weight
                ),
                empty,
            )
        )
        for empty in ("nan", "zero")
    )


means_added = _of_means(lambda p, r, weight: weight * p + r)
means_averaged = _of_means(lambda p, r, weight: (weight * p + r) / (1 + weight))
means_shared_out = _of_means(lambda p, r, weight: weight * p + (1 - weight) * r)
means_halved = _of_means(lambda p, r, weight: (weight * p + r) / 2)

over_responses = _reduce(lambda nll, w, p, r, weight: (w * nll).sum() / r.sum())
over_tokens = _reduce(lambda nll, w, p, r, weight: (w * nll).sum() / (p.sum() + r.sum()))
over_places = _reduce(lambda nll, w, p, r, weight: (w * nll).mean())
over_rows = _reduce(lambda nll, w, p, r, weight: (w * nll).sum() / len(nll))
summed = _reduce(lambda nll, w, p, r, weight: (w * nll).sum())
weight_in_divisor_alone = _reduce(lambda nll, w, p, r, weight: nll.sum() / w.sum())
weight_squared = _reduce(lambda nll, w, p, r, weight: (w * w * nll).sum() / w.sum())
weight_in_both_squared = _reduce(lambda nll, w, p, r, weight: (w * w * nll).sum() / (w * w).sum())
over_prompts = _reduce(lambda nll, w, p, r, weight: (w * nll).sum() / p.sum())


def _row_means(nll, w, prompt, response, weight, *, empty):
    sums, weights = (w * nll).sum(-1), w.sum(-1)
    if empty == "skipped":
        return (sums / weights)[weights > 0].mean()
    return (sums / weights).nan_to_num(0.0).mean() if empty == "zero" else (sums / weights).mean()


rows_first, rows_first_empty_zero, rows_first_empty_nan = (
    _reduce(partial(_row_means, empty=empty)) for empty in ("skipped", "zero", "nan")
)


def _row_kinds(nll, w, prompt, response, weight):
    """A mean of row means for each kind."""
    prompts = mean_of_rows(nll, prompt) if prompt.any() else 0.0
    return weight * prompts + mean_of_rows(nll, response)


rows_and_kinds_first = _reduce(_row_kinds)
for_each_row = _reduce(lambda nll, w, p, r, weight: (w * nll).sum(-1) / w.sum(-1))
for_each_token = _reduce(lambda nll, w, p, r, weight: w * nll)
for_each_kept_token = _reduce(lambda nll, w, p, r, weight: (w * nll)[p | r])

prompt_left_out = _weigh(lambda prompt, response, weight: 1.0 * response)
weight_ignored = _weigh(lambda prompt, response, weight: 1.0 * (prompt | response))
rest_for_response = _weigh(
    lambda prompt, response, weight: weight * prompt + (1 - weight) * response
)
rest_for_prompt = _weigh(lambda prompt, response, weight: (1 - weight) * prompt + 1.0 * response)
weight_for_both = _weigh(lambda prompt, response, weight: weight * prompt + weight * response)
one_more_for_response = _weigh(
    lambda prompt, response, weight: weight * prompt + (1 + weight) * response
)
prompt_alone = _weigh(lambda prompt, response, weight: weight * prompt)
weight_as_quotient = _weigh(
    lambda prompt, response, weight: (prompt / weight if weight else 0 * prompt) + 1.0 * response
)
first_token_of_answer_left_out = _kinds(
    lambda prompt, response: (prompt, response & torch.nn.functional.pad(response, (1, 0))[:, :-1])
)
kinds_swapped = _kinds(lambda prompt, response: (response, prompt))
rest_is_prompt = _kinds(lambda prompt, response: (~response, response))
rest_is_response = _kinds(lambda prompt, response: (prompt, ~prompt))
by_multiplying = partial(_loss, read=lambda nll, prompt, response: nll)

sign_turned = _finish(lambda loss: -loss)
as_number = _finish(lambda loss: loss.item())
no_gradient = _finish(lambda loss: loss.detach())
as_perplexity = _finish(torch.exp)


# --- other right answers -------------------------------------------------------------------------


def sums_of_both_kinds(nll, prompt, response, weight):
    above = nll[response].sum() + weight * nll[prompt].sum()
    below = response.sum() + weight * prompt.sum()
    return above / below.to(nll.dtype)


def flat_average(nll, prompt, response, weight):
    """torch has no weighted mean; a dot product with weights that add up to 1 is one."""
    kept = (prompt | response).flatten()
    w = torch.ones_like(nll)
    w[prompt] = weight
    w = w.flatten()[kept]
    return (w / w.sum()) @ nll.flatten()[kept]


def token_by_token(nll, prompt, response, weight):
    above, below = torch.zeros((), dtype=nll.dtype), 0.0
    for b, t in (prompt | response).nonzero().tolist():
        w = weight if prompt[b, t] else 1.0
        above, below = above + w * nll[b, t], below + w
    return above / below


WEIGH = "training/03_supervised_fine_tuning#how-much-should-the-prompt-weigh"
MEANS = "training/02_batches_that_mean_it#is-the-mean-of-means-the-mean"
LEARNED = "training/03_supervised_fine_tuning#which-tokens-are-learned"

WEIGHTED_PROMPT_LOSS = Exercise(
    id="training.weighted_prompt_loss",
    title="A loss in which the prompt counts a little",
    returns="a scalar tensor in the dtype of nll",
    points=3,
    difficulty=2,
    minutes=15,
    reference=weighted_prompt_loss,
    through=loss_and_gradient,
    cheap=True,
    tolerance=Tolerance(fp64=1e-6),  # a weight may have become a float32 on the way
    cases={
        "one row": one_row,
        "rows of one length": equal_rows,
        "rows of unequal length": unequal_rows,
        "a weight of 0": weight_zero,
        "a weight of 1": weight_one,
        "several turns": several_turns,
        "a row without an answer": a_row_without_answer,
        "no prompts": no_prompts,
        "no numbers in the padding": no_numbers_in_the_padding,
    },
    mistakes=(
        Mistake(
            "no-gradient",
            no_gradient,
            "the value is right, but it was taken out of the graph (.item(), torch.tensor, "
            "float()): nothing can be trained with it.",
            WEIGH,
        ),
        Mistake(
            "two-means-added",
            means_added[0],
            "prompt and response are averaged apart and the means are joined; the weight of a "
            "token then depends on how many others are of its kind, and of no tokens there is no "
            "mean. Divide one sum, Σ w·nll, by Σ w.",
            WEIGH,
            also=(means_added[1], *means_averaged, *means_shared_out, *means_halved),
        ),
        Mistake(
            "responses-in-the-divisor",
            over_responses,
            "the weighted sum is divided by the number of response tokens; a prompt token adds its "
            "weight to the divisor too.",
            WEIGH,
        ),
        Mistake(
            "tokens-in-the-divisor",
            over_tokens,
            "the weighted sum is divided by the number of tokens; the divisor is the sum of the "
            "weights, so that the loss keeps its scale whatever the weight.",
            WEIGH,
        ),
        Mistake(
            "padding-in-the-divisor",
            over_places,
            "the weighted sum is divided by the number of all places; the divisor is the sum of "
            "the weights.",
            WEIGH,
        ),
        Mistake(
            "rows-in-the-divisor",
            over_rows,
            "the weighted sum is divided by the number of rows; the divisor is the sum of the "
            "weights.",
            WEIGH,
        ),
        Mistake(
            "prompts-in-the-divisor",
            over_prompts,
            "the weighted sum is divided by the number of prompt tokens; the divisor is the sum of "
            "the weights.",
            WEIGH,
        ),
        Mistake(
            "summed",
            summed,
            "the weighted sum is not divided; divide it by the sum of the weights.",
            WEIGH,
        ),
        Mistake(
            "mean-of-row-means",
            rows_first,
            "each row is averaged first, then the rows; a token of a short row weighs more than "
            "one of a long row. Take both sums over the whole batch.",
            MEANS,
            also=(rows_first_empty_zero, rows_first_empty_nan, rows_and_kinds_first),
        ),
        Mistake(
            "not-averaged",
            for_each_row,
            "a loss for each row (or token) comes back; return one number for the batch.",
            WEIGH,
            also=(for_each_token, for_each_kept_token),
        ),
        Mistake(
            "prompt-left-out",
            prompt_left_out,
            "the prompt is left out whatever the weight; each of its tokens counts weight.",
            WEIGH,
        ),
        Mistake(
            "weight-ignored",
            weight_ignored,
            "prompt and response count alike; a token of the prompt counts weight.",
            WEIGH,
        ),
        Mistake(
            "weight-for-both",
            weight_for_both,
            "the weight is given to both kinds and cancels out (at 0 there is nothing left); a "
            "token of the response counts 1.",
            WEIGH,
        ),
        Mistake(
            "response-gets-the-rest",
            rest_for_response,
            "a token of the response counts 1 − weight (or 1 + weight); it counts 1, whatever the "
            "weight.",
            WEIGH,
            also=(one_more_for_response,),
        ),
        Mistake(
            "weight-turned-round",
            rest_for_prompt,
            "a token of the prompt counts 1 − weight (or 1 / weight); it counts weight.",
            WEIGH,
            also=(weight_as_quotient,),
        ),
        Mistake(
            "kinds-swapped",
            kinds_swapped,
            "the response gets the weight and the prompt counts whole; it is the other way round.",
            WEIGH,
        ),
        Mistake(
            "response-left-out",
            prompt_alone,
            "only the prompt is in the mean; the response is what is to be learned.",
            WEIGH,
        ),
        Mistake(
            "weight-in-the-divisor-alone",
            weight_in_divisor_alone,
            "the weights are in the divisor and not in the sum; they belong in both.",
            WEIGH,
        ),
        Mistake(
            "weight-twice",
            weight_squared,
            "the losses are multiplied by the weights twice; once is enough.",
            WEIGH,
            also=(weight_in_both_squared,),
        ),
        Mistake(
            "rest-as-prompt",
            rest_is_prompt,
            "whatever is no response is taken for prompt, padding too; a token that is neither "
            "counts 0.",
            LEARNED,
        ),
        Mistake(
            "rest-as-response",
            rest_is_response,
            "whatever is no prompt is taken for response, padding too; a token that is neither "
            "counts 0.",
            LEARNED,
        ),
        Mistake(
            "first-of-the-answer-left-out",
            first_token_of_answer_left_out,
            "the first token of each response is left out; nll is that of the token at its own "
            "place, so nothing is to be shifted here.",
            LEARNED,
        ),
        Mistake(
            "masked-by-multiplying",
            by_multiplying,
            "what is neither prompt nor response is multiplied by 0, and 0 times NaN is NaN; "
            "select what counts, or use torch.where.",
            WEIGH,
        ),
        Mistake(
            "sign-turned",
            sign_turned,
            "the sign is turned; nll is −ln p already.",
            WEIGH,
        ),
        Mistake(
            "perplexity-returned",
            as_perplexity,
            "the exponential of the loss comes back; return the loss.",
            WEIGH,
        ),
        Mistake(
            "a-number-returned",
            as_number,
            "a Python number comes back, and no gradient flows through one; return the scalar "
            "tensor.",
            WEIGH,
        ),
    ),
    alternatives=(sums_of_both_kinds, flat_average, token_by_token),
    hints=(
        "Give every token a number that says how much it counts: which numbers are there, and "
        "which tokens get each?",
        "All losses are 2.0. What must the loss of the batch be, whatever the weight? Which "
        "divisor gives that?",
        "Take both sums, above and below the line, over the whole batch before you divide, and "
        "keep out of the upper one what does not count, even where it is no number.",
    ),
    read=WEIGH,
)
