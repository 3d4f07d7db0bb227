"""Initial weights: the right sizes, the same everywhere, and a first loss of ln V."""

import math

import pytest
import torch

from clearhead.model import Config, Decoder
from clearhead.training import evaluate, initialise, make_rows

SIZES = dict(vocab_size=300, width=64, layers=8, heads=4, kv_heads=2, head_size=16, feed_forward=96)


def decoder(**changes):
    return Decoder(Config(**SIZES, **changes))


def test_matrices_have_the_spread_that_was_asked_and_writers_a_quarter():
    model = initialise(decoder(qkv_bias=True, qk_norm=True), std=0.1)
    for name, p in model.named_parameters():
        if "norm" in name:
            assert (p == 1).all()
        elif name.endswith("bias"):
            assert (p == 0).all()
        else:
            quarter = name.endswith(("attention.output.weight", "feed_forward.down.weight"))
            want = 0.1 / 4 if quarter else 0.1  # √(2 · 8) = 4
            assert p.std().item() == pytest.approx(want, rel=0.05)


def test_one_seed_gives_one_model_in_any_dtype():
    torch.manual_seed(3)
    first = initialise(decoder(), seed=5)
    torch.manual_seed(4)
    before = torch.get_rng_state()
    model = decoder().double()
    torch.set_rng_state(before)
    again = initialise(model, seed=5)
    assert again is model and torch.equal(torch.get_rng_state(), before)
    for p, q in zip(first.parameters(), again.parameters(), strict=True):
        assert q.dtype == torch.float64 and torch.equal(p.double(), q)
    other = initialise(decoder(), seed=6)
    assert not torch.equal(other.embedding.weight, first.embedding.weight)


@pytest.mark.parametrize("tied", [False, True])
def test_the_first_loss_is_that_of_guessing(tied):
    rows = make_rows(torch.randint(0, 300, (4, 32)))
    assert evaluate(initialise(decoder(tied=tied)), rows).loss == pytest.approx(
        math.log(300), rel=0.02
    )
    if tied:
        assert evaluate(decoder(tied=True), rows).loss > 10
