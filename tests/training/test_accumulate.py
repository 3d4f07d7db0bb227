"""Accumulation: pieces and processes add up to the whole batch's loss and gradient."""

import pytest
import torch

from clearhead.training import accumulated_loss


def pieces():
    """Micro-batches with 4 and 40 tokens that count, and one with none."""
    weight = torch.randn(5, dtype=torch.float64, requires_grad=True)
    shapes = [(1, 6), (2, 25), (1, 3)]
    nll = [(torch.randn(*shape, 5, dtype=torch.float64) @ weight).square() for shape in shapes]
    counted = [torch.zeros(shape, dtype=torch.bool) for shape in shapes]
    counted[0][:, 1:5] = True
    counted[1][:, :20] = True
    return weight, nll, counted


def test_pieces_have_the_loss_and_gradient_of_the_whole_batch():
    weight, nll, counted = pieces()
    want = torch.cat([x[mask] for x, mask in zip(nll, counted, strict=True)]).mean()
    contributions, total = accumulated_loss(nll, counted, 0, 1)
    assert contributions.shape == (3,) and contributions[2] == 0
    torch.testing.assert_close(total, want)
    torch.testing.assert_close(contributions.sum(), total)
    [gradient] = torch.autograd.grad(want, weight, retain_graph=True)
    for contribution in contributions:
        contribution.backward(retain_graph=True)
    torch.testing.assert_close(weight.grad, gradient)


def test_the_mean_of_means_is_another_gradient():
    weight, nll, counted = pieces()
    [right] = torch.autograd.grad(accumulated_loss(nll, counted)[1], weight, retain_graph=True)
    means = torch.stack([nll[i][counted[i]].mean() for i in (0, 1)]).mean()
    [wrong] = torch.autograd.grad(means, weight)
    assert (wrong - right).norm() > 0.1 * right.norm()


@pytest.mark.parametrize("split", [1, 2])
def test_the_average_over_processes_is_the_whole_batch(split):
    """Processes with unequal numbers of tokens; DDP averages their gradients."""
    weight, nll, counted = pieces()
    [want] = torch.autograd.grad(accumulated_loss(nll, counted)[1], weight, retain_graph=True)
    gradients = []
    for mine, others in ((slice(split), slice(split, 3)), (slice(split, 3), slice(split))):
        elsewhere = sum(int(mask.sum()) for mask in counted[others])
        _, total = accumulated_loss(nll[mine], counted[mine], elsewhere, 2)
        gradients += torch.autograd.grad(total, weight, retain_graph=True)
    torch.testing.assert_close(sum(gradients) / 2, want)


def test_what_does_not_count_is_not_read_and_16_bits_are_summed_in_32():
    nll = torch.full((1, 600), 0.5, dtype=torch.bfloat16)
    nll[0, -1] = torch.nan
    _, total = accumulated_loss([nll], [~nll.isnan()], 0, 1)
    assert total.dtype == torch.float32 and total.item() == 0.5
