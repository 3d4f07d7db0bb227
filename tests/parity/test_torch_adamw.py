"""A hundred steps of AdamW are torch's, in every form that torch has it."""

import pytest
import torch
from torch import nn

from clearhead.training import AdamW, adamw_step, clip_gradients

SHAPES = [(7, 5), (5,), (), (2, 3, 4)]
RATES = {"lr": 0.03, "eps": 1e-6, "weight_decay": 0.3}
BETAS = {"beta1": 0.85, "beta2": 0.97}


def gradient(shape, step, dtype):
    """From tiny to large, now and then zero: what moves m and v apart."""
    size = 10.0 ** ((step % 9) - 5)
    return size * torch.randn(shape, dtype=torch.float64).to(dtype) * (step % 7 != 3)


def test_the_step_is_torch_s():
    dtype = torch.float64
    for shape in SHAPES:
        theirs = nn.Parameter(torch.randn(shape, dtype=dtype))
        optimiser = torch.optim.AdamW(
            [theirs], betas=tuple(BETAS.values()), foreach=False, fused=False, **RATES
        )
        ours, m, v = (
            theirs.detach().clone(),
            torch.zeros(shape, dtype=dtype),
            torch.zeros(shape, dtype=dtype),
        )
        for step in range(1, 101):
            theirs.grad = gradient(shape, step, dtype)
            ours, m, v = adamw_step(ours, theirs.grad, m, v, step, **RATES, **BETAS)
            optimiser.step()
            torch.testing.assert_close(ours, theirs.detach(), rtol=1e-11, atol=1e-13)
        state = optimiser.state[theirs]
        torch.testing.assert_close((m, v), (state["exp_avg"], state["exp_avg_sq"]))


@pytest.mark.parametrize("form", [{"foreach": True}, {"fused": True}, {"fused": False}])
def test_the_optimiser_with_groups_is_torch_s(form):
    ours = [nn.Parameter(torch.randn(shape, dtype=torch.float64)) for shape in SHAPES]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]

    def groups(p):
        return [{"params": p[::2]}, {"params": p[1::2], "weight_decay": 0.0, "lr": 0.1}]

    mine = AdamW(groups(ours), **RATES, **BETAS)
    torchs = torch.optim.AdamW(groups(theirs), betas=tuple(BETAS.values()), **form, **RATES)
    for step in range(1, 101):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = gradient(p.shape, step, torch.float64)
            q.grad = p.grad.clone()
        if step == 50:
            ours[0].grad = theirs[0].grad = None  # a parameter that sat out keeps its own count
        mine.step()
        torchs.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_clipping_is_torch_s_up_to_its_millionth():
    for most in (0.5, 1e3):
        parameters = [nn.Parameter(torch.zeros(shape, dtype=torch.float64)) for shape in SHAPES]
        for p in parameters:
            p.grad = torch.randn_like(p)
        given = [p.grad.clone() for p in parameters]
        norm = torch.nn.utils.clip_grad_norm_(parameters, most)
        clipped, length = clip_gradients(given, most)
        assert length == pytest.approx(norm.item(), rel=1e-12)
        torch.testing.assert_close(clipped, [p.grad for p in parameters], rtol=2e-6, atol=0)
