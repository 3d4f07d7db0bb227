"""NF4 and double quantisation give what bitsandbytes gives, byte by byte, on the CPU."""

import pytest
import torch

from clearhead.lora import (
    NF4,
    NF4Linear,
    dequantise,
    dequantise_scales,
    dynamic_code,
    nf4,
    pack,
    quantise,
    quantise_scales,
)

bitsandbytes = pytest.importorskip("bitsandbytes", reason="pip install 'clearhead[parity]'")
functional = bitsandbytes.functional


def weights(N, scale=0.02):
    x = torch.randn(N) * scale
    x[::97] = 0
    return x


def test_the_code_points_are_theirs():
    assert torch.equal(torch.tensor(NF4), functional.get_4bit_type("nf4", device="cpu"))
    torch.testing.assert_close(dynamic_code(), functional.create_dynamic_map(), atol=1e-9, rtol=0)


@pytest.mark.parametrize("N", [64, 6400, 100_000, 6432])
@pytest.mark.parametrize("block_size", [64, 128])
def test_the_codes_and_scales_are_theirs_and_so_is_what_they_stand_for(N, block_size):
    values = weights(N)
    packed, state = functional.quantize_4bit(values, blocksize=block_size, quant_type="nf4")
    codes, absmax = quantise(values, block_size)
    assert torch.equal(pack(codes), packed.flatten())
    assert torch.equal(absmax, state.absmax)
    theirs = functional.dequantize_4bit(packed, state).flatten()
    torch.testing.assert_close(dequantise(codes, absmax, block_size), theirs, rtol=1e-6, atol=0)


def test_so_are_those_of_the_plain_version():
    values = weights(6432)
    packed, state = functional.quantize_4bit(values, blocksize=64, quant_type="nf4")
    indices, absmax = nf4(values, torch.tensor(NF4), 64)
    assert torch.equal(pack(indices.to(torch.uint8)), packed.flatten())
    assert torch.equal(absmax, state.absmax)


@pytest.mark.parametrize("blocks", [2, 100, 256, 1000])
def test_the_scales_in_eight_bits_are_theirs(blocks):
    """But where a scale lies within 1e-5 of the middle between two code points: their kernel
    rounds a little before it compares, and may take the one that is farther by that much."""
    values = weights(64 * blocks)
    packed, state = functional.quantize_4bit(values, quant_type="nf4", compress_statistics=True)
    codes, absmax = quantise(values)
    scales = quantise_scales(absmax)
    torch.testing.assert_close(scales.mean, state.offset)
    torch.testing.assert_close(scales.absmax, state.state2.absmax)
    middle = scales._replace(codes=state.absmax)
    middle = (dequantise_scales(scales) + dequantise_scales(middle)) / 2
    other = scales.codes != state.absmax
    near = (absmax - middle).abs() <= 1e-5 * scales.absmax.repeat_interleave(256)[:blocks]
    assert near[other].all() and other.float().mean() <= 0.01
    theirs = functional.dequantize_4bit(packed, state).flatten()
    ours = dequantise(codes, dequantise_scales(scales))
    same = ~other.repeat_interleave(64)
    torch.testing.assert_close(ours[same], theirs[same], rtol=1e-6, atol=0)


def test_a_quantised_layer_gives_what_their_layer_gives():
    linear = torch.nn.Linear(192, 128)
    theirs = bitsandbytes.nn.Linear4bit(192, 128, quant_type="nf4", compute_dtype=torch.float32)
    theirs.load_state_dict(linear.state_dict())
    theirs = theirs.to("cpu")
    if not theirs.weight.bnb_quantized:
        theirs.weight._quantize("cpu")
    x = torch.randn(5, 192, requires_grad=True)
    ours = NF4Linear(linear)(x)
    expected = theirs(x)
    torch.testing.assert_close(ours, expected, atol=2e-5, rtol=1e-4)
    d_output = torch.randn_like(ours)
    [d_ours] = torch.autograd.grad(ours, x, d_output)
    [d_theirs] = torch.autograd.grad(expected, x, d_output)
    torch.testing.assert_close(d_ours, d_theirs, atol=2e-5, rtol=1e-4)
