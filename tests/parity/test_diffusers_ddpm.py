"""diffusers' DDPM scheduler and the code of Diffusion-DPO compute what ours does."""

import pytest
import torch
import torch.nn.functional as F

from clearhead.preference import (
    add_noise,
    code_beta,
    denoise_step,
    diffusion_dpo_loss,
    noise_schedule,
    predicted_start,
    velocity,
)

diffusers = pytest.importorskip("diffusers", reason="pip install 'clearhead[parity]'")

KINDS = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
STEPS = [0, 1, 2, 100, 500, 998, 999]
LIMIT = 1e-6


def scheduler(kind):
    """`clip_sample` cuts the predicted sample to ±1 unless it is switched off."""
    return diffusers.DDPMScheduler(1000, beta_schedule=KINDS[kind], clip_sample=False)


def inputs():
    return torch.randn(3, len(STEPS), 2, 4, dtype=torch.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_the_schedule(kind):
    """Theirs is a product in fp32."""
    theirs = scheduler(kind).alphas_cumprod
    torch.testing.assert_close(noise_schedule(1000, kind).float(), theirs, atol=LIMIT, rtol=2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_and_velocity(kind):
    x0, noise, _ = inputs()
    peer, t = scheduler(kind), torch.tensor(STEPS)
    alpha_bar = peer.alphas_cumprod.double()
    for name, ours in (("add_noise", add_noise), ("get_velocity", velocity)):
        theirs = getattr(peer, name)(x0, noise, t)
        torch.testing.assert_close(ours(x0, noise, t, alpha_bar), theirs, atol=LIMIT, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_back_with_the_same_chance(kind):
    """Theirs, too, has the small variance of equation (3) by default, and takes no chance at 0."""
    x, predicted, noise = inputs()
    peer = scheduler(kind)
    peer.alphas_cumprod = peer.alphas_cumprod.double()
    peer.alphas, peer.betas = peer.alphas.double(), peer.betas.double()
    peer.one = peer.one.double()
    for i, step in enumerate(STEPS):
        part = slice(i, i + 1)
        with pytest.MonkeyPatch.context() as patch:
            module = diffusers.schedulers.scheduling_ddpm
            patch.setattr(module, "randn_tensor", lambda *a, part=part, **k: noise[part])
            theirs = peer.step(predicted[part], step, x[part])
        given = x[part], predicted[part], torch.tensor([step]), peer.alphas_cumprod
        start = predicted_start(*given)
        scale = start.abs().max().clamp(min=1)
        assert ((start - theirs.pred_original_sample) / scale).abs().max() < LIMIT
        ours = denoise_step(*given, noise[part])
        assert ((ours - theirs.prev_sample) / ours.abs().max().clamp(min=1)).abs().max() < LIMIT


def research_script(model_pred, ref_pred, target, beta_dpo):
    """The lines of diffusers' train_diffusion_dpo.py, which is not in the wheel: no ½."""
    model_losses = F.mse_loss(model_pred, target, reduction="none")
    model_losses = model_losses.mean(dim=list(range(1, len(model_losses.shape))))
    model_losses_w, model_losses_l = model_losses.chunk(2)
    ref_losses = F.mse_loss(ref_pred, target, reduction="none")
    ref_losses = ref_losses.mean(dim=list(range(1, len(ref_losses.shape))))
    ref_losses_w, ref_losses_l = ref_losses.chunk(2)
    model_diff, ref_diff = model_losses_w - model_losses_l, ref_losses_w - ref_losses_l
    logits = ref_diff - model_diff
    return -F.logsigmoid(beta_dpo * logits).mean()


def official_code(model_pred, ref_pred, target, beta_dpo):
    """The lines of SalesforceAIResearch/DiffusionDPO, train.py: half of β, and another sign."""
    model_losses = (model_pred - target).pow(2).mean(dim=[1, 2, 3])
    model_losses_w, model_losses_l = model_losses.chunk(2)
    ref_losses = (ref_pred - target).pow(2).mean(dim=[1, 2, 3])
    ref_losses_w, ref_losses_l = ref_losses.chunk(2)
    model_diff, ref_diff = model_losses_w - model_losses_l, ref_losses_w - ref_losses_l
    inside_term = -0.5 * beta_dpo * (model_diff - ref_diff)
    return -1 * F.logsigmoid(inside_term).mean()


@pytest.mark.parametrize("code, half", [(official_code, 1), (research_script, 0.5)])
def test_diffusion_dpo_at_equal_beta(code, half):
    """Their defaults, 5000 and 2500, are one loss; both share the noise in a pair."""
    predictions = [torch.randn(6, 4, 8, 8, dtype=torch.float64) for _ in range(2)]
    predictions[0].requires_grad_(True)
    noise = torch.randn(3, 4, 8, 8, dtype=torch.float64)
    steps, weight, elements = 1000, 1.0, 4 * 8 * 8
    beta = 5000 / (2 * elements * steps * weight)
    assert code_beta(beta, steps, weight, elements) == pytest.approx(5000)
    theirs = code(*predictions, noise.repeat(2, 1, 1, 1), half * 5000)
    parts = [part for x in predictions for part in x.chunk(2)]
    ours = diffusion_dpo_loss(*parts, noise, noise, beta=beta, steps=steps, weight=weight)
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)
    gradients = [torch.autograd.grad(x, predictions[0])[0] for x in (ours, theirs)]
    torch.testing.assert_close(*gradients, atol=1e-12, rtol=1e-12)
