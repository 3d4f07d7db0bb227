"""What LoRA saves, counted: the paper's numbers, and numbers worked by hand."""

import pytest
from torch import nn

import clearhead.lora as L

GPT3 = 96, [(12288, 12288)] * 2  # layers; the query's and the value's matrix


@pytest.mark.parametrize(("r", "millions"), [(1, 4.7), (4, 18.9), (8, 37.7)])
def test_the_counts_published_for_gpt_3(r, millions):
    assert round(L.trainable_parameters(*GPT3, r) / 1e6, 1) == millions


def test_a_count_worked_by_hand_with_two_shapes():
    assert L.trainable_parameters(2, [(3, 5), (7, 4)], 2) == 2 * (2 * 8 + 2 * 11)


def test_the_count_is_what_a_model_then_trains():
    blocks = [nn.Sequential(nn.Linear(5, 8), nn.Linear(8, 5), nn.LayerNorm(5)) for _ in range(3)]
    model = nn.Sequential(*blocks)
    L.apply(model, ["0", "1"], r=4)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == L.trainable_parameters(3, [(8, 5), (5, 8)], 4)


def test_full_fine_tuning_in_fp32_holds_16_bytes_a_parameter():
    assert L.training_bytes(0, 10) == (40, 40, 80)
    assert L.training_bytes(0, 10).total == 160


def test_a_frozen_parameter_costs_its_value_alone():
    held = L.training_bytes(1000, 10, bytes_per_frozen=0.5)
    assert held == (500 + 40, 40, 80)


def test_the_adam_state_of_torch_has_the_bytes_that_are_counted():
    import torch

    layer = nn.Linear(5, 8, bias=False)
    optimiser = torch.optim.AdamW(layer.parameters())
    layer(torch.randn(2, 5)).sum().backward()
    optimiser.step()
    state = optimiser.state[layer.weight]
    moments = sum(x.nbytes for x in state.values() if x.shape == layer.weight.shape)
    assert moments == L.training_bytes(0, 40).optimiser


def test_a_step_costs_two_thirds_of_a_full_one_and_never_less():
    N, r = 4096, 8
    assert L.multiply_adds(N, N) == 3 * N * N
    assert L.multiply_adds(N, N, r) == 2 * N * N + 6 * N * r
    assert 2 / 3 < L.multiply_adds(N, N, 1) / L.multiply_adds(N, N) < 0.668
