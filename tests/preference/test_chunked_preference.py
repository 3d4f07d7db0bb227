"""Log-probabilities and losses without all logits are the plain ones, in value and gradients."""

from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from clearhead.preference import (
    Pairs,
    chunked_log_prob,
    chunked_preference_loss,
    dpo_loss,
    ipo_loss,
    orpo_loss,
    pair_loss,
    pair_scores,
    sequence_log_prob,
    simpo_loss,
)

N, T, C, V = 5, 9, 6, 13
COUNTED = 2 * (3 + 8 + 5 + 1 + 4)
LOSSES = {
    "dpo": partial(dpo_loss, beta=0.4),
    "ipo": partial(ipo_loss, tau=0.5),
    "simpo": partial(simpo_loss, beta=2.0, gamma=0.5),
    "orpo": partial(orpo_loss, lam=0.3),
}


def inputs(dtype=torch.float64):
    hidden = torch.randn(2, N, T, C, dtype=torch.float64).to(dtype).requires_grad_(True)
    matrix = torch.randn(V, C, dtype=torch.float64).to(dtype).requires_grad_(True)
    ids = torch.randint(0, V, (2, N, T))
    completion = torch.zeros(2, N, T, dtype=torch.bool)
    for which in (0, 1):
        for i, (start, length) in enumerate([(3, 3), (1, 8), (2, 5), (8, 1), (4, 4)]):
            completion[which, (i + which) % N, start : start + length] = True
    return hidden, matrix, ids, completion


def plain_log_prob(hidden, matrix, ids, completion):
    rows = [x.flatten(0, 1) for x in (hidden @ matrix.mT, ids, completion)]
    return sequence_log_prob(*rows).view(2, N)


def chunked(hidden, matrix, ids, completion, **options):
    rows = hidden.flatten(0, 1), matrix, ids.flatten(0, 1), completion.flatten(0, 1)
    return chunked_log_prob(*rows, **options).view(2, N)


def plain_loss(loss, hidden, matrix, ids, completion, reference):
    log_probs = plain_log_prob(hidden, matrix, ids, completion)
    return pair_loss(loss, pair_scores(log_probs, Pairs(ids, completion), reference))


class Watched(TorchDispatchMode):
    """How many matrix products torch makes, and the bytes of the largest tensor that it makes."""

    products = largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        self.products += function.overloadpacket.__name__ in ("mm", "addmm", "addmm_")
        parts = out if isinstance(out, tuple | list) else [out]
        sizes = [x.untyped_storage().nbytes() for x in parts if isinstance(x, torch.Tensor)]
        self.largest = max(self.largest, *sizes, 0)
        return out


def in_fp64(*tensors):
    return [x.detach().double().requires_grad_(True) for x in tensors]


@pytest.mark.parametrize("chunk", [1, 7, COUNTED - 1, COUNTED, 1000])
def test_chunked_log_probs_are_the_plain_ones(chunk, dtype, close, poisoned_empty):
    hidden, matrix, *rows = inputs(dtype)
    precise, weights = in_fp64(hidden, matrix), torch.randn(2, N, dtype=torch.float64)
    want = plain_log_prob(*precise, *rows)
    got = chunked(hidden, matrix, *rows, chunk=chunk)
    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    close(got.to(dtype), want)
    gradients = torch.autograd.grad((weights.to(got) * got).sum(), [hidden, matrix])
    assert [g.dtype for g in gradients] == [dtype, dtype]
    wanted = torch.autograd.grad((weights * want).sum(), precise)
    scale = max(g.abs().max().item() for g in wanted)
    close([g / scale for g in gradients], [g / scale for g in wanted])


@pytest.mark.parametrize("pairs", [1, 2, N, 100])
@pytest.mark.parametrize("name", LOSSES)
def test_the_fused_loss_is_the_plain_one(name, pairs, poisoned_empty):
    hidden, matrix, *rows = inputs()
    reference = -5 * torch.rand(2, N, dtype=torch.float64)
    given = LOSSES[name], hidden, matrix, *rows, reference
    want = plain_loss(*given)
    got = chunked_preference_loss(*given[1:], loss=LOSSES[name], pairs=pairs)
    torch.testing.assert_close(got, want)
    gradients = torch.autograd.grad(3 * got, [hidden, matrix])
    torch.testing.assert_close(gradients, torch.autograd.grad(3 * want, [hidden, matrix]))


def test_the_fused_loss_in_short_floats_is_near_the_precise_one(dtype, close):
    hidden, matrix, *rows = inputs(dtype)
    precise, reference = in_fp64(hidden, matrix), -5 * torch.rand(2, N, dtype=torch.float64)
    want = plain_loss(LOSSES["dpo"], *precise, *rows, reference)
    reference = reference.to(torch.promote_types(dtype, torch.float32))
    got = chunked_preference_loss(hidden, matrix, *rows, reference, loss=LOSSES["dpo"])
    close(got.to(dtype), want)
    gradients = torch.autograd.grad(got, [hidden, matrix])
    assert [g.dtype for g in gradients] == [dtype, dtype]
    close(gradients, torch.autograd.grad(want, precise))


def test_only_what_is_asked_for_is_computed():
    hidden, matrix, *rows = inputs()
    for i in (0, 1):
        pair = [x.detach().requires_grad_(j == i) for j, x in enumerate((hidden, matrix))]
        with Watched() as watched:
            chunked_preference_loss(*pair, *rows, loss=LOSSES["simpo"], pairs=N).backward()
        assert watched.products == 2 and pair[i].grad is not None  # the logits, and one gradient
        with Watched() as watched:
            chunked(*pair, *rows, chunk=1000).sum().backward()
        assert watched.products == 3  # the logits twice
    with torch.no_grad(), Watched() as watched:
        chunked_preference_loss(hidden, matrix, *rows, loss=LOSSES["simpo"], pairs=N)
    assert watched.products == 1


def test_positions_that_do_not_count_are_not_computed():
    hidden, matrix, ids, completion = inputs()
    dirty = hidden.detach().clone()
    dirty[~torch.nn.functional.pad(completion[..., 1:], (0, 1))] = torch.nan
    dirty.requires_grad_(True)
    for loss in (
        chunked_preference_loss(dirty, matrix, ids, completion, loss=LOSSES["simpo"]),
        chunked(dirty, matrix, ids, completion).sum(),
    ):
        assert all(g.isfinite().all() for g in torch.autograd.grad(loss, [dirty, matrix]))


def test_no_tensor_as_large_as_the_logits_of_all_pairs_is_ever_made():
    hidden, matrix = torch.randn(2, 16, 9, 4), torch.randn(1000, 4)
    ids, completion = torch.randint(0, 1000, (2, 16, 9)), torch.ones(2, 16, 9, dtype=torch.bool)
    for tensor in (hidden, matrix):
        tensor.requires_grad_(True)
    a_pair, all_pairs = 2 * 8 * 1000 * 4, 2 * 16 * 8 * 1000 * 4
    with Watched() as watched:
        chunked_preference_loss(hidden, matrix, ids, completion, loss=LOSSES["simpo"]).backward()
    assert a_pair <= watched.largest < 2 * a_pair < all_pairs
    with Watched() as watched:
        rows = hidden.flatten(0, 1), matrix, ids.flatten(0, 1), completion.flatten(0, 1)
        chunked_log_prob(*rows, chunk=16).sum().backward()
    assert a_pair <= watched.largest < 2 * a_pair


def test_the_fused_backward_pass_runs_once_and_that_of_log_probs_again():
    hidden, matrix, *rows = inputs()
    loss = chunked_preference_loss(hidden, matrix, *rows, loss=LOSSES["simpo"])
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="backward pass runs once"):
        loss.backward()
    total = chunked(hidden, matrix, *rows).sum()
    first = torch.autograd.grad(total, matrix, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(total, matrix), first)


def test_under_autocast_products_are_in_bf16(close):
    hidden, matrix, *rows = inputs(torch.float32)
    short = [x.detach().bfloat16().requires_grad_(True) for x in (hidden, matrix)]
    options = {"loss": LOSSES["simpo"]}
    with torch.autocast("cpu", torch.bfloat16):
        loss = chunked_preference_loss(hidden, matrix, *rows, **options)
        log_p = chunked(hidden, matrix, *rows)
    want = chunked_preference_loss(*short, *rows, **options)
    assert loss.item() == want.item() != chunked_preference_loss(hidden, matrix, *rows, **options)
    gradients = torch.autograd.grad(loss, [hidden, matrix])
    assert [g.dtype for g in gradients] == [torch.float32] * 2
    close([g.bfloat16() for g in gradients], torch.autograd.grad(want, short))
    assert log_p.equal(chunked(*short, *rows))
    gradients = torch.autograd.grad(log_p.sum(), [hidden, matrix])
    assert [g.dtype for g in gradients] == [torch.float32] * 2


def test_a_scaled_loss_keeps_the_gradients_of_many_pairs_in_fp16():
    """1/N is not in what fp16 rounds: a scale of the loss comes too late for that."""
    M, wide, scale = 512, 200, 2.0**16
    hidden, matrix = torch.randn(2, M, 4, C).half(), (0.1 * torch.randn(wide, C)).half()
    rows = torch.randint(0, wide, (2, M, 4)), torch.ones(2, M, 4, dtype=torch.bool)
    loss, gradients = partial(dpo_loss, beta=0.02), []
    for dtype in (torch.float16, torch.float64):
        leaves = [x.detach().to(dtype).requires_grad_(True) for x in (hidden, matrix)]
        reference = torch.zeros(2, M, dtype=torch.promote_types(dtype, torch.float32))
        value = chunked_preference_loss(*leaves, *rows, reference, loss=loss, pairs=64)
        gradients.append([g.double() for g in torch.autograd.grad(scale * value, leaves)])
    for got, want in zip(*gradients, strict=True):
        assert (got - want).norm() < 2e-3 * want.norm()
