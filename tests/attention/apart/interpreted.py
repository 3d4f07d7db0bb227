"""The Triton kernel in Triton's interpreter, against the tiles in plain PyTorch."""

import pytest
import torch

from clearhead.attention import flash_forward, flash_forward_triton

SIZES = [  # T, S, D, Dv, H, K; the interpreter's tiles are 32 × 32
    (1, 1, 16, 16, 2, 1),
    (7, 5, 16, 32, 2, 2),
    (63, 65, 32, 16, 4, 2),
    (64, 96, 64, 64, 2, 1),
    (1, 130, 64, 64, 2, 1),
    (33, 97, 128, 128, 1, 1),
    (100, 3, 16, 16, 1, 1),
    (5, 0, 16, 16, 1, 1),
]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


@pytest.fixture(autouse=True)
def nan_in_fresh_memory(poisoned_empty):
    """Each test sees NaN wherever the kernel did not write."""


def inputs(T, S, D, Dv, H, K, dtype=torch.float32):
    return [torch.randn(2, *s).to(dtype) for s in [(H, T, D), (K, S, D), (K, S, Dv)]]


def tiles(q, k, v, **options):
    """The plain tiles in fp64, with each key/value head copied for its queries."""
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for x in (k, v))
    return flash_forward(q.double(), k.double(), v.double(), **options)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_kernel_equals_the_plain_tiles(size, causal, dtype, close):
    q, k, v = inputs(*size, dtype)
    output, logsumexp = flash_forward_triton(q, k, v, causal=causal)
    assert (output.dtype, logsumexp.dtype) == (dtype, torch.float32)
    close((output, logsumexp), tiles(q, k, v, causal=causal))


def test_queries_before_the_first_key_give_zeros_and_minus_infinity():
    output, logsumexp = flash_forward_triton(*inputs(100, 3, 16, 16, 1, 1), causal=True)
    assert (output[:, :, :97] == 0).all()
    assert (logsumexp[:, :, :97] == -torch.inf).all()
    assert logsumexp[:, :, 97:].isfinite().all()


@pytest.mark.parametrize("scale", [0.7, 0.0, -0.3])
def test_any_scale_will_do(scale, close):
    q, k, v = inputs(40, 50, 16, 16, 2, 1)
    given = {"causal": True, "scale": scale}
    close(flash_forward_triton(q, k, v, **given), tiles(q, k, v, **given))


def test_scores_of_hundreds_do_not_overflow(close):
    q, k, v = inputs(40, 50, 16, 16, 2, 2)
    output, _ = flash_forward_triton(q * 100, k, v)
    close(output, tiles(q * 100, k, v)[0])


def test_tensors_need_not_be_contiguous(close):
    q, k, v = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in inputs(40, 50, 32, 32, 4, 2))
    assert not q.is_contiguous()
    v = torch.stack([v, v], dim=-1)[..., 0]  # neighbouring features two apart
    assert v.stride(-1) == 2
    close(flash_forward_triton(q, k, v), tiles(q, k, v))


def test_the_results_carry_no_gradient():
    q, k, v = (x.requires_grad_() for x in inputs(7, 5, 16, 16, 1, 1))
    output, logsumexp = flash_forward_triton(q, k, v)
    assert not output.requires_grad
    assert not logsumexp.requires_grad
