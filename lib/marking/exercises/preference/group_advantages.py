"""preference.group_advantages: the other answers to a prompt are the baseline."""

from functools import partial

import torch

from clearhead.preference import group_advantages
from marking.exercise import Exercise, Mistake
from marking.exercises.preference._alone import alone

# --- situations ----------------------------------------------------------------------------------


def _inputs(draw, groups, *, eps=1e-4, scale=True):
    """`groups` is a list of lists of rewards, as long as each other."""
    rewards = torch.tensor(groups, dtype=torch.float64).to(draw.dtype)
    return {
        "rewards": rewards.flatten(),
        "group_size": rewards.shape[1],
        "eps": eps,
        "scale": scale,
    }


def _groups(draw, Q=None):
    """Rewards of any size; each prompt has a level and a spread of its own."""
    Q = Q or draw.size(2, 4, small=2)
    G = draw.choice(*(n for n in (3, 4, 5, 6) if n != Q)) if draw.level is None else 3
    made = []
    for q in range(Q):
        level, spread = draw.number(-1, 1) + 2 * q, 0.5 + q
        steps = [i + draw.number(-0.3, 0.3) for i in range(G)]
        made.append([level + spread * steps[(i * 2 + q) % G if G % 2 else i] for i in range(G)])
    return made


def _right_or_wrong(draw, right=None):
    """0 or 1; the number of right answers differs from prompt to prompt and is never half."""
    G = draw.choice(5, 7) if draw.level is None else 3
    counts = right or ((1, 2, 1, 2) if G == 3 else (1, G - 1, 2, G - 2))
    Q = draw.size(2, 4, small=2)
    made = []
    for count in counts[:Q]:
        first = draw.size(0, G - 1, small=0)
        made.append([float((i - first) % G < count) for i in range(G)])
    return made


def one_prompt(draw):
    return _inputs(draw, _groups(draw, Q=1))


def several_prompts(draw):
    return _inputs(draw, _groups(draw))


def right_or_wrong(draw):
    return _inputs(draw, _right_or_wrong(draw))


def large_eps(draw):
    return _inputs(draw, _groups(draw), eps=draw.choice(0.1, 0.2))


def not_divided(draw):
    return _inputs(draw, _groups(draw), eps=0.05, scale=False)


def all_equal(draw):
    """One prompt is solved by all, one by none, one by some."""
    mixed = _right_or_wrong(draw)[0]
    G = len(mixed)
    return _inputs(draw, [[1.0] * G, mixed, [0.0] * G])


def all_equal_not_divided(draw):
    mixed = _right_or_wrong(draw)[0]
    return _inputs(draw, [mixed, [-1.0] * len(mixed)], eps=0.05, scale=False)


def pairs(draw):
    """Two answers a prompt: the least that can be compared."""
    Q = draw.size(3, 5, small=3)
    made = []
    for q in range(Q):
        low, gap = draw.number(-1, 1) + q, 0.5 + q + draw.number(0.0, 0.3)
        made.append([low, low + gap] if q % 2 else [low + gap, low])
    return _inputs(draw, made)


def as_many_prompts_as_answers(draw):
    """Rows and columns could be swapped without an error."""
    n = draw.size(3, 5, small=3)
    groups = [
        [3.0 * q + (q + 1) * ((i * 2 + q) % n + draw.number(-0.3, 0.3)) for i in range(n)]
        for q in range(n)
    ]
    return _inputs(draw, groups)


# --- mistakes: one change each to `_advantages` --------------------------------------------------


def _std(groups, centred):
    return groups.std(1, keepdim=True)


def _mean(groups):
    return groups.mean(1, keepdim=True)


def _advantages(
    rewards,
    group_size,
    eps,
    scale,
    *,
    cut=lambda rewards, G: rewards.view(-1, G),
    back=lambda x: x.flatten(),
    baseline=_mean,
    spread=_std,
    divide=lambda x, s, eps: x / (s + eps),
    when=lambda scale: scale,
    unscaled=None,
    repair=lambda x: x,
    finish=lambda x, G: x,
):
    """As it stands it is right."""
    groups = cut(rewards, group_size)
    x = groups - baseline(groups)
    if when(scale):
        x = divide(x, spread(groups, x), eps)
    elif unscaled:
        x = unscaled(x, eps)
    return finish(repair(back(x)), group_size)


def _spread(spread):
    return partial(_advantages, spread=spread)


def _baseline(baseline):
    return partial(_advantages, baseline=baseline)


def _divide(divide):
    return partial(_advantages, divide=divide)


def _finish(finish):
    return alone(partial(_advantages, finish=finish))


batch_for_group = partial(_advantages, baseline=lambda g: g.mean(), spread=lambda g, x: g.std())
batch_for_group_biased = alone(
    partial(_advantages, baseline=lambda g: g.mean(), spread=lambda g, x: g.std(correction=0))
)
mean_of_the_batch = _baseline(lambda g: g.mean())
std_of_the_batch = _spread(lambda g, x: g.std())
std_of_the_centred_batch = _spread(lambda g, x: x.std())
wrong_reshape = partial(
    _advantages,
    cut=lambda rewards, G: rewards.view(G, -1).T,
    back=lambda x: x.T.flatten(),
)
columns_for_rows = alone(
    partial(
        _advantages,
        baseline=lambda g: g.mean(0, keepdim=True),
        spread=lambda g, x: g.std(0, keepdim=True),
    )
)
columns_cut = alone(partial(_advantages, cut=lambda rewards, G: rewards.view(G, -1).T))

biased = _spread(lambda g, x: g.std(1, correction=0, keepdim=True))
variance = _spread(lambda g, x: g.var(1, keepdim=True))
variance_biased = alone(_spread(lambda g, x: g.var(1, correction=0, keepdim=True)))
range_for_std = _spread(lambda g, x: g.amax(1, keepdim=True) - g.amin(1, keepdim=True))
absolute = _spread(lambda g, x: x.abs().mean(1, keepdim=True))
standard_error = _spread(lambda g, x: g.std(1, keepdim=True) / g.shape[1] ** 0.5)
root_of_mean_square = _spread(lambda g, x: g.square().mean(1, keepdim=True).sqrt())

eps_forgotten = _divide(lambda x, s, eps: x / s)
eps_forgotten_repaired = alone(
    partial(
        _advantages,
        divide=lambda x, s, eps: x / s,
        repair=lambda x: x.nan_to_num(0.0),
    )
)
eps_under_the_root = _divide(lambda x, s, eps: x / (s.square() + eps).sqrt())
eps_outside = _divide(lambda x, s, eps: x / s + eps)
eps_above = _divide(lambda x, s, eps: (x + eps) / (s + eps))
eps_without_scale = alone(partial(_advantages, unscaled=lambda x, eps: x / (1 + eps)))
eps_without_scale_elsewhere = tuple(
    alone(partial(_advantages, unscaled=change))
    for change in (lambda x, eps: x + eps, lambda x, eps: x - eps, lambda x, eps: x / eps)
)
eps_fixed, *eps_fixed_elsewhere = (
    alone(_divide(partial(lambda e, x, s, eps: x / (s + e), e)))
    for e in (1e-4, 1e-8, 1e-6, 1e-5, 1e-3, 1e-7)  # smaller ones are as good as none
)
multiplied = _divide(lambda x, s, eps: x * (s + eps))

mean_left_in = _baseline(lambda g: 0.0)
of_the_others = _baseline(lambda g: (g.sum(1, keepdim=True) - g) / (g.shape[1] - 1))
median = _baseline(lambda g: g.median(1, keepdim=True).values)
best = _baseline(lambda g: g.amax(1, keepdim=True))
least = _baseline(lambda g: g.amin(1, keepdim=True))
sign_turned = partial(_advantages, back=lambda x: -x.flatten())

scale_ignored = partial(_advantages, when=lambda scale: True)
never_scaled = partial(_advantages, when=lambda scale: False)
scale_inverted = partial(_advantages, when=lambda scale: not scale)

kept_apart = partial(_advantages, finish=lambda x, G: x.view(-1, G))
one_for_a_group = _finish(lambda x, G: x.view(-1, G).sum(1))
one_for_all = _finish(lambda x, G: x.mean())
of_size_one = _finish(lambda x, G: x[:, None])
normalised_again = _finish(lambda x, G: (x - x.mean()) / (x.std() + 1e-8))


# --- other right answers -------------------------------------------------------------------------


def group_by_group(rewards, group_size, eps, scale):
    parts = []
    for group in rewards.split(group_size):
        a = group - group.mean()
        parts.append(a / (group.std() + eps) if scale else a)
    return torch.cat(parts)


def repeated_means(rewards, group_size, eps, scale):
    """As trl has it: the statistics of each group, repeated for its answers."""
    grouped = rewards.view(-1, group_size)
    mean = grouped.mean(dim=1).repeat_interleave(group_size)
    std = grouped.std(dim=1).repeat_interleave(group_size)
    advantages = rewards - mean
    return advantages / (std + eps) if scale else advantages


def sums_by_prompt(rewards, group_size, eps, scale):
    prompt = torch.arange(len(rewards)) // group_size
    Q = len(rewards) // group_size
    mean = rewards.new_zeros(Q).index_add(0, prompt, rewards) / group_size
    centred = rewards - mean[prompt]
    if not scale:
        return centred
    square = rewards.new_zeros(Q).index_add(0, prompt, centred**2)
    return centred / ((square / (group_size - 1)).sqrt()[prompt] + eps)


GROUP = "preference/03_policy_gradients#what-if-the-group-is-the-baseline"
NOTHING = "preference/04_dapo#which-prompts-teach-nothing"

GROUP_ADVANTAGES = Exercise(
    id="preference.group_advantages",
    title="Advantages within a group",
    returns="a tensor (N,) in the dtype of rewards",
    points=3,
    difficulty=1,
    minutes=15,
    reference=group_advantages,
    cases={
        "one prompt": one_prompt,
        "several prompts": several_prompts,
        "right or wrong": right_or_wrong,
        "a large eps": large_eps,
        "not divided": not_divided,
        "all answers alike": all_equal,
        "all answers alike, not divided": all_equal_not_divided,
        "two answers a prompt": pairs,
        "as many prompts as answers": as_many_prompts_as_answers,
    },
    mistakes=(
        Mistake(
            "batch-for-group",
            batch_for_group,
            "mean and standard deviation are those of the whole batch; an answer is compared with "
            "the others to the same prompt, or an easy prompt would look like good work.",
            GROUP,
            also=(batch_for_group_biased,),
        ),
        Mistake(
            "mean-of-the-batch",
            mean_of_the_batch,
            "the mean is that of the whole batch; subtract the mean of each group.",
            GROUP,
        ),
        Mistake(
            "std-of-the-batch",
            std_of_the_batch,
            "the standard deviation is that of the whole batch; divide by that of each group.",
            GROUP,
            also=(std_of_the_centred_batch,),
        ),
        Mistake(
            "biased-std",
            biased,
            "the squares are divided by G (correction=0, numpy's default); here s has G − 1, "
            "torch's default and trl's.",
            GROUP,
        ),
        Mistake(
            "wrong-reshape",
            wrong_reshape,
            "the groups are cut the wrong way: answers of one prompt stand side by side, so a row "
            "of view(-1, group_size) is a group.",
            GROUP,
            also=(columns_for_rows, columns_cut),
        ),
        Mistake(
            "scale-ignored",
            scale_ignored,
            "the advantages are divided though scale is False; Dr. GRPO leaves that out.",
            GROUP,
        ),
        Mistake(
            "never-scaled",
            never_scaled,
            "the advantages are not divided though scale is True.",
            GROUP,
        ),
        Mistake(
            "scale-inverted",
            scale_inverted,
            "they are divided when scale is False and not when it is True.",
            GROUP,
        ),
        Mistake(
            "eps-forgotten",
            eps_forgotten,
            "eps is not added to s, or is its lower bound alone; where all rewards of a group are "
            "equal s is 0, and elsewhere the numbers differ a little.",
            NOTHING,
            also=(eps_forgotten_repaired,),
        ),
        Mistake(
            "eps-under-the-root",
            eps_under_the_root,
            "eps is added to the variance, as a layer norm has it; here it is added to the "
            "standard deviation.",
            GROUP,
        ),
        Mistake(
            "eps-in-another-place",
            eps_outside,
            "eps is added to the quotient, or above the bar; divide by s + eps.",
            GROUP,
            also=(eps_above,),
        ),
        Mistake(
            "eps-without-scale",
            eps_without_scale,
            "eps enters although scale is False; without a division there is nothing that it must "
            "keep from being 0.",
            GROUP,
            also=eps_without_scale_elsewhere,
        ),
        Mistake(
            "eps-fixed",
            eps_fixed,
            "eps is a number of your own; take the one that is given.",
            GROUP,
            also=(*eps_fixed_elsewhere,),
        ),
        Mistake(
            "variance-for-std",
            variance,
            "the advantages are divided by the variance; take its root.",
            GROUP,
            also=(variance_biased,),
        ),
        Mistake(
            "another-spread",
            range_for_std,
            "the divisor is another measure of spread; it is the standard deviation about the "
            "group's mean, with G − 1.",
            GROUP,
            also=(absolute, standard_error, root_of_mean_square),
        ),
        Mistake(
            "multiplied",
            multiplied,
            "the advantages are multiplied by the standard deviation; divide.",
            GROUP,
        ),
        Mistake(
            "mean-left-in",
            mean_left_in,
            "the mean is not subtracted; without a baseline every right answer looks good, also "
            "where all of them are.",
            GROUP,
        ),
        Mistake(
            "mean-of-the-others",
            of_the_others,
            "the answer itself is left out of the mean; that is RLOO's baseline. Here the mean is "
            "of all G answers.",
            GROUP,
        ),
        Mistake(
            "another-baseline",
            median,
            "the baseline is the median, or the best or worst answer; it is the mean.",
            GROUP,
            also=(best, least),
        ),
        Mistake(
            "sign-turned",
            sign_turned,
            "the sign is turned; a reward above the mean is an advantage above 0.",
            GROUP,
        ),
        Mistake(
            "normalised-again",
            normalised_again,
            "the advantages of the batch are normalised once more; they are done.",
            GROUP,
        ),
        Mistake(
            "groups-kept-apart",
            kept_apart,
            "there is an axis too many; the answer is (N,), as the rewards are.",
            GROUP,
            also=(of_size_one,),
        ),
        Mistake(
            "not-one-an-answer",
            one_for_a_group,
            "there is one number for a group, or for all; each answer has its own advantage.",
            GROUP,
            also=(one_for_all,),
        ),
    ),
    alternatives=(group_by_group, repeated_means, sums_by_prompt),
    hints=(
        "Two prompts, one easy and one hard: rewards 1, 1, 0 and 0, 0, 1. Which of the six answers "
        "is the most surprising?",
        "Give the rewards a shape in which a row is a prompt. Which statistics does each row need, "
        "and what shape must they have to be subtracted from the rows?",
        "Look at a row in which all rewards are the same: what stands above the fraction bar, and "
        "what below? And there are two conventions for the standard deviation; which does torch "
        "take if it is told nothing?",
    ),
    read=GROUP,
)
