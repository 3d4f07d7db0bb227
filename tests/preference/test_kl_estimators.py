"""Three estimates of a KL divergence: by hand, unbiased or not, exact where they are tiny."""

import math

import pytest
import torch

from clearhead.preference import kl_divergence, kl_estimators

P = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
Q = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)


def test_a_number_worked_by_hand():
    """The policy gives 0.5 to a token, the reference 0.25: ln r = -ln 2."""
    k1, k2, k3 = kl_estimators(
        torch.tensor([math.log(0.5)], dtype=torch.float64),
        torch.tensor([math.log(0.25)], dtype=torch.float64),
    )
    assert k1.item() == pytest.approx(math.log(2), abs=1e-15)
    assert k2.item() == pytest.approx(math.log(2) ** 2 / 2, abs=1e-15)
    assert k3.item() == pytest.approx(0.5 - 1 + math.log(2), abs=1e-15)


def test_k1_and_k3_are_unbiased_and_k2_is_not():
    """The mean under the policy is a sum over all tokens."""
    k1, k2, k3 = ((P * k).sum().item() for k in kl_estimators(P.log(), Q.log()))
    exact = (P * (P / Q).log()).sum().item()
    assert k1 == pytest.approx(exact, abs=1e-14)
    assert k3 == pytest.approx(exact, abs=1e-14)
    assert abs(k2 - exact) > 0.01
    assert kl_divergence(P.log(), Q.log()).item() == pytest.approx(exact, abs=1e-14)


def test_k2_and_k3_are_never_negative_and_k3_varies_less_than_k1_nearby():
    near = (P.log() + torch.tensor([0.05, -0.04, 0.03])).log_softmax(-1)
    k1, k2, k3 = kl_estimators(P.log(), near)
    assert k1.min() < 0 <= min(k2.min(), k3.min())

    def spread(k):
        return (P * (k - (P * k).sum()).square()).sum()

    assert spread(k3) < spread(k1) / 100


def expected_gradient(which, logits):
    """The gradient of the estimate with the samples held fixed, averaged over the samples."""
    log_p = logits.log_softmax(-1)
    estimate = kl_estimators(log_p, Q.log())[which]
    return torch.autograd.grad((log_p.exp().detach() * estimate).sum(), logits)[0]


def test_as_a_loss_k1_has_no_expected_gradient_and_k2_that_of_the_divergence():
    logits = P.log().clone().requires_grad_(True)
    zero, of_k2, of_k3 = (expected_gradient(i, logits) for i in range(3))
    torch.testing.assert_close(zero, torch.zeros_like(zero), atol=1e-15, rtol=0)
    [forward] = torch.autograd.grad(kl_divergence(logits, Q.log()), logits)
    [reverse] = torch.autograd.grad(kl_divergence(Q.log(), logits), logits)
    torch.testing.assert_close(of_k2, forward)
    torch.testing.assert_close(of_k3, reverse)
    assert (forward - reverse).abs().max() > 0.01


def test_k3_keeps_its_digits_where_the_policies_hardly_differ():
    """In fp32, r - 1 - ln r with r made first is 4e-8 here, and the answer is 5e-9."""
    difference = torch.tensor([1e-4])
    _, _, k3 = kl_estimators(torch.zeros(1), difference)
    assert k3.item() == pytest.approx(5.00017e-9, rel=2e-3)
    naive = difference.exp() - 1 - difference
    assert abs(naive.item() - 5e-9) > 5e-9


def test_half_precision_is_computed_in_fp32():
    k1, k2, k3 = kl_estimators(torch.zeros(2).bfloat16(), torch.ones(2).bfloat16())
    assert {k.dtype for k in (k1, k2, k3)} == {torch.float32}
    assert k3[0].item() == pytest.approx(math.e - 2, abs=1e-6)


def test_a_candidate_that_the_policy_excludes_adds_nothing_and_has_no_gradient():
    logits = torch.tensor([0.0, 0.0, -torch.inf], dtype=torch.float64, requires_grad=True)
    kl = kl_divergence(logits, torch.zeros(3, dtype=torch.float64))
    assert kl.item() == pytest.approx(math.log(1.5), abs=1e-14)
    kl.backward()
    assert torch.isfinite(logits.grad).all()
