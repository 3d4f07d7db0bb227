"""The plain layer and its closed-form gradients, by hand and against autograd."""

import pytest
import torch

from clearhead.lora import forward, gradients, scale

BATCHES = pytest.mark.parametrize("batch", [(), (4,), (2, 3), (2, 1, 3), (0,)], ids=str)


def draw(batch=(2, 3), I=7, O=5, R=3, dtype=torch.float64):
    sizes = {"x": (*batch, I), "weight": (O, I), "A": (R, I), "B": (O, R), "bias": (O,)}
    return {name: torch.randn(size).to(dtype) for name, size in sizes.items()} | {"alpha": 5.0}


def test_one_output_worked_by_hand():
    # base 1·3 + 2·4 = 11, A reads 3 − 4 = −1, B writes ·10, scale 6 / 1, bias 0.5
    y = forward(
        x=torch.tensor([3.0, 4.0]),
        weight=torch.tensor([[1.0, 2.0]]),
        A=torch.tensor([[1.0, -1.0]]),
        B=torch.tensor([[10.0]]),
        alpha=6,
        bias=torch.tensor([0.5]),
    )
    assert y.tolist() == [11 - 60 + 0.5]


@pytest.mark.parametrize(
    ("alpha", "r", "rank_stabilized", "expected"),
    [(16, 8, False, 2.0), (16, 64, True, 2.0), (8, 16, False, 0.5), (-3.0, 1, True, -3.0)],
)
def test_the_scale_is_alpha_over_r_or_over_its_root(alpha, r, rank_stabilized, expected):
    assert scale(alpha, r, rank_stabilized=rank_stabilized) == expected


@BATCHES
@pytest.mark.parametrize("rank_stabilized", [False, True])
def test_the_output_is_that_of_the_summed_weight_for_any_leading_axes(batch, rank_stabilized):
    given = draw(batch)
    s = 5 / 3**0.5 if rank_stabilized else 5 / 3
    summed = given["weight"] + s * given["B"] @ given["A"]
    expected = torch.nn.functional.linear(given["x"], summed, given["bias"])
    torch.testing.assert_close(forward(**given, rank_stabilized=rank_stabilized), expected)


@BATCHES
@pytest.mark.parametrize("rank_stabilized", [False, True])
def test_the_closed_form_gradients_are_those_of_autograd(batch, rank_stabilized):
    given = draw(batch)
    factors = [given["A"].requires_grad_(), given["B"].requires_grad_()]
    y = forward(**given, rank_stabilized=rank_stabilized)
    upstream = torch.randn_like(y)
    expected = torch.autograd.grad(y, factors, upstream)
    A, B = (factor.detach() for factor in factors)
    actual = gradients(given["x"], A, B, 5.0, upstream, rank_stabilized=rank_stabilized)
    torch.testing.assert_close(actual, expected)


def test_every_dtype_gives_its_own_dtype_back(dtype, close):
    given = draw(dtype=dtype)
    precise = {k: v.double() if isinstance(v, torch.Tensor) else v for k, v in given.items()}
    assert forward(**given).dtype == dtype
    error = (forward(**given).double() - forward(**precise)).abs().max()
    assert error <= 40 * torch.finfo(dtype).eps  # values reach 10


def test_while_b_is_zero_only_b_has_a_gradient():
    given = draw()
    zero = torch.zeros_like(given["B"])
    d_A, d_B = gradients(given["x"], given["A"], zero, 5.0, torch.randn(2, 3, 5).double())
    assert not d_A.any()
    assert d_B.abs().min() > 0


def test_while_both_factors_are_zero_nothing_moves_ever():
    given = draw()
    d_A, d_B = gradients(
        given["x"], 0 * given["A"], 0 * given["B"], 5.0, torch.randn(2, 3, 5).double()
    )
    assert not d_A.any() and not d_B.any()
