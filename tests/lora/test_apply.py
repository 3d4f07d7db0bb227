"""A whole model: which modules are adapted, what trains, and that it can all be undone."""

import pytest
import torch
from lora_models import Conv1D, decoder, trained
from torch import nn

import clearhead.lora as L

IDS = torch.tensor([[1, 5, 2, 10], [3, 3, 0, 7]])
ATTENTION = [f"blocks.{i}.attention.{name}" for i in (0, 1) for name in ("query", "value")]


def state(model):
    """All that can change: the values, what trains, and which modules stand where."""
    values = {name: value.clone() for name, value in model.state_dict().items()}
    trains = {name: p.requires_grad for name, p in model.named_parameters()}
    kinds = {name: type(module) for name, module in model.named_modules()}
    active = [layer.active for layer in L.lora_layers(model).values()]
    merged = [layer.merged for layer in L.lora_layers(model).values()]
    return values, (trains, kinds, active, merged)


def assert_unchanged(model, before):
    values, rest = state(model)
    assert rest == before[1] and values.keys() == before[0].keys()
    assert all(torch.equal(value, before[0][name]) for name, value in values.items())


def test_the_named_modules_are_wrapped_in_the_model_s_order_and_all_else_is_frozen():
    model = decoder()
    before = model(IDS)
    assert L.apply(model, ["value", "query"], r=2, alpha=5.0) == ATTENTION
    assert torch.equal(model(IDS), before)
    trains = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trains == {f"{path}.adapters.default.{x}" for path in ATTENTION for x in "AB"}
    expected = sum(p.numel() for p in L.lora_parameters(model))
    assert expected == L.trainable_parameters(2, [(8, 8), (4, 8)], 2)


@pytest.mark.parametrize(
    ("targets", "count"),
    [(["query"], 2), (["attention.query", "down"], 4), (["blocks.1.attention.query"], 1)],
    ids=str,
)
def test_a_target_is_the_end_of_a_dotted_name(targets, count):
    assert len(L.apply(decoder(), targets, r=2)) == count


def test_half_a_name_is_no_name():
    with pytest.raises(ValueError, match="ends with 'uery'; did you mean 'query'"):
        L.apply(decoder(), ["uery"], r=2)


@pytest.mark.parametrize("tied", [True, False])
def test_all_linear_is_every_linear_but_the_output_head(tied):
    model = decoder(tied=tied)
    adapted = L.apply(model, "all-linear", r=2)
    assert len(adapted) == 2 * 7
    assert not any("head" in path or "embedding" in path for path in adapted)


def test_each_layer_stands_around_the_module_of_its_own_place():
    model = decoder()
    originals = dict(model.named_modules())
    L.apply(model, "all-linear", r=2)
    layers = L.lora_layers(model)
    assert len(layers) == 14
    assert all(layer.base is originals[path] for path, layer in layers.items())
    trained(model)
    for path, layer in layers.items():
        x = torch.randn(3, layer.base.in_features, dtype=torch.float64)
        adapter = layer.adapters["default"]
        expected = L.forward(x, originals[path].weight, adapter.A, adapter.B, 16)
        torch.testing.assert_close(model.get_submodule(path)(x), expected)


def test_training_moves_the_adapters_and_leaves_every_base_weight_bit_for_bit():
    model = decoder()
    L.apply(model, ["query", "down", "embedding"], r=2)
    before = {name: p.clone() for name, p in model.named_parameters()}
    optimiser = torch.optim.AdamW(L.lora_parameters(model), lr=0.05)
    for _ in range(3):
        optimiser.zero_grad()
        model(IDS).logsumexp(-1).sum().backward()
        optimiser.step()
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {name for name in before if ".adapters." in name}


def test_dropout_is_on_in_train_and_off_in_eval_as_the_model_is():
    model = decoder()
    L.apply(model, ["query"], r=2, dropout=0.5)
    trained(model)
    assert torch.equal(model(IDS), model(IDS))
    model.train()
    assert not torch.equal(model(IDS), model(IDS))


def test_two_adapters_are_switched_and_the_base_is_what_it_was():
    model = decoder()
    base = model(IDS)
    L.apply(model, ["query", "embedding"], r=2, name="one")
    L.add_adapter(model, "two", r=3, alpha=7.0, dora=True)
    assert L.active(model) == "one"
    trained(model)
    outputs = {}
    for name in ("one", "two", None):
        L.switch(model, name)
        assert L.active(model) == name
        outputs[name] = model(IDS)
    assert torch.equal(outputs[None], base)
    assert not torch.allclose(outputs["one"], outputs["two"])
    L.switch(model, "one")
    assert torch.equal(model(IDS), outputs["one"])
    assert len(L.lora_parameters(model)) == 2 * 3
    L.switch(model, None)
    assert L.lora_parameters(model) == []


@pytest.mark.parametrize("options", [{}, {"dora": True}, {"init": "pissa"}], ids=str)
def test_merged_the_model_gives_the_same_and_unmerged_the_very_same(options):
    model = decoder(tied=True)
    L.apply(model, ["query", "embedding", "down"], r=2, **options)
    trained(model)
    before = model(IDS)
    L.merge_model(model)
    torch.testing.assert_close(model(IDS), before)  # the tied head too reads the base's table
    L.unmerge_model(model)
    assert torch.equal(model(IDS), before)


def test_a_switch_while_merged_to_the_merged_one_is_no_switch():
    model = decoder()
    L.apply(model, ["query"], r=2)
    L.merge_model(model)
    L.switch(model, "default")
    assert L.active(model) == "default"


@pytest.mark.parametrize("merged", [True, False])
def test_removing_gives_the_very_model_of_before(merged):
    model = decoder()
    kinds = [type(module) for module in model.modules()]
    base, weight = model(IDS), model.blocks[0].attention.query.weight
    L.apply(model, ["query", "embedding"], r=2, init="pissa")
    trained(model)
    if merged:
        L.merge_model(model)
    L.remove(model)
    assert [type(module) for module in model.modules()] == kinds
    assert model.blocks[0].attention.query.weight is weight
    assert torch.equal(model(IDS), base)
    L.apply(model, ["query"], r=2)  # and it can be adapted again


def test_a_module_in_two_places_gets_one_layer_that_stands_in_both():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.Sequential(nn.ReLU(), shared), nn.Linear(4, 3))
    assert L.apply(model, ["0", "2"], r=2) == ["0", "2"]
    assert model[0] is model[1][1] and isinstance(model[0], L.LoRALinear)
    assert len(L.lora_parameters(model)) == 4
    L.remove(model)
    assert model[0] is model[1][1] is shared


def test_tied_weights_stay_tied_and_only_the_named_module_is_adapted():
    model = nn.ModuleDict({"table": nn.Embedding(6, 4), "head": nn.Linear(4, 6, bias=False)})
    model["head"].weight = model["table"].weight
    L.apply(model, ["table"], r=2)
    trained(model)
    weight = model["table"].weight.clone()
    L.merge_model(model)
    assert model["head"].weight is model["table"].base.weight
    assert torch.equal(model["head"].weight, weight)


def test_a_conv1d_is_adapted_like_the_linear_layer_with_its_weight_transposed():
    linear = nn.Sequential(nn.Linear(7, 5)).double()
    conv = nn.Sequential(Conv1D(5, 7)).double()
    conv[0].weight.data, conv[0].bias.data = linear[0].weight.T.clone(), linear[0].bias
    for model in (linear, conv):
        torch.manual_seed(3)
        L.apply(model, "all-linear", r=3, alpha=7.0)
        trained(model)
    x = torch.randn(4, 7).double()
    torch.testing.assert_close(conv(x), linear(x))
    L.merge_model(conv)
    torch.testing.assert_close(conv(x), linear(x))


def test_the_out_proj_of_multihead_attention_is_refused_because_it_would_never_run():
    model = nn.ModuleDict({"mha": nn.MultiheadAttention(4, 2), "linear": nn.Linear(4, 4)})
    with pytest.raises(ValueError, match="out_proj"):
        L.apply(model, ["out_proj"], r=2)
    assert L.apply(model, "all-linear", r=2) == ["linear"]


NAMES = "'down', 'embedding', 'gate', 'key', 'output', 'query', 'up', 'value'"
BEFORE_APPLY = [
    ({"targets": ["qeury"]}, ValueError, f"'qeury'; did you mean 'query'. There are {NAMES}"),
    ({"targets": ["query", "zzz"]}, ValueError, f"ends with 'zzz'; there are {NAMES}"),
    (
        {"targets": ["attention"]},
        ValueError,
        "'attention' is of class Attention, .*; inside it are 'key', 'output', 'query', 'value'",
    ),
    ({"targets": ["norm"]}, ValueError, "'norm' is of class RMSNorm, and LoRA adapts Linear"),
    ({"targets": "query"}, TypeError, "targets is 'query'; give a list of names"),
    ({"targets": []}, ValueError, "targets is empty"),
    ({"r": 0}, ValueError, "In 'blocks.0.attention.query': r is 0"),
    ({"r": 5}, ValueError, "In 'blocks.0.attention.value': r is 5, and a matrix of 4 × 8 has rank"),
    ({"alpha": torch.inf}, ValueError, "alpha is inf"),
    ({"dropout": 1.5}, ValueError, "dropout is 1.5"),
    ({"init": "zeros"}, ValueError, "init is 'zeros'"),
    ({"name": "a.b"}, ValueError, "'a.b' can't be the name"),
]


@pytest.mark.parametrize(("change", "error", "sentence"), BEFORE_APPLY)
def test_what_can_not_be_applied_leaves_the_model_as_it_was(change, error, sentence):
    model = decoder()
    before = state(model)
    with pytest.raises(error, match=sentence):
        L.apply(model, **{"targets": ["query", "value"], "r": 2, **change})
    assert_unchanged(model, before)


def merged_twice(model):
    L.merge_model(model)
    L.merge_model(model)


def switched_while_merged(model):
    L.merge_model(model)
    L.switch(model, "two")


def merged_without_an_active_adapter(model):
    L.switch(model, None)
    L.merge_model(model)


AFTER_APPLY = [
    (lambda model: L.switch(model, "tow"), "no adapter 'tow'; known: 'one', 'two'"),
    (lambda model: L.unmerge_model(model), "No adapter is merged; there is nothing to unmerge"),
    (merged_twice, "'one' is merged already; merging twice would add it twice"),
    (switched_while_merged, "'one' is merged; unmerge it before switching to 'two'"),
    (merged_without_an_active_adapter, "No adapter is active; .*known: 'one', 'two'"),
    (lambda model: L.add_adapter(model, "two", r=2), "an adapter 'two' already"),
    (lambda model: L.add_adapter(model, "three", r=5), "value': r is 5"),
    (lambda model: L.add_adapter(model, "three", r=0), "r is 0"),
    (lambda model: L.add_adapter(model, "three", r=2, alpha=torch.nan), "alpha is nan"),
    (lambda model: L.apply(model, ["query"], r=2), "has adapters already; add_adapter gives it"),
]


@pytest.mark.parametrize(("action", "sentence"), AFTER_APPLY)
def test_what_can_not_be_done_to_an_adapted_model_leaves_its_weights_as_they_were(action, sentence):
    model = decoder()
    L.apply(model, ["query", "value"], r=2, name="one")
    L.add_adapter(model, "two", r=2)
    trained(model)
    values, _ = state(model)
    with pytest.raises(ValueError, match=sentence):
        action(model)
    assert values.keys() == model.state_dict().keys()
    assert all(torch.equal(value, values[name]) for name, value in model.state_dict().items())


def test_a_layer_that_was_merged_alone_stops_the_others_from_being_merged_halfway():
    model = decoder()
    L.apply(model, ["query", "value"], r=2)
    last = list(L.lora_layers(model).values())[-1]
    last.merge()
    with pytest.raises(ValueError, match="merged already"):
        L.merge_model(model)
    assert [layer.merged for layer in L.lora_layers(model).values()] == [False] * 3 + [True]


def test_an_adapter_that_one_layer_lacks_is_switched_to_nowhere():
    model = decoder()
    L.apply(model, ["query"], r=2)
    next(iter(L.lora_layers(model).values())).add("alone", 2, 4.0)
    with pytest.raises(ValueError, match="no adapter 'alone'; known: 'default'"):
        L.switch(model, "alone")
    assert L.active(model) == "default"


@pytest.mark.parametrize(
    "action", [L.active, L.merge_model, L.unmerge_model, L.remove, L.lora_parameters]
)
def test_a_model_without_adapters_is_told_so(action):
    with pytest.raises(ValueError, match="no LoRA layer; apply puts them in"):
        action(decoder())


def test_layers_with_different_active_adapters_have_no_common_one():
    model = decoder()
    L.apply(model, ["query"], r=2)
    next(iter(L.lora_layers(model).values())).switch(None)
    with pytest.raises(ValueError, match=r"different active adapters: .*'default'"):
        L.active(model)
