"""AdamW: one step by hand, a hundred against torch, and what decays."""

import pytest
import torch
from torch import nn

from clearhead.training import AdamW, adamw_step, decay_groups

RATES = {"lr": 0.1, "beta1": 0.8, "beta2": 0.95, "eps": 1e-3, "weight_decay": 0.2}


def t(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def test_two_steps_by_hand():
    """m̂ = g and v̂ = g² at step 1, whatever the betas."""
    p, m, v = adamw_step(t(2.0), t(3.0), t(0.0), t(0.0), 1, **RATES)
    assert p.item() == pytest.approx(2 - 0.1 * 0.2 * 2 - 0.1 * 3 / (3 + 1e-3), abs=1e-12)
    assert (m.item(), v.item()) == (pytest.approx(0.6), pytest.approx(0.45))
    q, m, v = adamw_step(p, t(-1.0), m, v, 2, **RATES)
    m_hat, v_hat = (0.8 * 0.6 - 0.2) / (1 - 0.64), (0.95 * 0.45 + 0.05) / (1 - 0.9025)
    want = p.item() * (1 - 0.02) - 0.1 * m_hat / (v_hat**0.5 + 1e-3)
    assert q.item() == pytest.approx(want, abs=1e-12)


def test_nothing_that_was_given_is_changed():
    given = [torch.randn(3, 2, dtype=torch.float64) for _ in range(3)]
    given.append(torch.rand(3, 2, dtype=torch.float64))
    kept = [x.clone() for x in given]
    adamw_step(*given, 3, **RATES)
    assert all(torch.equal(x, y) for x, y in zip(given, kept, strict=True))


def test_the_decay_does_not_pass_through_the_gradient_s_means():
    """Without a gradient a weight shrinks by lr · decay; an L2 penalty would move it by lr."""
    p, m, v = adamw_step(t(2.0), t(0.0), t(0.0), t(0.0), 1, **RATES)
    assert p.item() == pytest.approx(2 * (1 - 0.02)) and m.item() == v.item() == 0


def test_the_first_step_has_the_size_of_the_rate_whatever_the_gradient_s():
    g = t(1e-4, -1e4)
    p, _, _ = adamw_step(t(0.0, 0.0), g, t(0.0, 0.0), t(0.0, 0.0), 1, lr=0.1, eps=1e-12)
    torch.testing.assert_close(p, t(-0.1, 0.1))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_16_bits_are_computed_in_32_and_rounded_once(kind):
    """In fp16 an eps of 1e-8 is 0: a weight without a gradient would move by 0 / 0."""
    given = [torch.randn(50).to(kind) for _ in range(3)] + [torch.rand(50).to(kind)]
    for x in given[1:]:
        x[0] = 0.0
    got = adamw_step(*given, 3, lr=0.1)
    want = adamw_step(*(x.float() for x in given), 3, lr=0.1)
    assert all(torch.equal(x, y.to(kind)) for x, y in zip(got, want, strict=True))
    assert got[0].isfinite().all()


@pytest.mark.parametrize("shape", [(), (5,), (3, 4)])
def test_the_optimiser_is_the_step(shape):
    p = nn.Parameter(torch.randn(shape, dtype=torch.float64))
    idle = nn.Parameter(torch.ones(2))
    optimiser = AdamW([{"params": [p], "weight_decay": 0.3}, {"params": [idle]}], **RATES)
    want, m, v = p.detach().clone(), torch.zeros_like(p), torch.zeros_like(p)
    for step in range(1, 6):
        p.grad = torch.randn_like(p)
        want, m, v = adamw_step(want, p.grad, m, v, step, **{**RATES, "weight_decay": 0.3})
        optimiser.step()
    torch.testing.assert_close(p.detach(), want.detach())
    assert (idle == 1).all()


def test_the_optimiser_goes_on_from_its_state():
    p, q = (nn.Parameter(torch.ones(3, dtype=torch.float64)) for _ in range(2))
    first, second = AdamW([p], **RATES), AdamW([q], **RATES)
    for i in range(6):
        p.grad = torch.full_like(p, (-1.0) ** i * (i + 1))
        first.step()
        if i == 2:
            second.load_state_dict(first.state_dict())
            q.data.copy_(p.data)
        if i > 2:
            q.grad = p.grad.clone()
            second.step()
    assert torch.equal(p, q)


def test_matrices_decay_and_vectors_do_not():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3), nn.LayerNorm(3))
    model[0].weight.requires_grad_(False)
    matrices, vectors = decay_groups(model, 0.1)
    assert matrices["weight_decay"] == 0.1 and vectors["weight_decay"] == 0.0
    assert [id(p) for p in matrices["params"]] == [id(model[1].weight)]
    assert {id(p) for p in vectors["params"]} == {
        id(model[1].bias),
        id(model[2].weight),
        id(model[2].bias),
    }
    assert len(decay_groups(nn.Linear(3, 2, bias=False), 0.1)) == 1
