"""Malformed notebooks: what is right in them gets full marks, what is none is refused by name."""

import nbformat
import pytest
from tests.marking.intake.class_work import ESSAY, NAME, as_bytes, at, release, right
from tests.marking.intake.malformed import MALFORMED

from marking.grading.intake import Unreadable, rebuild

REPAIRED = [name for name, (_, outcome, _) in MALFORMED.items() if outcome == "full"]
HOPELESS = [name for name, (_, outcome, _) in MALFORMED.items() if outcome == "refused"]
LIGHT = ["softmax", "causal_mask"]


def made(name: str) -> bytes:
    return as_bytes(MALFORMED[name][0](right()))


def test_there_are_enough_of_them():
    assert len(REPAIRED) >= 25 and len(HOPELESS) >= 10


@pytest.mark.bubblewrap
@pytest.mark.parametrize("name", REPAIRED)
def test_right_answers_in_a_malformed_notebook_get_full_marks(name, judged):
    submission = rebuild(made(name), release(), "ada", NAME)
    expected = dict.fromkeys(LIGHT, "right")
    if name == "another_answer_deleted":
        expected["causal_mask"] = "not attempted"
    assert {light: judged(submission, light).status for light in LIGHT} == expected


@pytest.mark.parametrize("name", REPAIRED)
def test_staff_read_what_was_repaired(name):
    submission = rebuild(made(name), release(), "ada", NAME)
    assert MALFORMED[name][2] in " | ".join(submission.notes)


@pytest.mark.parametrize("name", REPAIRED)
def test_everything_locked_comes_from_the_release(name):
    submission = rebuild(made(name), release(), "ada", NAME)
    nbformat.validate(nbformat.from_dict(submission.notebook))
    ids = [cell["id"] for cell in submission.notebook["cells"]]
    assert len(set(ids)) == len(ids)
    ours = [cell for cell in submission.notebook["cells"] if not cell["id"].startswith("extra")]
    for cell, released in zip(ours, release()["cells"], strict=True):
        assert cell["metadata"] == released["metadata"] and cell["id"] == released["id"]
        assert cell.get("outputs", []) == [] and cell.get("execution_count") is None
        if not cell["id"].endswith("-answer"):
            assert cell["source"] == "".join(released["source"])


@pytest.mark.parametrize("name", HOPELESS)
def test_what_cannot_be_graded_is_refused_with_the_reason(name):
    with pytest.raises(Unreadable, match=MALFORMED[name][2]):
        rebuild(made(name), release(), "ada", NAME)


def test_a_right_notebook_needs_no_repair():
    submission = rebuild(as_bytes(right()), release(), "ada", NAME)
    assert submission.notes == ()
    assert at(submission.notebook, "why_faster-answer")["source"] == ESSAY
