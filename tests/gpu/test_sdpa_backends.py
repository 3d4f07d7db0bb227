"""On a GPU `attention` keeps its promises whichever kernel torch picks."""

from contextlib import nullcontext

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from clearhead.attention import attention, flash_attention, scaled_dot_product

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

BACKENDS = ["MATH", "EFFICIENT_ATTENTION", "CUDNN_ATTENTION", "default"]


def run(function, q, k, v, upstream, **terms):
    given = [x.clone().requires_grad_() for x in (q, k, v)]
    output = function(*given, **terms)
    output = output[0] if isinstance(output, tuple) else output
    return output.detach(), *torch.autograd.grad(output, given, upstream)


@pytest.mark.filterwarnings("ignore")  # torch says by warnings why a backend will not run
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["mask", "bias"])
def test_fully_masked_rows_are_zero_in_outputs_and_gradients(kind, backend, close):
    q, k, v, upstream = (torch.randn(2, 4, 64, 64, device="cuda").bfloat16() for _ in range(4))
    mask = torch.rand(64, 64, device="cuda") < 0.7
    mask[5] = False
    term = mask
    if kind == "bias":
        term = torch.zeros(64, 64, device="cuda").bfloat16().masked_fill(~mask, -torch.inf)
    chosen = nullcontext() if backend == "default" else sdpa_kernel(getattr(SDPBackend, backend))
    try:
        with chosen:
            fast = run(attention, q, k, v, upstream, **{kind: term})
    except RuntimeError as error:
        pytest.skip(f"{backend} does not run here: {str(error).splitlines()[0]}")
    assert (fast[0][..., 5, :] == 0).all()
    assert (fast[1][..., 5, :] == 0).all()
    close(fast, run(scaled_dot_product, q, k, v, upstream, **{kind: term}))


@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
def test_the_plain_tiles_follow_their_inputs_to_the_gpu(causal, close):
    q, k, v, upstream = (torch.randn(2, 70, 16, device="cuda").double() for _ in range(4))
    mask = torch.ones(70, 70, dtype=torch.bool, device="cuda").tril() if causal else None
    tiled = run(flash_attention, q, k, v, upstream, block_size=32, causal=causal)
    close(tiled, run(scaled_dot_product, q, k, v, upstream, mask=mask))
