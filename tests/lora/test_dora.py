"""DoRA: the length of each row of the weight is learned apart from its direction."""

import pytest
import torch

from clearhead.lora import dora_fast, dora_forward, dora_weight, forward, row_lengths

BOTH = pytest.mark.parametrize("version", [dora_forward, dora_fast])


def draw(batch=(3, 4), I=7, O=5, R=2, dtype=torch.float64):
    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64).to(dtype)

    return {
        "x": normal(*batch, I),
        "weight": normal(O, I) / I**0.5,
        "A": normal(R, I) / I**0.5,
        "B": normal(O, R) / R**0.5,
        "magnitude": normal(O).abs() + 0.5,
        "alpha": 3.0,
        "bias": normal(O),
    }


@BOTH
def test_one_output_worked_by_hand(version):
    # V = (3, 0) + 2·2·(0, 1) = (3, 4), of length 5; magnitude 10 makes it (6, 8)
    got = version(
        torch.tensor([1.0, 1.0]),
        torch.tensor([[3.0, 0.0]]),
        torch.tensor([[0.0, 1.0]]),
        torch.tensor([[2.0]]),
        torch.tensor([10.0]),
        2.0,
        torch.tensor([0.5]),
    )
    torch.testing.assert_close(got, torch.tensor([14.5]))


@BOTH
def test_at_the_start_the_layer_is_the_base(version):
    d = draw()
    d["B"].zero_()
    d["magnitude"] = row_lengths(d["weight"], d["A"], d["B"], d["alpha"])
    torch.testing.assert_close(d["magnitude"], d["weight"].norm(dim=1))
    base = d["x"] @ d["weight"].mT + d["bias"]
    torch.testing.assert_close(version(**d), base)


@BOTH
def test_the_magnitude_of_the_merged_row_lengths_is_plain_lora(version):
    d = draw()
    d["magnitude"] = row_lengths(d["weight"], d["A"], d["B"], d["alpha"])
    lora = forward(**{name: value for name, value in d.items() if name != "magnitude"})
    torch.testing.assert_close(version(**d), lora)


def test_the_rows_of_the_merged_weight_are_as_long_as_the_magnitude():
    d = draw()
    del d["x"], d["bias"]
    merged = dora_weight(**d)
    torch.testing.assert_close(merged.norm(dim=1), d["magnitude"])
    V = d["weight"] + 1.5 * d["B"] @ d["A"]
    torch.testing.assert_close(torch.cosine_similarity(merged, V), torch.ones(5).double())


@pytest.mark.parametrize("rank_stabilized", [False, True])
def test_the_row_lengths_are_those_of_the_written_out_sum(rank_stabilized, dtype):
    d = draw(I=40, O=30, R=8, dtype=dtype)
    s = 3.0 / (8**0.5 if rank_stabilized else 8)
    expected = (d["weight"].double() + s * d["B"].double() @ d["A"].double()).norm(dim=1)
    got = row_lengths(d["weight"], d["A"], d["B"], 3.0, rank_stabilized=rank_stabilized)
    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    limit = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 5e-3}[dtype]
    torch.testing.assert_close(got.double(), expected, rtol=limit, atol=0)


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"batch": ()},
        {"batch": (2, 1, 3)},
        {"I": 63, "O": 17, "R": 5},
        {"R": 1},
        {"batch": (0,)},
    ],
    ids=str,
)
@pytest.mark.parametrize("rank_stabilized", [False, True])
def test_the_fast_version_gives_what_the_plain_one_gives_gradients_too(
    sizes, rank_stabilized, dtype, close
):
    d = draw(**sizes, dtype=dtype)
    names = ("x", "weight", "A", "B", "magnitude", "bias")
    trained = [d[name].requires_grad_() for name in names]
    slow = dora_forward(**d, rank_stabilized=rank_stabilized)
    fast = dora_fast(**d, rank_stabilized=rank_stabilized)
    assert slow.dtype == fast.dtype == dtype
    close(fast, slow)
    d_output = torch.randn_like(slow)
    pairs = zip(
        torch.autograd.grad(fast, trained, d_output),
        torch.autograd.grad(slow, trained, d_output),
        strict=True,
    )
    for f, s in pairs:
        size = max(1.0, s.abs().max().item()) if s.numel() else 1.0
        close(f / size, s / size)


@BOTH
def test_the_gradient_takes_the_length_as_a_constant(version):
    """Equation (2), and not the exact derivative, which has no part along the row."""
    d = draw()
    A, B, m = (d[name].requires_grad_() for name in ("A", "B", "magnitude"))
    d_output = torch.randn(3, 4, 5, dtype=torch.float64)
    version(**d).backward(d_output)
    G, X = d_output.reshape(-1, 5), d["x"].reshape(-1, 7)
    with torch.no_grad():
        V = d["weight"] + 1.5 * B @ A
        length = V.norm(dim=1, keepdim=True)
        d_V = m[:, None] / length * (G.mT @ X)
        torch.testing.assert_close(m.grad, (V / length * (G.mT @ X)).sum(1))
        torch.testing.assert_close(B.grad, 1.5 * d_V @ A.mT)
        torch.testing.assert_close(A.grad, 1.5 * B.mT @ d_V)


@BOTH
def test_a_row_of_zeros_gives_zero_and_a_finite_gradient(version):
    d = draw()
    d["weight"][1] = 0
    d["B"][1] = 0
    d["magnitude"].requires_grad_()
    y = version(**d)
    torch.testing.assert_close(y[..., 1], d["bias"][1].expand(3, 4))
    y.sum().backward()
    assert d["magnitude"].grad.isfinite().all()
