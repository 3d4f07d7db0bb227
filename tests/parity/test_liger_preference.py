"""liger-kernel's fused losses of pairs have our values and gradients, hidden states in, loss out.

Its rows are chosen answers, then rejected; hidden states and targets are shifted by the caller, and
a target of −100 does not count. `compute_nll_loss` adds a loss of fine-tuning unless it is off, and
`compiled=False` runs it on a processor without a compiler.
"""

from functools import partial

import pytest
import torch

from clearhead.preference import (
    chunked_log_prob,
    chunked_preference_loss,
    dpo_loss,
    kto_loss,
    orpo_loss,
    simpo_loss,
)

liger = pytest.importorskip(
    "liger_kernel.chunked_loss", reason="pip install 'clearhead[parity]'", exc_type=ImportError
)

N, T, C, V = 4, 7, 6, 23
LIMIT = 1e-6


def inputs():
    hidden, reference_hidden = torch.randn(2, 2, N, T, C, dtype=torch.float64)
    matrix, reference_matrix = torch.randn(2, V, C, dtype=torch.float64)
    ids = torch.randint(0, V, (2, N, T))
    place, end = torch.arange(T), 3 + torch.randint(1, T - 2, (2, N, 1))
    completion = (place >= 3) & (place < end)
    hidden.requires_grad_(True), matrix.requires_grad_(True)
    return hidden, matrix, ids, completion, reference_hidden, reference_matrix


def shifted(hidden, ids, completion):
    targets = torch.where(completion, ids, -100)
    return hidden[..., :-1, :].flatten(0, 1), targets[..., 1:].flatten(0, 1)


def same(ours, theirs, hidden, matrix):
    assert abs(ours.item() - theirs.item()) < LIMIT
    both = [torch.autograd.grad(x, [hidden, matrix]) for x in (ours, theirs)]
    assert all((a - b).abs().max() < LIMIT for a, b in zip(*both, strict=True))
    assert both[0][1].abs().max() > 1e-3


@pytest.mark.parametrize("pairs", [1, 3])
def test_dpo(pairs):
    hidden, matrix, ids, completion, old_hidden, old_matrix = inputs()
    x, targets = shifted(hidden, ids, completion)
    peer = liger.LigerFusedLinearDPOLoss(beta=0.3, compiled=False)
    theirs = peer(
        matrix, x, targets, ref_input=shifted(old_hidden, ids, completion)[0], ref_weight=old_matrix
    )[0]
    rows = (y.flatten(0, 1) for y in (ids, completion))
    old = chunked_log_prob(old_hidden.flatten(0, 1), old_matrix, *rows).view(2, N)
    ours = chunked_preference_loss(
        hidden, matrix, ids, completion, old, loss=partial(dpo_loss, beta=0.3), pairs=pairs
    )
    same(ours, theirs, hidden, matrix)


def test_simpo():
    """Its γ is subtracted as ours is, from β times the means a token."""
    hidden, matrix, ids, completion, *_ = inputs()
    x, targets = shifted(hidden, ids, completion)
    peer = liger.LigerFusedLinearSimPOLoss(
        beta=2.5, gamma=0.8, compute_nll_loss=False, compiled=False
    )
    theirs = peer(matrix, x, targets)[0]
    loss = partial(simpo_loss, beta=2.5, gamma=0.8)
    ours = chunked_preference_loss(hidden, matrix, ids, completion, loss=loss)
    same(ours, theirs, hidden, matrix)


def test_orpo():
    """The term of the odds alone: its loss of fine-tuning is a mean over the batch's tokens."""
    hidden, matrix, ids, completion, *_ = inputs()
    x, targets = shifted(hidden, ids, completion)
    peer = liger.LigerFusedLinearORPOLoss(beta=0.4, compute_nll_loss=False, compiled=False)
    theirs = peer(matrix, x, targets)[0]

    def odds(chosen, rejected, chosen_tokens, rejected_tokens):
        given = chosen, rejected, chosen_tokens, rejected_tokens
        return orpo_loss(*given, lam=0.4) - orpo_loss(*given, lam=0.0)

    ours = chunked_preference_loss(hidden, matrix, ids, completion, loss=odds)
    same(ours, theirs, hidden, matrix)


def test_kto():
    """The zero point comes from the caller; weights are 1."""
    hidden, matrix, ids, completion, old_hidden, old_matrix = inputs()
    x, targets = shifted(hidden, ids, completion)
    desirable = torch.tensor([True, False, True, True, False, False, True, False])
    kl, old_kl = torch.tensor([-4.0, -6.5]).double(), torch.tensor([-5.0, -6.0]).double()
    peer = liger.LigerFusedLinearKTOLoss(beta=0.3, compiled=False, use_ref_model=True)
    theirs = peer(
        x,
        matrix,
        targets,
        preference_labels=desirable,
        ref_input=shifted(old_hidden, ids, completion)[0],
        ref_weight=old_matrix,
        kl=(kl - old_kl).mean().clamp(min=0),
    )[0]
    rows = [y.flatten(0, 1) for y in (ids, completion)]
    policy = chunked_log_prob(hidden.flatten(0, 1), matrix, *rows)
    reference = chunked_log_prob(old_hidden.flatten(0, 1), old_matrix, *rows)
    ours = kto_loss(policy, reference, desirable, kl, old_kl, beta=0.3)
    same(ours, theirs, hidden, matrix)
