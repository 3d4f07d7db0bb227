"""The Triton kernel on a GPU, against the plain tiles and against torch's own attention."""

import importlib.util

import pytest
import torch
import torch.nn.functional as F

from clearhead.attention import causal_mask, flash_forward, flash_forward_triton

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.skipif(not importlib.util.find_spec("triton"), reason="triton is not installed"),
]

SIZES = [  # T, S, D, Dv, H, K
    (1, 1, 16, 16, 2, 1),
    (63, 65, 32, 16, 4, 2),
    (1, 500, 64, 64, 4, 1),
    (500, 500, 128, 128, 2, 1),
    (257, 1000, 64, 128, 6, 3),
    (300, 100, 64, 64, 2, 2),
    (5, 0, 16, 16, 1, 1),
]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def inputs(T, S, D, Dv, H, K, dtype):
    shapes = [(H, T, D), (K, S, D), (K, S, Dv)]
    return [torch.randn(2, *shape, device="cuda").to(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_kernel_equals_the_plain_tiles(size, causal, dtype, close, poisoned_empty):
    q, k, v = inputs(*size, dtype)
    output, logsumexp = flash_forward_triton(q, k, v, causal=causal)
    assert (output.dtype, logsumexp.dtype) == (dtype, torch.float32)
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for x in (k, v))
    expected = flash_forward(q.double(), k.double(), v.double(), causal=causal)
    close((output, logsumexp), expected)


@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_kernel_equals_torch_attention(dtype, causal, close):
    q, k, v = inputs(257, 500, 64, 64, 6, 2, dtype)
    mask = causal_mask(257, 500, device="cuda") if causal else None
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    close(flash_forward_triton(q, k, v, causal=causal)[0], expected)


def test_queries_before_the_first_key_give_zeros_and_minus_infinity():
    q, k, v = inputs(300, 100, 64, 64, 2, 2, torch.bfloat16)
    output, logsumexp = flash_forward_triton(q, k, v, causal=True)
    assert (output[:, :, :200] == 0).all()
    assert (logsumexp[:, :, :200] == -torch.inf).all()
    assert logsumexp[:, :, 200:].isfinite().all()


def test_tensors_need_not_be_contiguous(close):
    q, k, v = (
        x.transpose(1, 2).contiguous().transpose(1, 2)
        for x in inputs(130, 150, 64, 64, 4, 2, torch.bfloat16)
    )
    expected = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    close(flash_forward_triton(q, k, v)[0], expected)
