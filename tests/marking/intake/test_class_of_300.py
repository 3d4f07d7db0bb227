"""A class of 300 in which 15 are malformed: the other 285 are as if they had been alone."""

import random

import pytest
from tests.marking.intake.class_work import NAME, RELEASE_FILE, answer, as_bytes, release, right
from tests.marking.intake.malformed import MALFORMED

from marking.grading.intake import collect, rebuild

SPOILED = [name for name, (_, outcome, _) in MALFORMED.items() if outcome == "refused"][:8]
SPOILED += [name for name, (_, outcome, _) in MALFORMED.items() if outcome == "full"][:7]
WRONG = "def softmax(x, dim):\n    return x.exp() / x.exp().sum()  # try {}"


def sound(number: int) -> bytes:
    """Right, right with a name of its own, wrong in its own way, untouched: in turn."""
    own = "\n# {}".format(f"student {number}")
    kinds = [
        right,
        lambda: answer(right(), "causal_mask", "".join(_code("causal_mask")) + own),
        lambda: answer(right(), "softmax", WRONG.format(number)),
        release,
    ]
    return as_bytes(kinds[number % 4]())


def _code(name: str):
    from tests.marking.intake.class_work import at, source

    return source(at(right(), f"{name}-answer"))


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """Student → file: 285 sound ones and 15 malformed ones among them."""
    order = random.Random(0).sample(range(300), 300)
    spoiled = {number: name for number, name in zip(order, SPOILED, strict=False)}
    return {
        f"s{number:03}": as_bytes(MALFORMED[spoiled[number]][0](right()))
        if number in spoiled
        else sound(number)
        for number in range(300)
    }


@pytest.fixture(scope="module")
def spoiled() -> set[str]:
    return {f"s{number:03}" for number in random.Random(0).sample(range(300), 300)[:15]}


@pytest.fixture(scope="module")
def collected(files, tmp_path_factory):
    submitted = tmp_path_factory.mktemp("class") / "submitted"
    for student, data in files.items():
        folder = submitted / student / NAME
        folder.mkdir(parents=True)
        (folder / f"{NAME}.ipynb").write_bytes(data)
    submissions, refused = collect(submitted, NAME, RELEASE_FILE)
    return {s.student: s for s in submissions}, {r.student: r for r in refused}


def test_the_other_285_are_exactly_what_they_are_alone(files, spoiled, collected):
    sound_ones = sorted(set(files) - spoiled)
    assert len(sound_ones) == 285
    for student in sound_ones:
        assert collected[0][student] == rebuild(files[student], release(), student, NAME)
        assert collected[0][student].notes == ()


def test_every_malformed_one_is_repaired_or_refused_and_none_is_lost(files, spoiled, collected):
    submissions, refused = collected
    assert len(submissions) + len(refused) == 300 and not set(submissions) & set(refused)
    assert set(refused) <= spoiled and len(refused) == 8
    assert all(refused[student].path == f"{student}/{NAME}/{NAME}.ipynb" for student in refused)


def test_equal_work_has_one_hash_and_different_work_has_its_own(spoiled, collected):
    hashes = {kind: set() for kind in range(4)}
    for student, submission in collected[0].items():
        if student not in spoiled:
            hashes[int(student[1:]) % 4].add(submission.hash)
    students = [s for s in collected[0] if s not in spoiled]
    assert len(hashes[0]) == len(hashes[3]) == 1
    assert len(hashes[1]) == sum(int(s[1:]) % 4 == 1 for s in students)
    assert len(hashes[2]) == sum(int(s[1:]) % 4 == 2 for s in students)


@pytest.mark.bubblewrap
def test_a_sample_gets_the_grades_that_it_gets_alone(files, spoiled, collected, judged):
    sample = [s for s in sorted(collected[0]) if s not in spoiled][:8]
    expected = {0: "right", 1: "right", 2: "wrong", 3: "not attempted"}
    for student in sample:
        together = judged(collected[0][student], "softmax")
        alone = judged(rebuild(files[student], release(), student, NAME), "softmax")
        assert together == alone
        kind = expected[int(student[1:]) % 4]
        assert together.status == kind or (kind == "wrong" and together.share < 1)
