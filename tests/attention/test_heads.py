"""Heads: laid side by side, shared, and independent of one another."""

import pytest
import torch

from clearhead.attention import (
    attention,
    causal_mask,
    grouped_query,
    join_heads,
    multi_head,
    scaled_dot_product,
    split_heads,
)


def weights(C, H, D, Dv, out, dtype=torch.float64):
    shapes = [(H * D, C), (H * D, C), (H * Dv, C), (out, H * Dv)]
    return [torch.randn(shape).to(dtype) * shape[1] ** -0.5 for shape in shapes]


def test_one_head_is_attention_between_projections():
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    w_q, w_k, w_v, w_o = weights(6, 1, 4, 3, 7)
    expected, _ = scaled_dot_product(x @ w_q.T, x @ w_k.T, x @ w_v.T, causal_mask(5, 5))
    actual = multi_head(x, w_q, w_k, w_v, w_o, n_heads=1, mask=causal_mask(5, 5))
    torch.testing.assert_close(actual, expected @ w_o.T)


def test_the_output_is_the_sum_of_what_each_head_gives_alone():
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    H, D, Dv = 3, 4, 2
    w_q, w_k, w_v, w_o = weights(6, H, D, Dv, 7)
    total = sum(
        multi_head(
            x,
            w_q[h * D : (h + 1) * D],
            w_k[h * D : (h + 1) * D],
            w_v[h * Dv : (h + 1) * Dv],
            w_o[:, h * Dv : (h + 1) * Dv],
            n_heads=1,
        )
        for h in range(H)
    )
    torch.testing.assert_close(multi_head(x, w_q, w_k, w_v, w_o, n_heads=H), total)


def test_multi_head_equals_torch_multihead_attention(dtype, close):
    C, H = 12, 3
    theirs = torch.nn.MultiheadAttention(C, H, bias=False, batch_first=True, dtype=dtype)
    x = torch.randn(2, 7, C).to(dtype)
    mask = causal_mask(7, 7)
    expected, _ = theirs(x, x, x, attn_mask=~mask, need_weights=False)  # there True = hidden
    w_q, w_k, w_v = theirs.in_proj_weight.chunk(3)
    actual = multi_head(x, w_q, w_k, w_v, theirs.out_proj.weight, n_heads=H, mask=mask)
    close(actual, expected)


def test_each_head_may_have_its_own_mask():
    x = torch.randn(1, 4, 6, dtype=torch.float64)
    w_q, w_k, w_v, w_o = weights(6, 2, 3, 3, 5)
    mask = torch.stack([causal_mask(4, 4), torch.ones(4, 4, dtype=torch.bool)])
    w_o[:, 3:] = 0  # leaves head 0, which is causal
    actual = multi_head(x, w_q, w_k, w_v, w_o, n_heads=2, mask=mask)
    expected = multi_head(x, w_q, w_k, w_v, w_o, n_heads=2, mask=causal_mask(4, 4))
    torch.testing.assert_close(actual, expected)


def test_the_gradient_of_multi_head_is_right_by_finite_differences():
    x = torch.randn(1, 3, 4, dtype=torch.float64)
    given = [t.requires_grad_() for t in (x, *weights(4, 2, 2, 3, 5))]

    def output(*given):
        return multi_head(*given, n_heads=2, mask=causal_mask(3, 3))

    assert torch.autograd.gradcheck(output, given)


def test_joining_undoes_splitting():
    x = torch.arange(24.0).reshape(1, 2, 12)
    assert split_heads(x, 3)[0, 1, 0].tolist() == [4.0, 5.0, 6.0, 7.0]
    assert torch.equal(join_heads(split_heads(x, 3)), x)


def test_neighbouring_query_heads_share_a_key_value_head():
    q = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    k, v = torch.randn(2, 2, 2, 5, 4, dtype=torch.float64).unbind(0)
    output = grouped_query(q, k, v)
    for h, shared in enumerate([0, 0, 0, 1, 1, 1]):
        alone, _ = scaled_dot_product(q[:, h], k[:, shared], v[:, shared])
        torch.testing.assert_close(output[:, h], alone)


@pytest.mark.parametrize("K", [1, 2, 4])
@pytest.mark.parametrize(("T", "S"), [(1, 1), (7, 7), (3, 65), (65, 7)])
def test_the_fast_version_groups_in_the_same_way_with_the_same_gradients(T, S, K, dtype, close):
    q, k = torch.randn(2, 4, T, 8).to(dtype), torch.randn(2, K, S, 8).to(dtype)
    v, upstream = torch.randn(2, K, S, 6).to(dtype), torch.randn(2, 4, T, 6).to(dtype)
    mask = causal_mask(T, S)
    results = []
    for function in (attention, grouped_query):
        given = [x.clone().requires_grad_() for x in (q, k, v)]
        output = function(*given, mask, scale=0.4)
        results.append((output, *torch.autograd.grad(output, given, upstream)))
    close(*results)
