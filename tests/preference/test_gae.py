"""Advantages of steps: a table worked by hand, the two ends of lambda, and where episodes end."""

import pytest
import torch

from clearhead.preference import gae


def case(T=6, B=3):
    rewards, values = torch.randn(B, T).double(), torch.randn(B, T + 1).double()
    done = torch.zeros(B, T, dtype=torch.bool)
    done[0, 2] = done[1, T - 1] = done[2, 0] = done[2, 4] = True
    return rewards, values, done


def test_a_table_worked_by_hand():
    """gamma = lambda = 1/2; the episode goes on after the last step, whose next value is 8."""
    rewards = torch.tensor([[1.0, 0.0, 2.0]])
    values = torch.tensor([[2.0, 4.0, 0.0, 8.0]])
    done = torch.zeros(1, 3, dtype=torch.bool)
    advantages, returns = gae(rewards, values, done, gamma=0.5, lam=0.5)
    # delta = 1 + 2 - 2, 0 + 0 - 4, 2 + 4 - 0; A = 1 + (-4 + 6/4)/4, -4 + 6/4, 6
    assert advantages.tolist() == [[0.375, -2.5, 6.0]]
    assert returns.tolist() == [[2.375, 1.5, 6.0]]


def test_where_the_episode_ends_neither_value_nor_advantage_comes_back():
    rewards, values, done = torch.zeros(1, 4), torch.ones(1, 5), torch.zeros(1, 4, dtype=torch.bool)
    done[0, 1] = True
    values[0, 2:] = 100.0
    advantages, _ = gae(rewards, values, done, gamma=1.0, lam=1.0)
    assert advantages[0, :2].tolist() == [-1.0, -1.0]
    assert advantages[0, 2:].tolist() == [0.0, 0.0]


def test_lambda_one_is_the_reward_that_came_less_the_guess():
    rewards, values, done = case()
    advantages, returns = gae(rewards, values, done, gamma=0.9, lam=1.0)
    for b in range(len(rewards)):
        for t in range(rewards.shape[1]):
            total, weight, s = 0.0, 1.0, t
            while True:
                total += weight * rewards[b, s]
                weight *= 0.9
                if done[b, s]:
                    break
                s += 1
                if s == rewards.shape[1]:
                    total += weight * values[b, s]
                    break
            assert returns[b, t].item() == pytest.approx(total.item(), abs=1e-12)
    torch.testing.assert_close(advantages, returns - values[:, :-1])


def test_lambda_zero_is_one_surprise():
    rewards, values, done = case()
    advantages, _ = gae(rewards, values, done, gamma=0.9, lam=0.0)
    next_value = torch.where(done, 0.0, values[:, 1:])
    torch.testing.assert_close(advantages, rewards + 0.9 * next_value - values[:, :-1])


def test_no_gradient_passes():
    rewards, values, done = case()
    advantages, returns = gae(rewards, values.requires_grad_(True), done, gamma=0.9, lam=0.9)
    assert not advantages.requires_grad and not returns.requires_grad


def test_half_precision_is_computed_in_fp32():
    rewards, values, done = case()
    got, _ = gae(rewards.bfloat16(), values.bfloat16(), done)
    want, _ = gae(rewards.bfloat16().float(), values.bfloat16().float(), done)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, want)
