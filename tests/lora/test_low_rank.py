"""The best matrix of a given rank, worked by hand and by what no other matrix can do."""

import pytest
import torch

from clearhead.lora import best_rank_r, energy, rank_for_energy, split

SIZES = pytest.mark.parametrize(("O", "I"), [(5, 7), (7, 5), (6, 6), (1, 4)], ids=str)


def matrix(O, I):
    return torch.randn(O, I, dtype=torch.float64)


def test_a_diagonal_matrix_keeps_its_largest_entries():
    kept = best_rank_r(torch.diag(torch.tensor([2.0, -5.0, 1.0])), 2)
    torch.testing.assert_close(kept, torch.diag(torch.tensor([2.0, -5.0, 0.0])))


@SIZES
def test_what_is_lost_is_the_tail_of_the_squared_singular_values(O, I):
    W = matrix(O, I)
    sigma = torch.linalg.svdvals(W)
    for r in range(1, min(O, I) + 1):
        lost = (W - best_rank_r(W, r)).square().sum()
        torch.testing.assert_close(lost, sigma[r:].square().sum())
        assert torch.linalg.matrix_rank(best_rank_r(W, r)) == r


def test_no_product_of_thin_matrices_comes_nearer_than_the_best():
    W = matrix(6, 5)
    best = (W - best_rank_r(W, 2)).norm()
    A, B = split(W, 2)
    for _ in range(200):
        near = (B + 0.05 * torch.randn_like(B)) @ (A + 0.05 * torch.randn_like(A))
        assert (W - near).norm() > best


@SIZES
def test_the_factors_multiply_to_the_best_matrix_and_share_its_size(O, I):
    W = matrix(O, I)
    r = min(O, I) // 2 or 1
    A, B = split(W, r)
    assert A.shape == (r, I) and B.shape == (O, r)
    torch.testing.assert_close(B @ A, best_rank_r(W, r))
    sigma = torch.diag(torch.linalg.svdvals(W)[:r])
    torch.testing.assert_close(A @ A.T, sigma)
    torch.testing.assert_close(B.T @ B, sigma)


def test_each_dtype_gets_its_own_back_from_a_decomposition_in_fp32_or_better(dtype, close):
    W = matrix(6, 5)
    assert best_rank_r(W.to(dtype), 3).dtype == split(W.to(dtype), 3)[0].dtype == dtype
    close(best_rank_r(W.to(dtype), 3), best_rank_r(W.to(dtype).double(), 3))


def test_energy_is_the_cumulative_share_of_the_squares_worked_by_hand():
    kept = energy(torch.tensor([4.0, 2.0, 2.0, 1.0]))
    torch.testing.assert_close(kept, torch.tensor([16.0, 20.0, 24.0, 25.0]) / 25)


def test_energy_of_huge_tiny_and_zero_singular_values_is_finite():
    for size in (1e30, 1e-30):
        torch.testing.assert_close(energy(torch.tensor([size, size])), torch.tensor([0.5, 1.0]))
    assert energy(torch.zeros(3)).tolist() == [1.0, 1.0, 1.0]


def test_the_rank_for_a_share_is_the_first_that_reaches_it():
    sigma = torch.tensor([4.0, 2.0, 2.0, 1.0])  # 0.64, 0.80, 0.96, 1
    wanted = {0.0: 1, 0.64: 1, 0.65: 2, 0.9: 3, 0.97: 4, 1.0: 4}
    assert {share: rank_for_energy(sigma.double(), share) for share in wanted} == wanted
