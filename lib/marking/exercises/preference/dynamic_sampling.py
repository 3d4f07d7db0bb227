"""preference.dynamic_sampling: the prompts of which some answers are right and some are wrong."""

from functools import partial

import torch

from clearhead.preference import dynamic_sampling
from marking.exercise import Exercise, Mistake
from marking.exercises.preference._alone import alone

# --- situations: a mistake shows in one always or never ------------------------------------------
#
# A prompt is a letter: m has some right and some wrong answers, r right ones alone, w wrong ones.


def _in_turn(G, m, count):
    """Of the mixed prompts the first has one right answer, the second one wrong answer, the third
    as many of each as there can be, and so on in turn."""
    return (1, G - 1, G // 2)[m % 3]


def _nearly(G, m, count):
    """One right answer and one wrong answer in turn."""
    return (1, G - 1)[m % 2]


def _half_at_last(G, m, count):
    """The same, and the last prompt is half and half: the most mixed comes too late."""
    return G // 2 if m == count - 1 else _nearly(G, m, count)


def _inputs(draw, letters, wanted, *, shaped=None, right=_in_turn, G=None):
    """Rewards are 1 and −1; `shaped(q, i, right)` is added to them. `right` says how many right
    answers the mixed prompts have."""
    G = G or draw.size(4, 6, small=4)
    count = letters.count("m")
    rows, rewards = [], []
    for q, letter in enumerate(letters):
        n = {"r": G, "w": 0, "m": right(G, letters[:q].count("m"), count)}[letter]
        first = draw.size(0, G - 1, small=0)
        row = [(i - first) % G < n for i in range(G)]
        rows.append(row)
        add = shaped or (lambda q, i, right: 0.0)
        rewards.append([(1.0 if x else -1.0) + add(q, i, x) for i, x in enumerate(row)])
    return {
        "correct": torch.tensor(rows),
        "rewards": torch.tensor(rewards, dtype=torch.float64).to(draw.dtype),
        "wanted": wanted,
    }


def _some(draw, letter, low=1, high=2):
    return letter * draw.size(low, high, small=1)


def all_mixed(draw):
    n = draw.size(3, 5, small=3)
    return _inputs(draw, "m" * n, n)


def some_solved(draw):
    """Some prompts are solved by all of their answers."""
    letters = "m" + _some(draw, "r") + "m" + _some(draw, "r") + "m"
    return _inputs(draw, letters, 3)


def some_hopeless(draw):
    letters = _some(draw, "w") + "m" + _some(draw, "w") + "mm"
    return _inputs(draw, letters, 3)


def more_than_wanted(draw):
    """The first ones are taken, though one that is left over is more mixed."""
    letters = "r" + _some(draw, "m") + _some(draw, "w") + "m" + _some(draw, "m", 2, 3)
    wanted = letters.count("m") - draw.size(1, 2, small=1)
    return _inputs(draw, letters, wanted, right=_half_at_last)


def fewer_than_wanted(draw):
    letters = "w" + _some(draw, "m", 2, 3) + "r" + _some(draw, "w") + "m"
    return _inputs(draw, letters, letters.count("m") + 1)


def one_alone(draw):
    letters = _some(draw, "w") + "r" + "m" + _some(draw, "r")
    return _inputs(draw, letters, 2)


def none_at_all(draw):
    letters = _some(draw, "w") + _some(draw, "r", 1, 3)
    return _inputs(draw, letters, len(letters) + 1)


def _too_long(q, i, right):
    """An answer in two is too long, by more or less."""
    return -0.25 * (i % 4) / 2


def shaped(draw):
    """A penalty on length makes the rewards differ where all answers are right, or all wrong."""
    letters = "w" + _some(draw, "m", 2, 3) + "r" + _some(draw, "w") + "m"
    return _inputs(draw, letters, letters.count("m"), shaped=_too_long)


def levelled(draw):
    """Right answers are too long and wrong ones too wordy: every reward comes to the same."""
    letters = "m" + _some(draw, "w") + "m"
    return _inputs(draw, letters, 2, shaped=lambda q, i, right: -1.0 if right else 1.0)


def nearly_solved(draw):
    """One answer is wrong, or one is right; no prompt is half and half."""
    letters = "m" + "r" + "m" + "w" + _some(draw, "m", 2, 4)
    return _inputs(draw, letters, letters.count("m"), right=_nearly)


def large_groups(draw):
    """One right answer of thirty is enough, and so is one wrong answer."""
    letters = _some(draw, "r") + "mm" + _some(draw, "w") + "m"
    return _inputs(draw, letters, 3, G=draw.size(24, 32, small=24))


# --- mistakes: one change each to `_choose` ------------------------------------------------------


def _mixed(correct, rewards):
    return correct.any(1) & ~correct.all(1)


def _first(mixed, wanted):
    return mixed.nonzero().flatten()[:wanted]


def _lack(wanted, kept, mixed):
    return wanted - len(kept)


def _choose(
    correct,
    rewards,
    wanted,
    *,
    look=lambda correct, rewards, wanted: (correct, rewards),
    teaches=_mixed,
    take=_first,
    lack=_lack,
    rows=lambda rewards, correct, kept: rewards[kept],
    finish=lambda kept, rewards, missing: (kept, rewards, missing),
):
    """As it stands it is right."""
    seen, seen_rewards = look(correct, rewards, wanted)
    mixed = teaches(seen, seen_rewards)
    kept = take(mixed, wanted)
    return finish(kept, rows(rewards, correct, kept), lack(wanted, kept, mixed))


def _teaches(teaches):
    return partial(_choose, teaches=teaches)


def _take(take):
    return partial(_choose, take=take)


def _lacks(lack):
    return partial(_choose, lack=lack)


def _rows(rows):
    return partial(_choose, rows=rows)


def _finish(finish):
    return alone(partial(_choose, finish=finish))


by_the_spread = _teaches(lambda c, r: r.amax(1) != r.amin(1))
by_positive_rewards = _teaches(lambda c, r: _mixed(r > 0, r))
by_full_rewards = _teaches(lambda c, r: _mixed(r >= 1, r))
by_the_sum = _teaches(lambda c, r: r.sum(1).abs() < r.shape[1])
solved_kept = _teaches(lambda c, r: c.any(1))
hopeless_kept = _teaches(lambda c, r: ~c.all(1))
all_kept = _teaches(lambda c, r: torch.ones_like(c[:, 0]))
inverted = _teaches(lambda c, r: ~_mixed(c, r))
majority = _teaches(lambda c, r: _mixed(c, r) & (2 * c.sum(1) >= c.shape[1]))
minority = _teaches(lambda c, r: _mixed(c, r) & (2 * c.sum(1) <= c.shape[1]))
hard_ones_alone = _teaches(lambda c, r: c.sum(1) == 1)
one_wrong_alone = alone(_teaches(lambda c, r: (~c).sum(1) == 1))
nearly_all_alike = tuple(
    alone(_teaches(partial(lambda e, c, r: (c.float().mean(1) - 0.5).abs() < 0.5 - e, e)))
    for e in (0.05, 0.1, 0.2, 0.25)
)
by_answers = alone(_teaches(lambda c, r: (c.any(0) & ~c.all(0)).repeat(len(c))[: len(c)]))

everything_taken = _take(lambda mixed, wanted: mixed.nonzero().flatten())
last_taken = _take(lambda mixed, wanted: mixed.nonzero().flatten()[-wanted:])
one_too_few = _take(lambda mixed, wanted: mixed.nonzero().flatten()[: wanted - 1])
mask_taken = _take(lambda mixed, wanted: mixed & (mixed.cumsum(0) <= wanted))
axis_left = _take(lambda mixed, wanted: mixed.nonzero()[:wanted])
squeezed = _take(lambda mixed, wanted: mixed.nonzero().squeeze()[:wanted])
squeezed_later = alone(_take(lambda mixed, wanted: mixed.nonzero()[:wanted].squeeze()))


def _whole_mask(mixed, wanted):
    return mixed


def _filled_with_others(mixed, wanted):
    """What teaches nothing fills the batch up."""
    return torch.cat([mixed.nonzero().flatten(), (~mixed).nonzero().flatten()])[:wanted]


def _repeated(mixed, wanted):
    kept = mixed.nonzero().flatten()
    return kept.repeat(wanted)[:wanted] if len(kept) else kept


def _most_mixed(order, correct, rewards, wanted, *, in_order=False):
    kept = _mixed(correct, rewards).nonzero().flatten()
    kept = kept[order(correct[kept])][:wanted]
    kept = kept.sort().values if in_order else kept
    return kept, rewards[kept], wanted - len(kept)


def _from_the_half(correct):
    return (2 * correct.sum(1) - correct.shape[1]).abs().argsort(stable=True)


def _by_share(correct):
    return (correct.float().mean(1) - 0.5).abs().argsort()


def _by_variance(correct):
    q = correct.float().mean(1)
    return (q * (1 - q)).argsort(descending=True)


def _by_variance_stable(correct):
    q = correct.float().mean(1)
    return (q * (1 - q)).argsort(descending=True, stable=True)


def _by_spread(correct):
    return correct.float().var(1).argsort(descending=True)


most_mixed_first = alone(partial(_most_mixed, _from_the_half))
most_mixed_elsewhere = tuple(
    alone(partial(_most_mixed, order, in_order=in_order))
    for order in (_from_the_half, _by_share, _by_variance, _by_variance_stable, _by_spread)
    for in_order in (False, True)
)

whole_mask = alone(_take(_whole_mask))
filled_up = _take(_filled_with_others)
repeated = _take(_repeated)
slices_first = partial(_choose, look=lambda c, r, wanted: (c[:wanted], r[:wanted]))

lack_negative = _lacks(lambda wanted, kept, mixed: wanted - int(mixed.sum()))
lack_of_dropped = _lacks(lambda wanted, kept, mixed: len(mixed) - len(kept))
lack_of_useless = alone(_lacks(lambda wanted, kept, mixed: int((~mixed).sum())))
lack_is_kept = _lacks(lambda wanted, kept, mixed: len(kept))
lack_as_bool = _lacks(lambda wanted, kept, mixed: len(kept) < wanted)
lack_turned = _lacks(lambda wanted, kept, mixed: len(kept) - wanted)
lack_as_tensor = _lacks(lambda wanted, kept, mixed: torch.tensor(wanted - len(kept)))
lack_none = _lacks(lambda wanted, kept, mixed: 0)
wanted_ignored = partial(
    _choose,
    take=lambda mixed, wanted: mixed.nonzero().flatten(),
    lack=lambda wanted, kept, mixed: max(0, wanted - int(mixed.sum())),
)
mask_and_lack = partial(
    _choose,
    take=lambda mixed, wanted: mixed & (mixed.cumsum(0) <= wanted),
    lack=lambda wanted, kept, mixed: wanted - int(kept.sum()),
)

all_rows = _rows(lambda rewards, correct, kept: rewards)
rows_zeroed = _rows(lambda rewards, correct, kept: rewards[kept] * correct[kept])
right_alone = _rows(lambda rewards, correct, kept: rewards[kept][correct[kept]])
correct_for_rewards = _rows(lambda rewards, correct, kept: correct[kept])
correct_as_rewards = alone(_rows(lambda rewards, correct, kept: correct[kept].to(rewards.dtype)))
means_of_rows = _rows(lambda rewards, correct, kept: rewards[kept].mean(1))
centred = _rows(lambda rewards, correct, kept: rewards[kept] - rewards[kept].mean(1, keepdim=True))

as_list = _finish(lambda kept, rewards, missing: (kept.tolist(), rewards, missing))
as_int32 = _finish(lambda kept, rewards, missing: (kept.int(), rewards, missing))
without_missing = _finish(lambda kept, rewards, missing: (kept, rewards))
rewards_alone = _finish(lambda kept, rewards, missing: rewards)
order_swapped = _finish(lambda kept, rewards, missing: (rewards, kept, missing))


# --- other right answers -------------------------------------------------------------------------


def by_accuracy(correct, rewards, wanted):
    accuracy = correct.float().mean(dim=1)
    kept = torch.where((accuracy > 0) & (accuracy < 1))[0][:wanted]
    return kept, rewards[kept], wanted - kept.numel()


def prompt_by_prompt(correct, rewards, wanted):
    kept = []
    for q, row in enumerate(correct.tolist()):
        if len(kept) < wanted and len(set(row)) == 2:
            kept.append(q)
    index = torch.tensor(kept, dtype=torch.int64)
    return index, rewards.index_select(0, index), wanted - len(kept)


def first_and_others_differ(correct, rewards, wanted):
    differs = (correct != correct[:, :1]).any(dim=1)
    kept = torch.arange(len(correct))[differs][:wanted]
    return [kept, rewards[kept].clone(), int(wanted - len(kept))]


NOTHING = "preference/04_dapo#which-prompts-teach-nothing"

DYNAMIC_SAMPLING = Exercise(
    id="preference.dynamic_sampling",
    title="Prompts that teach something",
    returns="kept, int64 (K,); rewards (K, G); missing, an int",
    outputs=("kept", "rewards", "missing"),
    points=3,
    difficulty=1,
    minutes=15,
    reference=dynamic_sampling,
    cases={
        "every prompt teaches": all_mixed,
        "some are solved": some_solved,
        "some are hopeless": some_hopeless,
        "more than wanted": more_than_wanted,
        "fewer than wanted": fewer_than_wanted,
        "one prompt alone": one_alone,
        "none at all": none_at_all,
        "rewards with a penalty on length": shaped,
        "rewards that cancel out": levelled,
        "nearly solved, nearly hopeless": nearly_solved,
        "large groups": large_groups,
    },
    mistakes=(
        Mistake(
            "by-the-rewards",
            by_the_spread,
            "the rewards decide which prompts stay; a penalty on length makes them differ where "
            "all answers are wrong, and may level them where some are right. Ask `correct`.",
            NOTHING,
            also=(by_positive_rewards, by_full_rewards, by_the_sum),
        ),
        Mistake(
            "all-right-kept",
            solved_kept,
            "prompts that all answers solve are kept; all advantages are 0 there, too.",
            NOTHING,
        ),
        Mistake(
            "all-wrong-kept",
            hopeless_kept,
            "prompts that no answer solves are kept; all advantages are 0 there, too.",
            NOTHING,
        ),
        Mistake(
            "all-kept",
            all_kept,
            "every prompt passes: an accuracy is always above 0 or below 1. It must be both.",
            NOTHING,
        ),
        Mistake(
            "condition-inverted",
            inverted,
            "the prompts that teach nothing are kept, and the others dropped.",
            NOTHING,
        ),
        Mistake(
            "by-the-majority",
            majority,
            "prompts are chosen by how many answers are right; one right and one wrong answer are "
            "enough.",
            NOTHING,
            also=(minority, hard_ones_alone, one_wrong_alone, *nearly_all_alike),
        ),
        Mistake(
            "wanted-ignored",
            wanted_ignored,
            "all prompts that teach are kept; take the first `wanted` of them.",
            NOTHING,
            also=(everything_taken,),
        ),
        Mistake(
            "first-taken-before-the-choice",
            slices_first,
            "the first `wanted` prompts are taken and then sifted; sift all, then take the first.",
            NOTHING,
        ),
        Mistake(
            "others-taken",
            last_taken,
            "the last ones are taken, or one too few; take the first `wanted`, in their order.",
            NOTHING,
            also=(one_too_few,),
        ),
        Mistake(
            "most-mixed-first",
            most_mixed_first,
            "the prompts are sorted by how mixed their answers are; keep them in their order, and "
            "take the first `wanted`.",
            NOTHING,
            also=most_mixed_elsewhere,
        ),
        Mistake(
            "filled-up",
            filled_up,
            "the batch is filled up with prompts that teach nothing, or with copies; what is "
            "missing must be sampled, so say how many.",
            NOTHING,
            also=(repeated,),
        ),
        Mistake(
            "mask-for-indices",
            mask_and_lack,
            "kept is a mask; return the numbers of the prompts, int64.",
            NOTHING,
            also=(mask_taken, whole_mask),
        ),
        Mistake(
            "an-axis-too-many",
            axis_left,
            "nonzero gives a column, (K, 1), and so there is an axis too many; take the column "
            "out of it.",
            NOTHING,
        ),
        Mistake(
            "squeezed",
            squeezed,
            "squeeze takes every axis of size 1 away, also that of the prompts when there is one "
            "alone; name the axis, or use flatten.",
            NOTHING,
            also=(squeezed_later,),
        ),
        Mistake(
            "kept-no-indices",
            as_list,
            "kept is no tensor of int64; return torch.tensor(…, dtype=torch.int64).",
            NOTHING,
            also=(as_int32,),
        ),
        Mistake(
            "missing-negative",
            lack_negative,
            "missing is counted before the first `wanted` are taken, and falls below 0; it is "
            "wanted − K.",
            NOTHING,
        ),
        Mistake(
            "missing-counts-the-dropped",
            lack_of_dropped,
            "missing counts the prompts that were dropped; it says how many are still to be found: "
            "wanted − K.",
            NOTHING,
            also=(lack_of_useless,),
        ),
        Mistake(
            "missing-counted-wrongly",
            lack_is_kept,
            "missing is the number of those kept, or has the wrong sign, or is always 0; it is "
            "wanted − K.",
            NOTHING,
            also=(lack_turned, lack_none),
        ),
        Mistake(
            "missing-no-int",
            lack_as_tensor,
            "missing is a tensor or a bool; return a Python int, with len or int(…).",
            NOTHING,
            also=(lack_as_bool,),
        ),
        Mistake(
            "answers-dropped",
            right_alone,
            "the rewards of wrong answers are dropped, or set to 0; a prompt keeps all G of them, "
            "for the wrong ones are what the right ones are compared with.",
            NOTHING,
            also=(rows_zeroed,),
        ),
        Mistake(
            "other-rewards",
            all_rows,
            "what comes back are not the rewards of the kept prompts, (K, G), as they were given.",
            NOTHING,
            also=(correct_for_rewards, correct_as_rewards, means_of_rows, centred),
        ),
        Mistake(
            "not-three",
            without_missing,
            "three things come back, in this order: kept, rewards, missing.",
            NOTHING,
            also=(rewards_alone, order_swapped),
        ),
    ),
    alternatives=(by_accuracy, prompt_by_prompt, first_and_others_differ),
    hints=(
        "Work out the advantages within a group for three prompts: all answers right, all wrong, "
        "one right. Which of the three has a gradient?",
        "Rewards are made of more than right and wrong. Take a prompt that nobody has solved, with "
        "one answer that was much too long: are its rewards equal? Has it anything to teach?",
        "Two conditions a prompt, joined by the right word. Then numbers of prompts, in order, and "
        "as many as are wanted; look at what your code returns for one prompt, and for none.",
    ),
    read=NOTHING,
)
