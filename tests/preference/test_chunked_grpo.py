"""The chunked GRPO loss is the plain one, in value and gradients, and never holds all logits."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from clearhead.preference import aggregate_loss, group_advantages, token_losses
from clearhead.preference.chunked_grpo import chunked_grpo_loss

B, T, C, V = 4, 9, 6, 50
COUNTED = 9 + 3 + 5


def inputs(dtype=torch.float64):
    hidden = torch.randn(B, T, C).double().to(dtype).requires_grad_(True)
    matrix = torch.randn(V, C).double().to(dtype).requires_grad_(True)
    ids = torch.randint(0, V, (B, T))
    mask = torch.arange(T) < torch.tensor([9, 3, 0, 5])[:, None]
    with torch.no_grad():
        new = log_probs(hidden.double(), matrix.double(), ids)
    old, reference = (new + 0.4 * torch.randn(B, T).double() for _ in range(2))
    advantages = group_advantages(torch.tensor([1.0, -1.0, 0.5, 2.0]).double(), 2)
    return hidden, matrix, ids, old.to(dtype), advantages.to(dtype), mask, reference.to(dtype)


def log_probs(hidden, matrix, ids):
    return (hidden @ matrix.mT).log_softmax(-1).gather(-1, ids[..., None])[..., 0]


def plain(hidden, matrix, ids, old, advantages, mask, *, how="sequence", length=None, **options):
    new = log_probs(hidden, matrix, ids)
    options = dict(low=0.2, high=0.2) | options
    losses = token_losses(new, old, advantages, **options)
    return aggregate_loss(losses, mask, how, length=length)


CHOICES = [
    dict(how="sequence"),
    dict(how="token", high=0.28),
    dict(how="constant", length=12),
    dict(beta=0.04),
    dict(beta=0.04, corrected=True, how="token"),
]


@pytest.mark.parametrize("options", CHOICES)
@pytest.mark.parametrize("chunk", [1, 7, COUNTED, 1000])
def test_value_and_gradients_are_the_plain_ones(options, chunk, poisoned_empty):
    *given, reference = inputs()
    if "beta" in options:
        options = {**options, "reference": reference}
    want = plain(*given, **options)
    got = chunked_grpo_loss(*given, **options, chunk=chunk)
    torch.testing.assert_close(got, want)
    leaves = given[:2]
    gradients = torch.autograd.grad(3 * got, leaves)
    for a, b in zip(gradients, torch.autograd.grad(3 * want, leaves), strict=True):
        torch.testing.assert_close(a, b)
        assert b.abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_dtypes_agree_with_fp64(dtype, close):
    *given, _ = inputs(dtype)
    precise = [x.detach().double() if x.is_floating_point() else x for x in given]
    for x in precise[:2]:
        x.requires_grad_(True)
    got, want = chunked_grpo_loss(*given, chunk=5), plain(*precise)
    assert got.dtype == torch.float32
    gradients = torch.autograd.grad(got, given[:2])
    assert [g.dtype for g in gradients] == [dtype, dtype]
    if dtype == torch.float32:
        close(got, want)
        close(gradients, torch.autograd.grad(want, precise[:2]))
    else:  # a rounding of the logits can carry a ratio over the edge of the clip
        torch.testing.assert_close(got.double(), want, atol=0.05, rtol=0.05)


class Largest(TorchDispatchMode):
    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        parts = out if isinstance(out, tuple | list) else [out]
        sizes = [x.numel() for x in parts if isinstance(x, torch.Tensor)]
        self.numbers = max(self.numbers, *sizes, 0)
        return out


def test_it_never_holds_more_than_a_chunk_of_logits():
    *given, _ = inputs()
    with Largest() as watched:
        chunked_grpo_loss(*given, chunk=2)
    assert watched.numbers <= max(V * C, 2 * V, B * T * C)
    with Largest() as watched:
        plain(*given)
    assert watched.numbers >= B * T * V


def test_nothing_counted_is_zero_and_the_backward_pass_runs_once():
    *given, _ = inputs()
    loss = chunked_grpo_loss(*given[:5], torch.zeros_like(given[5]))
    assert loss.item() == 0.0
    assert torch.autograd.grad(loss, given[1])[0].abs().max() == 0
    loss = chunked_grpo_loss(*given)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="runs once"):
        loss.backward()


def test_a_scaled_loss_keeps_its_gradients_in_fp16():
    """The weights are not in what fp16 rounds: a scale of the loss comes too late for that."""
    B, T, V = 16, 32, 1000
    hidden, matrix = torch.randn(B, T, C).half(), (0.1 * torch.randn(V, C)).half()
    ids, mask = torch.randint(0, V, (B, T)), torch.ones(B, T, dtype=torch.bool)
    old, advantages = log_probs(hidden.float(), matrix.float(), ids), torch.randn(B)
    gradients = []
    for dtype in (torch.float16, torch.float64):
        leaves = [x.detach().to(dtype).requires_grad_(True) for x in (hidden, matrix)]
        loss = chunked_grpo_loss(*leaves, ids, old, advantages, mask, how="constant", length=8192)
        gradients.append([g.double() for g in torch.autograd.grad(2.0**17 * loss, leaves)])
    for got, want in zip(*gradients, strict=True):
        assert (got - want).norm() < 2e-3 * want.norm()
