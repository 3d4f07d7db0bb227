"""QLoRA: four bits for what is frozen, full precision for what is trained."""

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clearhead.lora import (
    NF4Linear,
    apply,
    bits_per_parameter,
    dequantise,
    dequantise_scales,
    lora_layers,
    lora_parameters,
    merge_model,
    quantise,
    quantise_model,
    quantise_scales,
    unmerge_model,
)


def test_the_weight_is_what_the_codes_and_scales_stand_for():
    linear = nn.Linear(33, 21)
    codes, absmax = quantise(linear.weight.detach().flatten())
    absmax = dequantise_scales(quantise_scales(absmax))
    expected = dequantise(codes, absmax).reshape(21, 33)
    layer = NF4Linear(linear)
    assert torch.equal(layer.weight, expected)
    assert 0 < (layer.weight - linear.weight).abs().max() < 0.15 * linear.weight.abs().max()
    assert torch.equal(layer.bias, linear.bias)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 33), (33,), (2, 3, 33), (0, 33)])
def test_the_frugal_product_gives_what_the_plain_one_gives_gradient_too(bias, shape, dtype, close):
    layer = NF4Linear(nn.Linear(33, 21, bias=bias).to(dtype))
    x = torch.randn(shape, dtype=torch.float64).to(dtype).requires_grad_()
    plain, frugal = F.linear(x, layer.weight, layer.bias), layer(x)
    assert frugal.dtype == dtype
    close(frugal, plain)
    d_output = torch.randn_like(plain)
    close(torch.autograd.grad(frugal, x, d_output), torch.autograd.grad(plain, x, d_output))


def test_the_written_out_matrix_is_not_kept_for_the_gradient():
    layer, x = NF4Linear(nn.Linear(64, 64)), torch.randn(2, 64, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t):
        layer(x)
        assert (64, 64) not in kept
        F.linear(x, layer.weight)
        assert (64, 64) in kept  # and the test can see one that is


def test_everything_in_it_is_frozen_and_takes_4_127_bits():
    layer = NF4Linear(nn.Linear(64 * 256, 4))
    assert not any(p.requires_grad for p in layer.parameters())
    kept = layer.codes, layer.scale_codes, layer.scales[:-1]
    bits = 8 * sum(t.numel() * t.element_size() for t in kept)
    assert bits / (64 * 256 * 4) == bits_per_parameter()


def test_another_dtype_changes_how_the_weight_is_written_out_and_not_the_scales():
    layer = NF4Linear(nn.Linear(33, 21))
    before = layer.weight
    layer = layer.to(torch.bfloat16)
    assert layer.weight.dtype == torch.bfloat16
    assert torch.equal(layer.weight, before.bfloat16())
    assert torch.equal(layer.float().weight, before)


def test_it_is_saved_loaded_and_copied_like_any_module():
    layer, other = (NF4Linear(nn.Linear(33, 21)) for _ in range(2))
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file))
    assert torch.equal(other.weight, layer.weight)
    assert torch.equal(copy.deepcopy(layer).weight, layer.weight)


def test_dequantised_it_is_an_ordinary_layer_that_gives_the_same():
    layer, x = NF4Linear(nn.Linear(33, 21)), torch.randn(4, 33)
    linear = layer.to_linear()
    assert type(linear) is nn.Linear and isinstance(linear.weight, nn.Parameter)
    torch.testing.assert_close(linear(x), layer(x))


def test_what_cannot_be_quantised_is_refused_before_anything_changes():
    with pytest.raises(TypeError, match="NF4Linear replaces"):
        NF4Linear(NF4Linear(nn.Linear(3, 4)))
    model = small()
    with torch.no_grad():
        model[2].weight[1, 2] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinity"):
        quantise_model(model)
    assert not any(isinstance(m, NF4Linear) for m in model.modules())


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 5))


def test_quantised_before_the_adapters_or_after_the_model_is_the_same():
    before, after = small(), None
    after = copy.deepcopy(before)
    assert quantise_model(before) == ["0", "2"]
    apply(before, "all-linear", r=2)
    apply(after, "all-linear", r=2)
    assert quantise_model(after) == ["0.base", "2.base"]
    after.load_state_dict(before.state_dict())
    x = torch.randn(3, 7)
    assert torch.equal(before(x), after(x))
    assert all(isinstance(layer.base, NF4Linear) for layer in lora_layers(after).values())


@pytest.mark.parametrize("dora", [False, True])
def test_the_adapter_learns_on_the_quantised_base_and_the_base_stays(dora):
    model = small()
    apply(model, "all-linear", r=2, dora=dora)
    quantise_model(model)
    weights = [layer.base.weight for layer in lora_layers(model).values()]
    x, y = torch.randn(16, 7), torch.randn(16, 5)
    optimiser = torch.optim.Adam(lora_parameters(model), lr=0.05)
    losses = []
    for _ in range(30):
        loss = F.mse_loss(model(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    for weight, layer in zip(weights, lora_layers(model).values(), strict=True):
        assert torch.equal(layer.base.weight, weight)


def test_a_quantised_base_is_not_merged_and_a_merged_one_not_quantised():
    model = small()
    apply(model, "all-linear", r=2)
    merge_model(model)
    with pytest.raises(ValueError, match="merged"):
        quantise_model(model)
    unmerge_model(model)
    quantise_model(model)
    with pytest.raises(ValueError, match=r"keeps no full weight.*dequantise it first"):
        merge_model(model)


def test_a_layer_that_stands_in_two_places_is_quantised_once():
    shared = nn.Linear(6, 6)
    model = nn.Sequential(shared, nn.Tanh(), shared)
    quantise_model(model)
    assert isinstance(model[0], NF4Linear) and model[0] is model[2]


def test_named_layers_alone_are_quantised():
    model = small()
    assert quantise_model(model, ["2"]) == ["2"]
    assert type(model[0]) is nn.Linear and type(model[2]) is NF4Linear
