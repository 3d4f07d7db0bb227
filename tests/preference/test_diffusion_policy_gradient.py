"""The chain's log-density is that of its Gaussians, and reward moves the samples."""

import copy

import pytest
import torch
from preference_models import trained_denoiser

from clearhead.preference import (
    PointDenoiser,
    chain_log_probs,
    noise_schedule,
    reward_samples,
    sample,
    step_distribution,
    step_log_prob,
)

F64 = torch.float64
K = 25


@pytest.mark.parametrize("shape", [(2,), (3, 2)])
def test_the_log_density_of_a_step_is_torchs(shape):
    x, predicted, x_next = torch.randn(3, 6, *shape, dtype=F64)
    t, alpha_bar = torch.tensor([1, 2, 5, 9, 20, 24]), noise_schedule(K)
    mean, std = step_distribution(x, predicted, t, alpha_bar)
    normal = torch.distributions.Normal(mean, std.reshape(-1, *[1] * len(shape)))
    want = normal.log_prob(x_next).flatten(1).sum(1)
    torch.testing.assert_close(step_log_prob(x_next, x, predicted, t, alpha_bar), want)


def test_a_chain_is_scored_move_by_move_in_the_order_it_was_drawn():
    model, alpha_bar = PointDenoiser(width=8).double(), noise_schedule(K)
    states = sample(model, alpha_bar, 3, keep=True)
    scores = chain_log_probs(model, states, alpha_bar)
    assert scores.shape == (3, K - 1)
    for move, step in ((0, K - 1), (7, K - 8), (K - 2, 1)):
        t, x = torch.full((3,), step), states[move]
        want = step_log_prob(states[move + 1], x, model(x, t), t, alpha_bar)
        torch.testing.assert_close(scores[:, move], want)


def test_its_expected_slope_is_zero():
    """What makes a baseline free: the score function has mean 0 under the model that drew."""
    model, alpha_bar = PointDenoiser(width=8).double(), noise_schedule(K)
    states = sample(model, alpha_bar, 4000, keep=True)
    shift = torch.zeros(4000, 2, dtype=F64, requires_grad=True)  # of each chain's predictions

    class Shifted(torch.nn.Module):
        def forward(self, x, t):
            return model(x, t) + shift.repeat(len(x) // len(shift), 1)

    scores = chain_log_probs(Shifted(), states, alpha_bar)
    [slopes] = torch.autograd.grad(scores.sum(), shift)
    assert (slopes.mean(0) / slopes.std(0) * 4000**0.5).abs().max() < 3.5  # standard errors


@pytest.mark.parametrize("updates", [1, 3])
def test_reward_rises(updates):
    model, alpha_bar, _ = trained_denoiser()
    seen = []

    def to_the_right(x):
        return (x[:, 0] > 0).float()

    options = {"rounds": 12, "samples": 150, "lr": 2e-3, "updates": updates}
    history = reward_samples(model, alpha_bar, to_the_right, **options, watch=seen.append)
    assert seen == list(range(13)) and [s.samples for s in history][:2] == [150, 300]
    early, late = (sum(s.reward for s in part) / 3 for part in (history[:3], history[-3:]))
    assert late > early + 0.12


def test_equal_rewards_move_nothing():
    model, alpha_bar, _ = trained_denoiser()
    state = copy.deepcopy(model.state_dict())
    options = {"rounds": 2, "samples": 8, "lr": 0.1}
    history = reward_samples(model, alpha_bar, lambda x: torch.ones(len(x)), **options)
    assert all(x.equal(state[name]) for name, x in model.state_dict().items())
    assert history[-1] == (1.0, 0.0, 0.0, 16)


def test_only_the_advantage_counts():
    """Twice the reward and ten more is the same reward."""
    ends = []
    for scale, shift in ((1, 0), (2, 10)):
        model, alpha_bar, _ = trained_denoiser()
        reward = lambda x, a=scale, b=shift: a * x[:, 0].double() + b  # noqa: E731
        reward_samples(model, alpha_bar, reward, rounds=2, samples=16, lr=1e-4)
        ends.append(model.state_dict())
    for name in ends[0]:
        torch.testing.assert_close(ends[0][name], ends[1][name], atol=2e-5, rtol=0)
