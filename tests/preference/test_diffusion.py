"""Noise goes in by one draw and comes out step by step, and a small model learns to do it."""

import math

import pytest
import torch
from preference_models import trained_denoiser

from clearhead.preference import (
    PointDenoiser,
    add_noise,
    denoise_step,
    diffusion_loss,
    noise_schedule,
    predicted_start,
    ring,
    sample,
    step_distribution,
    train_denoiser,
    velocity,
)

B, K = 5, 30
F64 = torch.float64


def inputs(*shape):
    x0, noise = torch.randn(2, B, *shape, dtype=F64)
    return x0, noise, torch.tensor([0, 3, 29, 7, 15]), noise_schedule(K)


# --- schedules -----------------------------------------------------------------------------------


def test_the_linear_schedule_of_1000_steps_is_ddpms():
    alpha_bar = noise_schedule(1000)
    assert alpha_bar.dtype == F64
    assert alpha_bar[0].item() == pytest.approx(1 - 1e-4, abs=1e-15)
    assert (1 - alpha_bar[-1] / alpha_bar[-2]).item() == pytest.approx(0.02)
    assert alpha_bar[-1].item() == pytest.approx(4.04e-5, rel=1e-2)  # Ho et al., section 4


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize("steps", [30, 100, 1000])
def test_signal_falls_from_nearly_all_to_nearly_none(kind, steps):
    alpha_bar = noise_schedule(steps, kind)
    assert alpha_bar.shape == (steps,) and (alpha_bar[1:] < alpha_bar[:-1]).all()
    assert alpha_bar[0] > 0.99 and 0 < alpha_bar[-1] < 1e-4


# --- one step, by formula ------------------------------------------------------------------------


def test_a_quarter_of_the_variance_left_by_hand():
    x0, noise = torch.tensor([[2.0]]), torch.tensor([[-1.0]])
    alpha_bar, t = torch.tensor([0.9, 0.25]), torch.tensor([1])
    x = add_noise(x0, noise, t, alpha_bar)
    assert x.item() == pytest.approx(0.5 * 2 - math.sqrt(0.75))
    v = velocity(x0, noise, t, alpha_bar)
    assert v.item() == pytest.approx(-0.5 - 2 * math.sqrt(0.75))


@pytest.mark.parametrize("shape", [(), (2,), (3, 4, 4)])
def test_each_sample_is_at_its_own_step(shape):
    x0, noise, t, alpha_bar = inputs(*shape)
    together = add_noise(x0, noise, t, alpha_bar)
    for i in range(B):
        alone = add_noise(x0[i : i + 1], noise[i : i + 1], t[i : i + 1], alpha_bar)
        torch.testing.assert_close(together[i], alone[0])


def test_noise_sample_and_velocity_are_three_names_of_one_thing():
    x0, noise, t, alpha_bar = inputs(2)
    x, v = add_noise(x0, noise, t, alpha_bar), velocity(x0, noise, t, alpha_bar)
    torch.testing.assert_close(predicted_start(x, noise, t, alpha_bar), x0)
    a = alpha_bar[t][:, None]
    torch.testing.assert_close(a.sqrt() * x - (1 - a).sqrt() * v, x0)
    torch.testing.assert_close((1 - a).sqrt() * x + a.sqrt() * v, noise)


def test_the_step_back_is_bayes_rule_on_two_gaussians():
    """x_{t−1} given x₀, times x_t given x_{t−1}: precisions add, means are weighed by them."""
    x0, noise, t, alpha_bar = inputs(2)
    x = add_noise(x0, noise, t, alpha_bar)
    mean, std = step_distribution(x, noise, t, alpha_bar)
    for i in range(1, B):
        a, before = alpha_bar[t[i]], alpha_bar[t[i] - 1]
        alpha = a / before
        prior, likelihood = 1 / (1 - before), alpha / (1 - alpha)
        precision = prior + likelihood
        want = prior * before.sqrt() * x0[i] + likelihood * x[i] / alpha.sqrt()
        torch.testing.assert_close(mean[i], want / precision)
        torch.testing.assert_close(std[i], precision**-0.5)


def test_the_last_step_draws_nothing_and_gives_the_predicted_sample():
    x0, noise, _, alpha_bar = inputs(2)
    t = torch.zeros(B, dtype=torch.int64)
    x = add_noise(x0, noise, t, alpha_bar)
    assert (step_distribution(x, noise, t, alpha_bar)[1] == 0).all()
    torch.testing.assert_close(denoise_step(x, noise, t, alpha_bar, 1e3 * noise), x0)


def test_the_dtype_is_that_of_the_samples_and_ratios_are_exact_in_it():
    """β₀ is 1 − 0.9999: taken in fp32 it would be wrong in the fourth digit."""
    x0, noise, t, alpha_bar = inputs(2)
    x = add_noise(x0, noise, t, alpha_bar)
    t = torch.ones_like(t)
    mean, std = step_distribution(x, noise, t, noise_schedule(1000))
    short = step_distribution(x.float(), noise.float(), t, noise_schedule(1000))
    assert short[0].dtype == short[1].dtype == torch.float32
    torch.testing.assert_close(short[1].double(), std, rtol=1e-6, atol=0)
    torch.testing.assert_close(short[0].double(), mean, rtol=1e-5, atol=1e-6)


def test_a_perfect_predictor_leads_the_chain_to_its_sample():
    """All data in one place: the noise is known at every step, and the chain ends there."""
    place, alpha_bar = torch.tensor([1.5, -0.5], dtype=F64), noise_schedule(K)

    class Perfect(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.unused = torch.nn.Parameter(torch.zeros(1, dtype=F64))

        def forward(self, x, t):
            a = alpha_bar[t][:, None]
            return (x - a.sqrt() * place) / (1 - a).sqrt()

    states = sample(Perfect(), alpha_bar, 400, keep=True)
    assert states.shape == (K + 1, 400, 2)
    torch.testing.assert_close(states[-1], place.expand(400, 2))
    for step in (5, 20):  # after step t the state has the share of t − 1 left
        a = alpha_bar[step - 1]
        state = states[K - step]
        assert (state.mean(0) - a.sqrt() * place).abs().max() < 0.15
        assert state.var(0).mean().item() == pytest.approx((1 - a).item(), rel=0.15)


# --- a model -------------------------------------------------------------------------------------


class Silent(torch.nn.Module):
    def forward(self, x, t):
        return torch.zeros_like(x)


def test_the_loss_is_a_sum_over_a_sample_and_a_mean_over_samples():
    x0, noise, t, alpha_bar = inputs(3, 2)
    loss = diffusion_loss(Silent(), x0, noise, t, alpha_bar)
    torch.testing.assert_close(loss, noise.square().sum() / B)


def test_the_ring_has_variance_1_and_eight_places():
    points = ring(8000, spread=0.05)
    assert points.mean(0).abs().max() < 0.05 and (points.var(0) - 1).abs().max() < 0.05
    angle = torch.atan2(points[:, 1], points[:, 0]) / (2 * math.pi) * 8
    assert (angle - angle.round()).abs().max() < 0.4
    shares = torch.bincount(angle.round().long() % 8, minlength=8) / 8000
    assert (shares - 1 / 8).abs().max() < 0.02


def test_seeds_fix_the_model_its_training_and_its_samples():
    alpha_bar, runs = noise_schedule(K), []
    for _ in range(2):
        torch.rand(1)  # what else is drawn makes no difference
        model = PointDenoiser(width=8, seed=3)
        losses = train_denoiser(model, ring(50), alpha_bar, steps=3, batch=16, seed=1)
        runs.append((losses, sample(model, alpha_bar, 4, seed=2)))
    assert runs[0][0] == runs[1][0] and runs[0][1].equal(runs[1][1])
    assert sample(model, alpha_bar, 4, seed=2, keep=True)[-1].equal(runs[0][1])
    assert not sample(model, alpha_bar, 4, seed=3).equal(runs[0][1])


def test_a_model_learns_where_the_points_are():
    """Two blobs, a second of training: all samples near one of them, half at each."""
    model, alpha_bar, losses = trained_denoiser()
    assert sum(losses[-50:]) < 6 * sum(losses[:5])
    points = sample(model, alpha_bar, 500)
    near = (points.abs() - torch.tensor([math.sqrt(2), 0])).norm(dim=1) < 0.6
    assert near.float().mean() > 0.9
    assert 0.35 < (points[:, 0] > 0).float().mean() < 0.65


def test_a_seed_of_a_model_is_no_seed_of_the_devices(monkeypatch):
    seeded = []
    for name in ("manual_seed", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, seeded.append)
    before = torch.get_rng_state()
    PointDenoiser(width=8, seed=3)
    assert seeded == [] and torch.get_rng_state().equal(before)


def test_a_schedule_of_noise_alone_at_the_end_can_be_added_and_not_undone():
    x, t = torch.ones(1, 2), torch.tensor([1])
    alpha_bar = torch.tensor([0.5, 0.0])
    assert add_noise(x, 3 * x, t, alpha_bar).equal(3 * x)
    assert velocity(x, 3 * x, t, alpha_bar).equal(-x)
    for function in (predicted_start, step_distribution):
        with pytest.raises(ValueError, match="alpha_bar reaches 0"):
            function(x, x, t, alpha_bar)
