"""What comes back is to be trained with: an answer that cuts the gradient off is told so."""

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


def test_several_exercises_ask_for_a_gradient():
    assert len(TRAINED) >= 7


@pytest.mark.parametrize("exercise_id", list(TRAINED))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_right_value_without_a_gradient_fails_every_exercise_that_asks_for_one(
    exercise_id, dtype
):
    exercise = TRAINED[exercise_id]
    cases = suite(exercise, 0, dtype)
    assert all(any(case.carries) for case in cases)
    assert not any(x.requires_grad for case in cases for x in (case.like, case.expected))
    outcomes = run_suite(
        exercise, lambda **inputs: exercise.reference(**inputs).detach(), cases, seconds=5
    )
    assert {o.fault for o in outcomes} == {"no-gradient"}
    assert diagnose(exercise, cases, outcomes) == ((), False)


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
