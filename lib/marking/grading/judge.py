"""One exercise of one submission: inputs in, answers out, the comparison here.

The reference, the seeds and the comparison never enter the container. Whatever does not come back
as it should is a failed case; whatever goes wrong on our side is no score at all.
"""

import inspect
import random
import re
import secrets
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache

from marking.compare import compare
from marking.diagnosis import DTYPES
from marking.exercise import Case, Exercise, suite
from marking.grading import earlier, forbidden, wire
from marking.grading.ready import ready
from marking.grading.sandbox import LIMITS, Container, SandboxError, talk
from marking.grading.seed import STATUSES, VERSION, seed_for
from marking.grading.verdict import Result, after_another, printable, unknown_others, verdict
from marking.outcome import Outcome, judge_gradients

__all__ = ["STATUSES", "VERSION", "Result", "hidden_cases", "judge", "seed_for"]

CASE_SECONDS, CELLS_SECONDS, TOTAL_SECONDS, OTHERS_SECONDS = 5.0, 30.0, 60.0, 60.0
SETTLED = ("right", "forbidden", "needs a look", "our fault")  # whatever else the answer calls


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
    case_seconds: float = CASE_SECONDS,
    cells_seconds: float = CELLS_SECONDS,
    total_seconds: float = TOTAL_SECONDS,
    others_seconds: float = OTHERS_SECONDS,
) -> Result:
    """Run the cells in a fresh child and put the hidden cases to the exercise's function.

    A submission during which the container itself is killed is judged once more; twice is for a
    person to look at. So is an answer that is not right and calls another one that is not, or
    others that take longer than `others_seconds` to judge.
    """
    cells = [forbidden.without_magics(cell) for cell in cells]
    limits = (cells_seconds, case_seconds, total_seconds)
    result = _judge_alone(container, exercise, cells, seed, limits)
    if result.status in SETTLED:
        return result
    until = time.monotonic() + others_seconds
    for other in earlier.called(exercise, cells):
        if time.monotonic() > until:
            return unknown_others(result, others_seconds)
        found = _judge_alone(container, other, cells, f"{seed}|{other.id}", limits)
        if found.status not in ("right", "our fault", "needs a look"):
            return after_another(result, found)
    return result


def _judge_alone(container, exercise, cells: list[str], seed: str, limits) -> Result:
    smells = forbidden.smells(cells)
    if called := forbidden.call(exercise, cells):
        return Result(exercise.id, "forbidden", 0.0, called, smells=smells)
    cases = hidden_cases(exercise, seed)
    try:
        for _ in range(2):
            result = _judge_once(container, exercise, cells, cases, limits)
            if not container.died:
                return replace(result, smells=smells)
    except SandboxError as error:
        return Result(exercise.id, "our fault", None, note=str(error), smells=smells)
    note = "The container was killed twice while this ran: by the system, short of memory?"
    return Result(exercise.id, "needs a look", None, note=note, smells=smells)


def _judge_once(container, exercise, cells, cases, limits) -> Result:
    cells_seconds, case_seconds, total_seconds = limits
    with container.child(exercise.forbidden) as connection:
        errors, instead = _open(connection, exercise, cells, cells_seconds)
        if instead:
            return instead
        until = time.monotonic() + total_seconds
        outcomes = _ask(connection, exercise, cases, case_seconds, until)
    return verdict(exercise, cases, outcomes, errors)


def _open(connection, exercise, cells, seconds) -> tuple[list[str], Result | None]:
    """Start the job. What the cells raised, and the result that stands if there is no function."""
    through = exercise.through and source(exercise.through)
    sources, code = ready(tuple(cells))
    job = {"cells": sources, "name": exercise.name, "limits": LIMITS, "through": through}
    try:
        opening, _ = talk(connection, job, code, seconds)
        errors = [printable(e) for e in opening["cells"]][: len(cells)]
        defined = opening["defined"] is True
    except (wire.WireError, KeyError, TypeError) as error:
        late = "in time" in str(error)
        says = f"Its cells did not run to the end{' in time' if late else ''}."
        status = "timed out" if late else "crashed"
        return [], Result(exercise.id, status, 0.0, says, note=str(error))
    first = next((e for e in errors if e), "")
    if not defined:
        says = f"There is no function {exercise.name}." + (
            f" A cell raised {first}" if first else ""
        )
        return errors, Result(exercise.id, "crashed" if first else "wrong", 0.0, says)
    return errors, None


@cache
def source(function: Callable) -> tuple[str, str]:
    """The name and the text of a function that an answer is called through."""
    return function.__name__, textwrap.dedent(inspect.getsource(function))


def _ask(connection, exercise, cases: list[Case], seconds: float, until: float) -> list[Outcome]:
    """The outcome of each case; after a broken connection the rest have failed."""
    outcomes: list[Outcome] = []
    for case in cases:
        left = until - time.monotonic()
        if outcomes and outcomes[-1].fault in ("timeout", "died", "not-attempted"):
            outcomes.append(outcomes[-1])
        else:
            outcomes.append(_ask_one(connection, exercise, case, max(0.1, min(seconds, left))))
    return outcomes


def _ask_one(connection, exercise, case: Case, seconds: float) -> Outcome:
    nonce = secrets.token_hex(8)
    described, tensors = {}, {}
    for name, value in case.inputs.items():
        spec, found = wire.encode(value)
        tensors |= {f"{name}.{key}": tensor for key, tensor in found.items()}
        described[name] = _renamed(spec, name)
    question = {"id": nonce, "inputs": described}
    if exercise.trains:
        question["trains"] = list(exercise.trains)
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
    error = printable(answer.get("error", ""))
    fault = answer.get("fault")
    if fault is not None:
        known = ("raised", "forbidden", "not-attempted", "too-large", "too-long")
        fault = fault if fault in known else "raised"
        return Outcome(fault=fault, message=error, error=_bare(error))
    value, gradients = wire.decode(answer.get("value"), found), None
    if exercise.trains:
        value, gradients = _value_and_gradients(value)
    if isinstance(answer.get("mutated"), str):
        return Outcome(value=value, fault="mutated", message="It changed its inputs in place.")
    tolerance = exercise.tolerance[case.dtype]
    fault, text = compare(value, case.expected, case.like, tolerance, "")
    if fault is None and exercise.trains:
        fault, text = judge_gradients(exercise, case, gradients)
    return Outcome(value=value, fault=fault, message=text)


def _value_and_gradients(both) -> tuple:
    """What the child sends where a gradient is asked for; whatever else came is a wrong value."""
    if isinstance(both, list) and len(both) == 2 and isinstance(both[1], dict | None):
        return tuple(both)
    return None, None


def _bare(sentence: str) -> str:
    """What was raised without where, as `outcome.run_case` notes it: a mistake is known by it."""
    kind, _, first = sentence.partition(": ")
    return f"{kind}: {re.sub(r' [(]line [0-9]+ of [^()]* cell[)]$', '', first)[:200]}"
