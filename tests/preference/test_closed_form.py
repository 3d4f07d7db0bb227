"""The best policy near a reference: by formula, by climbing, and read backwards by DPO."""

import math

import pytest
import torch

from clearhead.preference import (
    dpo_loss,
    log_partition,
    maximise,
    objective,
    optimal_policy,
    preference_probability,
    recovered_reward,
)

Q, N = 3, 5


def inputs(*shape):
    shape = shape or (Q, N)
    log_reference = torch.randn(shape, dtype=torch.float64).log_softmax(-1)
    return log_reference, 2 * torch.randn(shape, dtype=torch.float64)


def test_two_answers_by_hand():
    """Even odds and a reward of β ln 3 more: odds of three to one."""
    log_reference = torch.tensor([0.5, 0.5], dtype=torch.float64).log()
    rewards = torch.tensor([0.2 * math.log(3), 0.0], dtype=torch.float64)
    best = optimal_policy(log_reference, rewards, beta=0.2).exp()
    torch.testing.assert_close(best, torch.tensor([0.75, 0.25], dtype=torch.float64))
    assert log_partition(log_reference, rewards, beta=0.2).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("beta", [0.3, 1.0, 10.0])
def test_climbing_the_objective_finds_the_formula(beta):
    log_reference, rewards = inputs()
    found = maximise(log_reference, rewards, beta=beta)
    best = optimal_policy(log_reference, rewards, beta=beta)
    torch.testing.assert_close(found.exp(), best.exp(), atol=1e-6, rtol=0)


def test_the_objective_is_the_distance_from_the_best_policy():
    """Equation (3), for policies that are far from it."""
    log_reference, rewards = inputs()
    log_policy = inputs()[0]
    best = optimal_policy(log_reference, rewards, beta=0.4)
    divergence = (log_policy.exp() * (log_policy - best)).sum(-1)
    want = 0.4 * (log_partition(log_reference, rewards, beta=0.4) - divergence)
    torch.testing.assert_close(objective(log_policy, log_reference, rewards, beta=0.4), want)


def test_the_reward_comes_back_up_to_one_number_a_prompt():
    log_reference, rewards = inputs()
    best = optimal_policy(log_reference, rewards, beta=0.4)
    gap = rewards - recovered_reward(best, log_reference, beta=0.4)
    want = 0.4 * log_partition(log_reference, rewards, beta=0.4)
    torch.testing.assert_close(gap, want[:, None].expand(Q, N))


def test_a_large_beta_stays_at_the_reference_and_a_small_one_takes_the_best_answer():
    log_reference, rewards = inputs()
    near = optimal_policy(log_reference, rewards, beta=1e6)
    torch.testing.assert_close(near, log_reference, atol=1e-4, rtol=0)
    far = optimal_policy(log_reference, rewards, beta=1e-3).exp()
    assert far.argmax(-1).equal(rewards.argmax(-1)) and (far.max(-1).values > 0.999).all()


def test_an_answer_that_the_reference_never_gives_is_never_given():
    log_reference = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64).log()
    rewards = torch.tensor([0.0, 1.0, 99.0], dtype=torch.float64)
    best = optimal_policy(log_reference, rewards, beta=0.5)
    assert best[2] == -torch.inf
    value = objective(best, log_reference, rewards, beta=0.5)
    assert value.item() == pytest.approx(0.5 * log_partition(log_reference, rewards, beta=0.5))
    uniform = torch.full((3,), -math.log(3), dtype=torch.float64)
    assert objective(uniform, log_reference, rewards, beta=0.5) == -torch.inf


def test_dpo_on_true_preferences_finds_the_best_policy_without_the_reward():
    """Every pair of answers, in both orders, as often as Bradley and Terry's people choose so."""
    log_reference, rewards = inputs(N)
    w, v = torch.cartesian_prod(torch.arange(N), torch.arange(N)).T
    w, v = w[w != v], v[w != v]
    often = preference_probability(rewards[w], rewards[v])
    logits = log_reference.clone().requires_grad_(True)
    climber = torch.optim.LBFGS([logits], max_iter=300, line_search_fn="strong_wolfe")

    def loss():
        climber.zero_grad()
        lp = logits.log_softmax(-1)
        pairs = zip(lp[w], lp[v], log_reference[w], log_reference[v], strict=True)
        each = [dpo_loss(*(x[None] for x in pair), beta=0.5) for pair in pairs]
        value = (often * torch.stack(each)).sum()
        value.backward()
        return value

    climber.step(loss)
    best = optimal_policy(log_reference, rewards, beta=0.5)
    found = logits.detach().log_softmax(-1)
    torch.testing.assert_close(found.exp(), best.exp(), atol=1e-4, rtol=0)


def test_climbing_leaves_the_callers_gradients_alone():
    log_reference, rewards = (x.requires_grad_(True) for x in inputs())
    want = maximise(log_reference.detach(), rewards.detach(), beta=1.0, steps=5)
    assert maximise(log_reference, rewards, beta=1.0, steps=5).equal(want)
    assert maximise(log_reference * 1, rewards * 1, beta=1.0, steps=5).equal(want)
    assert log_reference.grad is None and rewards.grad is None
