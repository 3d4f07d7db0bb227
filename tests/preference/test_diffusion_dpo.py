"""Diffusion-DPO's loss by hand, the code's beta, and samples that move to what was chosen."""

import math

import pytest
import torch
from preference_models import trained_denoiser

from clearhead.preference import (
    code_beta,
    diffusion_dpo_loss,
    pairs_by_reward,
    prefer_samples,
    ring,
    sample,
)

F64 = torch.float64
N, SHAPE = 4, (3, 2, 2)


def inputs(scale=1.0):
    return [scale * torch.randn(N, *SHAPE, dtype=F64) for _ in range(6)]


def sums(a, b):
    return (a - b).square().flatten(1).sum(1)


def test_two_numbers_a_sample_by_hand():
    """The model's error at the chosen one fell from 4 to 1, at the other it rose from 1 to 2."""
    zeros, one = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])
    predictions = [one, torch.tensor([[1.0, 1.0]]), 2 * one, one]
    loss = diffusion_dpo_loss(*predictions, zeros, zeros, beta=0.05, steps=10, weight=0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-0.25 * (3 + 1))))


def test_at_the_start_it_is_ln_2_and_the_mean_is_outside_the_logarithm():
    w, v, _, _, e, d = inputs()
    assert diffusion_dpo_loss(w, v, w, v, e, d, beta=3.0, steps=9).item() == pytest.approx(
        math.log(2)
    )
    given = inputs()
    alone = [
        diffusion_dpo_loss(*(x[i : i + 1] for x in given), beta=0.01, steps=7) for i in range(N)
    ]
    torch.testing.assert_close(diffusion_dpo_loss(*given, beta=0.01, steps=7), sum(alone) / N)


@pytest.mark.parametrize("shared", [True, False])
def test_the_beta_of_the_code_is_2d_times_beta_t_omega(shared):
    """The official lines, on means over a picture, give exactly the paper's on sums."""
    w, v, rw, rv, e, d = inputs()
    d = e if shared else d
    beta, T, weight, elements = 0.003, 11, 0.7, math.prod(SHAPE)
    beta_dpo = code_beta(beta, T, weight, elements)
    assert beta_dpo == pytest.approx(2 * elements * beta * T * weight)
    model_w, model_l, ref_w, ref_l = (
        sums(p, target) / elements for p, target in ((w, e), (v, d), (rw, e), (rv, d))
    )
    inside = -0.5 * beta_dpo * ((model_w - model_l) - (ref_w - ref_l))
    official = -torch.nn.functional.logsigmoid(inside).mean()
    ours = diffusion_dpo_loss(w, v, rw, rv, e, d, beta=beta, steps=T, weight=weight)
    torch.testing.assert_close(ours, official)


def test_gradients_are_those_of_small_differences_and_the_reference_has_none():
    given = [x.requires_grad_(True) for x in inputs(0.3)]
    options = {"beta": 0.05, "steps": 4}
    assert torch.autograd.gradcheck(
        lambda w, v: diffusion_dpo_loss(w, v, *given[2:], **options), given[:2]
    )
    loss = diffusion_dpo_loss(*given, **options)
    assert torch.autograd.grad(loss, given[2:4], allow_unused=True) == (None, None)


@pytest.mark.parametrize("turned", [False, True])
def test_a_margin_of_thousands_overflows_nowhere(turned):
    given = [x.float().requires_grad_(True) for x in inputs(10.0)]
    given = given[:2][:: -1 if turned else 1] + given[2:]
    loss = diffusion_dpo_loss(*given, beta=5.0, steps=1000)
    gradients = torch.autograd.grad(loss, given[:2])
    assert loss.isfinite() and all(g.isfinite().all() for g in gradients)


def test_bf16_predictions_give_a_loss_in_fp32():
    given = [x.bfloat16() for x in inputs()]
    loss = diffusion_dpo_loss(*given, beta=0.01, steps=5)
    want = diffusion_dpo_loss(*(x.double() for x in given), beta=0.01, steps=5)
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(want.item(), rel=1e-5)


# --- the loop ------------------------------------------------------------------------------------


def test_of_two_samples_the_one_with_more_reward_is_chosen():
    samples = torch.arange(9.0)[:, None]
    chosen, rejected = pairs_by_reward(samples, -samples[:, 0])
    assert chosen.shape == rejected.shape == (4, 1) and (chosen < rejected).all()
    assert len({*chosen.flatten().tolist(), *rejected.flatten().tolist()}) == 8
    ties, _ = pairs_by_reward(samples, (samples[:, 0] >= 8).float())
    assert ties.tolist() == [[8.0]] or len(ties) == 0


@pytest.mark.parametrize("shared", [True, False])
def test_samples_move_to_the_chosen_side_and_away_from_the_other(shared):
    model, alpha_bar, _ = trained_denoiser()
    points = sample(model, alpha_bar, 600, seed=5)
    chosen, rejected = pairs_by_reward(points, points[:, 0])
    before = (points[:, 0] > 0).float().mean()
    options = {"beta": 0.3, "steps": 60, "lr": 1e-3, "batch": 128, "shared_noise": shared}
    history = prefer_samples(model, chosen, rejected, alpha_bar, **options)
    assert history[0].loss == pytest.approx(math.log(2), abs=1e-4) and len(history) == 60
    late = history[-10:]
    assert sum(s.chosen_gain - s.rejected_gain for s in late) / 10 > 0.05
    after = (sample(model, alpha_bar, 600, seed=6)[:, 0] > 0).float().mean()
    assert before < 0.65 and after > before + 0.15


def test_the_first_step_is_the_loss_with_the_model_as_its_own_reference():
    """So the gains are 0, and a step later they are not."""
    model, alpha_bar, _ = trained_denoiser()
    points = ring(64, blobs=2)
    history = prefer_samples(model, points[:32], points[32:], alpha_bar, beta=0.2, steps=2, lr=1e-3)
    assert history[0][1:] == (0, 0) and history[1][1:] != (0, 0)
