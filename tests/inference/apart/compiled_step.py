"""The static decode step compiles as one graph, and stays the plain path; without the hook, whose
wrappers torch.compile does not look through."""

import shutil

import pytest
import torch
from inference_models import FAMILIES, prompts, sharp_model

from clearhead.inference import FastDecoder, generate, left_pad

N = 6
# What torch.compile traces, run as it is; the same with its writes made functional, as Inductor
# gets it.
BACKENDS = ["eager", "aot_eager"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_compiled_step_writes_the_tokens_of_the_plain_path(family, backend):
    model = sharp_model(family)
    fast = FastDecoder(model, static=True, backend=backend)
    ids, pads = left_pad(prompts(7, 2, 5, 1))
    want = generate(model, ids, N, pads=pads, window=4)
    assert torch.equal(generate(fast, ids, N, pads=pads, window=4), want)


def test_more_caches_than_torch_recompiles_by_default():
    model = sharp_model(layers=1)
    fast = FastDecoder(model, static=True, backend="eager")
    for batch in range(1, 12):
        ids = torch.tensor(prompts(*[3] * batch))
        assert torch.equal(generate(fast, ids, 2), generate(model, ids, 2))


@pytest.mark.skipif(not shutil.which("g++"), reason="Inductor needs a C++ compiler")
def test_inductors_code_writes_the_tokens_of_the_plain_path():
    model = sharp_model("qwen2", torch.float32, layers=2)
    fast = FastDecoder(model, static=True, backend="inductor")
    ids, pads = left_pad(prompts(7, 2))
    assert torch.equal(generate(fast, ids, N, pads=pads), generate(model, ids, N, pads=pads))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("family", FAMILIES)
def test_inductors_code_recorded_as_a_graph_writes_the_tokens_of_the_plain_path(family):
    pytest.importorskip("triton")
    model = sharp_model(family, torch.float32).cuda()
    ids, pads = left_pad(prompts(7, 2, 5, 1), device="cuda")
    want = generate(model, ids, 24, pads=pads)
    assert torch.equal(generate(FastDecoder(model), ids, 24, pads=pads), want)
    assert torch.equal(generate(FastDecoder(model), ids[:1], 24), want[:1])
