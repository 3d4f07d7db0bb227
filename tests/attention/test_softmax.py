"""Softmax: numbers worked by hand, extremes, and torch's own where torch has one."""

import math

import pytest
import torch

from clearhead.attention import softmax


def test_scores_zero_and_log_three_give_a_quarter_and_three_quarters():
    weights = softmax(torch.tensor([0.0, math.log(3)], dtype=torch.float64))
    torch.testing.assert_close(weights, torch.tensor([0.25, 0.75], dtype=torch.float64))


def test_scores_of_a_thousand_do_not_overflow():
    assert softmax(torch.tensor([1000.0, 1000.0])).tolist() == [0.5, 0.5]
    assert softmax(torch.tensor([-1000.0, 0.0])).tolist() == [0.0, 1.0]


def test_adding_one_number_to_all_scores_changes_nothing():
    x = torch.randn(5, dtype=torch.float64)
    torch.testing.assert_close(softmax(x + 7), softmax(x))


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("shape", [(1, 1), (7, 65), (3, 1, 4)])
def test_it_equals_torch_in_values_and_gradients(shape, dim, dtype, close):
    x = torch.randn(shape).to(dtype).requires_grad_()
    upstream = torch.randn(shape).to(dtype)
    ours, theirs = softmax(x, dim), torch.softmax(x, dim)
    close(ours, theirs)
    close(torch.autograd.grad(ours, x, upstream), torch.autograd.grad(theirs, x, upstream))


def test_a_score_of_minus_infinity_gets_no_weight():
    weights = softmax(torch.tensor([0.0, -torch.inf, 0.0]))
    assert weights.tolist() == [0.5, 0.0, 0.5]


def test_a_slice_that_is_all_minus_infinity_gives_zeros_and_zero_gradients(dtype):
    x = torch.full((2, 3), -torch.inf, dtype=dtype)
    x[1] = 0.0
    x.requires_grad_()
    weights = softmax(x)
    weights.backward(torch.randn(2, 3).to(dtype))
    assert weights[0].tolist() == [0.0, 0.0, 0.0]
    assert x.grad[0].tolist() == [0.0, 0.0, 0.0]
    assert x.grad.isfinite().all()


def test_nan_is_not_swept_under_the_carpet():
    assert softmax(torch.tensor([0.0, torch.nan])).isnan().all()


def test_sixteen_bit_scores_are_rounded_once_at_the_end():
    x = (torch.randn(20, 100) * 3).bfloat16()
    exact = softmax(x.double())
    torch.testing.assert_close(softmax(x).double(), exact, rtol=2**-8, atol=1e-30)


def test_the_gradient_is_right_by_finite_differences():
    x = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(softmax, (x,))


def test_no_scores_give_no_weights():
    assert softmax(torch.empty(3, 0)).shape == (3, 0)
