"""preference.gae: whose fault was it? Advantages from rewards and guesses of what is to come."""

from functools import partial

import torch

from clearhead.preference import gae
from marking.exercise import Exercise, Mistake
from marking.exercises.preference._alone import alone

# --- situations ----------------------------------------------------------------------------------


def _inputs(draw, ends, *, T=None, B=None, gamma=None, lam=None):
    """`ends(b, T)` lists the steps at which row b ends."""
    B = B or draw.size(2, 4, small=2)
    T = T or draw.size(5, 8, small=3)
    done = torch.zeros(B, T, dtype=torch.bool)
    for b in range(B):
        done[b, ends(b, T)] = True
    return {
        "rewards": draw.normal(B, T),
        "values": draw.normal(B, T + 1),
        "done": done,
        "gamma": draw.choice(0.8, 0.9) if gamma is None else gamma,
        "lam": draw.choice(0.5, 0.7) if lam is None else lam,
    }


def no_end(draw):
    """The rollout stops before the episode does: the last value stands for the rest."""
    return _inputs(draw, lambda b, T: [])


def end_at_the_last(draw):
    return _inputs(draw, lambda b, T: [T - 1])


def end_in_the_middle(draw):
    middle = draw.size(1, 2, small=1)
    return _inputs(draw, lambda b, T: [middle], B=1)


def different_ends(draw):
    """One row ends early, one with the last step, others not at all."""
    first = draw.size(1, 2, small=1)
    return _inputs(draw, lambda b, T: ([first], [T - 1], [], [])[b])


def several_episodes(draw):
    return _inputs(draw, lambda b, T: [b % 2, 3 + b % 2], T=draw.size(6, 8, small=6))


def lambda_zero(draw):
    first = draw.size(1, 2, small=1)
    return _inputs(draw, lambda b, T: [first] if b == 0 else [], lam=0.0)


def lambda_one(draw):
    first = draw.size(1, 2, small=1)
    return _inputs(draw, lambda b, T: [first] if b == 0 else [], lam=1.0)


def one_reward_at_the_end(draw):
    """A text: nothing until its last token, and no discount."""
    inputs = _inputs(draw, lambda b, T: [T - 1], gamma=1.0)
    rewards = torch.zeros_like(inputs["rewards"])
    rewards[:, -1] = torch.tensor([1.0, -1.0] * 2, dtype=rewards.dtype)[: len(rewards)]
    return inputs | {"rewards": rewards}


def one_step(draw):
    return _inputs(draw, lambda b, T: [0] if b == 0 else [], T=1)


# --- mistakes: one change each to `_estimate` ----------------------------------------------------


def _backwards(delta, factor):
    carry, out = torch.zeros_like(delta[:, 0]), []
    for t in reversed(range(delta.shape[1])):
        carry = delta[:, t] + factor[:, t] * carry
        out.insert(0, carry)
    return torch.stack(out, 1)


def _estimate(
    rewards,
    values,
    done,
    gamma,
    lam,
    *,
    ends=lambda done: (done, done),
    following=lambda values: values[:, 1:],
    surprise=lambda r, gamma, after, value: r + gamma * after - value,
    decay=lambda gamma, lam: gamma * lam,
    accumulate=_backwards,
    normalise=lambda advantages: advantages,
    come=lambda advantages, values, rewards, keep, gamma, lam: advantages + values[:, :-1],
    finish=lambda advantages, returns: (advantages, returns),
):
    """As it stands it is right."""
    keep, carried = ((~end).to(rewards.dtype) for end in ends(done))
    delta = surprise(rewards, gamma, keep * following(values), values[:, :-1])
    advantages = accumulate(delta, decay(gamma, lam) * carried)
    returns = come(advantages, values, rewards, keep, gamma, lam)
    return finish(normalise(advantages), returns)


def _ends(ends):
    return partial(_estimate, ends=ends)


def _surprise(surprise):
    return partial(_estimate, surprise=surprise)


def _accumulate(accumulate):
    return partial(_estimate, accumulate=accumulate)


def _come(come):
    return partial(_estimate, come=come)


def _finish(finish):
    return partial(_estimate, finish=finish)


def _none(done):
    return torch.zeros_like(done)


def _later(done, last):
    """Each step has the mark of the next one; after the last there is `last`, or its own mark."""
    end = done[:, -1:] if last is None else torch.full_like(done[:, :1], last)
    return torch.cat([done[:, 1:], end], dim=1)


def _earlier(done):
    return torch.cat([torch.zeros_like(done[:, :1]), done[:, :-1]], dim=1)


def _any_row(done):
    return done.any(0, keepdim=True).expand_as(done)


def _from_the_end_on(done):
    return done.cumsum(1) > 0


done_ignored = _ends(lambda done: (_none(done), _none(done)))
carry_not_cut = _ends(lambda done: (done, _none(done)))
bootstrap_not_cut = _ends(lambda done: (_none(done), done))
step_late = tuple(
    _ends(partial(lambda last, done: (_later(done, last),) * 2, last)) for last in (False, None, 1)
)
carry_step_late = tuple(
    alone(_ends(partial(lambda last, done: (done, _later(done, last)), last)))
    for last in (False, None, 1)
)
step_early = alone(_ends(lambda done: (_earlier(done), _earlier(done))))
inverted = alone(_ends(lambda done: (~done, ~done)))
row_cut = alone(_ends(lambda done: (_any_row(done), _any_row(done))))
rest_cut = alone(_ends(lambda done: (_from_the_end_on(done), _from_the_end_on(done))))


def _without_last(values):
    return torch.cat([values[:, 1:-1], torch.zeros_like(values[:, :1])], dim=1)


def _zeroed_after_the_first_end(where):
    """What stands behind a row's first end is taken for padding."""

    def estimate(rewards, values, done, gamma, lam):
        left = (done.cumsum(1) - done.long() == 0).to(rewards.dtype)
        if where == "before":
            rewards, values = rewards * left, values * torch.cat([left[:, :1] * 0 + 1, left], 1)
        advantages, returns = _estimate(rewards, values, done, gamma, lam)
        if where == "advantages":
            return advantages * left, advantages * left + values[:, :-1]
        return advantages * left, returns * left

    return estimate


zeroed_after = tuple(map(_zeroed_after_the_first_end, ("after", "advantages", "before")))

last_value_ignored = partial(_estimate, following=_without_last)
own_value_twice = alone(partial(_estimate, following=lambda values: values[:, :-1]))

no_discount_of_the_value = _surprise(lambda r, gamma, after, value: r + after - value)
value_not_subtracted = alone(_surprise(lambda r, gamma, after, value: r + gamma * after))
next_value_left_out = alone(_surprise(lambda r, gamma, after, value: r - value))
sign_turned = alone(_surprise(lambda r, gamma, after, value: value - r - gamma * after))
reward_discounted = alone(_surprise(lambda r, gamma, after, value: gamma * (r + after) - value))

lambda_alone = partial(_estimate, decay=lambda gamma, lam: lam)
gamma_alone = partial(_estimate, decay=lambda gamma, lam: gamma)
nothing_decays = alone(partial(_estimate, decay=lambda gamma, lam: 1.0))
rest_of_lambda = alone(partial(_estimate, decay=lambda gamma, lam: gamma * (1 - lam)))


def _forwards(delta, factor):
    return _backwards(delta.flip(1), factor.flip(1)).flip(1)


def _not_put_back(delta, factor):
    return _backwards(delta, factor).flip(1)


forwards = _accumulate(_forwards)
not_put_back = alone(_accumulate(_not_put_back))
not_accumulated = alone(_accumulate(lambda delta, factor: delta))
two_steps = alone(
    _accumulate(
        lambda delta, factor: (
            delta + factor * torch.cat([delta[:, 1:], torch.zeros_like(delta[:, :1])], dim=1)
        )
    )
)


def _whitened(x, dim, correction):
    over = {} if dim is None else {"dim": dim, "keepdim": True}
    if x.shape[1] == 1 and dim == 1:
        return x - x.mean(**over)
    return (x - x.mean(**over)) / (x.std(correction=correction, **over) + 1e-8)


whitened = tuple(
    alone(partial(_estimate, normalise=partial(_whitened, dim=dim, correction=correction)))
    for dim in (None, 1)
    for correction in (1, 0)
)
whitened_before = alone(
    _accumulate(lambda delta, factor: _whitened(_backwards(delta, factor), None, 1))
)
centred = alone(partial(_estimate, normalise=lambda x: x - x.mean()))


def _to_go(advantages, values, rewards, keep, gamma, lam):
    carry, out = values[:, -1], []
    for t in reversed(range(rewards.shape[1])):
        carry = rewards[:, t] + gamma * keep[:, t] * carry
        out.insert(0, carry)
    return torch.stack(out, 1)


def _to_go_without_the_rest(advantages, values, rewards, keep, gamma, lam):
    return _to_go(advantages, torch.zeros_like(values), rewards, keep, gamma, lam)


to_go = _come(_to_go)
to_go_without_the_rest = alone(_come(_to_go_without_the_rest))
td_targets = alone(
    _come(lambda a, values, rewards, keep, gamma, lam: rewards + gamma * keep * values[:, 1:])
)
next_values = _come(lambda a, values, rewards, keep, gamma, lam: a + values[:, 1:])
no_values = _come(lambda a, values, rewards, keep, gamma, lam: a)
rewards_added = alone(_come(lambda a, values, rewards, keep, gamma, lam: a + rewards))
values_subtracted = alone(_come(lambda a, values, rewards, keep, gamma, lam: a - values[:, :-1]))
all_values = alone(_finish(lambda a, returns: (a, torch.cat([returns, returns[:, -1:]], dim=1))))

order_swapped = alone(_finish(lambda a, returns: (returns, a)))
advantages_alone = alone(_finish(lambda a, returns: a))
transposed = alone(_finish(lambda a, returns: (a.T, returns.T)))


# --- other right answers -------------------------------------------------------------------------


def row_by_row(rewards, values, done, gamma, lam):
    advantages = torch.zeros_like(rewards)
    for b in range(len(rewards)):
        carry = 0.0
        for t in range(rewards.shape[1] - 1, -1, -1):
            if done[b, t]:
                carry = rewards[b, t] - values[b, t]
            else:
                delta = rewards[b, t] + gamma * values[b, t + 1] - values[b, t]
                carry = delta + gamma * lam * carry
            advantages[b, t] = carry
    return advantages, advantages + values[:, :-1]


def every_sum_written_out(rewards, values, done, gamma, lam):
    """Equation 16 of the paper: a sum over all later steps, up to the first end."""
    T = rewards.shape[1]
    on = (~done).to(rewards.dtype)
    delta = rewards + gamma * on * values[:, 1:] - values[:, :-1]
    advantages = []
    for t in range(T):
        total, weight = delta[:, t], on[:, t]
        for s in range(t + 1, T):
            total = total + weight * (gamma * lam) ** (s - t) * delta[:, s]
            weight = weight * on[:, s]
        advantages.append(total)
    advantages = torch.stack(advantages, dim=1)
    return advantages, values[:, :T] + advantages


def by_lambda_returns(rewards, values, done, gamma, lam):
    """The return first: a mixture of the next guess and the next return."""
    T = rewards.shape[1]
    returns, after = [], values[:, T]
    for t in range(T - 1, -1, -1):
        mixed = (1 - lam) * values[:, t + 1] + lam * after
        after = rewards[:, t] + gamma * torch.where(done[:, t], 0.0, mixed)
        returns.append(after)
    returns = torch.stack(returns[::-1], dim=1)
    return returns - values[:, :T], returns


FAULT = "preference/03_policy_gradients#whose-fault-was-it"
BASELINE = "preference/03_policy_gradients#what-does-a-baseline-change"

GAE = Exercise(
    id="preference.gae",
    title="Advantages from values",
    returns="two tensors (B, T): advantages, returns",
    outputs=("advantages", "returns"),
    points=4,
    difficulty=2,
    minutes=25,
    reference=gae,
    cases={
        "no end in sight": no_end,
        "the last step is the end": end_at_the_last,
        "an end in the middle": end_in_the_middle,
        "rows end at different steps": different_ends,
        "several episodes in a row": several_episodes,
        "a lambda of 0": lambda_zero,
        "a lambda of 1": lambda_one,
        "one reward, at the end": one_reward_at_the_end,
        "one step": one_step,
    },
    mistakes=(
        Mistake(
            "done-ignored",
            done_ignored,
            "done is not looked at; what comes after an end belongs to another episode, its value "
            "and its advantage alike.",
            FAULT,
        ),
        Mistake(
            "carry-not-cut",
            carry_not_cut,
            "the value after an end is left out and the advantage after it is carried over all the "
            "same; the factor 1 − done belongs in both places.",
            FAULT,
        ),
        Mistake(
            "bootstrap-not-cut",
            bootstrap_not_cut,
            "the advantage after an end is left out and the value after it is counted all the "
            "same; the factor 1 − done belongs in both places.",
            FAULT,
        ),
        Mistake(
            "done-a-step-late",
            step_late[0],
            "step t is cut by the mark of step t + 1; here done[t] says that the episode ends with "
            "step t. Some code marks the first step of the next episode instead.",
            FAULT,
            also=(*step_late[1:], *carry_step_late),
        ),
        Mistake(
            "done-a-step-early",
            step_early,
            "step t is cut by the mark of step t − 1; done[t] cuts what comes after step t itself.",
            FAULT,
        ),
        Mistake(
            "done-inverted",
            inverted,
            "what goes on is cut and what has ended goes on; multiply by 1 − done.",
            FAULT,
        ),
        Mistake(
            "whole-row-cut",
            row_cut,
            "where one row ends all of them are cut; each row has its own marks.",
            FAULT,
        ),
        Mistake(
            "nothing-after-the-first-end",
            rest_cut,
            "after its first end a row is cut at every step, or set to 0; another episode begins "
            "there, with values and advantages of its own.",
            FAULT,
            also=zeroed_after,
        ),
        Mistake(
            "last-value-ignored",
            last_value_ignored,
            "after the last step the value is taken for 0; unless the episode ends there, "
            "values[:, T] is the guess of what is still to come.",
            FAULT,
        ),
        Mistake(
            "gamma-missing-in-the-carry",
            lambda_alone,
            "the advantage of the next step is multiplied by lam alone; the factor is gamma · lam.",
            FAULT,
            also=(nothing_decays,),
        ),
        Mistake(
            "lambda-missing",
            gamma_alone,
            "the advantage of the next step is multiplied by gamma alone (or by 1 − lam); the "
            "factor is gamma · lam.",
            FAULT,
            also=(rest_of_lambda,),
        ),
        Mistake(
            "value-not-discounted",
            no_discount_of_the_value,
            "the next value enters the surprise without gamma.",
            FAULT,
        ),
        Mistake(
            "reward-discounted",
            reward_discounted,
            "the reward of step t is discounted at step t; gamma belongs to what comes after it.",
            FAULT,
        ),
        Mistake(
            "value-not-subtracted",
            value_not_subtracted,
            "the value of step t is not subtracted; an advantage is what came, less what was "
            "guessed.",
            BASELINE,
        ),
        Mistake(
            "next-value-left-out",
            next_value_left_out,
            "the next value is not in the surprise; what is guessed from step t + 1 on is part of "
            "how step t went.",
            FAULT,
        ),
        Mistake(
            "own-value-twice",
            own_value_twice,
            "values[:, t] stands where values[:, t + 1] belongs: the guess after the step.",
            FAULT,
        ),
        Mistake(
            "sign-turned",
            sign_turned,
            "the surprise has the wrong sign; it is positive where it went better than guessed.",
            BASELINE,
        ),
        Mistake(
            "forwards",
            forwards,
            "the steps are added up from the first to the last; a step is to blame for what comes "
            "after it, so begin at the last.",
            FAULT,
        ),
        Mistake(
            "not-put-back",
            not_put_back,
            "the advantages come back from the last step to the first; put them in order again.",
            FAULT,
        ),
        Mistake(
            "not-accumulated",
            not_accumulated,
            "each advantage holds its own surprise alone (or that and the next); all later "
            "surprises count, each step further by gamma · lam less.",
            FAULT,
            also=(two_steps,),
        ),
        Mistake(
            "advantages-normalised",
            whitened[0],
            "the advantages are shifted or scaled to a mean of 0; that is a step of its own, which "
            "the caller takes over the tokens that count.",
            FAULT,
            also=(*whitened[1:], whitened_before, centred),
        ),
        Mistake(
            "returns-are-rewards-to-go",
            to_go,
            "the returns are the rewards still to come (or the next guess); they are the "
            "advantages plus the values, which weighs both by lam.",
            FAULT,
            also=(to_go_without_the_rest, td_targets),
        ),
        Mistake(
            "values-of-the-next-step",
            next_values,
            "the returns add the value of step t + 1; the advantage of step t was measured from "
            "values[:, t].",
            FAULT,
        ),
        Mistake(
            "returns-without-values",
            no_values,
            "the values are not in the returns (or the rewards are, or with the wrong sign); "
            "returns = advantages + values[:, :T].",
            FAULT,
            also=(rewards_added, values_subtracted),
        ),
        Mistake(
            "order-swapped",
            order_swapped,
            "the two have changed places; return (advantages, returns).",
            FAULT,
        ),
        Mistake(
            "one-alone",
            advantages_alone,
            "one tensor comes back; return two, advantages and returns.",
            FAULT,
        ),
        Mistake(
            "wrong-shape",
            transposed,
            "rows and steps have changed places, or there is a step too many; both are (B, T).",
            FAULT,
            also=(all_values,),
        ),
    ),
    alternatives=(row_by_row, every_sum_written_out, by_lambda_returns),
    hints=(
        "Begin with one surprise: the value said how much was still to come. Now there is a "
        "reward, and a new guess. By how much was the old guess wrong?",
        "Which of the advantages can be written down without any other? From there, what does each "
        "step need of its neighbour?",
        "An end cuts two things, and it is easy to cut one. Try a row of three steps that ends at "
        "the first: rewards, values and advantages of the other two must not change that step's "
        "advantage at all.",
    ),
    read=FAULT,
)
