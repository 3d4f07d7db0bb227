"""Group advantages, ratio, clip and mean, and the losses that are made of them."""

import math

import pytest
import torch

from clearhead.preference import (
    aggregate_loss,
    clipped_share,
    clipped_surrogate,
    dapo_loss,
    dr_grpo_loss,
    group_advantages,
    grpo_loss,
    gspo_loss,
    kl_estimators,
    reinforce_loss,
    sequence_ratio,
)

RATIOS = [0.5, 0.9, 1.0, 1.24, 2.0]  # beyond both bounds of (0.8, 1.28), and between


def batch(B=4, T=6, dtype=torch.float64):
    """Log-probs whose ratios pass both bounds, advantages of both signs, unequal lengths."""
    old = -torch.rand(B, T).double() * 3
    new = old + torch.randn(B, T).double() * 0.4
    advantages = torch.tensor([1.0, -1.5, 0.5, -0.25]).double()[:B]
    mask = torch.arange(T) < torch.tensor([6, 2, 4, 1])[:B, None]
    new, old, advantages = (x.to(dtype) for x in (new, old, advantages))
    return new.requires_grad_(True), old, advantages, mask


def of(loss, *inputs):
    return torch.autograd.grad(loss, inputs, retain_graph=True)


# advantages


def test_advantages_worked_by_hand():
    """Rewards 1, 1, -1, -1: the mean is 0, the spread sqrt(4/3) with G - 1."""
    rewards = torch.tensor([1.0, 1.0, -1.0, -1.0, 3.0, 0.0, 0.0, 0.0]).double()
    got = group_advantages(rewards, 4, eps=0.0)
    assert got[:4].tolist() == pytest.approx([math.sqrt(0.75)] * 2 + [-math.sqrt(0.75)] * 2)
    assert got[4:].tolist() == pytest.approx([1.5, -0.5, -0.5, -0.5])
    assert group_advantages(rewards, 4, scale=False)[4:].tolist() == [2.25, -0.75, -0.75, -0.75]


def test_a_group_is_compared_with_itself_alone():
    rewards = torch.randn(12).double()
    whole = group_advantages(rewards, 4)
    for q in range(3):
        part = slice(4 * q, 4 * q + 4)
        torch.testing.assert_close(whole[part], group_advantages(rewards[part] + 100 * q, 4))


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_rewards_give_zero_exactly(scale, dtype):
    """The mean of eight times 0.1 is not 0.1 in floats."""
    rewards = torch.full((8,), 0.1, dtype=dtype)
    assert group_advantages(rewards, 8, eps=0.0, scale=scale).tolist() == [0.0] * 8


def test_eps_is_added_to_the_spread():
    rewards = torch.tensor([0.0, 2.0]).double()
    assert group_advantages(rewards, 2, eps=1.0)[1].item() == pytest.approx(1 / (math.sqrt(2) + 1))


# the clip


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_clip_takes_the_gradient_in_the_rewarded_direction_only(sign):
    new = torch.tensor([RATIOS]).double().log().requires_grad_(True)
    advantages = torch.full_like(new, sign).detach()
    losses = clipped_surrogate(new, torch.zeros_like(new), advantages, low=0.2, high=0.28)
    if sign > 0:
        assert losses[0].tolist() == pytest.approx([-0.5, -0.9, -1.0, -1.24, -1.28])
        gradient = [-0.5, -0.9, -1.0, -1.24, 0.0]
    else:
        assert losses[0].tolist() == pytest.approx([0.8, 0.9, 1.0, 1.24, 2.0])
        gradient = [0.0, 0.9, 1.0, 1.24, 2.0]
    assert of(losses.sum(), new)[0][0].tolist() == pytest.approx(gradient)
    share = clipped_share(
        new.detach(),
        torch.zeros_like(advantages),
        advantages,
        advantages.bool(),
        low=0.2,
        high=0.28,
    )
    assert share == pytest.approx(0.2)


def test_on_the_policy_the_gradient_is_that_of_reinforce():
    new, _, advantages, _ = batch()
    each = advantages[:, None].expand_as(new)
    clipped = clipped_surrogate(new, new, each)
    plain = reinforce_loss(new, each)
    assert of(clipped.sum(), new)[0].equal(of(plain.sum(), new)[0])
    assert not clipped.detach().allclose(plain.detach())


def test_no_gradient_passes_the_old_policy_or_the_advantages():
    new, old, advantages, _ = batch()
    old = old.requires_grad_(True)
    each = advantages[:, None].expand_as(new).clone().requires_grad_(True)
    loss = clipped_surrogate(new, old, each).sum() + reinforce_loss(new, each).sum()
    loss.backward()
    assert old.grad is None and each.grad is None


def test_the_ratio_of_an_answer_is_the_geometric_mean_of_its_own_tokens():
    new, old, _, mask = batch()
    got = sequence_ratio(new, old, mask)
    for i, n in enumerate([6, 2, 4, 1]):
        product = (new[i, :n] - old[i, :n]).exp().prod()
        torch.testing.assert_close(got[i], product ** (1 / n))
    assert sequence_ratio(new, old, torch.zeros_like(mask)).tolist() == [1.0] * 4


# the mean


def test_three_means_of_unequal_answers():
    """A token of 8 alone, and four of 1: 4.5, 12/5, 12/(2 * 6)."""
    losses = torch.tensor([[8.0, 99, 99, 99], [1, 1, 1, 1]])
    mask = torch.tensor([[True, False, False, False], [True] * 4])
    assert aggregate_loss(losses, mask, "sequence").item() == 4.5
    assert aggregate_loss(losses, mask, "token").item() == pytest.approx(2.4)
    assert aggregate_loss(losses, mask, "constant", length=6).item() == 1.0


def test_answers_of_equal_length_have_one_mean():
    losses, mask = torch.randn(3, 5).double(), torch.ones(3, 5, dtype=torch.bool)
    a, b = aggregate_loss(losses, mask, "sequence"), aggregate_loss(losses, mask, "token")
    torch.testing.assert_close(a, b)
    torch.testing.assert_close(a, aggregate_loss(losses, mask, "constant", length=5))


@pytest.mark.parametrize("how", ["sequence", "token", "constant"])
def test_what_does_not_count_is_not_read(how):
    losses, mask = torch.randn(3, 4), torch.ones(3, 4, dtype=torch.bool)
    mask[0, 2:] = mask[2] = False
    clean = aggregate_loss(losses, mask, how, length=4)
    losses = losses.masked_fill(~mask, torch.nan).requires_grad_(True)
    loss = aggregate_loss(losses, mask, how, length=4)
    assert loss.item() == clean.item()
    gradient = of(loss, losses)[0]
    assert (gradient[~mask] == 0).all() and (gradient[mask] > 0).all()


@pytest.mark.parametrize("how", ["sequence", "token", "constant"])
def test_if_nothing_counts_loss_and_gradient_are_zero(how):
    losses = torch.randn(2, 3).requires_grad_(True)
    loss = aggregate_loss(losses, torch.zeros(2, 3, dtype=torch.bool), how, length=3)
    assert loss.item() == 0.0
    assert of(loss, losses)[0].tolist() == [[0.0] * 3] * 2


def test_an_answer_without_tokens_still_counts_among_the_answers():
    losses = torch.ones(2, 3)
    mask = torch.tensor([[True] * 3, [False] * 3])
    assert aggregate_loss(losses, mask, "sequence").item() == 0.5
    assert aggregate_loss(losses, mask, "token").item() == 1.0


# the losses


def test_each_loss_is_its_paper_s_formula():
    """Written out with loops over answers and tokens."""
    new, old, advantages, mask = batch()
    total = {"grpo": 0.0, "dapo": 0.0, "dr": 0.0, "gspo": 0.0}
    n = mask.sum().item()
    for i in range(4):
        length = mask[i].sum().item()
        A, log_s = advantages[i], 0.0
        for t in range(length):
            r = (new[i, t] - old[i, t]).exp()
            log_s += (new[i, t] - old[i, t]) / length
            plain = torch.min(r * A, r.clamp(0.8, 1.2) * A)
            higher = torch.min(r * A, r.clamp(0.8, 1.28) * A)
            total["grpo"] -= plain / length / 4
            total["dapo"] -= higher / n
            total["dr"] -= plain / (4 * 9)
        s = log_s.exp()
        total["gspo"] -= torch.min(s * A, s.clamp(1 - 3e-4, 1 + 4e-4) * A) / 4
    losses = {
        "grpo": grpo_loss(new, old, advantages, mask),
        "dapo": dapo_loss(new, old, advantages, mask),
        "dr": dr_grpo_loss(new, old, advantages, mask, length=9),
        "gspo": gspo_loss(new, old, advantages, mask),
    }
    for name, loss in losses.items():
        torch.testing.assert_close(loss, total[name])
        torch.testing.assert_close(of(loss, new)[0], of(total[name], new)[0])


def test_the_kl_term_of_grpo_is_k3_and_is_corrected_on_demand():
    new, old, advantages, mask = batch()
    reference = (old + 0.3 * torch.randn_like(old)).requires_grad_(True)
    without = grpo_loss(new, old, advantages, mask)
    k3 = kl_estimators(new, reference)[2]
    for corrected, weight in ((False, 1.0), (True, (new - old).exp())):
        loss = grpo_loss(
            new, old, advantages, mask, reference=reference, beta=0.04, corrected=corrected
        )
        want = without + 0.04 * aggregate_loss(weight * k3, mask, "sequence")
        torch.testing.assert_close(loss, want)
        torch.testing.assert_close(of(loss, new)[0], of(want, new)[0])
        gradients = torch.autograd.grad(loss, reference, allow_unused=True)
        assert gradients == (None,)


def test_of_the_corrected_term_the_expected_gradient_is_that_of_the_divergence():
    """Tokens of the old policy, all of them with their probabilities: three candidates."""
    logits = torch.tensor([0.3, -0.2, 0.5]).double().requires_grad_(True)
    old, reference = torch.randn(2, 3).double().log_softmax(-1)
    new = logits.log_softmax(-1)
    shape = (3, 1)
    mask, zero = torch.ones(shape, dtype=torch.bool), torch.zeros(3).double()
    each = [
        grpo_loss(
            new.view(shape)[i : i + 1],
            old.view(shape)[i : i + 1],
            zero[:1],
            mask[:1],
            reference=reference.view(shape)[i : i + 1],
            beta=1.0,
            corrected=True,
        )
        for i in range(3)
    ]
    value = sum(p * loss for p, loss in zip(old.exp(), each, strict=True))
    exact = (new.exp() * (new - reference)).sum()
    torch.testing.assert_close(value, exact)
    torch.testing.assert_close(of(value, logits)[0], of(exact, logits)[0])


@pytest.mark.parametrize("loss", [grpo_loss, dapo_loss, gspo_loss])
def test_padding_changes_nothing(loss):
    new, old, advantages, mask = batch()
    wide = [torch.nn.functional.pad(x, (0, 3)) for x in (new, old, mask)]
    torch.testing.assert_close(
        loss(wide[0], wide[1], advantages, wide[2]), loss(new, old, advantages, mask)
    )


@pytest.mark.parametrize("loss", [grpo_loss, dapo_loss, gspo_loss])
def test_a_group_that_teaches_nothing_has_no_gradient(loss):
    new, old, _, mask = batch()
    advantages = group_advantages(torch.ones(4).double(), 4)
    assert of(loss(new, old, advantages, mask), new)[0].abs().max() == 0


def test_losses_of_half_precision_are_computed_in_fp32():
    new, old, advantages, mask = batch(dtype=torch.bfloat16)
    loss = dapo_loss(new, old, advantages, mask)
    assert loss.dtype == torch.float32
    want = dapo_loss(new.float(), old.float(), advantages.float(), mask)
    torch.testing.assert_close(loss, want)
