"""Low rank to layers: wrong input is refused with a sentence that says what came."""

import pytest
import torch
from torch import nn

import clearhead.lora as L


def t(*shape, dtype=torch.float64):
    return torch.zeros(shape, dtype=dtype)


LAYER = {"x": t(3, 7), "weight": t(5, 7), "A": t(2, 7), "B": t(5, 2), "alpha": 3.0, "bias": t(5)}
LAYERS = [
    ({"x": t(3, 8)}, ValueError, r"x \(3, 8\) and weight \(5, 7\); expected"),
    ({"x": t()}, ValueError, "expected"),
    ({"x": t(3, 7, dtype=torch.float32)}, TypeError, "weight is torch.float64; convert both"),
    ({"x": [1.0]}, TypeError, "x is a list; give a torch.Tensor"),
    ({"weight": t(5)}, ValueError, "expected"),
    ({"A": t(2, 8)}, ValueError, r"7 input features; expected A \(R, 7\)"),
    ({"A": t(2, 7).int()}, TypeError, "A is torch.int32; give a floating"),
    ({"A": t(7)}, ValueError, "A has shape"),
    ({"B": t(6, 2)}, ValueError, r"5 output features; expected B \(5, R\)"),
    ({"B": t(5, 3)}, ValueError, "one rank R of 1 or more"),
    ({"A": t(0, 7), "B": t(5, 0)}, ValueError, "one rank R of 1 or more"),
    ({"bias": t(7)}, ValueError, r"bias has shape \(7,\); expected \(5,\)"),
    ({"alpha": torch.nan}, ValueError, "alpha is nan; give a finite number"),
    ({"alpha": "16"}, TypeError, r"alpha is a str \('16'\); give a number"),
    ({"alpha": True}, TypeError, "alpha is a bool"),
]


@pytest.mark.parametrize(("change", "error", "sentence"), LAYERS)
def test_a_layer_that_does_not_fit(change, error, sentence):
    with pytest.raises(error, match=sentence):
        L.forward(**{**LAYER, **change})


SQUARE, A, B = t(4, 4), t(2, 4), t(4, 2)
CASES = [
    (lambda: L.best_rank_r(t(5, 7), 0), ValueError, "r is 0; give an integer of 1 or more"),
    (
        lambda: L.best_rank_r(t(5, 7), 6),
        ValueError,
        "r is 6, and a matrix of 5 × 7 has rank 5 at most; give a rank from 1 to 5",
    ),
    (lambda: L.split(t(5, 7), 2.0), TypeError, r"r is a float \(2.0\)"),
    (lambda: L.split(t(5), 1), ValueError, r"matrix has shape \(5,\); give a matrix"),
    (lambda: L.energy(t(0)), ValueError, r"singular_values have shape \(0,\)"),
    (lambda: L.energy(t(2, 2)), ValueError, "give one axis"),
    (lambda: L.rank_for_energy(t(2), 1.5), ValueError, "share is 1.5; give a number from 0 to 1"),
    (lambda: L.scale(torch.inf, 2), ValueError, "alpha is inf; give a finite number"),
    (lambda: L.scale(2.0, 0), ValueError, "r is 0; give an integer of 1 or more"),
    (lambda: L.scale(2.0, 0.5), TypeError, "r is a float"),
    (lambda: L.gradients(t(3, 4), A, B, 1.0, t(3, 5)), ValueError, r"d_output \(3, 5\); expected"),
    (lambda: L.gradients(t(3, 4), A, B, 1.0, t(2, 4)), ValueError, "equal leading axes"),
    (lambda: L.gradients(t(4), A, B, 1.0, t()), ValueError, "expected"),
    (lambda: L.gradients(t(3, 4), A, B, torch.nan, t(3, 4)), ValueError, "alpha is nan"),
    (lambda: L.initialise(t(0, 4), 4), ValueError, "r is 0"),
    (lambda: L.initialise(t(3, 4), 2), ValueError, "has rank 2 at most"),
    (lambda: L.initialise(t(4), 2), ValueError, "noise has shape"),
    (lambda: L.initialise(t(3, 4), 0), ValueError, "out_features is 0"),
    (lambda: L.initial(9, 4, 8), ValueError, "8 × 4 has rank 4 at most"),
    (lambda: L.initial(2, 4, 8, method="zeros"), ValueError, "'zeros'; give one of 'kaiming', 'ga"),
    (lambda: L.pissa(SQUARE, 2, -1.0), ValueError, "so give a positive one"),
    (lambda: L.pissa(SQUARE, 5, 1.0), ValueError, "has rank 4 at most"),
    (lambda: L.merge(t(4, 5), A, B, 1.0), ValueError, "5 input features"),
    (lambda: L.unmerge(t(5, 4), A, B, 1.0), ValueError, "5 output features"),
    (lambda: L.merge(SQUARE, A.float(), B, 1.0), TypeError, "convert both to one dtype"),
    (lambda: L.merge(SQUARE.int(), A, B, 1.0), TypeError, "weight is torch.int32"),
    (lambda: L.merge(SQUARE, A, B, torch.inf), ValueError, "alpha is inf"),
    (lambda: L.delta(A, t(4, 3), 1.0), ValueError, "one rank R"),
    (lambda: L.trainable_parameters(2, [(5, 7)], 6), ValueError, "5 × 7 has rank 5 at most"),
    (lambda: L.trainable_parameters(0, [(5, 7)], 2), ValueError, "layers is 0"),
    (lambda: L.trainable_parameters(2, [(5, 7.0)], 2), TypeError, "in_features is a float"),
    (lambda: L.training_bytes(-1, 2), ValueError, "frozen is -1"),
    (lambda: L.multiply_adds(5, 7, 6), ValueError, "5 × 7 has rank 5 at most"),
    (lambda: L.LoRALinear(nn.Embedding(3, 4)), TypeError, "given a Embedding"),
    (lambda: L.LoRAEmbedding(nn.Linear(3, 4)), TypeError, "given a Linear"),
    (lambda: L.LoRAConv1D(nn.Conv1d(3, 4, 1)), TypeError, "given a Conv1d"),
    (lambda: L.LoRAEmbedding(nn.Embedding(3, 4, max_norm=1.0)), ValueError, "max_norm=1.0"),
]


@pytest.mark.parametrize(("call", "error", "sentence"), CASES)
def test_wrong_input(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()


ADDED = [
    ({"name": "taken"}, ValueError, r"an adapter 'taken' already; .* \(known: 'taken'\)"),
    ({"name": "a.b"}, ValueError, "'a.b' can't be the name"),
    ({"name": ""}, ValueError, "'' can't be the name"),
    ({"name": "keys"}, ValueError, "'keys' can't be the name"),
    ({"name": 3}, TypeError, "The name is a int"),
    ({"r": 0}, ValueError, "r is 0; give an integer of 1 or more"),
    ({"r": 6}, ValueError, "has rank 5 at most"),
    ({"r": 2.0}, TypeError, "r is a float"),
    ({"alpha": torch.nan}, ValueError, "alpha is nan"),
    ({"alpha": torch.inf}, ValueError, "alpha is inf"),
    ({"alpha": None}, TypeError, "alpha is a NoneType"),
    ({"alpha": 0.0, "init": "pissa"}, ValueError, "alpha is 0.0; PiSSA divides"),
    ({"init": "orthogonal"}, ValueError, "'orthogonal'; give one of 'kaiming', 'gaussian', 'pissa"),
    ({"dropout": 1.0}, ValueError, "dropout is 1.0; give a number from 0 to less than 1"),
    ({"dropout": -0.1}, ValueError, "dropout is -0.1"),
]


@pytest.mark.parametrize(("change", "error", "sentence"), ADDED)
def test_an_adapter_that_can_not_be_added_leaves_the_layer_as_it_was(change, error, sentence):
    layer = L.LoRALinear(nn.Linear(7, 5))
    layer.add("taken", 2, 4.0)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    with pytest.raises(error, match=sentence):
        layer.add(**{"name": "new", "r": 2, "alpha": 4.0, **change})
    after = layer.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert layer.active == "taken"


def test_the_layer_compiles_whole():
    """Here, because the hook's checks do not compile."""
    layer, x = L.LoRALinear(nn.Linear(7, 5)), torch.randn(2, 3, 7)
    layer.add("default", 2, 4.0)
    nn.init.normal_(layer.adapters["default"].B)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))
