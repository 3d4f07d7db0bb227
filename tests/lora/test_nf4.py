"""NF4: sixteen quantiles of the normal distribution; the nearest stands for each weight."""

from itertools import pairwise

import pytest
import torch

from clearhead.lora import NF4, dequantise, nf4, normal_float_code, pack, quantise, unpack

CODE = torch.tensor(NF4)


def test_the_table_is_the_quantiles_of_the_normal_distribution():
    torch.testing.assert_close(
        normal_float_code(), torch.tensor(NF4, dtype=torch.float64), atol=5e-7, rtol=0
    )
    assert list(NF4) == sorted(NF4) and len(NF4) == 16
    assert (NF4[0], NF4[7], NF4[15]) == (-1.0, 0.0, 1.0)


def test_every_code_point_is_used_and_those_beside_zero_five_times_as_often_as_the_ends():
    values = torch.randn(64 * 4000)
    indices, absmax = quantise(values)
    share = indices.long().bincount(minlength=16) / len(indices)
    assert 4.5 < share[[6, 8]].mean() / share[[0, 15]].mean() < 5.5
    assert share.min() == share[[0, 15]].min() > 0.01
    assert 2.55 < absmax.mean() < 2.65  # standard deviations; the code points were made for 1.85


def test_two_blocks_worked_by_hand():
    code = torch.tensor([-1.0, 0.0, 0.5, 1.0])
    values = torch.tensor([2.0, -0.4, 1.2, -4.0, 0.1, 0.05])
    indices, absmax = nf4(values, code, 3)
    assert absmax.tolist() == [2.0, 4.0]
    # 1, -0.2, 0.6 and -1, 0.025, 0.0125 are nearest to
    assert indices.tolist() == [3, 1, 2, 0, 1, 1]


def test_the_code_may_stand_in_any_order():
    values, order = torch.randn(200), torch.randperm(16)
    indices, absmax = nf4(values, CODE, 64)
    shuffled, same = nf4(values, CODE[order], 64)
    assert torch.equal(order[shuffled], indices) and torch.equal(same, absmax)


@pytest.mark.parametrize("N", [1, 2, 63, 64, 65, 640, 1001])
@pytest.mark.parametrize("block_size", [1, 7, 64])
def test_all_blocks_at_once_give_what_one_after_the_other_gives(N, block_size, dtype):
    values = (torch.randn(N) * torch.logspace(-6, 6, N)).to(dtype)
    values[::5] = 0
    slow, slow_absmax = nf4(values, CODE, block_size)
    fast, fast_absmax = quantise(values, block_size)
    assert torch.equal(fast.long(), slow)
    assert torch.equal(fast_absmax, slow_absmax)


def test_halfway_between_two_code_points_both_versions_take_the_lower():
    code = torch.tensor(NF4, dtype=torch.float64)
    halfway = torch.cat([torch.ones(1, dtype=torch.float64), (code[:-1] + code[1:]) / 2])
    assert quantise(halfway)[0].tolist() == [15, *range(15)]
    assert nf4(halfway, code, 64)[0].tolist() == [15, *range(15)]


def test_a_block_of_zeros_stays_zeros_and_spoils_no_other():
    values = torch.cat([torch.zeros(64), torch.randn(70)])
    for indices, absmax in (quantise(values), nf4(values, CODE, 64)):
        assert absmax[0] == 0 and (indices[:64] == 7).all()
        restored = dequantise(indices.to(torch.uint8), absmax)
        assert (restored[:64] == 0).all() and restored.isfinite().all()


def test_no_value_at_all_is_no_block_at_all():
    nothing = torch.zeros(0)
    for indices, absmax in (quantise(nothing), nf4(nothing, CODE, 64)):
        assert len(indices) == len(absmax) == 0
    assert len(dequantise(*quantise(nothing))) == 0


def test_the_error_is_at_most_half_the_widest_gap_of_the_block(dtype):
    values = torch.randn(1000).to(dtype)
    codes, absmax = quantise(values)
    gap = max(b - a for a, b in pairwise(NF4))
    error = (dequantise(codes, absmax) - values).abs()
    bound = absmax.repeat_interleave(64)[:1000] * (gap / 2 + 1e-6)
    assert (error <= bound).all() and (error > bound / 4).any()


def test_quantising_what_was_dequantised_changes_nothing():
    codes, absmax = quantise(torch.randn(777))
    again, same = quantise(dequantise(codes, absmax))
    assert torch.equal(again, codes) and torch.equal(same, absmax)


def test_the_normal_quantiles_lose_less_than_even_steps_do():
    values = torch.randn(64 * 500)
    even = torch.linspace(-1, 1, 16)
    errors = []
    for code in (CODE, even):
        indices, absmax = nf4(values, code, 64)
        restored = code[indices] * absmax.repeat_interleave(64)
        errors.append((restored - values).square().mean().item())
    assert errors[0] < 0.9 * errors[1]


@pytest.mark.parametrize("N", [0, 1, 2, 33, 64])
def test_packing_halves_the_bytes_and_loses_nothing(N):
    codes = torch.randint(0, 16, (N,), dtype=torch.uint8)
    packed = pack(codes)
    assert packed.dtype == torch.uint8 and len(packed) == (N + 1) // 2
    assert torch.equal(unpack(packed, N), codes)


def test_the_first_of_two_is_in_the_high_half():
    assert pack(torch.tensor([1, 2, 15], dtype=torch.uint8)).tolist() == [0x12, 0xF0]


def test_a_number_of_scales_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"100 codes in blocks of 64 need 2 .* given 3"):
        dequantise(torch.zeros(100, dtype=torch.uint8), torch.ones(3))
