"""The chunked loss is the plain one, in value and gradients, and never holds all logits."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from training_models import V, padded_rows, small_model

from clearhead.training import (
    IGNORED,
    chunked_loss,
    document_mask,
    hidden_states,
    next_token_loss,
    vocabulary_matrix,
)

B, T, C = 3, 21, 6
LEARNED = 4 + 20 + 12  # labels that inputs() leaves, the first of each row not counted


def inputs(dtype=torch.float64):
    hidden = torch.randn(B, T, C, dtype=torch.float64).to(dtype).requires_grad_(True)
    matrix = torch.randn(V, C, dtype=torch.float64).to(dtype).requires_grad_(True)
    labels = torch.randint(0, V, (B, T))
    labels[0, 5:] = labels[2, :9] = IGNORED
    return hidden, matrix, labels


def plain_loss(hidden, matrix, labels, **options):
    logits = (hidden @ matrix.mT)[:, :-1].flatten(0, 1)
    return F.cross_entropy(logits, labels[:, 1:].flatten(), **options)


def in_fp64(*tensors):
    return [x.detach().double().requires_grad_(True) for x in tensors]


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


@pytest.mark.parametrize("chunk", [1, 7, LEARNED - 1, LEARNED, 1000])
def test_value_and_gradients_are_the_plain_ones(chunk, dtype, close, poisoned_empty):
    hidden, matrix, labels = inputs(dtype)
    precise = in_fp64(hidden, matrix)
    want = plain_loss(*precise, labels)
    got = chunked_loss(hidden, matrix, labels, chunk=chunk)
    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    close(got.to(dtype), want)  # in bf16 the logits are rounded before the sum
    gradients = torch.autograd.grad(3 * got, [hidden, matrix])
    assert [g.dtype for g in gradients] == [dtype, dtype]
    close(gradients, torch.autograd.grad(3 * want, precise))


def test_a_count_replaces_the_number_of_labels():
    hidden, matrix, labels = inputs()
    total = plain_loss(hidden, matrix, labels, reduction="sum")
    for count in (1, 100):
        got = chunked_loss(hidden, matrix, labels, chunk=7, count=count)
        torch.testing.assert_close(got, total / count)
        [gradient] = torch.autograd.grad(got, matrix)
        [want] = torch.autograd.grad(total / count, matrix, retain_graph=True)
        torch.testing.assert_close(gradient, want)


def test_with_a_count_nothing_to_learn_is_zero_with_zero_gradients():
    hidden, matrix, labels = inputs()
    loss = chunked_loss(hidden, matrix, torch.full_like(labels, IGNORED), count=5)
    gradients = torch.autograd.grad(loss, [hidden, matrix])
    assert loss.item() == 0 and all((g == 0).all() for g in gradients)


def test_only_what_is_asked_for_is_computed():
    hidden, matrix, labels = inputs()
    want = torch.autograd.grad(plain_loss(hidden, matrix, labels), [hidden, matrix])
    for i in (0, 1):
        pair = [x.detach().requires_grad_(j == i) for j, x in enumerate((hidden, matrix))]
        with Watched() as watched:
            loss = chunked_loss(*pair, labels)
        torch.testing.assert_close(torch.autograd.grad(loss, pair[i])[0], want[i])
        assert watched.products == 2  # the logits, and one gradient
    with torch.no_grad(), Watched() as watched:
        assert not chunked_loss(hidden, matrix, labels).requires_grad
    assert watched.products == 1


def test_positions_that_are_not_learned_are_not_computed():
    """A NaN there reaches nothing: they are left out before the first product."""
    hidden, matrix, labels = inputs()
    dirty = hidden.detach().clone()
    dirty[0, 4:] = dirty[2, :8] = dirty[:, -1] = torch.nan
    dirty.requires_grad_(True)
    loss = chunked_loss(dirty, matrix, labels)
    gradients = torch.autograd.grad(loss, [dirty, matrix])
    torch.testing.assert_close(loss, plain_loss(hidden, matrix, labels))
    assert all(g.isfinite().all() for g in gradients)
    assert (gradients[0][0, 4:] == 0).all()


def test_bf16_gradients_of_the_matrix_are_summed_in_fp32():
    """Two hundred equal pieces, one a chunk, summed in bf16 stop growing before the end."""
    hidden = torch.ones(1, 401, 2, dtype=torch.bfloat16)
    matrix = torch.zeros(2, 2, dtype=torch.bfloat16, requires_grad=True)
    labels = torch.zeros(1, 401, dtype=torch.int64)
    [gradient] = torch.autograd.grad(chunked_loss(hidden, matrix, labels, chunk=1), matrix)
    assert gradient[0, 0].item() == -0.5


def test_a_bf16_softmax_is_taken_in_fp32():
    """The same bf16 logits, and from there on fp32, as the plain loss on `.float()`."""
    hidden, matrix, labels = inputs(torch.bfloat16)
    logits = (hidden @ matrix.mT)[:, :-1].flatten(0, 1).float()
    want = F.cross_entropy(logits, labels[:, 1:].flatten())
    got = chunked_loss(hidden, matrix, labels, chunk=7)
    assert got.item() == pytest.approx(want.item(), rel=1e-5)


def test_under_autocast_products_are_in_bf16_and_gradients_in_the_weights_dtype(close):
    hidden, matrix, labels = inputs(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss = chunked_loss(hidden, matrix, labels, chunk=7)
    short = [x.detach().bfloat16().requires_grad_(True) for x in (hidden, matrix)]
    want = chunked_loss(*short, labels, chunk=7)
    assert loss.item() == want.item() != chunked_loss(hidden, matrix, labels).item()
    gradients = torch.autograd.grad(loss, [hidden, matrix])
    assert [g.dtype for g in gradients] == [torch.float32] * 2
    close([g.bfloat16() for g in gradients], torch.autograd.grad(want, short))


def test_the_backward_pass_runs_once():
    hidden, matrix, labels = inputs()
    loss = chunked_loss(hidden, matrix, labels)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="backward pass runs once"):
        loss.backward()


def test_no_tensor_as_large_as_all_logits_is_ever_made():
    hidden, matrix = torch.randn(1, 513, 4), torch.randn(1000, 4)
    labels = torch.randint(0, 1000, (1, 513))
    for tensor in (hidden, matrix):
        tensor.requires_grad_(True)
    with Watched() as watched:
        chunked_loss(hidden, matrix, labels, chunk=16).backward()
    assert 16 * 1000 * 4 <= watched.largest < 2 * 16 * 1000 * 4 < 512 * 1000 * 4


@pytest.mark.parametrize("changes", [{}, {"tied": True}, {"qk_norm": True, "qkv_bias": True}])
def test_hidden_states_and_matrix_are_the_two_halves_of_a_decoder(changes):
    model, rows = small_model(**changes), padded_rows()
    documents = torch.zeros_like(rows.ids)
    documents[:, 5:] = 1
    positions = torch.arange(rows.ids.shape[1]).expand_as(rows.ids) * 2
    options = {"positions": positions, "mask": document_mask(documents)[:, None]}
    for given in ({}, options):
        hidden = hidden_states(model, rows.ids, **given)
        logits = model(rows.ids, **given)
        assert torch.equal(hidden @ vocabulary_matrix(model).mT, logits)
    real = rows.labels != IGNORED
    want = next_token_loss(model(rows.ids), rows.ids, real)
    got = chunked_loss(hidden_states(model, rows.ids), vocabulary_matrix(model), rows.labels)
    torch.testing.assert_close(got, want)
    trained = list(model.parameters())
    ours, plain = (torch.autograd.grad(loss, trained) for loss in (got, want))
    torch.testing.assert_close(ours, plain)
