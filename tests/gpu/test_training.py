"""On a GPU: the CPU's trajectory in fp64, bf16 beside fp32, exact resume, and no stored logits."""

import sys
from pathlib import Path

import pytest
import torch

from clearhead.training import (
    Recipe,
    chunked_loss,
    clip_gradients,
    evaluate,
    make_rows,
    next_token_loss,
    pack_best_fit,
    train,
)

sys.path.append(str(Path(__file__).parents[1] / "training"))
from training_models import LENGTHS, padded_rows, small_model, texts

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

RECIPE = dict(steps=6, batch=len(LENGTHS), peak=0.02, warmup=2, clip=2.0)


def packed_rows():
    ids, documents, positions = pack_best_fit(texts(), 14, pad=0)
    return make_rows(ids, documents=documents, positions=positions)


@pytest.mark.parametrize("make", [padded_rows, packed_rows])
def test_the_trajectory_is_the_cpu_s(make):
    recipe = Recipe(**{**RECIPE, "batch": len(make().ids)}, micro_batch=3)
    here, there = small_model(), small_model().cuda()
    want, got = train(here, make(), recipe), train(there, make(), recipe)
    assert got == pytest.approx(want, rel=1e-9)
    for p, q in zip(here.parameters(), there.parameters(), strict=True):
        torch.testing.assert_close(q.detach().cpu(), p.detach(), rtol=1e-7, atol=1e-9)
    assert evaluate(there, make()).loss == pytest.approx(evaluate(here, make()).loss, rel=1e-9)


def test_bf16_follows_fp32():
    model = small_model(torch.float32).cuda()
    losses = train(model, padded_rows(), Recipe(**RECIPE, dtype=torch.bfloat16))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    want = train(small_model(torch.float32).cuda(), padded_rows(), Recipe(**RECIPE))
    assert losses != want and losses == pytest.approx(want, rel=3e-2)


class Stop(Exception):
    pass


def test_a_run_that_stopped_goes_on_as_if_it_had_not(tmp_path):
    """Some of a GPU's sums are in no fixed order, so to rounding, not bit for bit."""

    def stop(step):
        if step.done == 3:
            raise Stop

    recipe = Recipe(**RECIPE)
    want = train(small_model().cuda(), padded_rows(), recipe)
    with pytest.raises(Stop):
        train(small_model().cuda(), padded_rows(), recipe, checkpoint=tmp_path, every=2, watch=stop)
    got = train(small_model().cuda(), padded_rows(), recipe, checkpoint=tmp_path, every=2)
    assert got == pytest.approx(want, rel=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_chunked_loss_holds_no_logits(dtype, close):
    B, T, C, V = 2, 1025, 64, 32_000
    hidden = torch.randn(B, T, C, device="cuda", dtype=dtype, requires_grad=True)
    matrix = (torch.randn(V, C, device="cuda") / 8).to(dtype).requires_grad_(True)
    labels = torch.randint(0, V, (B, T), device="cuda")
    precise = [x.detach().double().requires_grad_(True) for x in (hidden, matrix)]
    real = torch.ones_like(labels, dtype=torch.bool)
    want = next_token_loss(precise[0] @ precise[1].mT, labels, real)
    wanted = torch.autograd.grad(want, precise)
    del precise
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    loss = chunked_loss(hidden, matrix, labels, chunk=128)
    gradients = torch.autograd.grad(loss, [hidden, matrix])
    torch.cuda.synchronize()
    assert torch.cuda.max_memory_allocated() - before < B * T * V * 4 / 4
    assert loss.item() == pytest.approx(want.item(), rel=1e-3)
    for got, expected in zip(gradients, wanted, strict=True):
        close(got / expected.abs().max(), expected / expected.abs().max())


def test_gradients_on_two_devices_are_clipped_together():
    clipped, norm = clip_gradients([torch.tensor([3.0]), torch.tensor([4.0], device="cuda")], 1.0)
    assert norm == 5.0 and clipped[1].device.type == "cuda"
