"""Batched adapters, DoRA, NF4: wrong input is refused with a sentence that says what came."""

import pytest
import torch
from torch import nn

import clearhead.lora as L


def t(*shape, dtype=torch.float64):
    return torch.zeros(shape, dtype=dtype)


BATCH = {"x": t(5, 4, 7), "weight": t(6, 7), "A": t(3, 2, 7), "B": t(3, 6, 2), "alpha": 3.0}
BATCH["which"] = torch.tensor([2, -1, 0, 2, 1])
DORA = {"x": t(3, 7), "weight": t(5, 7), "A": t(2, 7), "B": t(5, 2), "magnitude": t(5)}
DORA |= {"alpha": 3.0, "bias": t(5)}
CODE = torch.tensor(L.NF4)

BATCHED = [
    ({"which": torch.tensor([0, 1, 2, 3, 0])}, ValueError, "which holds 0 to 3; the 3 adapters"),
    ({"which": torch.tensor([0, 1, 2, -2, 0])}, ValueError, "which holds -2 to 2"),
    ({"which": torch.tensor([0, 1])}, ValueError, "one index for each of the 5 rows"),
    ({"which": t(5, dtype=torch.bool)}, TypeError, "which is torch.bool"),
    ({"which": t(5)}, TypeError, "which is torch.float64"),
    ({"which": [0, 1, 2, 0, 1]}, TypeError, "which is a list"),
    ({"alpha": torch.inf}, ValueError, "alpha"),
    ({"A": t(3, 2, 8)}, ValueError, r"A has shape \(3, 2, 8\); .* it must be \(3, 2, 7\)"),
    ({"A": t(3, 0, 7), "B": t(3, 6, 0)}, ValueError, "rank is 0"),
    ({"B": t(2, 6, 2)}, ValueError, r"B has shape \(2, 6, 2\); .* it must be \(3, 6, 2\)"),
    ({"B": t(3, 6, 3)}, ValueError, r"B has shape \(3, 6, 3\); .* it must be \(3, 6, 2\)"),
    ({"weight": t(6, 8)}, ValueError, r"weight has shape \(6, 8\); .* it must be \(6, 7\)"),
    ({"x": t(4, 7)}, ValueError, r"expected \(B, T, I\), \(O, I\), \(N, R, I\), \(N, O, R\)"),
    ({"x": BATCH["x"].float()}, TypeError, "convert both to one dtype"),
]


@pytest.mark.parametrize("version", [L.per_row, L.batched_adapters])
@pytest.mark.parametrize(("change", "error", "sentence"), BATCHED)
def test_a_batch_that_does_not_fit(version, change, error, sentence):
    with pytest.raises(error, match=sentence):
        version(**{**BATCH, **change})


DORAS = [
    ({"magnitude": t(7)}, ValueError, r"magnitude has shape \(7,\); .* each of the 5 rows"),
    ({"magnitude": t(5, 1)}, ValueError, r"magnitude has shape \(5, 1\)"),
    ({"A": t(2, 8)}, ValueError, "7 input features"),
    ({"B": t(6, 2)}, ValueError, "5 output features"),
    ({"B": t(5, 3)}, ValueError, "one rank R"),
    ({"x": t(3, 8)}, ValueError, r"x \(3, 8\) and weight \(5, 7\); expected"),
    ({"x": t()}, ValueError, "expected"),
    ({"bias": t(7)}, ValueError, r"bias has shape \(7,\); expected \(5,\)"),
    ({"alpha": torch.nan}, ValueError, "alpha"),
    ({"weight": t(5, 7, dtype=torch.int64)}, TypeError, "weight is torch.int64"),
    ({"weight": t(5)}, ValueError, "weight has shape"),
    ({"x": t(3, 7, dtype=torch.float32)}, TypeError, "convert both to one dtype"),
]


@pytest.mark.parametrize("version", [L.dora_forward, L.dora_fast])
@pytest.mark.parametrize(("change", "error", "sentence"), DORAS)
def test_a_dora_layer_that_does_not_fit(version, change, error, sentence):
    with pytest.raises(error, match=sentence):
        version(**{**DORA, **change})


VALUES = [
    ({"values": t(3, dtype=torch.int64)}, TypeError, "values is torch.int64"),
    ({"values": t(3, 2)}, ValueError, r"values has shape \(3, 2\); give one axis"),
    ({"values": torch.tensor([1.0, torch.nan])}, ValueError, "NaN or infinity"),
    ({"values": torch.tensor([1.0, torch.inf])}, ValueError, "NaN or infinity"),
    ({"block_size": 0}, ValueError, "block_size is 0"),
    ({"block_size": 6.4}, TypeError, "block_size is a float"),
]


@pytest.mark.parametrize(("change", "error", "sentence"), VALUES)
def test_values_that_cannot_be_quantised(change, error, sentence):
    given = {"values": torch.ones(3), "block_size": 64, **change}
    with pytest.raises(error, match=sentence):
        L.quantise(**given)
    with pytest.raises(error, match=sentence):
        L.nf4(**given, code=CODE)


CASES = [
    (lambda: L.nf4(t(3), t(0), 64), ValueError, "code has shape"),
    (lambda: L.nf4(t(3), t(4, 4), 64), ValueError, "code has shape"),
    (lambda: L.dequantise(t(100, dtype=torch.uint8), t(3)), ValueError, "need 2 .* given 3"),
    (lambda: L.quantise_scales(t(0)), ValueError, "one value a block"),
    (lambda: L.quantise_scales(t(3, 2)), ValueError, "one value a block"),
    (lambda: L.quantise_scales(t(3, dtype=torch.int64)), TypeError, "absmax is torch.int64"),
    (lambda: L.bits_per_parameter(0), ValueError, "block_size is 0"),
    (lambda: L.quantise_model(nn.Sequential(nn.Linear(3, 4)), ["1"]), ValueError, "ends with '1'"),
    (
        lambda: L.quantise_model(nn.Sequential(nn.Embedding(3, 4)), ["0"]),
        TypeError,
        "an nn.Linear; '0' is a Embedding",
    ),
    (lambda: L.loraplus_groups(nn.Linear(3, 4), 1e-3), ValueError, "no LoRA layer"),
    (lambda: L.NF4Linear(nn.Embedding(3, 4)), TypeError, "an nn.Linear; given a Embedding"),
    (
        lambda: L.NF4Linear(L.NF4Linear(nn.Linear(3, 4))),
        TypeError,
        "an nn.Linear; given a NF4Linear",
    ),
]


@pytest.mark.parametrize(("call", "error", "sentence"), CASES)
def test_what_cannot_be_stored(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()
