"""LoRA+: B learns faster than A."""

import pytest
import torch
from torch import nn

from clearhead.lora import add_adapter, apply, lora_parameters, loraplus_groups, switch


def small(**options):
    model = nn.Sequential(nn.Embedding(11, 8), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 4))
    apply(model, options.pop("targets", ["1", "3"]), r=2, **options)
    return model


def test_b_learns_sixteen_times_as_fast_as_a():
    model = small()
    groups = loraplus_groups(model, 1e-3)
    a, b = (model[i].adapters["default"] for i in (1, 3))
    assert [group["lr"] for group in groups] == [1e-3, 16e-3]
    assert {id(p) for p in groups[0]["params"]} == {id(a.A), id(b.A)}
    assert {id(p) for p in groups[1]["params"]} == {id(a.B), id(b.B)}


def test_the_groups_hold_what_trains_each_once_and_the_magnitudes_go_with_b():
    model = small(dora=True)
    add_adapter(model, "other", r=3)
    switch(model, "default")
    groups = loraplus_groups(model, 1e-3, ratio=4)
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(map(id, lora_parameters(model)))
    assert id(model[1].adapters["default"].magnitude) in map(id, groups[1]["params"])


def test_both_factors_of_an_embedding_learn_at_the_rate_of_a():
    model = small(targets=["0"])
    [group] = loraplus_groups(model, 1e-3)
    assert group["lr"] == 1e-3 and len(group["params"]) == 2


def test_one_step_of_adam_moves_b_by_the_ratio():
    model = small()
    optimiser = torch.optim.AdamW(loraplus_groups(model, 1e-3, ratio=8), weight_decay=0.0)
    model(torch.tensor([1, 2, 3])).square().sum().backward()
    optimiser.step()
    moved = model[3].adapters["default"].B.detach().abs()  # from zero
    torch.testing.assert_close(moved, torch.full_like(moved, 8e-3), rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"lr": 0.0}, "lr is 0.0"),
        ({"lr": 1e-3, "ratio": -1}, "ratio is -1"),
        ({"lr": float("nan")}, "lr"),
    ],
)
def test_rates_that_cannot_be_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        loraplus_groups(small(), **arguments)


def test_a_model_of_which_nothing_trains_is_refused():
    model = small()
    switch(model, None)
    for nothing in (model, nn.Linear(3, 4)):
        with pytest.raises(ValueError, match="no LoRA layer with an active adapter"):
            loraplus_groups(nothing, 1e-3)
