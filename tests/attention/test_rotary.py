"""Rotary embedding: a rotation, worked by hand, that leaves only distances in the scores."""

import math

import pytest
import torch

from clearhead.attention import rotary, rotary_angles, rotate


def row(*positions: int) -> torch.Tensor:
    return torch.tensor([positions])


@pytest.mark.parametrize("interleaved", [False, True])
def test_two_features_turn_by_the_position_in_radians(interleaved):
    x = torch.tensor([1.0, 0.0], dtype=torch.float64).expand(1, 1, 3, 2)
    turned = rotary(x, row(0, 1, 5), interleaved=interleaved)
    expected = torch.tensor([[math.cos(p), math.sin(p)] for p in (0, 1, 5)], dtype=torch.float64)
    torch.testing.assert_close(turned[0, 0], expected)


def test_four_features_pair_first_with_third_or_first_with_second():
    x = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64).reshape(1, 1, 1, 4)
    fast, slow = 1.0, 0.1  # angles at position 1 with theta = 100: 1 and 100^(-1/2)

    def turn(a, b, angle):
        c, s = math.cos(angle), math.sin(angle)
        return a * c - b * s, a * s + b * c

    (a, c), (b, d) = turn(1, 3, fast), turn(2, 4, slow)
    half = rotary(x, row(1), theta=100.0).flatten()
    torch.testing.assert_close(half, torch.tensor([a, b, c, d], dtype=torch.float64))
    (a, b), (c, d) = turn(1, 2, fast), turn(3, 4, slow)
    neighbours = rotary(x, row(1), theta=100.0, interleaved=True).flatten()
    torch.testing.assert_close(neighbours, torch.tensor([a, b, c, d], dtype=torch.float64))


@pytest.mark.parametrize("interleaved", [False, True])
def test_a_score_depends_only_on_the_distance(interleaved):
    q, k = torch.randn(2, 1, 2, 1, 16, dtype=torch.float64).unbind(0)

    def score(at_query, at_key):
        turned = rotary(q, row(at_query), interleaved=interleaved)
        return (turned * rotary(k, row(at_key), interleaved=interleaved)).sum(-1)

    torch.testing.assert_close(score(9, 4), score(100_009, 100_004), atol=1e-9, rtol=1e-9)
    assert not torch.allclose(score(9, 4), score(4, 9))


@pytest.mark.parametrize("interleaved", [False, True])
def test_lengths_are_kept_and_position_zero_turns_nothing(interleaved, dtype, close):
    x = torch.randn(2, 3, 5, 8).to(dtype)
    positions = torch.randint(0, 1000, (2, 5))
    turned = rotary(x, positions, interleaved=interleaved)
    assert turned.dtype == dtype
    close(turned.double().norm(dim=-1).to(dtype), x.double().norm(dim=-1))
    assert torch.equal(rotary(x, positions * 0, interleaved=interleaved), x)


def test_the_two_pairings_differ_by_an_order_of_the_features():
    x = torch.randn(1, 2, 5, 8, dtype=torch.float64)
    positions = torch.arange(5)[None]
    order = torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])  # feature i beside feature i + D/2
    neighbours = rotary(x[..., order], positions, interleaved=True)
    torch.testing.assert_close(neighbours, rotary(x, positions)[..., order])


def test_each_token_turns_by_its_own_position_in_any_order():
    x = torch.randn(2, 3, 4, 8, dtype=torch.float64)
    positions = torch.tensor([[3, 0, 7, 7], [100, 2, 1, 5]])
    turned = rotary(x, positions)
    for b in range(2):
        for t in range(4):
            alone = rotary(x[b : b + 1, :, t : t + 1], row(int(positions[b, t])))
            torch.testing.assert_close(turned[b : b + 1, :, t : t + 1], alone)


def test_angles_stay_exact_far_out():
    angles = rotary_angles(row(1_000_003), 8, theta=10000.0)
    expected = [1_000_003 * 10000.0 ** (-2 * i / 8) for i in range(4)]
    torch.testing.assert_close(angles.flatten(), torch.tensor(expected, dtype=torch.float64))
    x = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2)
    assert rotary(x, row(1_000_003))[0, 0, 0, 0].item() == pytest.approx(
        math.cos(1_000_003), abs=1e-7
    )


def test_sixteen_bit_input_is_rounded_once():
    x = torch.randn(1, 2, 5, 8).bfloat16()
    positions = torch.arange(5)[None] + 3000
    exact = rotary(x.double(), positions)
    torch.testing.assert_close(rotary(x, positions).double(), exact, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("interleaved", [False, True])
def test_the_gradient_is_right_by_finite_differences(interleaved):
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x: rotary(x, row(0, 5, 2), interleaved=interleaved), (x,)
    )


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotate_is_rotary_with_the_cosines_and_sines_given(interleaved):
    x, positions = torch.randn(2, 3, 5, 8), torch.tensor([[0, 1, 2, 9, 4], [7, 3, 1, 0, 2]])
    angles = rotary_angles(positions, 8, theta=500.0)[:, None].float()
    got = rotate(x, angles.cos(), angles.sin(), interleaved=interleaved)
    torch.testing.assert_close(got, rotary(x, positions, theta=500.0, interleaved=interleaved))
