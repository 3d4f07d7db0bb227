"""A batch in which every row has its own adapter: the loop, and the two batched products."""

import pytest
import torch

from clearhead.lora import batched_adapters, forward, merge, per_row

BOTH = pytest.mark.parametrize("version", [per_row, batched_adapters])


def draw(B=5, T=4, I=7, O=6, N=3, R=2, dtype=torch.float64):
    return {
        "x": torch.randn(B, T, I, dtype=torch.float64).to(dtype),
        "weight": torch.randn(O, I, dtype=torch.float64).to(dtype) / I**0.5,
        "A": torch.randn(N, R, I, dtype=torch.float64).to(dtype) / I**0.5,
        "B": torch.randn(N, O, R, dtype=torch.float64).to(dtype) / R**0.5,
        "alpha": 3.0,
        "which": torch.tensor([2, -1, 0, 2, 1])[:B],
    }


@BOTH
def test_a_batch_of_three_rows_worked_by_hand(version):
    x = torch.tensor([[[1.0, 2.0]], [[1.0, 2.0]], [[1.0, 2.0]]])
    weight = torch.tensor([[1.0, 0.0]])
    A = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    B = torch.tensor([[[10.0]], [[100.0]]])
    got = version(x, weight, A, B, 0.5, torch.tensor([1, -1, 0]))
    assert got.flatten().tolist() == [1 + 0.5 * 100 * 2, 1, 1 + 0.5 * 10 * 1]


@BOTH
def test_each_row_is_what_its_adapter_alone_would_give(version):
    d = draw()
    got = version(**d)
    for b, n in enumerate(d["which"].tolist()):
        x = d["x"][b]
        alone = forward(x, d["weight"], d["A"][n], d["B"][n], d["alpha"])
        torch.testing.assert_close(got[b], x @ d["weight"].mT if n < 0 else alone)
        if n >= 0:
            merged = merge(d["weight"], d["A"][n], d["B"][n], d["alpha"])
            torch.testing.assert_close(got[b], x @ merged.mT)


@pytest.mark.parametrize(
    "sizes",
    [{}, {"T": 1}, {"B": 1}, {"N": 7, "R": 5, "I": 63, "O": 17}, {"R": 1}, {"T": 0}],
    ids=str,
)
def test_the_batched_form_gives_what_the_loop_gives_gradients_too(sizes, dtype, close):
    d = draw(**sizes, dtype=dtype)
    trained = [d[name].requires_grad_() for name in ("x", "weight", "A", "B")]
    slow, fast = per_row(**d), batched_adapters(**d)
    assert fast.dtype == dtype
    close(fast, slow)
    d_output = torch.randn_like(slow)
    for f, s in zip(
        torch.autograd.grad(fast, trained, d_output),
        torch.autograd.grad(slow, trained, d_output),
        strict=True,
    ):
        close(f, s)


@BOTH
def test_an_adapter_that_no_row_uses_gets_no_gradient(version):
    d = draw()
    d["which"] = torch.tensor([2, -1, 2, 2, -1])
    A, B = d["A"].requires_grad_(), d["B"].requires_grad_()
    version(**d).sum().backward()
    assert not A.grad[:2].any() and not B.grad[:2].any()
    assert A.grad[2].any() and B.grad[2].any()


@BOTH
def test_the_order_of_the_rows_does_not_matter(version):
    d = draw()
    order = torch.tensor([3, 1, 4, 0, 2])
    turned = version(**{**d, "x": d["x"][order], "which": d["which"][order]})
    torch.testing.assert_close(turned, version(**d)[order])


@BOTH
def test_rows_without_an_adapter_do_not_feel_a_broken_one(version):
    d = draw()
    d["A"][0] = torch.inf
    d["which"] = torch.tensor([-1, -1, 1, -1, -1])
    assert version(**d).isfinite().all()


@BOTH
def test_no_rows_and_no_adapters_work(version):
    d = draw(N=0)
    d["which"] = torch.full((5,), -1)
    torch.testing.assert_close(version(**d), d["x"] @ d["weight"].mT)
    d = draw(B=0)
    assert version(**d).shape == (0, 4, 6)


@BOTH
def test_a_smaller_rank_filled_up_with_zeros_is_the_smaller_rank(version):
    d = draw(R=4)
    d["A"][:, 1:] = 0
    d["B"][:, :, 1:] = 0
    small = {**d, "A": d["A"][:, :1], "B": d["B"][:, :, :1], "alpha": d["alpha"] / 4}
    torch.testing.assert_close(version(**d), version(**small))
