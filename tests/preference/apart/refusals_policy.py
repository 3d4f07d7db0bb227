"""Policy gradients, rewards and the loop: wrong input is refused in one clear sentence."""

import pytest
import torch

import clearhead.preference as P
from clearhead.model import Config, Decoder


def f(*shape, dtype=torch.float32):
    return torch.zeros(shape, dtype=dtype)


def i(*shape):
    return torch.zeros(shape, dtype=torch.int64)


def yes(*shape):
    return torch.ones(shape, dtype=torch.bool)


def with_one(value, *shape):
    x = f(*shape)
    x.view(-1)[-1] = value
    return x


def model():
    sizes = dict(vocab_size=5, width=4, layers=1, heads=1, kv_heads=1, head_size=4)
    return Decoder(Config(**sizes, feed_forward=4))


NAN, INF = float("nan"), float("inf")
GRPO = dict(new=f(2, 3), old=f(2, 3), advantages=f(2), mask=yes(2, 3))


def grpo(**changes):
    return P.grpo_loss(**{**GRPO, **changes})


def gspo(**changes):
    return P.gspo_loss(**{**GRPO, **changes})


def chunked(**changes):
    """Nothing counts, so that nothing is computed."""
    given = dict(hidden=f(2, 3, 4), matrix=f(5, 4), ids=i(2, 3), mask=~yes(2, 3))
    given |= dict(old=f(2, 3), advantages=f(2))
    return P.chunked_grpo_loss(**{**given, **changes})


def surrogate(new=None, old=None, advantages=None, **options):
    parts = (f(2, 3) if x is None else x for x in (new, old, advantages))
    return P.clipped_surrogate(*parts, **options)


def roll(prompts=((1,),), group=2, **options):
    return P.rollout(model(), prompts, group, **{"limit": 2, "eos": 0, **options})


CASES = [
    # kl
    (lambda: P.kl_estimators(f(2), f(3)), ValueError, r"policy has shape \(2,\) and reference \(3"),
    (lambda: P.kl_estimators(i(2), i(2)), TypeError, "policy is torch.int64"),
    (lambda: P.kl_estimators(with_one(NAN, 2), f(2)), ValueError, r"policy\[1\] is nan; give fin"),
    (lambda: P.kl_estimators(f(2), with_one(-INF, 2)), ValueError, r"reference\[1\] is -inf"),
    (lambda: P.kl_estimators(f(2) - 200, f(2)), ValueError, "reference - policy reaches 200"),
    (lambda: P.kl_divergence(f(2, 5), f(2, 6)), ValueError, "give one shape for both"),
    (lambda: P.kl_divergence(with_one(NAN, 2, 5), f(2, 5)), ValueError, "a row that is no distrib"),
    (lambda: P.kl_divergence(f(2, 5), f(2, 5) - INF), ValueError, "a row that is no distribution"),
    # gae
    (lambda: P.gae(f(2, 3), f(2, 3), yes(2, 3)), ValueError, r"values \(2, 3\); expected \(2, 4\)"),
    (lambda: P.gae(f(3), f(4), yes(3)), ValueError, r"rewards has shape \(3,\); expected \(B, T\)"),
    (lambda: P.gae(f(2, 3), f(2, 4), i(2, 3)), TypeError, "done is torch.int64; give a boolean"),
    (lambda: P.gae(f(2, 3), f(2, 4), yes(2, 4)), ValueError, "done has shape"),
    (
        lambda: P.gae(f(2, 3), f(2, 4), yes(2, 3), gamma=1.5),
        ValueError,
        "gamma is 1.5; give a number from 0 to 1",
    ),
    (lambda: P.gae(f(2, 3), f(2, 4), yes(2, 3), lam=-0.1), ValueError, "lam is -0.1"),
    (lambda: P.gae(with_one(NAN, 2, 3), f(2, 4), yes(2, 3)), ValueError, r"rewards\[1, 2\] is nan"),
    # advantages
    (lambda: P.group_advantages(f(4), 1), ValueError, "group_size is 1: an answer is compared"),
    (lambda: P.group_advantages(f(4), 3), ValueError, "4 answers do not make groups of 3"),
    (lambda: P.group_advantages(f(0), 2), ValueError, "0 answers do not make groups of 2"),
    (
        lambda: P.group_advantages(f(2, 2), 2),
        ValueError,
        r"rewards has shape \(2, 2\); expected \(",
    ),
    (lambda: P.group_advantages(i(4), 2), TypeError, "rewards is torch.int64"),
    (lambda: P.group_advantages(with_one(NAN, 4), 2), ValueError, r"rewards\[3\] is nan"),
    (lambda: P.group_advantages(f(4), 2, eps=-1.0), ValueError, "eps is -1.0; give 0 or more"),
    # surrogate
    (lambda: surrogate(old=f(2, 2)), ValueError, r"new has shape \(2, 3\) and old \(2, 2\)"),
    (lambda: surrogate(advantages=f(2)), ValueError, r"and advantages \(2,\)"),
    (lambda: surrogate(f(3), f(3), f(3)), ValueError, r"new has shape \(3,\); expected \(B, T\)"),
    (lambda: surrogate(old=f(2, 3, dtype=torch.float64)), TypeError, "convert both to one dtype"),
    (lambda: surrogate(low=0.0), ValueError, "low is 0.0; give a number strictly between 0 and 1"),
    (lambda: surrogate(high=1.0), ValueError, "high is 1.0; give a number strictly between"),
    (lambda: surrogate(high=NAN), ValueError, "high is nan"),
    (lambda: surrogate(old=f(2, 3) - 100), ValueError, "new - old reaches 100, whose exponential"),
    (lambda: surrogate(new=with_one(INF, 2, 3)), ValueError, r"new\[1, 2\] is inf"),
    (lambda: P.reinforce_loss(f(2, 3), with_one(NAN, 2, 3)), ValueError, r"advantages\[1, 2\] is"),
    (lambda: P.sequence_ratio(f(2, 3), f(2, 3), i(2, 3)), TypeError, "mask is torch.int64"),
    (lambda: P.clipped_share(*[f(2, 3)] * 3, yes(2, 2)), ValueError, "mask has shape"),
    # aggregate
    (
        lambda: P.aggregate_loss(f(2, 3), yes(2, 3), "mean"),
        ValueError,
        "how is 'mean'; give one of",
    ),
    (lambda: P.aggregate_loss(f(2, 3), yes(2, 3), "constant"), ValueError, "give length, for exam"),
    (lambda: P.aggregate_loss(f(0, 3), yes(0, 3), "token"), ValueError, "There are no answers"),
    (lambda: P.aggregate_loss(f(2, 3), f(2, 3), "token"), TypeError, "mask is torch.float32"),
    (lambda: P.aggregate_loss(f(6), yes(6), "token"), ValueError, r"losses has shape \(6,\)"),
    (
        lambda: P.aggregate_loss(with_one(NAN, 2, 3), yes(2, 3), "token"),
        ValueError,
        r"losses\[1, 2\] is nan",
    ),
    (
        lambda: P.aggregate_loss(f(2, 3), yes(2, 3), "constant", length=0),
        ValueError,
        "length is 0; give an integer of 1 or more",
    ),
    # losses
    (lambda: grpo(advantages=f(3)), ValueError, "new has 2 answers and advantages 3; give one"),
    (lambda: grpo(advantages=f(2, 3)), ValueError, r"advantages has shape \(2, 3\); expected \(B,"),
    (lambda: gspo(advantages=f(3)), ValueError, "new has 2 answers and advantages 3; give one"),
    (lambda: grpo(advantages=i(2)), TypeError, "advantages is torch.int64; give a floating"),
    (lambda: gspo(advantages=i(2)), TypeError, "advantages is torch.int64; give a floating"),
    (lambda: chunked(advantages=f(1)), ValueError, "old has 2 answers and advantages 1; give one"),
    (lambda: chunked(advantages=i(2)), TypeError, "advantages is torch.int64"),
    (lambda: chunked(old=i(2, 3)), TypeError, "old is torch.int64"),
    (lambda: chunked(reference=f(2, 4)), ValueError, r"reference \(2, 4\); give one shape"),
    (lambda: chunked(low=5.0), ValueError, "low is 5.0; give a number strictly between"),
    (lambda: chunked(high=NAN), ValueError, "high is nan"),
    (lambda: chunked(beta=-3), ValueError, "beta is -3; give 0 or more"),
    (lambda: chunked(beta=3), ValueError, "beta is 3, and no reference is given"),
    (lambda: grpo(beta=0.1), ValueError, "beta is 0.1, and no reference is given"),
    (lambda: grpo(beta=-0.1, reference=f(2, 3)), ValueError, "beta is -0.1; give 0 or more"),
    (lambda: grpo(beta=0.1, reference=f(2, 4)), ValueError, "give one shape for both"),
    # DAPO
    (
        lambda: P.dynamic_sampling(yes(2, 1), f(2, 1), 1),
        ValueError,
        "group_size is 1: an answer is compared",
    ),
    (lambda: P.dynamic_sampling(yes(2, 3), f(2, 2), 1), ValueError, "correct has shape"),
    (lambda: P.dynamic_sampling(f(2, 2), f(2, 2), 1), TypeError, "correct is torch.float32; give"),
    (lambda: P.dynamic_sampling(yes(2, 2), f(2, 2), 0), ValueError, "wanted is 0"),
    (lambda: P.fill_batch(None, 0), ValueError, "wanted is 0"),
    (lambda: P.fill_batch(None, 1, most_rounds=0), ValueError, "most_rounds is 0"),
    (lambda: P.overlong_penalty(f(2), longest=4, cache=2), TypeError, "lengths is torch.float32"),
    (lambda: P.overlong_penalty([1], longest=4, cache=2), TypeError, "lengths is list"),
    (lambda: P.overlong_penalty(i(2), longest=4, cache=5), ValueError, "cache is 5 and longest 4"),
    (lambda: P.overlong_penalty(i(2), longest=4, cache=0), ValueError, "cache is 0"),
    (lambda: P.overlong_penalty(i(2) - 1, longest=4, cache=1), ValueError, "lengths holds -1"),
    (lambda: P.overlong_filter(yes(2, 3), yes(3)), ValueError, r"truncated has shape \(3,\)"),
    (lambda: P.overlong_filter(i(2, 3), yes(2)), TypeError, "mask is torch.int64"),
    # sampling
    (lambda: roll(group=0), ValueError, "group is 0"),
    (lambda: roll(limit=0), ValueError, "limit is 0"),
    (lambda: roll(eos=5), ValueError, "eos is 5; give an id of the vocabulary, 0 to 4"),
    (lambda: roll(prompts=[]), ValueError, "There are no prompts"),
    (lambda: roll(prompts=[[1], []]), ValueError, "Prompt 1 has shape"),
    (lambda: roll(prompts=[[7]]), ValueError, "token id 7"),
    (lambda: roll(prompts=[[1.9, 2.2]]), TypeError, "Prompt 0 is torch.float32; give integers"),
    # the loop
    (lambda: P.Settings(group=1), ValueError, "group is 1; give an integer of 2 or more"),
    (lambda: P.Settings(prompts=0), ValueError, "prompts is 0"),
    (lambda: P.Settings(learning_rate=0.0), ValueError, "learning_rate is 0.0"),
    (lambda: P.Settings(high=1.2), ValueError, "high is 1.2; give a number strictly between"),
    (lambda: P.Settings(how="mean"), ValueError, "how is 'mean'; give one of"),
    (lambda: P.Settings(cache=0), ValueError, "cache is 0"),
    (lambda: P.reinforce(model(), P.Board(), P.GRPO, steps=0), ValueError, "steps is 0"),
    (
        lambda: P.reinforce(model().requires_grad_(False), P.Board(), P.GRPO, steps=1),
        ValueError,
        "no parameter requires a gradient",
    ),
    (lambda: P.Board(side=1), ValueError, "side is 1"),
    (lambda: P.Board(skill=1.5), ValueError, "skill is 1.5; give a number from 0 to 1"),
]


@pytest.mark.parametrize(("call", "error", "sentence"), CASES)
def test_it_is_refused(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()
