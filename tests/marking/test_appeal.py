"""An appeal shows the inputs that were graded, what was expected, and what the code answers."""

import dataclasses
import json

import pytest
from tooling import demo_class
from tooling.settings import ROOT

from marking.errors import CourseError
from marking.exercise import Exercise
from marking.grading import appeal
from marking.grading.graded import Graded
from marking.grading.intake import Refused, rebuild
from marking.grading.judge import VERSION, hidden_cases, judge, seed_for
from marking.grading.sandbox import Container, SandboxError
from marking.grading.store import Store
from marking.registry import find

EXERCISE: Exercise = find("attention.causal_mask")
SECRET = b"s" * 32
TOP_LEFT = "def causal_mask(T, S):\n    return torch.ones(T, S).tril().bool()"


def handed_in(answer: str, student: str = "ada"):
    data = demo_class.packed(demo_class.notebook({"causal_mask": answer}))
    release = ROOT / "chapters/exercises/attention/attention.ipynb"
    return rebuild(data, json.loads(release.read_text("utf-8")), student, "attention")


@pytest.fixture(scope="module")
def container():
    made = Container()
    yield made
    made.stop()


@pytest.fixture
def root(tmp_path):
    (tmp_path / "_grading").mkdir()
    (tmp_path / "_grading" / "secret").write_bytes(SECRET)
    return tmp_path


def graded(root, container, submission) -> Graded:
    """Grade it and put the row into the course's results."""
    seed = seed_for(SECRET, EXERCISE.id, submission.hash)
    result = dataclasses.asdict(judge(container, EXERCISE, list(submission.cells), seed))
    del result["exercise"]
    row = Graded(
        student=submission.student,
        assignment="attention",
        submission=submission.hash,
        exercise=EXERCISE.id,
        version=VERSION,
        sandbox="bubblewrap",
        points=result["share"] * 2,
        seed=seed,
        **result,
    )
    with Store(root / "_grading" / "results.db") as store:
        store.add([row])
    return row


pytestmark = pytest.mark.bubblewrap


def test_an_appeal_draws_the_graded_inputs_again_and_agrees(root, container):
    submission = handed_in(TOP_LEFT)
    row = graded(root, container, submission)
    made = appeal.reproduce(submission, EXERCISE.id, root=root, container=container)
    again = [(c.situation, c.inputs) for c in hidden_cases(EXERCISE, row.seed)]
    assert [(c.situation, c.inputs) for c in made.cases] == again
    assert made.agrees() is True and made.same_code
    text = "\n".join(appeal.lines(made))
    case, outcome = made.failed[0]
    assert f"T = {case.inputs['T']}" in text and "expected:" in text and "answered:" in text
    assert outcome.value is not None and row.seed in text


def test_changed_code_is_said_not_to_be_the_code_that_was_graded(root, container):
    graded(root, container, handed_in(TOP_LEFT))
    changed = handed_in(demo_class.master_answers()["causal_mask"])
    made = appeal.reproduce(changed, EXERCISE.id, root=root, container=container)
    assert not made.same_code and not made.failed
    assert any("not the code that was graded" in line for line in appeal.lines(made))


def test_an_answer_that_differs_from_what_was_graded_is_said_to(root, container):
    submission = handed_in(TOP_LEFT)
    row = graded(root, container, submission)
    cases = tuple((s, d, "") for s, d, _ in row.cases)  # as if all had been right
    made = appeal.reproduce(submission, EXERCISE.id, root=root, container=container)
    made = dataclasses.replace(made, row=dataclasses.replace(row, cases=cases))
    assert made.agrees() is False
    assert any("look at this one yourself" in line for line in appeal.lines(made))


def test_before_grading_the_inputs_are_those_it_would_be_graded_on(root, container):
    submission = handed_in(TOP_LEFT)
    made = appeal.reproduce(submission, EXERCISE.id, root=root, container=container)
    assert made.row is None and made.agrees() is None
    assert made.seed == seed_for(SECRET, EXERCISE.id, submission.hash)


def test_code_that_gives_no_answer_is_shown_with_the_reason(root, container):
    submission = handed_in("causal_mask = None")
    made = appeal.reproduce(submission, EXERCISE.id, root=root, container=container)
    assert made.stopped and len(made.failed) == len(made.cases)
    assert any(line.startswith("  expected:") for line in appeal.lines(made))


def test_an_appeal_runs_nothing_in_a_container_that_does_not_hold(root, monkeypatch):
    monkeypatch.setattr(appeal, "Container", lambda: Container(sandboxed=False))
    with pytest.raises(SandboxError, match="does not hold"):
        appeal.reproduce(handed_in(TOP_LEFT), EXERCISE.id, root=root)


def test_an_appeal_prepares_the_cells_as_grading_does(container):
    cells = ["import torch\n%matplotlib inline", TOP_LEFT]
    cases = hidden_cases(EXERCISE, "seed")
    outcomes, stopped = appeal._answers(container, EXERCISE, cells, cases)
    assert not stopped and any(outcome.ok for outcome in outcomes)
    cells = ["import torch", "def softmax(x, dim): return torch.softmax(x, dim)"]
    outcomes, stopped = appeal._answers(container, find("attention.softmax"), cells, cases)
    assert {outcome.fault for outcome in outcomes} == {"forbidden"}
    assert "torch.softmax in line 1" in stopped


def test_a_students_words_cannot_command_the_terminal(root, container):
    submission = handed_in("def causal_mask(T, S):\n    raise ValueError('\\x1b[2J gone')")
    made = appeal.reproduce(submission, EXERCISE.id, root=root, container=container)
    text = "\n".join(appeal.lines(made, everything=True))
    assert "gone" in text and "\x1b" not in text
    assert appeal.plain("a\x1b[2J\rb\nc\u202e") == "a�[2J�b c�"


def test_an_unknown_student_is_answered_with_who_there_is():
    here = [handed_in(TOP_LEFT, "ada"), handed_in(TOP_LEFT, "bob")]
    assert appeal.choose(here, [], "bob").student == "bob"
    with pytest.raises(CourseError, match=r"no submission of eve\. There are: ada, bob"):
        appeal.choose(here, [], "eve")
    with pytest.raises(CourseError, match="eve was refused: half a file"):
        appeal.choose(here, [Refused("eve", "x.ipynb", "half a file")], "eve")
