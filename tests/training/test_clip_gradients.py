"""Clipping: one length for all gradients together, and the direction kept."""

import pytest
import torch

from clearhead.training import clip_gradients


def t(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def test_all_gradients_are_one_vector():
    clipped, norm = clip_gradients([t(3.0, 0.0), t(4.0)], 1.0)
    assert norm == 5.0
    torch.testing.assert_close(clipped, [t(0.6, 0.0), t(0.8)])


def test_what_is_short_enough_comes_back_as_it_was():
    for given, length in (
        ([t(3.0), t(4.0)], 5.0),
        ([t(0.3), t(0.4)], 0.5),
        ([t(0.0), t(0.0)], 0.0),
    ):
        clipped, norm = clip_gradients(given, 5.0)
        assert norm == length
        assert all(torch.equal(a, b) for a, b in zip(clipped, given, strict=True))


def test_it_is_torch_s_up_to_its_millionth(dtype):
    given = [(9 * torch.randn(4, 3, dtype=torch.float64)).to(dtype), torch.randn(5, dtype=dtype)]
    parameters = [torch.nn.Parameter(torch.zeros_like(x)) for x in given]
    for p, x in zip(parameters, given, strict=True):
        p.grad = x.clone()
    want = torch.nn.utils.clip_grad_norm_(parameters, 1.5)
    clipped, norm = clip_gradients(given, 1.5)
    loose = 3e-2 if dtype == torch.bfloat16 else 2e-6
    assert norm == pytest.approx(want.item(), rel=loose)
    for p, x in zip(parameters, clipped, strict=True):
        torch.testing.assert_close(p.grad, x, rtol=loose, atol=0)


def test_nothing_that_was_given_is_changed():
    given = t(3.0, 4.0)
    clip_gradients([given], 1.0)
    assert torch.equal(given, t(3.0, 4.0))


def test_16_bits_are_squared_in_32():
    """300² overflows fp16."""
    _, norm = clip_gradients([torch.full((4,), 300.0, dtype=torch.float16)], 1.0)
    assert norm == 600.0


@pytest.mark.parametrize("size", [1e20, 1e-25])
def test_32_bits_are_squared_in_64(size):
    clipped, norm = clip_gradients([torch.tensor([3.0, 4.0]) * size], size)
    assert norm == pytest.approx(5 * size, rel=1e-6)
    torch.testing.assert_close(clipped[0], torch.tensor([0.6, 0.8]) * size, rtol=1e-6, atol=0)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_length_that_is_not_finite_is_refused(bad):
    with pytest.raises(FloatingPointError, match=r"length is (nan|inf).*Make no step"):
        clip_gradients([t(1.0), t(bad)], 1.0)
