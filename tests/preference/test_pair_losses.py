"""The losses of pairs: values by hand, gradients by formula, and what each of them ignores."""

import math

import pytest
import torch

from clearhead.preference import (
    bradley_terry_loss,
    dpo_loss,
    implicit_reward,
    ipo_loss,
    kto_loss,
    orpo_loss,
    preference_probability,
    simpo_loss,
)

N = 6
TOKENS = torch.tensor([1, 2, 5, 9, 3, 4]), torch.tensor([7, 2, 1, 4, 3, 8])


def row(*values):
    return torch.tensor(values, dtype=torch.float64)


def log_probs(n=4, dtype=torch.float64):
    return [(-1 - 9 * torch.rand(N, dtype=torch.float64)).to(dtype) for _ in range(n)]


def trained(*tensors):
    return [x.clone().requires_grad_(True) for x in tensors]


PAIR_LOSSES = {
    "bradley-terry": lambda c, r, *_, n=0: bradley_terry_loss(c, r, torch.zeros_like(c)),
    "dpo": lambda c, r, rc, rr, n=0: dpo_loss(c, r, rc, rr, beta=0.3),
    "ipo": lambda c, r, rc, rr, n=TOKENS: ipo_loss(c, r, rc, rr, *n, tau=0.4),
    "simpo": lambda c, r, *_, n=TOKENS: simpo_loss(c, r, *n, beta=2, gamma=0.5),
    "orpo": lambda c, r, *_, n=TOKENS: orpo_loss(c, r, *n, lam=0.2),
}
each_loss = pytest.mark.parametrize("loss", PAIR_LOSSES.values(), ids=PAIR_LOSSES)


# --- all of them ---------------------------------------------------------------------------------


@each_loss
def test_gradients_are_those_of_small_differences(loss):
    chosen, rejected, *reference = log_probs()
    assert torch.autograd.gradcheck(lambda c, r: loss(c, r, *reference), trained(chosen, rejected))


@each_loss
def test_the_mean_over_pairs_is_taken_last(loss):
    """Two halves of three pairs weigh as the six do."""
    values = log_probs()
    parts = [
        loss(*(x[part] for x in values), n=tuple(n[part] for n in TOKENS))
        for part in (slice(0, 3), slice(3, 6))
    ]
    torch.testing.assert_close(loss(*values), sum(parts) / 2)


@each_loss
def test_the_reference_has_no_gradient(loss):
    values = trained(*log_probs())
    gradients = torch.autograd.grad(loss(*values), values, allow_unused=True)
    assert gradients[0] is not None and gradients[2:] == (None, None)


@each_loss
def test_bf16_log_probs_give_a_loss_in_fp32(loss):
    values = log_probs(dtype=torch.bfloat16)
    got = loss(*values)
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(loss(*(x.double() for x in values)).item(), rel=1e-5)


@each_loss
@pytest.mark.parametrize("turned", [False, True])
def test_a_thousand_nats_overflow_nowhere(loss, turned):
    far = [torch.tensor([x] * N) for x in (-1.0, -3000.0, -20.0, -20.0)]
    if turned:
        far[:2] = far[1::-1]
    values = trained(*far)
    value = loss(*values)
    gradients = torch.autograd.grad(value, values[:2])
    assert value.isfinite() and all(g.isfinite().all() for g in gradients)


# --- Bradley and Terry ---------------------------------------------------------------------------


def test_odds_of_three_to_one_by_hand():
    scores = row(math.log(3)), row(0.0)
    assert preference_probability(*scores).item() == pytest.approx(3 / 4)
    assert preference_probability(*scores[::-1]).item() == pytest.approx(1 / 4)
    assert bradley_terry_loss(*scores, row(0.0)).item() == pytest.approx(math.log(4 / 3))
    assert bradley_terry_loss(*scores, row(math.log(3))).item() == pytest.approx(math.log(2))


def test_only_the_difference_of_scores_matters():
    chosen, rejected, margin, shift = log_probs()
    moved = bradley_terry_loss(chosen + shift, rejected + shift, margin)
    torch.testing.assert_close(moved, bradley_terry_loss(chosen, rejected, margin))


# --- DPO -----------------------------------------------------------------------------------------


def test_dpo_starts_at_ln_2_whatever_the_pairs():
    chosen, rejected = log_probs(2)
    loss = dpo_loss(chosen, rejected, chosen, rejected, beta=0.7)
    assert loss.item() == pytest.approx(math.log(2))


def test_dpo_by_hand():
    """The chosen one is 3 nats likelier than before, the rejected one 1: a margin of 2."""
    loss = dpo_loss(row(-2.0), row(-6.0), row(-5.0), row(-7.0), beta=0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)))


def test_dpo_is_bradley_terry_on_implicit_rewards():
    chosen, rejected, *reference = log_probs()
    rewards = [
        implicit_reward(p, r, beta=0.3) for p, r in zip((chosen, rejected), reference, strict=True)
    ]
    want = bradley_terry_loss(*rewards, torch.zeros(N, dtype=torch.float64))
    torch.testing.assert_close(dpo_loss(chosen, rejected, *reference, beta=0.3), want)


def test_dpos_gradient_is_beta_times_the_probability_of_the_wrong_order():
    chosen, rejected, *reference = log_probs()
    pair = trained(chosen, rejected)
    up, down = torch.autograd.grad(dpo_loss(*pair, *reference, beta=0.3), pair)
    better, worse = (0.3 * (p - r) for p, r in zip((chosen, rejected), reference, strict=True))
    torch.testing.assert_close(down, 0.3 / N * torch.sigmoid(worse - better))
    torch.testing.assert_close(up, -down)


def test_a_fall_of_both_answers_is_nothing_to_dpo():
    chosen, rejected, *reference = log_probs()
    fallen = dpo_loss(chosen - 50, rejected - 50, *reference, beta=0.3)
    torch.testing.assert_close(fallen, dpo_loss(chosen, rejected, *reference, beta=0.3))


# --- IPO -----------------------------------------------------------------------------------------


def test_ipo_by_hand():
    """Log-ratios 3 over 2 tokens and 1 over 4: h = 1.25; the goal with τ = 1 is 0.5."""
    given = row(-2.0), row(-6.0), row(-5.0), row(-7.0)
    loss = ipo_loss(*given, torch.tensor([2]), torch.tensor([4]), tau=1)
    assert loss.item() == pytest.approx(0.75**2)


def test_ipo_is_zero_at_its_goal_and_rises_on_both_sides():
    one = torch.tensor([1])
    at = [
        ipo_loss(row(x - 9), row(-9.0), row(-9.0), row(-9.0), one, one, tau=0.25).item()
        for x in (1.0, 2.0, 3.0)
    ]
    assert at == pytest.approx([1.0, 0.0, 1.0])


# --- SimPO and ORPO ------------------------------------------------------------------------------


def test_simpo_by_hand():
    """Means −1 and −2, twice their difference less a margin of 1."""
    loss = simpo_loss(row(-3.0), row(-8.0), torch.tensor([3]), torch.tensor([4]), beta=2, gamma=1)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)))


def test_a_repeated_answer_is_the_same_to_simpo_and_not_to_dpo():
    """Twice the tokens, twice the log-probability: the mean a token is what it was."""
    chosen, rejected = log_probs(2)
    once = simpo_loss(chosen, rejected, *TOKENS, beta=2, gamma=0.5)
    twice = simpo_loss(chosen, 2 * rejected, TOKENS[0], 2 * TOKENS[1], beta=2, gamma=0.5)
    torch.testing.assert_close(once, twice)


def test_orpo_by_hand():
    """A token of 1/2 has odds 1, one of 1/4 odds 1/3: the ratio is 3, its logistic 3/4."""
    given = row(math.log(1 / 4)), row(math.log(1 / 4)), torch.tensor([2]), torch.tensor([1])
    assert orpo_loss(*given, lam=2).item() == pytest.approx(math.log(2) + 2 * math.log(4 / 3))
    assert orpo_loss(*given, lam=0).item() == pytest.approx(math.log(2))


def test_orpos_odds_are_exact_for_an_answer_that_is_nearly_certain():
    """In fp32 the exponential of −1e-9 is 1, and 1 − 1 has no logarithm."""
    one = torch.tensor([1])
    loss = orpo_loss(torch.tensor([-1.0]), torch.tensor([-1e-9]), one, one, lam=1)
    odds = math.log(math.exp(-1) / (1 - math.exp(-1))) - math.log(1e9)
    assert loss.item() == pytest.approx(1 + math.log1p(math.exp(-odds)), rel=1e-6)


# --- KTO -----------------------------------------------------------------------------------------


def kto(r, desirable, kl, **options):
    zeros = torch.zeros_like(r), torch.zeros_like(kl)
    return kto_loss(r, zeros[0], torch.tensor(desirable), kl, zeros[1], **options)


def test_kto_by_hand():
    """z₀ = 1; the good answer gained 3, the bad one lost 1: gains of 2 for both."""
    loss = kto(row(3.0, -1.0), [True, False], row(0.5, 1.5), beta=0.5)
    assert loss.item() == pytest.approx(1 / (1 + math.e))


def test_kto_weighs_good_and_bad_answers_apart():
    r, kl = row(3.0, 3.0), row(1.0)
    options = {"beta": 0.5, "desirable_weight": 2.0, "undesirable_weight": 5.0}
    good, bad = 2 / (1 + math.e), 5 * math.e / (1 + math.e)
    assert kto(r, [True, False], kl, **options).item() == pytest.approx((good + bad) / 2)


def test_the_zero_point_is_of_all_mismatched_answers_and_never_below_zero():
    """Clamped after the mean: −3 and 1 make 0, not 1/2."""
    r = row(1.0)
    at_zero = kto(r, [True], row(0.0), beta=1.0)
    assert kto(r, [True], row(-3.0, 1.0), beta=1.0).equal(at_zero)
    assert kto(r, [True], row(-1.0, 3.0), beta=1.0).equal(kto(r, [True], row(1.0), beta=1.0))


def test_no_gradient_flows_through_the_zero_point():
    policy, kl = trained(row(1.0, 2.0), row(0.5, 1.5))
    loss = kto(policy, [True, False], kl, beta=0.5)
    gradients = torch.autograd.grad(loss, [policy, kl], allow_unused=True)
    assert gradients[0][0] < 0 < gradients[0][1] and gradients[1] is None


def test_ktos_gradient_is_that_of_small_differences():
    [policy] = trained(log_probs(1)[0])
    desirable = torch.tensor([True, False] * 3)
    other, kl, reference_kl = log_probs(3)
    options = {"beta": 0.3, "desirable_weight": 1.5, "undesirable_weight": 0.7}
    assert torch.autograd.gradcheck(
        lambda p: kto_loss(p, other, desirable, kl, reference_kl, **options), [policy]
    )


def test_the_weights_of_kto_are_as_precise_as_its_numbers():
    one, good = torch.zeros(1, dtype=torch.float64), torch.tensor([True])
    loss = kto_loss(one, one, good, one, one, desirable_weight=0.1)
    assert loss.item() == 0.05
