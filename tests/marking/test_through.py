"""An answer that changes a module is checked, and graded, through a function of plain data."""

import math
from dataclasses import replace

import pytest
import torch

from marking import check
from marking.compare import compare
from marking.diagnosis import run_suite
from marking.exercise import Exercise, Mistake, copy_inputs, suite
from marking.grading.judge import judge
from marking.grading.sandbox import Container


def freeze(model, keep):
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name == keep


def freeze_all(model, keep):
    for parameter in model.parameters():
        parameter.requires_grad = False


def doubles_the_weights(model, keep):
    freeze(model, keep)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)


def through(answer, weights, x, keep):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 4)).to(x.dtype)
    model.load_state_dict({name: value.clone() for name, value in weights.items()})
    answer(model, keep)
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    return {"output": model(x).detach(), "trainable": trainable, "any": bool(trainable)}


def situation(draw):
    shapes = {"0.weight": (2, 3), "0.bias": (2,), "1.weight": (4, 2), "1.bias": (4,)}
    weights = {name: draw.normal(*shape) for name, shape in shapes.items()}
    return {"weights": weights, "x": draw.normal(5, 3), "keep": draw.choice(*shapes)}


FREEZE = Exercise(
    id="attention.freeze",
    title="Freeze",
    returns="nothing",
    points=1,
    difficulty=1,
    minutes=1,
    reference=freeze,
    cases={"a small model": situation},
    mistakes=(Mistake("freezes-all", freeze_all, "it freezes all.", "attention/02_scale"),),
    alternatives=(),
    hints=("", "", ""),
    read="attention/02_scale",
    through=through,
)
RIGHT = """
def freeze(model, keep):
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name == keep
"""
WRONG = RIGHT.replace("== keep", "!= keep")
ALL = RIGHT.replace("name == keep", "False")


@pytest.mark.parametrize(
    "answer, faults",
    [(freeze, {None}), (freeze_all, {"type"}), (doubles_the_weights, {"value"})],
)
def test_check_sees_what_the_answer_did_to_the_module(answer, faults):
    outcomes = run_suite(FREEZE, answer, suite(FREEZE, 0, torch.float64), seconds=3)
    assert {outcome.fault for outcome in outcomes} == faults


@pytest.mark.bubblewrap
def test_the_grader_sees_it_too():
    container = Container()
    try:
        results = {
            name: judge(container, FREEZE, ["import torch", cell], "seed")
            for name, cell in [("right", RIGHT), ("wrong", WRONG), ("all", ALL)]
        }
    finally:
        container.stop()
    assert results["right"].status == "right"
    assert results["wrong"].status == "wrong"
    assert results["all"].mistakes == ("freezes-all",)


def test_a_changed_tensor_inside_an_input_is_seen():
    def spoils(answer, weights, x, keep):
        weights["0.bias"].zero_()
        return through(answer, weights, x, keep)

    cases = suite(FREEZE, 0, torch.float64)
    outcomes = run_suite(replace(FREEZE, through=spoils), freeze, cases, seconds=3)
    assert [outcome.fault for outcome in outcomes] == ["mutated"]


def test_a_copy_of_inputs_shares_no_tensor():
    inputs = {"a": [torch.ones(2)], "b": {"c": (torch.ones(2), "text")}}
    copy = copy_inputs(inputs)
    copy["a"][0].zero_()
    copy["b"]["c"][0].zero_()
    assert inputs["a"][0].sum() == inputs["b"]["c"][0].sum() == 2


@pytest.mark.parametrize(
    "value, expected, fault",
    [
        (0.1 + 0.2, 0.3, None),
        (0.3001, 0.3, "value"),
        (math.nan, 0.3, "value"),
        (math.inf, 0.3, "value"),
        pytest.param(10**400, 0.3, "value", id="no float"),
        pytest.param(-(10**5000), 3, "value", id="too long to print"),
        (2, 2.0, None),
        (2.0, 2, "type"),
        (True, 1, "type"),
        (1, True, "type"),
        (False, True, "value"),
        ("a", "b", "value"),
        ("a", "a", None),
        (("a", 1), ["a", 1], None),
        (["a"], ["a", "b"], "type"),
        ({"a": 1}, {"a": 1}, None),
        ({"a": 1}, {"a": 2}, "value"),
        ({}, {"a": 2}, "type"),
        ({"a": 1, "b": 1}, {"a": 1}, "type"),
        (None, {"a": 1}, "type"),
    ],
)
def test_python_values_are_compared(value, expected, fault):
    assert compare(value, expected, expected, 1e-9, "")[0] == fault


@pytest.mark.parametrize("digits", [400, 5000])
def test_a_number_too_large_to_print_is_reported_like_any_other(digits):
    report = check("attention.attention_cost", lambda **sizes: (10**digits,) * 3)
    assert report.share == 0
    assert "larger than 1e+300" in str(report)
    assert check("lora.scale", lambda **given: 10**digits).share == 0
