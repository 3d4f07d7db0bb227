"""Attention: numbers worked by hand, and the fast version proven equal to the plain one."""

import math

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from clearhead.attention import attention, causal_mask, scaled_dot_product, sliding_window_mask

SIZES = [(1, 1), (7, 7), (1, 65), (63, 65), (65, 7), (129, 257)]


def random_mask(T, S):
    """About half the pairs allowed; the first query sees nothing."""
    mask = torch.rand(T, S) < 0.5
    mask[0] = False
    return mask


def float_mask(T, S):
    """A bias with its own -inf, a whole row of them last."""
    bias = torch.randn(T, S).masked_fill(torch.rand(T, S) < 0.3, -torch.inf)
    bias[-1] = -torch.inf
    return bias


def padding_mask(S):
    """For two sequences, (B, 1, 1, S): of the second every key is padding."""
    return (torch.arange(S) < torch.tensor([[S], [0]]))[:, None, None]


TERMS = {
    "nothing": lambda T, S: {},
    "causal": lambda T, S: {"mask": causal_mask(T, S)},
    "window": lambda T, S: {"mask": sliding_window_mask(T, S, 3)},
    "random": lambda T, S: {"mask": random_mask(T, S)},
    "nothing allowed": lambda T, S: {"mask": torch.zeros(T, S, dtype=torch.bool)},
    "padded keys": lambda T, S: {
        "mask": (torch.arange(S) < torch.tensor([[S], [0]]))[:, None, None]
    },
    "a mask a head": lambda T, S: {"mask": torch.stack([random_mask(T, S) for _ in range(4)])},
    "bias": lambda T, S: {"bias": torch.randn(4, T, S)},
    "float mask": lambda T, S: {"bias": float_mask(T, S)},
    "mask and bias": lambda T, S: {"mask": random_mask(T, S), "bias": float_mask(T, S)},
    "scale": lambda T, S: {"scale": 0.3},
}


def with_gradients(function, q, k, v, upstream, **terms):
    """The output and the gradients of q, k and v."""
    q, k, v = (x.detach().clone().requires_grad_() for x in (q, k, v))
    output = function(q, k, v, **terms)
    output = output[0] if isinstance(output, tuple) else output
    return output.detach(), *torch.autograd.grad(output, (q, k, v), upstream)


def inputs(T, S, dtype, *, B=2, H=4, K=4, D=8, Dv=8):
    shapes = [(B, H, T, D), (B, K, S, D), (B, K, S, Dv), (B, H, T, Dv)]
    return [torch.randn(shape).to(dtype) for shape in shapes]


def test_two_keys_worked_by_hand():
    # D = 4, so the scores are 2 ln 3 / 2 = ln 3 and 0, the weights 3/4 and 1/4.
    q = torch.tensor([[2 * math.log(3), 0, 0, 0]], dtype=torch.float64)
    k = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0]], dtype=torch.float64)
    v = torch.tensor([[8.0], [4.0]], dtype=torch.float64)
    output, weights = scaled_dot_product(q, k, v)
    torch.testing.assert_close(weights, torch.tensor([[0.75, 0.25]], dtype=torch.float64))
    torch.testing.assert_close(output, torch.tensor([[7.0]], dtype=torch.float64))


def test_weights_of_a_query_sum_to_one():
    q, k, v, _ = inputs(5, 9, torch.float64)
    _, weights = scaled_dot_product(q, k, v, causal_mask(5, 9))
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 5, dtype=torch.float64))


def test_a_masked_key_might_as_well_not_be_there():
    q, k, v, _ = inputs(3, 6, torch.float64)
    mask = (torch.arange(6) < 4).expand(3, 6)
    masked, _ = scaled_dot_product(q, k, v, mask)
    cut, _ = scaled_dot_product(q, k[..., :4, :], v[..., :4, :])
    torch.testing.assert_close(masked, cut)


def test_keys_and_values_in_another_order_change_nothing():
    q, k, v, _ = inputs(3, 6, torch.float64)
    order = torch.randperm(6)
    output, _ = scaled_dot_product(q, k, v)
    shuffled, _ = scaled_dot_product(q, k[..., order, :], v[..., order, :])
    torch.testing.assert_close(shuffled, output)


def test_a_causal_output_does_not_depend_on_the_future():
    q, k, v, _ = inputs(6, 6, torch.float64)
    before, _ = scaled_dot_product(q, k, v, causal_mask(6, 6))
    for x in (q, k, v):
        x[..., 3:, :] = torch.randn(2, 4, 3, 8).double()
    after, _ = scaled_dot_product(q, k, v, causal_mask(6, 6))
    torch.testing.assert_close(after[..., :3, :], before[..., :3, :])
    assert not torch.allclose(after[..., 3:, :], before[..., 3:, :])


def test_leading_axes_may_be_none_or_many():
    q, k, v, _ = inputs(3, 5, torch.float64)
    output, weights = scaled_dot_product(q, k, v)
    single = scaled_dot_product(q[1, 2], k[1, 2], v[1, 2])
    torch.testing.assert_close(single, (output[1, 2], weights[1, 2]))


def test_a_query_that_may_see_nothing_gives_zeros_and_sends_back_zeros(dtype):
    q, k, v, upstream = inputs(3, 4, dtype)
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask[1] = False
    _, weights = scaled_dot_product(q, k, v, mask)
    assert (weights[..., 1, :] == 0).all()
    for function in (scaled_dot_product, attention):
        output, dq, dk, dv = with_gradients(function, q, k, v, upstream, mask=mask)
        assert (output[..., 1, :] == 0).all()
        assert (dq[..., 1, :] == 0).all()
        assert all(x.isfinite().all() for x in (output, dq, dk, dv))


@pytest.mark.parametrize("kind", ["mask", "bias"])
@pytest.mark.parametrize("backend", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
def test_it_gives_zeros_whichever_kernel_torch_picks(backend, kind, dtype, close):
    q, k, v, upstream = inputs(7, 9, dtype)
    mask = random_mask(7, 9)
    term = mask if kind == "mask" else torch.zeros(7, 9).to(dtype).masked_fill(~mask, -torch.inf)
    with sdpa_kernel(backend):
        fast = with_gradients(attention, q, k, v, upstream, **{kind: term})
    assert (fast[0][..., 0, :] == 0).all()
    assert (fast[1][..., 0, :] == 0).all()
    close(fast, with_gradients(scaled_dot_product, q, k, v, upstream, mask=mask))


@pytest.mark.parametrize("term", ["random", "float mask", "mask and bias", "nothing allowed"])
def test_it_gives_zeros_even_where_the_kernel_underneath_would_give_nan(term, monkeypatch, close):
    def kernel(q, k, v, attn_mask, *, is_causal, scale, enable_gqa):
        scores = q @ k.mT * q.shape[-1] ** -0.5
        if attn_mask.dtype == torch.bool:
            return scores.masked_fill(~attn_mask, -torch.inf).softmax(-1) @ v
        return (scores + attn_mask).softmax(-1) @ v

    q, k, v, upstream = inputs(7, 9, torch.float64)
    terms = {n: x if x.dtype == torch.bool else x.double() for n, x in TERMS[term](7, 9).items()}
    expected = with_gradients(scaled_dot_product, q, k, v, upstream, **terms)
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", kernel)
    close(with_gradients(attention, q, k, v, upstream, **terms), expected)


def test_a_query_that_may_see_nothing_leaves_no_trace_in_the_gradients_of_keys_and_values():
    q, k, v, upstream = inputs(3, 4, torch.float64)
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask[1] = False
    other = upstream.clone()
    other[..., 1, :] += 100
    for function in (scaled_dot_product, attention):
        one = with_gradients(function, q, k, v, upstream, mask=mask)
        two = with_gradients(function, q, k, v, other, mask=mask)
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize(("T", "S"), SIZES)
def test_fast_equals_plain_in_outputs_and_gradients(T, S, term, dtype, close, poisoned_empty):
    q, k, v, upstream = inputs(T, S, dtype)
    terms = {
        name: x.to(dtype) if isinstance(x, torch.Tensor) and x.is_floating_point() else x
        for name, x in TERMS[term](T, S).items()
    }
    fast = with_gradients(attention, q, k, v, upstream, **terms)
    plain = with_gradients(scaled_dot_product, q, k, v, upstream, **terms)
    close(fast, plain)


@pytest.mark.parametrize("Dv", [1, 3, 16])
def test_fast_equals_plain_when_values_have_their_own_size(Dv, dtype, close):
    q, k, v, upstream = inputs(7, 9, dtype, Dv=Dv)
    mask = causal_mask(7, 9)
    fast = with_gradients(attention, q, k, v, upstream, mask=mask)
    close(fast, with_gradients(scaled_dot_product, q, k, v, upstream, mask=mask))


@pytest.mark.parametrize(("T", "S"), [(7, 7), (3, 8), (8, 3)])
@pytest.mark.parametrize("K", [2, 6])
@pytest.mark.parametrize("with_mask", [False, True])
def test_the_causal_flag_is_the_causal_mask(T, S, K, with_mask, dtype, close):
    q, k, v = (torch.randn(2, h, n, 8).to(dtype) for h, n in ((6, T), (K, S), (K, S)))
    extra = torch.rand(T, S) < 0.7 if with_mask else None
    mask = causal_mask(T, S) if extra is None else causal_mask(T, S) & extra
    close(attention(q, k, v, extra, causal=True), attention(q, k, v, mask))


def test_a_bias_gets_the_same_gradient_from_both(close):
    q, k, v, upstream = inputs(5, 7, torch.float64)
    grads = []
    for function in (attention, lambda *a, **n: scaled_dot_product(*a, **n)[0]):
        bias = torch.ones(4, 5, 7, dtype=torch.float64, requires_grad=True)
        output = function(q, k, v, random_mask_for_bias(), bias=bias)
        grads.append(torch.autograd.grad(output, bias, upstream)[0])
    close(*grads)


def random_mask_for_bias():
    return torch.tensor([[0, 0, 0, 0, 0, 0, 0], *[[1, 0, 1, 1, 0, 1, 1]] * 4], dtype=torch.bool)


def test_the_plain_gradient_is_right_by_finite_differences():
    q, k, v, _ = inputs(3, 4, torch.float64, B=1, H=1, K=1, D=2, Dv=3)
    mask = causal_mask(3, 4) & (torch.arange(3) != 1)[:, None]

    def output(q, k, v):
        return scaled_dot_product(q, k, v, mask)[0]

    assert torch.autograd.gradcheck(output, [x.requires_grad_() for x in (q, k, v)])


def test_sixteen_bit_input_is_rounded_once():
    q, k, v, _ = inputs(5, 300, torch.bfloat16, D=64)
    output, _ = scaled_dot_product(q, k, v)
    exact, _ = scaled_dot_product(q.double(), k.double(), v.double())
    torch.testing.assert_close(output.double(), exact, rtol=2**-8, atol=1e-6)
