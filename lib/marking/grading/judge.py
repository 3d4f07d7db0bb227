"""One exercise of one submission: inputs in, answers out, the comparison here.

The reference, the seeds and the comparison never enter the container. Whatever does not come back
as it should is a failed case; whatever goes wrong on our side is no score at all.
"""

import hashlib
import hmac
import random
import secrets
from dataclasses import dataclass, field

from marking.diagnosis import DTYPES, diagnose
from marking.exercise import Case, Exercise, suite
from marking.grading import wire
from marking.grading.sandbox import LIMITS, Container, SandboxError, talk
from marking.outcome import Outcome, compare

VERSION = "1"  # of the grader: a change that can change a score raises it

# What a result can be. Only the last two need a person.
STATUSES = (
    "right",
    "partly right",
    "wrong",
    "not attempted",
    "crashed",
    "timed out",
    "forbidden",
    "needs a look",
    "our fault",
)


@dataclass(frozen=True)
class Result:
    """What one submission's answer to one exercise is worth, and why.

    `share` is the share of situations passed, or None when there is no score (our fault).
    `says` is for the student: never a hidden input or a value. `note` is for the staff.
    """

    exercise: str
    status: str
    share: float | None
    says: str = ""
    note: str = ""
    cases: tuple[tuple[str, str, str], ...] = ()  # situation, dtype, fault ("" when right)
    mistakes: tuple[str, ...] = ()
    smells: tuple[str, ...] = field(default=())

    def points(self, most: float) -> float | None:
        return None if self.share is None else round(self.share * float(most), 2)


def seed_for(secret: bytes, exercise_id: str, submission: str) -> str:
    """The seed of one submission's hidden cases: unpredictable without the course's secret,
    the same again in an appeal. `submission` is the hash of the submitted notebook."""
    text = f"{exercise_id}|{submission}|{VERSION}".encode()
    return hmac.new(secret, text, hashlib.sha256).hexdigest()


def hidden_cases(exercise: Exercise, seed: str) -> list[Case]:
    """Every situation in both dtypes, shuffled, and one of them once more at the end."""
    cases = [case for dtype in DTYPES for case in suite(exercise, seed, dtype)]
    order = random.Random(seed)
    order.shuffle(cases)
    return [*cases, order.choice(cases)]


def judge(
    container: Container,
    exercise: Exercise,
    cells: list[str],
    seed: str,
    *,
    case_seconds: float = 5.0,
    cells_seconds: float = 30.0,
) -> Result:
    """Run the cells in a fresh child and put the hidden cases to the exercise's function."""
    cases = hidden_cases(exercise, seed)
    try:
        with container.child() as connection:
            opening, faults = _open(connection, exercise, cells, cells_seconds)
            if opening is None:
                return faults
            outcomes = _ask(connection, exercise, cases, case_seconds)
    except SandboxError as error:
        return Result(exercise.id, "our fault", None, note=str(error))
    return _result(exercise, cases, outcomes, opening)


def _open(connection, exercise, cells, seconds):
    """Start the job. Returns what the cells said, or None and the result that stands instead."""
    job = {"cells": cells, "name": exercise.name, "limits": LIMITS}
    try:
        opening, _ = talk(connection, job, {}, seconds)
        errors = [str(e)[:300] for e in opening["cells"]]
        defined = opening["defined"] is True
    except (wire.WireError, KeyError, TypeError) as error:
        late = "in time" in str(error)
        says = f"Its cells did not run to the end{' in time' if late else ''}."
        status = "timed out" if late else "crashed"
        return None, Result(exercise.id, status, 0.0, says, note=str(error))
    first = next((e for e in errors if e), "")
    if not defined:
        says = f"There is no function {exercise.name}." + (
            f" A cell raised {first}" if first else ""
        )
        return None, Result(exercise.id, "crashed" if first else "wrong", 0.0, says)
    return errors, None


def _ask(connection, exercise, cases: list[Case], seconds: float) -> list[Outcome]:
    """The outcome of each case; after a broken connection the rest have failed."""
    outcomes: list[Outcome] = []
    for case in cases:
        if outcomes and outcomes[-1].fault in ("timeout", "died", "not-attempted"):
            outcomes.append(outcomes[-1])
        else:
            outcomes.append(_ask_one(connection, exercise, case, seconds))
    return outcomes


def _ask_one(connection, exercise, case: Case, seconds: float) -> Outcome:
    nonce = secrets.token_hex(8)
    described, tensors = {}, {}
    for name, value in case.inputs.items():
        spec, found = wire.encode(value)
        tensors |= {f"{name}.{key}": tensor for key, tensor in found.items()}
        described[name] = _renamed(spec, name)
    question = {"id": nonce, "inputs": described}
    if exercise.largest:
        question["largest"] = exercise.largest(case.inputs)
    try:
        answer, found = talk(connection, question, tensors, seconds)
        if answer.get("id") != nonce:
            return Outcome(fault="died", message="the answer was to another question")
        return _judge_answer(exercise, case, answer, found)
    except wire.WireError as error:
        fault = "timeout" if "in time" in str(error) else "died"
        return Outcome(fault=fault, message=str(error))


def _renamed(spec: list, name: str) -> list:
    """The description with its tensors' numbers put under the argument's name."""
    if spec[0] == "tensor":
        return ["tensor", f"{name}.{spec[1]}", spec[2]]
    if spec[0] in ("list", "tuple"):
        return [spec[0], [_renamed(item, name) for item in spec[1]]]
    if spec[0] == "dict":
        return [spec[0], [[key, _renamed(item, name)] for key, item in spec[1]]]
    return spec


def _judge_answer(exercise, case, answer: dict, found: dict) -> Outcome:
    """Believed only where it convicts: a fault that the child reports counts, a success is
    compared."""
    error = str(answer.get("error", ""))[:300]
    fault = answer.get("fault")
    if fault is not None:
        known = ("raised", "forbidden", "not-attempted", "too-large", "too-long")
        return Outcome(fault=fault if fault in known else "raised", message=error, error=error)
    value = wire.decode(answer.get("value"), found)
    if isinstance(answer.get("mutated"), str):
        return Outcome(value=value, fault="mutated", message="It changed its inputs in place.")
    tolerance = exercise.tolerance[case.dtype]
    fault, text = compare(value, case.expected, case.like, tolerance, "")
    return Outcome(value=value, fault=fault, message=text)


def _result(exercise, cases, outcomes, errors: list[str]) -> Result:
    passed: dict[str, bool] = {}
    for case, outcome in zip(cases, outcomes, strict=True):
        passed[case.situation] = passed.get(case.situation, True) and outcome.ok
    share = sum(passed.values()) / len(passed)
    rows = tuple(
        (case.situation, str(case.dtype).removeprefix("torch."), outcome.fault or "")
        for case, outcome in zip(cases, outcomes, strict=True)
    )
    faults = [o.fault for o in outcomes if not o.ok]
    status = _status(share, faults)
    mistakes, says = (), f"All {len(passed)} hidden checks passed."
    if faults:
        mistakes, told = _diagnosis(exercise, cases, outcomes)
        says = f"{sum(passed.values())} of {len(passed)} hidden checks passed. {told}"
    note = next((e for e in errors if e), "")
    return Result(exercise.id, status, share, says, note, rows, mistakes)


def _status(share: float, faults: list[str]) -> str:
    if not faults:
        return "right"
    order = {
        "not-attempted": "not attempted",
        "forbidden": "forbidden",
        "timeout": "timed out",
        "died": "crashed",
        "raised": "crashed",
    }
    for fault, status in order.items():
        if fault in faults and share == 0.0:
            return status
    return "partly right" if share else "wrong"


def _diagnosis(exercise, cases, outcomes) -> tuple[tuple[str, ...], str]:
    """The mistake's name and its sentence; never a hidden value."""
    first = next(o for o in outcomes if not o.ok)
    plain = {
        "not-attempted": "It is not written yet.",
        "forbidden": f"It calls {first.message}, which answers the exercise.",
        "timeout": "It gave no answer in time.",
        "died": "It ended the process it ran in, or answered out of turn.",
        "raised": f"It raised {first.error}",
        "mutated": "It changed its inputs in place.",
    }
    if first.fault in plain and first.fault != "raised":
        return (), plain[first.fault]
    found, certain = diagnose(exercise, cases, outcomes, seconds=5.0)
    if found:
        told = " And ".join(f"“{m.id}”: {m.says}" for m in found)
        return tuple(m.id for m in found), told if certain else f"It looks like {told}"
    failed = next(c for c, o in zip(cases, outcomes, strict=True) if not o.ok)
    return (), plain.get(first.fault, f"The first to fail: {failed.situation} ({first.fault}).")
