"""What the tests share: a fixed seed, one tolerance per dtype, and memory poisoned with NaN."""

import pytest
import torch

# The largest error allowed, absolute and relative, between two ways to compute one thing from
# inputs of size 1. bf16 keeps 8 bits: a rounding is 0.4 %, and a gradient passes several.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-5, torch.float16: 5e-3, torch.bfloat16: 3e-2}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(params=[torch.float64, torch.float32, torch.bfloat16], ids=["fp64", "fp32", "bf16"])
def dtype(request):
    return request.param


@pytest.fixture
def close():
    """`close(actual, expected)` compares tensors, or tuples of tensors, within TOLERANCE.

    The tolerance is that of `actual`'s dtype; `expected` may be more precise.
    """

    def compare(actual, expected):
        if isinstance(actual, tuple | list):
            assert len(actual) == len(expected)
            for a, e in zip(actual, expected, strict=True):
                compare(a, e)
            return
        limit = TOLERANCE[actual.dtype]
        torch.testing.assert_close(actual.double(), expected.double(), atol=limit, rtol=limit)

    return compare


@pytest.fixture
def poisoned_empty(monkeypatch):
    """`torch.empty` and `torch.empty_like` give NaN, so that a cell nobody wrote cannot hide."""
    for name in ("empty", "empty_like"):
        original = getattr(torch, name)

        def poisoned(*args, _original=original, **kwargs):
            x = _original(*args, **kwargs)
            return x.fill_(torch.nan) if x.is_floating_point() else x

        monkeypatch.setattr(torch, name, poisoned)
