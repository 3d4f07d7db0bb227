"""Parity with torch.nn.functional.scaled_dot_product_attention, outputs and gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention.bias import causal_lower_right, causal_upper_left

from clearhead.attention import (
    attention,
    causal_mask,
    flash_attention,
    grouped_query,
    scaled_dot_product,
)

SIZES = [(1, 1), (5, 5), (3, 65), (63, 65)]


def inputs(T, S, dtype, *, H=4, K=4, Dv=8):
    shapes = [(2, H, T, 8), (2, K, S, 8), (2, K, S, Dv), (2, H, T, Dv)]
    return [torch.randn(shape).to(dtype) for shape in shapes]


def run(function, q, k, v, upstream):
    """The output and the gradients of q, k and v."""
    given = [x.clone().requires_grad_() for x in (q, k, v)]
    output = function(*given)
    output = output[0] if isinstance(output, tuple) else output
    return output.detach(), *torch.autograd.grad(output, given, upstream)


def agree(close, given, theirs, *ours):
    expected = run(theirs, *given)
    for function in ours:
        close(run(function, *given), expected)


@pytest.mark.parametrize(("T", "S"), SIZES)
def test_without_a_mask(T, S, dtype, close):
    agree(
        close,
        inputs(T, S, dtype),
        F.scaled_dot_product_attention,
        scaled_dot_product,
        attention,
        lambda q, k, v: flash_attention(q, k, v, block_size=16),
    )


@pytest.mark.parametrize("shape", [(63, 65), (4, 63, 65), (2, 1, 63, 65), (2, 1, 1, 65)], ids=str)
def test_with_a_boolean_mask_of_any_shape_that_broadcasts(shape, dtype, close):
    mask = torch.rand(shape) < 0.5
    agree(
        close,
        inputs(63, 65, dtype),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=mask),
        lambda q, k, v: scaled_dot_product(q, k, v, mask),
        lambda q, k, v: attention(q, k, v, mask),
    )


@pytest.mark.parametrize(("T", "S"), SIZES)
def test_with_a_float_mask(T, S, dtype, close):
    bias = torch.randn(T, S).masked_fill(torch.rand(T, S) < 0.3, -torch.inf).to(dtype)
    agree(
        close,
        inputs(T, S, dtype),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=bias),
        lambda q, k, v: scaled_dot_product(q, k, v, bias=bias),
        lambda q, k, v: attention(q, k, v, bias=bias),
    )


@pytest.mark.parametrize(("T", "S"), SIZES)
def test_causal_is_torch_causal_lower_right(T, S, dtype, close):
    mask = causal_mask(T, S)
    agree(
        close,
        inputs(T, S, dtype),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, causal_lower_right(T, S)),
        lambda q, k, v: scaled_dot_product(q, k, v, mask),
        lambda q, k, v: attention(q, k, v, mask),
        lambda q, k, v: flash_attention(q, k, v, block_size=16, causal=True),
    )


@pytest.mark.parametrize(("T", "S"), [*SIZES, (7, 3)])
def test_is_causal_is_the_other_alignment_top_left(T, S, dtype, close):
    longest = max(T, S)
    top_left = causal_mask(longest, longest)[:T, :S]
    given = inputs(T, S, dtype)
    agree(
        close,
        given,
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        lambda q, k, v: scaled_dot_product(q, k, v, top_left),
        lambda q, k, v: attention(q, k, v, top_left),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, causal_upper_left(T, S)),
    )
    assert torch.equal(top_left, causal_mask(T, S)) == (T == S)


@pytest.mark.parametrize("K", [1, 2, 4])
def test_grouped_heads_are_torch_enable_gqa(K, dtype, close):
    mask = causal_mask(7, 9)
    agree(
        close,
        inputs(7, 9, dtype, K=K),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True),
        lambda q, k, v: grouped_query(q, k, v, mask),
        lambda q, k, v: attention(q, k, v, mask),
    )


def test_a_scale_of_your_own(dtype, close):
    agree(
        close,
        inputs(7, 9, dtype),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=0.05),
        lambda q, k, v: scaled_dot_product(q, k, v, scale=0.05),
        lambda q, k, v: attention(q, k, v, scale=0.05),
        lambda q, k, v: flash_attention(q, k, v, block_size=4, scale=0.05),
    )


@pytest.mark.parametrize("Dv", [1, 5, 16])
def test_values_of_another_size_than_keys(Dv, dtype, close):
    agree(
        close,
        inputs(7, 9, dtype, Dv=Dv),
        F.scaled_dot_product_attention,
        scaled_dot_product,
        attention,
        lambda q, k, v: flash_attention(q, k, v, block_size=4),
    )


@pytest.mark.parametrize("kind", ["mask", "bias"])
def test_fully_masked_rows_are_zero_in_outputs_and_gradients_as_in_torch(kind, dtype, close):
    mask = torch.rand(7, 9) < 0.7
    mask[2] = mask[6] = False
    term = mask
    if kind == "bias":
        term = torch.zeros(7, 9).to(dtype).masked_fill(~mask, -torch.inf)
    given = inputs(7, 9, dtype)
    agree(
        close,
        given,
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=term),
        lambda q, k, v: scaled_dot_product(q, k, v, **{kind: term}),
        lambda q, k, v: attention(q, k, v, **{kind: term}),
    )
    output, dq, _, _ = run(lambda q, k, v: attention(q, k, v, **{kind: term}), *given)
    assert (output[..., [2, 6], :] == 0).all()
    assert (dq[..., [2, 6], :] == 0).all()
