"""What a submission's answer is worth: from the outcomes of its cases to a score and a sentence."""

import re
from dataclasses import dataclass, field, replace

import torch

from marking.diagnosis import diagnose

_STATUS_OF = {
    "not-attempted": "not attempted",
    "timeout": "timed out",
    "died": "crashed",
    "raised": "crashed",
}

PASSED = "checks passed. "

# What is wrong with an answer, in words that hold no hidden value.
WRONG = {
    "type": "it did not return what it should (is a return missing?)",
    "shape": "its shape is wrong",
    "dtype": "its dtype is not that of the inputs",
    "device": "it is on another device than the inputs",
    "nan": "there is NaN where a number should be",
    "value": "its numbers are wrong",
    "too-large": "it builds a tensor larger than the exercise allows",
    "too-long": "its answer is too large to read",
    "no-gradient": "its value is right, but no gradient flows from it",
    "gradient": "its value is right, but its gradient is wrong",
}


@dataclass(frozen=True)
class Result:
    """What one submission's answer to one exercise is worth, and why.

    `share` is the share of situations passed, or None when there is no score (our fault, or it
    needs a look). One that needs a look and has a share has that many points until the look.
    `says` is for the student: never a hidden input or a value. `note` and `smells` are for the
    staff; a smell never costs a point.
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


def verdict(exercise, cases, outcomes, errors: list[str]) -> Result:
    """The result of all cases: a situation counts if every case of it is right."""
    passed: dict[str, bool] = {}
    for case, outcome in zip(cases, outcomes, strict=True):
        passed[case.situation] = passed.get(case.situation, True) and outcome.ok
    faults = [o.fault for o in outcomes if not o.ok]
    share = 0.0 if "forbidden" in faults else sum(passed.values()) / len(passed)
    rows = tuple(
        (case.situation, str(case.dtype).removeprefix("torch."), outcome.fault or "")
        for case, outcome in zip(cases, outcomes, strict=True)
    )
    mistakes, says = (), f"All {len(passed)} hidden checks passed."
    if faults:
        mistakes, told = _diagnosis(exercise, cases, outcomes)
        count = "" if "forbidden" in faults else f"{sum(passed.values())} of {len(passed)} hidden "
        says = f"{count}{PASSED}{told}" if count else told
    note = next((e for e in errors if e), "")
    return Result(exercise.id, _status(share, faults), share, says, note, rows, mistakes)


def after_another(result: Result, other: Result) -> Result:
    """The result of an answer that calls another one which is not right.

    Which of its faults are its own nobody can say without a person: no mistake is named, which may
    be the other's, and the points so far are those of the situations passed all the same.
    """
    name = other.exercise.partition(".")[2]
    count, passed, _ = result.says.partition(PASSED)
    why = f" ({', '.join(other.mistakes)})" if other.mistakes else ""
    return replace(
        result,
        status="needs a look",
        mistakes=(),
        says=f"{count + passed if passed else ''}{name}, which this answer calls, is not right "
        "itself: mend that first. A person looks at the points of this one.",
        note=f"It calls {name}, which is {other.status}{why}. Taken by itself it is "
        f"{result.status}. {result.says}",
    )


def unknown_others(result: Result, seconds: float) -> Result:
    """The result of an answer that calls others which took too long to judge: as `after_another`,
    for nobody knows whether its faults are its own."""
    count, passed, _ = result.says.partition(PASSED)
    return replace(
        result,
        status="needs a look",
        mistakes=(),
        says=f"{count + passed if passed else ''}The answers that it calls took too long to check. "
        "A person looks at its points.",
        note=f"The answers that it calls were not all judged within {seconds:g} s. Taken by itself "
        f"it is {result.status}. {result.says}",
    )


def _status(share: float, faults: list[str]) -> str:
    if not faults:
        return "right"
    if "forbidden" in faults:
        return "forbidden"
    for fault, status in _STATUS_OF.items():
        if fault in faults and share == 0.0:
            return status
    return "partly right" if share else "wrong"


def _diagnosis(exercise, cases, outcomes) -> tuple[tuple[str, ...], str]:
    """The mistake's name and its sentence; never a hidden value."""
    banned = [o for o in outcomes if o.fault == "forbidden"]
    first = banned[0] if banned else next(o for o in outcomes if not o.ok)
    # The name comes from the container: it is told only where it is one of ours.
    named = first.message if _is_a_name(first.message) else "a function"
    plain = {
        "not-attempted": "It is not written yet.",
        "forbidden": f"It calls {named}, which answers the exercise for you. Write that "
        "part yourself.",
        "timeout": "It gave no answer within the time of a case, some seconds.",
        "died": "It ended the process it ran in, or answered out of turn.",
        "raised": f"It raised {without_values(first.message)}",
        "mutated": "It changed its inputs in place.",
    }
    if first.fault in plain and first.fault != "raised":
        return (), plain[first.fault]
    found, certain = diagnose(exercise, cases, outcomes)
    if found:
        told = " And ".join(f"“{m.id}”: {m.says}" for m in found)
        return tuple(m.id for m in found), told if certain else f"It looks like {told}"
    failed = next(c for c, o in zip(cases, outcomes, strict=True) if not o.ok)
    wrong = WRONG.get(first.fault, first.fault)
    return (), plain.get(first.fault, f"The first to fail: {failed.situation}; {wrong}.")


def _is_a_name(text: str) -> bool:
    """A function's name in torch, as the tripwire gives it: no value can hide in it."""
    owners = (torch, torch.nn, torch.nn.functional, torch.Tensor, torch.ops.aten)
    return text.isidentifier() and any(hasattr(owner, text) for owner in owners)


def printable(text, most: int = 300) -> str:
    """Words of a student's process: bounded, on one line, without control characters."""
    return "".join(c if c.isprintable() else " " for c in str(text)[:most])


def without_values(text: str) -> str:
    """An error's words without numbers that could be hidden inputs: shapes and lines stay.

    An error's words are the student's to choose, and could carry the hidden inputs out.
    """
    text = re.sub(r"-?\d*\.\d+(e[+-]?\d+)?|-?\d+e[+-]?\d+|\d{5,}", "…", text, flags=re.IGNORECASE)
    return text if len(re.findall("…", text)) < 4 else f"{text.split(':')[0]}."
