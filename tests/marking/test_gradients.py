"""What comes back is to be trained with: an answer that cuts the gradient off is told so."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from marking import check
from marking.diagnosis import diagnose, run_suite
from marking.exercise import suite
from marking.grading.judge import judge
from marking.grading.sandbox import Container
from marking.registry import exercises

TRAINED = {id: e for id, e in exercises().items() if e.trains}
DPO = """
def dpo_loss(chosen, rejected, reference_chosen, reference_rejected, beta):
    import torch
    z = beta * ((chosen - reference_chosen) - (rejected - reference_rejected))
    return {}
"""
RIGHT = "torch.nn.functional.softplus(-z).mean()"


def z(chosen, rejected, reference_chosen, reference_rejected, beta):
    return beta * ((chosen - reference_chosen) - (rejected - reference_rejected))


def halved(reference, name, **inputs):
    """The reference's value, and half of its gradient with respect to one input."""
    return reference(**{**inputs, name: (inputs[name] + inputs[name].detach()) / 2})


def test_several_exercises_ask_for_a_gradient():
    assert len(TRAINED) >= 7


@pytest.mark.parametrize("exercise_id", list(TRAINED))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_right_value_without_a_gradient_fails_every_exercise_that_asks_for_one(
    exercise_id, dtype
):
    exercise = TRAINED[exercise_id]
    cases = suite(exercise, 0, dtype)
    assert all(case.gradients.keys() == set(exercise.trains) for case in cases)
    assert not any(x.requires_grad for case in cases for x in (case.like, case.expected))
    outcomes = run_suite(
        exercise, lambda **inputs: exercise.reference(**inputs).detach(), cases, seconds=5
    )
    moving = [any((g != 0).any() for g in case.gradients.values()) for case in cases]
    assert [o.fault == "no-gradient" for o in outcomes] == moving
    assert sum(moving) >= len(cases) - 3
    assert diagnose(exercise, cases, outcomes) == ((), False)


@pytest.mark.parametrize("exercise_id", list(TRAINED))
def test_a_right_value_with_a_part_of_its_gradient_fails_every_such_exercise(exercise_id):
    exercise = TRAINED[exercise_id]
    cases = suite(exercise, 0, torch.float64)
    for name in exercise.trains:
        half = partial(halved, exercise.reference, name)
        outcomes = run_suite(exercise, half, cases, seconds=5)
        faults = [o.fault for o in outcomes]
        assert faults.count("gradient") >= len(cases) / 2 and set(faults) <= {"gradient", None}
        wrong = next(o for o in outcomes if not o.ok)
        assert f"the gradient with respect to {name} is wrong" in wrong.message


@pytest.mark.parametrize(
    "softplus",
    [
        lambda z: torch.where(z > 0, torch.log1p(torch.exp(-z)), -z + torch.log1p(torch.exp(z))),
        lambda z: torch.where(z < -50, -z, -torch.log(torch.sigmoid(z))),
    ],
)
def test_nan_in_a_gradient_is_told(softplus):
    report = check("preference.dpo_loss", lambda **inputs: softplus(z(**inputs)).mean())
    failed = [o for o in report.results.values() if not o.ok]
    assert failed and {o.fault for o in failed} == {"gradient"}
    assert "with respect to chosen is NaN" in str(report)


def test_a_zero_that_nothing_can_change_needs_no_gradient():
    def aggregate(losses, mask, how, length):
        if not mask.any():
            return losses.new_zeros(())
        return exercises()["preference.aggregate_loss"].reference(losses, mask, how, length=length)

    assert check("preference.aggregate_loss", aggregate).share == 1


def test_a_reference_without_a_gradient_is_right():
    def detached(chosen, rejected, reference_chosen, reference_rejected, beta):
        with torch.no_grad():
            reference = reference_chosen - reference_rejected
        return F.softplus(-beta * (chosen - rejected - reference)).mean()

    assert check("preference.dpo_loss", detached).share == 1


@pytest.mark.parametrize(
    "cut", [lambda x: x.detach(), lambda x: torch.tensor(x.item(), dtype=x.dtype)]
)
def test_the_report_says_what_cuts_a_gradient_off(cut):
    told = str(check("preference.dpo_loss", lambda **inputs: cut(F.softplus(-z(**inputs)).mean())))
    assert "0 of" in told
    assert "no gradient flows from it" in told and "item()" in told


def test_a_wrong_value_without_a_gradient_is_called_by_its_mistake():
    def added(chosen, rejected, reference_chosen, reference_rejected, beta):
        sum_ = (chosen - reference_chosen) + (rejected - reference_rejected)
        return F.softplus(-beta * sum_).mean().detach()

    report = check("preference.dpo_loss", added)
    assert [m.id for m in report.mistakes] == ["rewards-added"] and report.certain


def test_inputs_changed_in_place_are_told_as_ever():
    def in_place(chosen, **others):
        chosen += 1
        return F.softplus(-z(chosen - 1, **others)).mean()

    outcome = check("preference.dpo_loss", in_place).example.outcome
    assert outcome.fault == "mutated"


@pytest.mark.bubblewrap
@pytest.mark.parametrize(
    ("ending", "share", "says"),
    [
        (RIGHT, 1.0, "checks passed"),
        (f"{RIGHT}.detach()", 0.0, "no gradient flows from it"),
        (f"torch.tensor({RIGHT}.item(), dtype=z.dtype)", 0.0, "no gradient flows from it"),
        (RIGHT.replace("(-z)", "(-(z + z.detach()) / 2)"), 0.0, "its gradient is wrong"),
    ],
)
def test_the_grader_asks_for_it_too(ending, share, says):
    container = Container()
    try:
        result = judge(
            container, exercises()["preference.dpo_loss"], [DPO.format(ending)], "a seed"
        )
    finally:
        container.stop()
    assert result.share == share
    assert says in result.says
