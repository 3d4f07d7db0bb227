"""training.accumulated_loss: a batch in pieces, on several processes, with the loss of the whole.

An answer has the losses of the tokens already; what is asked is by how much to divide.
"""

from functools import partial

import torch

from clearhead.training import accumulated_loss
from marking.exercise import Exercise, Mistake, Tolerance
from marking.exercises.training._gradients import pieces_and_gradients

# --- situations: a mistake shows in one always or never ------------------------------------------


def _part(draw, rows, length, count):
    """A micro-batch of which so many tokens count, in any places."""
    places = torch.randperm(rows * length, generator=draw._generator)
    counted = torch.zeros(rows * length, dtype=torch.bool)
    counted[places[:count]] = True
    nll = 0.5 + draw.normal(rows, length).abs()
    return nll, counted.view(rows, length)


def _inputs(draw, parts, *, elsewhere=0, processes=1):
    nll, counted = map(list, zip(*parts, strict=True))
    return {
        "nll": nll,
        "counted": counted,
        "tokens_elsewhere": elsewhere,
        "processes": processes,
    }


def _unequal(draw, *, more=()):
    """Micro-batches of one shape, with different counts: more than rows, and not all."""
    n = draw.size(2, 4)
    rows, length = draw.size(2, 3), draw.size(6, 9, small=4)
    counts = [*draw.sizes(n, rows + 2, rows * length - 1), *more]
    return [_part(draw, rows, length, count) for count in counts]


def _others(draw):
    """Three processes or more. The others' tokens are no multiple of the other processes, so that
    this one never has as many as each of them."""
    processes = draw.size(3, 6)
    elsewhere = (processes - 1) * draw.size(10, 20, small=2) + 1
    return {"elsewhere": elsewhere, "processes": processes}


def one_micro_batch(draw):
    rows, length = draw.size(2, 3), draw.size(4, 8, small=2)
    return _inputs(draw, [_part(draw, rows, length, draw.size(4, 7, small=3))])


def everything_counts(draw):
    """Each piece has as many tokens as the next, so that the mean of means is the mean."""
    rows, length = draw.size(2, 3), draw.size(4, 8, small=2)
    parts = [_part(draw, rows, length, rows * length) for _ in range(draw.size(2, 4))]
    return _inputs(draw, parts)


def unequal_counts(draw):
    return _inputs(draw, _unequal(draw))


def unequal_shapes(draw):
    """A short micro-batch and long ones, with no padding."""
    lengths = draw.sizes(draw.size(2, 4), 2, 12)
    shapes = [(draw.size(1, 3), length) for length in lengths]
    if draw.level is None:  # rows · length differ too
        shapes = [(1, 2 + i * 3 + draw.size(0, 1)) for i in range(len(lengths))]
    return _inputs(draw, [_part(draw, *shape, shape[0] * shape[1]) for shape in shapes])


def several_processes(draw):
    return _inputs(draw, _unequal(draw), **_others(draw))


def others_have_nothing(draw):
    return _inputs(draw, _unequal(draw), processes=draw.size(2, 6))


def an_empty_micro_batch(draw):
    """One of them has nothing but padding."""
    return _inputs(draw, _unequal(draw, more=(0,)), **_others(draw))


def nothing_counts_here(draw):
    rows, length = draw.size(2, 3), draw.size(4, 8, small=2)
    parts = [_part(draw, rows, length, 0) for _ in range(draw.size(2, 3))]
    return _inputs(draw, parts, **_others(draw))


def no_numbers_in_the_padding(draw):
    inputs = several_processes(draw)
    pairs = zip(inputs["nll"], inputs["counted"], strict=True)
    return inputs | {"nll": [nll.masked_fill(~mask, torch.nan) for nll, mask in pairs]}


# --- mistakes: one change each to `_accumulate` --------------------------------------------------


def _own_and_elsewhere(counts, numels, rows, elsewhere, processes):
    return sum(counts) + elsewhere


def _accumulate(
    nll,
    counted,
    tokens_elsewhere,
    processes,
    *,
    mask=lambda counted: counted,
    add=lambda x, mask: x[mask].sum(),
    divisor=_own_and_elsewhere,
    times=lambda processes, n: processes,
    gather=lambda parts: parts,
    whole=lambda parts, processes: parts.sum(),
    finish=lambda parts, total: (parts, total),
):
    """As it stands it is right. The divisor is one number, or one for each micro-batch."""
    counted = [mask(one) for one in counted]
    sums = torch.stack([add(x, one) for x, one in zip(nll, counted, strict=True)])
    counts = [int(one.sum()) for one in counted]
    numels, rows = [x.numel() for x in nll], [len(x) for x in nll]
    N = divisor(counts, numels, rows, tokens_elsewhere, processes)
    parts = times(processes, len(nll)) * sums / torch.tensor(N, dtype=sums.dtype)
    return finish(gather(parts), whole(gather(parts), processes))


def _divisor(divisor):
    return partial(_accumulate, divisor=divisor)


def _times(times):
    return partial(_accumulate, times=times)


def _whole(whole):
    return partial(_accumulate, whole=whole)


def _finish(finish):
    return partial(_accumulate, finish=finish)


def _each(counts, *_):
    return counts


def _each_or_one(counts, *_):
    return [max(count, 1) for count in counts]


def _mean(times):
    """An empty piece's mean is 0/0, or 0 where the divisor is at least 1."""
    return tuple(
        partial(_accumulate, divisor=divisor, times=times) for divisor in (_each, _each_or_one)
    )


mean_of_means = _mean(lambda P, n: 1 / n)
mean_of_means_times_processes = _mean(lambda P, n: P / n)
mean_of_means_shared = _mean(lambda P, n: 1 / n / P)
sum_of_means = _mean(lambda P, n: 1)
sum_of_means_times_processes = _mean(lambda P, n: P)

own_count = _divisor(lambda counts, numels, rows, elsewhere, P: sum(counts))
own_count_alone = partial(
    _accumulate,
    divisor=lambda counts, numels, rows, elsewhere, P: sum(counts),
    times=lambda P, n: 1,
)
own_count_for_all = _divisor(lambda counts, numels, rows, elsewhere, P: P * sum(counts))
elsewhere_alone = _divisor(lambda counts, numels, rows, elsewhere, P: elsewhere)
elsewhere_times_others = _divisor(
    lambda counts, numels, rows, elsewhere, P: sum(counts) + elsewhere * (P - 1)
)
elsewhere_times_processes = _divisor(
    lambda counts, numels, rows, elsewhere, P: sum(counts) + elsewhere * P
)
elsewhere_shared = _divisor(lambda counts, numels, rows, elsewhere, P: sum(counts) + elsewhere / P)
elsewhere_each_time = _divisor(
    lambda counts, numels, rows, elsewhere, P: sum(counts) + elsewhere * len(counts)
)
each_with_elsewhere = _divisor(
    lambda counts, numels, rows, elsewhere, P: [count + elsewhere for count in counts]
)


def _seen(counts, numels, rows, elsewhere, P):
    return (torch.tensor(counts).cumsum(0) + elsewhere).tolist()


running = _divisor(_seen)
not_divided = _divisor(lambda *_: 1)
over_rows = _divisor(lambda counts, numels, rows, elsewhere, P: sum(rows) + elsewhere)
over_rows_alone = _divisor(lambda counts, numels, rows, elsewhere, P: sum(rows))
all_places_in_divisor = _divisor(lambda counts, numels, rows, elsewhere, P: sum(numels) + elsewhere)
largest_count = _divisor(
    lambda counts, numels, rows, elsewhere, P: len(counts) * max(counts) + elsewhere
)

processes_ignored = _times(lambda P, n: 1)
processes_divide = _times(lambda P, n: 1 / P)
divided_by_steps_too = _times(lambda P, n: P / n)
times_steps = _times(lambda P, n: P * n)

padding_counted = partial(_accumulate, mask=torch.ones_like)
padding_in_the_sum = partial(_accumulate, add=lambda x, mask: x.sum())
inverted = partial(_accumulate, mask=torch.logical_not)
by_multiplying = partial(_accumulate, add=lambda x, mask: (x * mask).sum())

total_averaged = _whole(lambda parts, P: parts.mean())
total_undone = _whole(lambda parts, P: parts.sum() / P)
total_times_again = _whole(lambda parts, P: parts.sum() * P)
last_total = _whole(lambda parts, P: parts[-1])
running_total = _whole(lambda parts, P: parts.cumsum(0))
cumulated = partial(_accumulate, gather=lambda parts: parts.cumsum(0))

as_list = _finish(lambda parts, total: (list(parts), total))
as_list_of_numbers = _finish(lambda parts, total: (parts.tolist(), total))
as_lists_and_number = _finish(lambda parts, total: (parts.tolist(), total.item()))
total_as_number = _finish(lambda parts, total: (parts, total.item()))
no_gradient = _finish(lambda parts, total: (parts.detach(), total.detach()))
parts_without_gradient = _finish(lambda parts, total: (parts.detach(), total))
total_without_gradient = _finish(lambda parts, total: (parts, total.detach()))
order_swapped = _finish(lambda parts, total: (total, parts))
total_alone = _finish(lambda parts, total: total)
parts_alone = _finish(lambda parts, total: parts)
one_dimensional = _finish(lambda parts, total: (parts[:, None], total))
total_in_a_row = _finish(lambda parts, total: (parts, total[None]))


# --- other right answers -------------------------------------------------------------------------


def in_one_tensor(nll, counted, tokens_elsewhere, processes):
    """All pieces laid end to end, as if the batch had never been cut."""
    piece = torch.cat([torch.full((x.numel(),), i) for i, x in enumerate(nll)])
    flat = torch.cat([x.flatten() for x in nll])
    keep = torch.cat([mask.flatten() for mask in counted])
    sums = flat.new_zeros(len(nll)).index_add(0, piece[keep], flat[keep])
    contributions = sums * (processes / (int(keep.sum()) + tokens_elsewhere))
    return contributions, contributions.sum()


def means_weighed_by_their_tokens(nll, counted, tokens_elsewhere, processes):
    whole = tokens_elsewhere + sum(mask.sum().item() for mask in counted)
    parts = []
    for x, mask in zip(nll, counted, strict=True):
        n = mask.sum().item()
        mean = x[mask].mean() if n else x.new_zeros(())
        parts.append(mean * n / whole * processes)
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return torch.stack(parts), total


def token_by_token(nll, counted, tokens_elsewhere, processes):
    N = tokens_elsewhere
    for mask in counted:
        N += torch.count_nonzero(mask).item()
    parts = torch.zeros(len(nll), dtype=nll[0].dtype)
    for i, (x, mask) in enumerate(zip(nll, counted, strict=True)):
        for value, counts in zip(x.flatten(), mask.flatten(), strict=True):
            if counts:
                parts[i] += value * processes / N
    return [parts, parts.sum()]


MEANS = "training/02_batches_that_mean_it#is-the-mean-of-means-the-mean"

ACCUMULATED_LOSS = Exercise(
    id="training.accumulated_loss",
    title="A batch in pieces, and its loss",
    returns="two tensors: contributions (n,), and their total, a scalar",
    points=4,
    difficulty=2,
    minutes=20,
    reference=accumulated_loss,
    through=pieces_and_gradients,
    cheap=True,
    tolerance=Tolerance(fp64=1e-6),  # a number of tokens may have become a float32 on the way
    cases={
        "one micro-batch": one_micro_batch,
        "as many tokens in each": everything_counts,
        "unequal counts": unequal_counts,
        "unequal shapes": unequal_shapes,
        "several processes": several_processes,
        "nothing on the other processes": others_have_nothing,
        "an empty micro-batch": an_empty_micro_batch,
        "nothing on this process": nothing_counts_here,
        "no numbers in the padding": no_numbers_in_the_padding,
    },
    mistakes=(
        Mistake(
            "no-gradient",
            no_gradient,
            "the value is right, but it was taken out of the graph (.item(), torch.tensor, "
            "float()): nothing can be trained with it.",
            MEANS,
            also=(parts_without_gradient, total_without_gradient),
        ),
        Mistake(
            "mean-of-means",
            mean_of_means[0],
            "each micro-batch is divided by its own count, and the means are averaged; a token in "
            "a small piece then weighs more than one in a large piece. Divide every piece by the "
            "tokens of the whole batch.",
            MEANS,
            also=(mean_of_means[1], *mean_of_means_times_processes, *mean_of_means_shared),
        ),
        Mistake(
            "sum-of-means",
            sum_of_means[0],
            "each micro-batch is divided by its own count, and the means are added up; the loss "
            "grows with the number of pieces. Divide every piece by the tokens of the whole batch.",
            MEANS,
            also=(sum_of_means[1], *sum_of_means_times_processes),
        ),
        Mistake(
            "mean-of-the-processes",
            own_count_alone,
            "each process divides by its own tokens, so that averaging over the processes is a "
            "mean of means again; divide by the tokens of all processes, and multiply by the "
            "number of processes.",
            MEANS,
            also=(own_count_for_all,),
        ),
        Mistake(
            "elsewhere-ignored",
            own_count,
            "tokens_elsewhere is not in the divisor; N counts the tokens of all processes.",
            MEANS,
        ),
        Mistake(
            "own-tokens-ignored",
            elsewhere_alone,
            "the divisor is tokens_elsewhere alone; those that count here belong to N as well.",
            MEANS,
        ),
        Mistake(
            "elsewhere-multiplied",
            elsewhere_times_others,
            "tokens_elsewhere is multiplied or divided by a number of processes; it is the number "
            "on all the others together, so add it as it is.",
            MEANS,
            also=(elsewhere_times_processes, elsewhere_shared),
        ),
        Mistake(
            "elsewhere-in-every-piece",
            elsewhere_each_time,
            "tokens_elsewhere is added once for each micro-batch; the whole batch has them once.",
            MEANS,
        ),
        Mistake(
            "own-piece-and-elsewhere",
            each_with_elsewhere,
            "each micro-batch is divided by its own count and tokens_elsewhere; the divisor is "
            "one for all pieces, and holds the counts of all of them.",
            MEANS,
        ),
        Mistake(
            "running-divisor",
            running,
            "each micro-batch is divided by the tokens seen so far, so the first ones weigh more; "
            "count the tokens of all pieces before the first division.",
            MEANS,
        ),
        Mistake(
            "not-divided",
            not_divided,
            "the losses are added up and not divided; divide by the number of tokens that count.",
            MEANS,
        ),
        Mistake(
            "rows-in-the-divisor",
            over_rows,
            "the divisor holds rows; it is a number of tokens.",
            MEANS,
            also=(over_rows_alone,),
        ),
        Mistake(
            "padding-in-the-divisor",
            all_places_in_divisor,
            "the divisor holds every place of the micro-batches; only those count where counted is "
            "True.",
            MEANS,
        ),
        Mistake(
            "largest-piece-for-all",
            largest_count,
            "every micro-batch is taken to have as many tokens as the largest; count each.",
            MEANS,
        ),
        Mistake(
            "padding-in-the-sum",
            padding_in_the_sum,
            "the sum holds every loss; only those count where counted is True.",
            MEANS,
        ),
        Mistake(
            "padding-counted",
            padding_counted,
            "counted is not looked at: what does not count is in the sum and in the divisor.",
            MEANS,
        ),
        Mistake(
            "mask-inverted",
            inverted,
            "what counts is left out and the rest is kept; True in counted means that it counts.",
            MEANS,
        ),
        Mistake(
            "masked-by-multiplying",
            by_multiplying,
            "what does not count is multiplied by 0, and 0 times NaN is NaN; select what counts, "
            "or use torch.where.",
            MEANS,
        ),
        Mistake(
            "processes-ignored",
            processes_ignored,
            "the factor processes is missing; averaging the gradients divides by the number of "
            "processes, and N has counted all their tokens already. Multiply by processes.",
            MEANS,
        ),
        Mistake(
            "processes-divide",
            processes_divide,
            "the loss is divided by processes; averaging the gradients does that already, and N "
            "counts all tokens, so multiply to make up for it.",
            MEANS,
        ),
        Mistake(
            "pieces-in-the-divisor",
            divided_by_steps_too,
            "the contributions are divided by the number of micro-batches as well; N holds the "
            "tokens of all of them, and their gradients are added up.",
            MEANS,
        ),
        Mistake(
            "times-pieces",
            times_steps,
            "the contributions are multiplied by the number of micro-batches; their gradients are "
            "added up and not averaged, so nothing is to be made up for.",
            MEANS,
        ),
        Mistake(
            "total-averaged",
            total_averaged,
            "the total is the mean of the contributions; it is their sum.",
            MEANS,
        ),
        Mistake(
            "total-of-another-scale",
            total_undone,
            "the factor processes is taken out of the total, or put in a second time; the total is "
            "the sum of the contributions as they are.",
            MEANS,
            also=(total_times_again,),
        ),
        Mistake(
            "last-for-total",
            last_total,
            "the last contribution comes back as the total; add up all.",
            MEANS,
        ),
        Mistake(
            "running-totals",
            cumulated,
            "running totals come back; contributions holds what each micro-batch adds, and total "
            "is one number.",
            MEANS,
            also=(running_total,),
        ),
        Mistake(
            "order-swapped",
            order_swapped,
            "the two parts have changed places; the contributions come first.",
            MEANS,
        ),
        Mistake(
            "one-part-alone",
            total_alone,
            "one tensor comes back; return two, contributions and total.",
            MEANS,
            also=(parts_alone,),
        ),
        Mistake(
            "not-tensors",
            as_list,
            "a list or a Python number comes back, and no gradient flows through a number; return "
            "contributions as one tensor, by torch.stack, and total as a scalar tensor.",
            MEANS,
            also=(as_list_of_numbers, as_lists_and_number, total_as_number),
        ),
        Mistake(
            "an-axis-too-many",
            one_dimensional,
            "there is an axis too many; contributions is (n,), and total has none.",
            MEANS,
            also=(total_in_a_row,),
        ),
    ),
    alternatives=(in_one_tensor, means_weighed_by_their_tokens, token_by_token),
    hints=(
        "Two micro-batches, one of 4 tokens and one of 40. By how much does one token of each move "
        "the loss of the whole batch, if it had never been cut?",
        "Every piece has the same divisor. What has to be known before the first piece is divided, "
        "and which of its tokens lie on other processes?",
        "Suppose that two processes hold the same tokens. Each works out the gradient of its "
        "contributions, then the two gradients are averaged. Compare with one process that holds "
        "all the tokens: which factor is missing?",
    ),
    read=MEANS,
)
