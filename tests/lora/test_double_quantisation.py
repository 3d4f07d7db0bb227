"""Double quantisation: the scales of NF4 in eight bits, 4.127 bits a weight in all."""

import pytest
import torch

from clearhead.lora import (
    QuantisedScales,
    bits_per_parameter,
    dequantise_scales,
    dynamic_code,
    quantise,
    quantise_scales,
)


def test_a_weight_costs_the_bits_that_the_paper_counts():
    assert bits_per_parameter(scale_block_size=None) == 4.5
    assert bits_per_parameter() == pytest.approx(4.127, abs=5e-4)
    # the paper: 0.373 bits saved a parameter
    assert bits_per_parameter(scale_block_size=None) - bits_per_parameter() == pytest.approx(
        0.373, abs=5e-4
    )


def test_the_bits_are_those_of_the_tensors_that_are_kept():
    weights = torch.randn(64 * 256 * 4)
    codes, absmax = quantise(weights)
    scales = quantise_scales(absmax)
    bits = 4 * len(codes) + 8 * len(scales.codes) + 32 * len(scales.absmax)
    assert bits / len(weights) == bits_per_parameter()


def test_the_dynamic_type_is_256_rising_numbers_with_zero_and_one():
    code = dynamic_code()
    assert len(code) == 256 and (code[1:] > code[:-1]).all()
    assert 0.0 in code and code[-1] == 1.0
    assert torch.equal(code[:127].neg().flip(0), code[128:255])  # symmetric, but for the 1
    for i in range(7):  # 2^i code points a decade, in the middle of even steps
        low, high = 10.0 ** (i - 7), 10.0 ** (i - 6)
        assert ((code > low) & (code < high)).sum() == 2**i


def test_two_scales_worked_by_hand():
    # mean 3, largest distance 1: the first is -1, nearest -0.9930; the second 1 exactly
    scales = quantise_scales(torch.tensor([2.0, 4.0]))
    assert scales.mean == 3.0 and scales.absmax.tolist() == [1.0]
    assert scales.codes.tolist() == [0, 255]
    restored = dequantise_scales(scales)
    torch.testing.assert_close(restored, torch.tensor([3 - 0.99296875, 4.0]))


@pytest.mark.parametrize("blocks", [1, 2, 255, 256, 257, 1000])
def test_scales_come_back_within_half_a_step(blocks):
    absmax = torch.randn(blocks).abs() + 2
    restored = dequantise_scales(quantise_scales(absmax))
    assert restored.shape == absmax.shape
    largest = (absmax - absmax.mean()).abs().max()
    assert ((restored - absmax).abs() <= 0.00704 * largest + 1e-6).all()


def test_equal_scales_come_back_exactly():
    absmax = torch.full((300,), 0.75)
    scales = quantise_scales(absmax)
    assert (scales.codes == 127).all() and dynamic_code()[127] == 0
    assert torch.equal(dequantise_scales(scales), absmax)


def test_each_block_of_scales_has_its_own_range():
    absmax = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 100.0])
    scales = quantise_scales(absmax, block_size=4)
    mean = absmax.mean()  # 13.375
    torch.testing.assert_close(scales.absmax, torch.stack([mean - 1, 100 - mean]))
    restored = dequantise_scales(scales, block_size=4)
    torch.testing.assert_close(restored[:4], absmax[:4], atol=0.0071 * 12.375, rtol=0)
    torch.testing.assert_close(restored[4:], absmax[4:], atol=0.0071 * 86.625, rtol=0)
    assert restored[7] == 100


def test_the_three_parts_have_names():
    assert QuantisedScales._fields == ("codes", "absmax", "mean")
