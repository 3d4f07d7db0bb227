"""Held-out loss: over all labels together, whatever the batch, with dropout off."""

import math

import pytest
import torch
from training_models import padded_rows, small_model

from clearhead import lora
from clearhead.training import IGNORED, evaluate, make_rows, next_token_loss


@pytest.mark.parametrize("batch", [1, 3, 8, 100])
def test_it_is_the_loss_of_all_rows_at_once(batch):
    model, rows = small_model(), padded_rows()
    want = next_token_loss(model(rows.ids), rows.ids, rows.labels != IGNORED).item()
    got = evaluate(model, rows, batch=batch, chunk=5, n_bytes=200)
    assert got.loss == pytest.approx(want, rel=1e-12)
    assert got.perplexity == pytest.approx(math.exp(want), rel=1e-12)
    assert got.labels == 45 and got.bits_per_byte == pytest.approx(45 * want / math.log(2) / 200)
    assert evaluate(model, rows).bits_per_byte is None


@pytest.mark.parametrize("mode", [True, False])
def test_dropout_is_off_and_the_mode_comes_back(mode):
    model, rows = small_model(), padded_rows()
    lora.apply(model, "all-linear", r=2, dropout=0.5)
    with torch.no_grad():
        for p in lora.lora_parameters(model):
            p.normal_(std=0.3)
    model.train(mode)
    assert evaluate(model, rows) == evaluate(model, rows)
    assert model.training is mode
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("mode", [True, False])
def test_the_mode_comes_back_when_it_fails(mode):
    model = small_model().train(mode)
    with pytest.raises(ValueError, match="out of range"):
        evaluate(model, make_rows(torch.full((1, 3), 99)))
    assert model.training is mode


def test_a_perplexity_beyond_the_largest_number_is_infinite():
    model = small_model()
    model.norm.weight.data.mul_(1e5)
    got = evaluate(model, padded_rows())
    assert got.loss > 1000 and got.perplexity == math.inf


def test_a_model_without_an_opinion_has_the_perplexity_of_the_vocabulary():
    model = small_model()
    torch.nn.init.zeros_(model.head.weight)
    assert evaluate(model, padded_rows()).perplexity == pytest.approx(19)
