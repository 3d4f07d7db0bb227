"""liger-kernel's chunked GRPO losses are ours, from hidden states and the vocabulary's matrix.

Conventions: `compiled=False` runs on a CPU; their `beta` is 0.04 unless given, and their KL term is
not multiplied by the ratio unless `use_bias_correction_kl=True`; their rows are already aligned
with the tokens that they predict; their "dapo" divides by the batch's tokens. They add up in fp32.
"""

import pytest
import torch

from clearhead.preference import group_advantages, gspo_loss
from clearhead.preference.chunked_grpo import chunked_grpo_loss

liger = pytest.importorskip("liger_kernel.chunked_loss", reason="pip install 'clearhead[parity]'")

B, T, C, V = 4, 7, 8, 30


@pytest.fixture
def batch():
    hidden = torch.randn(B, T, C).double().requires_grad_(True)
    matrix = torch.randn(V, C).double().requires_grad_(True)
    ids = torch.randint(0, V, (B, T))
    mask = torch.arange(T) < torch.tensor([7, 2, 5, 1])[:, None]
    with torch.no_grad():
        new = log_probs(hidden, matrix, ids)
    old, reference = (new + 0.4 * torch.randn(B, T).double() for _ in range(2))
    advantages = group_advantages(torch.tensor([1.0, -1.0, 0.5, 2.0]).double(), 2)
    return hidden, matrix, ids, old, advantages, mask, reference


def log_probs(hidden, matrix, ids):
    return (hidden @ matrix.mT).log_softmax(-1).gather(-1, ids[..., None])[..., 0]


def theirs(batch, **settings):
    hidden, matrix, ids, old, advantages, mask, reference = batch
    beta = settings.pop("beta", 0.0)
    loss = liger.LigerFusedLinearGRPOLoss(
        beta=beta, compiled=False, use_ref_model=beta != 0, chunk_size=2, **settings
    )
    value, _ = loss(
        hidden,
        matrix,
        ids,
        mask.double(),
        advantages,
        ref_per_token_logps=reference if beta else None,
        old_per_token_logps=old,
    )
    return value


def agree(batch, ours, want):
    torch.testing.assert_close(ours, want.double(), atol=1e-6, rtol=1e-6)
    got, expected = (torch.autograd.grad(x, batch[:2]) for x in (ours, want))
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)
        assert b.abs().max() > 1e-3


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("grpo", dict(how="sequence")),
        ("bnpo", dict(how="token")),
        ("dapo", dict(how="token", high=0.28)),
        ("dr_grpo", dict(how="constant", length=12)),
    ],
)
def test_the_losses_without_a_kl_term(batch, name, options):
    ours = chunked_grpo_loss(*batch[:6], chunk=3, **options)
    high = options.get("high", 0.2)
    longest = options.get("length")
    want = theirs(batch, loss_type=name, epsilon_high=high, max_completion_length=longest)
    agree(batch, ours, want)


@pytest.mark.parametrize("corrected", [False, True])
def test_grpo_with_a_kl_term(batch, corrected):
    ours = chunked_grpo_loss(*batch[:6], reference=batch[6], beta=0.04, corrected=corrected)
    want = theirs(batch, loss_type="grpo", beta=0.04, use_bias_correction_kl=corrected)
    agree(batch, ours, want)


def test_gspo(batch):
    hidden, matrix, ids, old, advantages, mask, _ = batch
    ours = gspo_loss(log_probs(hidden, matrix, ids), old, advantages, mask, low=0.1, high=0.1)
    want = theirs(
        batch,
        loss_type="grpo",
        importance_sampling_level="sequence",
        epsilon_low=0.1,
        epsilon_high=0.1,
    )
    agree(batch, ours, want)
