"""FlashAttention in tiles: equal to the plain version, and never a T × S matrix in memory."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from clearhead.attention import (
    causal_mask,
    flash_attention,
    flash_backward,
    flash_forward,
    scaled_dot_product,
)

SIZES = [(1, 1), (1, 65), (7, 7), (63, 65), (65, 63), (130, 5), (200, 257)]


def inputs(T, S, dtype=torch.float64, *, batch=(2, 3), D=8, Dv=6):
    shapes = [(T, D), (S, D), (S, Dv), (T, Dv)]
    return [torch.randn(*batch, *shape).to(dtype) for shape in shapes]


def plain(q, k, v, upstream, *, causal, scale=None):
    """Output, dq, dk, dv of the plain version."""
    given = [x.clone().requires_grad_() for x in (q, k, v)]
    mask = causal_mask(q.shape[-2], k.shape[-2]) if causal else None
    output, _ = scaled_dot_product(*given, mask, scale=scale)
    return output.detach(), *torch.autograd.grad(output, given, upstream)


def tiled(q, k, v, upstream, **options):
    """Output, dq, dk, dv of the tiles."""
    given = [x.clone().requires_grad_() for x in (q, k, v)]
    output = flash_attention(*given, **options)
    return output.detach(), *torch.autograd.grad(output, given, upstream)


@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
@pytest.mark.parametrize(("T", "S"), SIZES)
def test_tiles_equal_plain_in_outputs_and_gradients(T, S, causal, dtype, close, poisoned_empty):
    given = inputs(T, S, dtype)
    close(tiled(*given, block_size=64, causal=causal), plain(*given, causal=causal))


@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
@pytest.mark.parametrize("block_size", [1, 7, 16, 31, 1000])
def test_the_block_size_changes_nothing(block_size, causal, close, poisoned_empty):
    given = inputs(31, 37, batch=(2,))
    close(tiled(*given, block_size=block_size, causal=causal), plain(*given, causal=causal))


@pytest.mark.parametrize("batch", [(), (1,), (2, 1, 3)], ids=str)
def test_leading_axes_may_be_none_or_many(batch, close, poisoned_empty):
    given = inputs(9, 11, batch=batch)
    close(tiled(*given, block_size=4, causal=True), plain(*given, causal=True))


def test_a_scale_of_your_own_reaches_forward_and_backward(close):
    given = inputs(9, 11)
    close(tiled(*given, block_size=4, scale=0.3), plain(*given, scale=0.3, causal=False))


def test_scores_of_hundreds_do_not_overflow(close):
    q, k, v, upstream = inputs(40, 40)
    q = q * 300
    close(tiled(q, k, v, upstream, block_size=16), plain(q, k, v, upstream, causal=False))


@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
def test_the_gradient_is_right_by_finite_differences(causal):
    q, k, v, _ = inputs(5, 4, batch=(2,), D=3, Dv=2)

    def output(q, k, v):
        return flash_attention(q, k, v, block_size=2, causal=causal)

    assert torch.autograd.gradcheck(output, [x.requires_grad_() for x in (q, k, v)])


@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
def test_the_log_sum_exp_is_that_of_the_scores(causal, close):
    q, k, v, _ = inputs(37, 41)
    scores = q @ k.mT / 8**0.5
    if causal:
        scores = scores.masked_fill(~causal_mask(37, 41), -torch.inf)
    _, logsumexp = flash_forward(q, k, v, block_size=16, causal=causal)
    close(logsumexp, scores.logsumexp(-1))


def test_the_log_sum_exp_of_sixteen_bit_input_is_fp32():
    q, k, v, _ = inputs(4, 4, torch.bfloat16)
    output, logsumexp = flash_forward(q, k, v)
    assert (output.dtype, logsumexp.dtype) == (torch.bfloat16, torch.float32)


@pytest.mark.parametrize("block_size", [1, 2, 3, 64])
def test_queries_before_the_first_key_give_zeros_and_send_back_zeros(
    block_size, dtype, poisoned_empty
):
    q, k, v, upstream = inputs(7, 3, dtype)
    output, logsumexp = flash_forward(q, k, v, block_size=block_size, causal=True)
    assert (output[..., :4, :] == 0).all()
    assert (logsumexp[..., :4] == -torch.inf).all()
    assert logsumexp[..., 4:].isfinite().all()
    _, dq, dk, dv = tiled(q, k, v, upstream, block_size=block_size, causal=True)
    assert (dq[..., :4, :] == 0).all()
    assert all(x.isfinite().all() for x in (dq, dk, dv))


def test_no_keys_at_all_give_zeros():
    q, k, v, upstream = inputs(3, 0)
    output, dq, dk, dv = tiled(q, k, v, upstream)
    assert (output == 0).all()
    assert (dq == 0).all()
    assert (dk.shape, dv.shape) == (k.shape, v.shape)


class Largest(TorchDispatchMode):
    """The largest number of elements that any operation inside gives back."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for x in result if isinstance(result, tuple | list) else [result]:
            if isinstance(x, torch.Tensor):
                self.elements = max(self.elements, x.numel())
        return result


@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
def test_no_intermediate_of_forward_or_backward_is_larger_than_the_inputs_or_a_tile(causal):
    T, S, block_size = 260, 240, 32
    given = inputs(T, S, batch=(), D=4, Dv=4)
    with Largest() as seen:
        tiled(*given, block_size=block_size, causal=causal)
    assert seen.elements == max(4 * T, block_size * block_size)
    with Largest() as seen:
        plain(*given, causal=causal)
    assert seen.elements == T * S  # the counter does see a T × S matrix


def test_what_is_kept_for_the_backward_grows_with_the_length_alone():
    kept = []

    def pack(x):
        kept.append(x.numel())
        return x

    q, k, v, _ = inputs(64, 64, batch=(), D=4, Dv=4)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        flash_attention(q.requires_grad_(), k, v, block_size=8)
    assert sorted(kept) == [64, 256, 256, 256, 256]  # log-sum-exp; q, k, v, output


def test_backward_alone_takes_what_forward_gives(close):
    q, k, v, upstream = inputs(9, 11)
    output, logsumexp = flash_forward(q, k, v, block_size=4, causal=True)
    gradients = flash_backward(
        upstream, q, k, v, output, logsumexp, block_size=5, causal=True
    )  # the block sizes need not agree
    close(gradients, plain(q, k, v, upstream, causal=True)[1:])


def test_gradients_flow_only_where_they_are_asked_for():
    q, k, v, upstream = inputs(9, 11)
    flash_attention(q, k.requires_grad_(), v).backward(upstream)
    assert (q.grad, v.grad) == (None, None)
    assert k.grad.isfinite().all()


def test_a_second_derivative_is_refused_and_not_wrong():
    q, k, v, _ = inputs(3, 3)
    output = flash_attention(q.requires_grad_(), k, v)
    (first,) = torch.autograd.grad(output.square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
