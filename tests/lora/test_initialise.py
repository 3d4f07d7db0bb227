"""How A and B start: as loralib and PEFT draw them, and PiSSA's way."""

import math

import pytest
import torch

from clearhead.lora import best_rank_r, initial, initialise, pissa


def test_noise_from_zero_to_one_becomes_uniform_within_one_over_the_root_of_i():
    noise = torch.tensor([[0.0, 0.25, 0.5, 1.0]])
    A, B = initialise(noise, 3)
    assert A.tolist() == [[-0.5, -0.25, 0.0, 0.5]]
    assert B.tolist() == [[0.0], [0.0], [0.0]]


def test_the_default_is_drawn_as_kaiming_uniform_draws_it():
    ours, _ = initial(64, 400, 90, generator=torch.Generator().manual_seed(3))
    theirs = torch.empty(64, 400)
    torch.nn.init.kaiming_uniform_(
        theirs, a=math.sqrt(5), generator=torch.Generator().manual_seed(3)
    )
    torch.testing.assert_close(ours, theirs)


def test_gaussian_has_a_standard_deviation_of_one_over_r():
    A, B = initial(40, 1000, 50, method="gaussian")
    assert abs(A.std() * 40 - 1) < 0.02 and abs(A.mean() * 40) < 0.02
    assert not B.any()


@pytest.mark.parametrize("method", ["kaiming", "gaussian"])
def test_a_generator_fixes_the_draw_and_the_dtype_is_as_asked(method, dtype):
    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        return initial(2, 5, 7, method=method, generator=generator, dtype=dtype)

    (A, B), (again, _), (other, _) = draw(1), draw(1), draw(2)
    assert A.shape == (2, 5) and B.shape == (7, 2) and A.dtype == B.dtype == dtype
    assert torch.equal(A, again) and not torch.equal(A, other)


@pytest.mark.parametrize("rank_stabilized", [False, True])
def test_pissa_starts_in_the_largest_directions_and_changes_nothing(rank_stabilized):
    W = torch.randn(7, 5, dtype=torch.float64)
    A, B, residual = pissa(W, 3, 12.0, rank_stabilized=rank_stabilized)
    s = 12 / 3**0.5 if rank_stabilized else 4
    torch.testing.assert_close(s * (B @ A), best_rank_r(W, 3))
    torch.testing.assert_close(residual + s * (B @ A), W)
    torch.testing.assert_close(A @ A.T, B.T @ B)
    assert torch.linalg.matrix_rank(residual) == 2


def test_pissa_of_a_bf16_weight_is_computed_in_fp32():
    W = torch.randn(7, 5).bfloat16()
    A, B, residual = pissa(W, 3, 6.0)
    assert A.dtype == B.dtype == residual.dtype == torch.bfloat16
    expected = pissa(W.float(), 3, 6.0)
    for ours, precise in zip((A, B, residual), expected, strict=True):
        assert torch.equal(ours, precise.bfloat16())
