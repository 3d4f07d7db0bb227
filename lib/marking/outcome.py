"""What a function did with one case, and whether it is what the reference does."""

import contextlib
import io
import math
import re
import sysconfig
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from marking.compare import FLOATS, close, compare, too_large
from marking.exercise import Case, Exercise
from marking.limits import (
    Forbidden,
    OutOfTime,
    WatchCalls,
    WatchSizes,
    load_watch,
    time_limit,
    undisturbed,
)
from marking.unchanged import unchanged

GRADIENT = ("no-gradient", "gradient")  # the value is right
NO_GRADIENT = (
    "The value is right, but no gradient flows from it, so that nothing can be trained with it: "
    "item(), tolist(), torch.tensor(…), detach() and torch.no_grad() cut it off. Compute with the "
    "tensors themselves."
)


WRONG_GRADIENT = (
    "The value is right, but {} detach() and torch.no_grad() leave a part out; torch.where and "
    "clamp(…) let NaN or 0 through from the side that was not chosen."
)


@dataclass(frozen=True)
class Outcome:
    """The answer to one case, or the fault that stood in its way.

    `fault` is None, or one of not-attempted, raised, timeout, forbidden, mutated, too-large, type,
    shape, dtype, device, nan, value, no-gradient, gradient. `message` says it to the learner in a
    sentence.
    """

    value: Any = None
    fault: str | None = None
    message: str = ""
    printed: str = ""
    error: str = ""  # what it raised: the class and the first line

    @property
    def ok(self) -> bool:
        return self.fault is None


def run_case(exercise: Exercise, answer: Callable, case: Case, *, seconds: float) -> Outcome:
    """Run `answer` on a copy of the case's inputs and judge what comes back."""
    inputs = exercise.given(case.inputs)
    printed = io.StringIO()
    calls = WatchCalls(exercise.forbidden) if exercise.forbidden else contextlib.nullcontext()
    sizes = contextlib.nullcontext()
    if exercise.largest:
        load_watch()
        sizes = WatchSizes()
    try:
        with undisturbed(), contextlib.redirect_stdout(printed), time_limit(seconds):
            with calls, sizes:
                value = exercise.call(answer, inputs)
            gradients = exercise.gradients(value, inputs) if exercise.trains else None
    except OutOfTime:
        text = f"No answer after {seconds:g} s: is there a loop that never ends?"
        return Outcome(fault="timeout", message=text, printed=printed.getvalue())
    except Forbidden as name:
        text = f"It calls {name}, which answers the exercise for you. Write that part yourself."
        return Outcome(fault="forbidden", message=text, printed=printed.getvalue())
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, NotImplementedError) and not str(error):
            return Outcome(fault="not-attempted", message="Not written yet.")
        where = _learner_line(error)
        text = f"It raised {_named(error)}{where}"
        if isinstance(error, TypeError) and not where and "argument" in str(error):
            text += ". Keep the argument names of the given cell."
        return Outcome(
            fault="raised",
            message=text,
            printed=printed.getvalue(),
            error=_named(error),
        )
    fault, text = _judge(exercise, case, inputs, value, gradients, sizes)
    return Outcome(value=value, fault=fault, message=text, printed=printed.getvalue())


def run_known(exercise: Exercise, impl: Callable, case: Case) -> Outcome:
    """What a mistake's code does. It is ours and ends, so it runs without a learner's safeguards,
    which take longer than the code itself."""
    inputs = exercise.given(case.inputs)
    sizes = WatchSizes() if exercise.largest else contextlib.nullcontext()
    try:
        with sizes:
            value = exercise.call(impl, inputs)
        gradients = exercise.gradients(value, inputs) if exercise.trains else None
    except Exception as error:
        return Outcome(fault="raised", error=_named(error))
    fault, text = _judge(exercise, case, inputs, value, gradients, sizes)
    return Outcome(value=value, fault=fault, message=text)


def _judge(exercise, case, inputs, value, gradients, sizes) -> tuple[str | None, str]:
    for name, given in case.inputs.items():
        if not unchanged(given, inputs[name]):
            return "mutated", (
                f"It changed its input {name} in place: {_what_writes(given)} into it. "
                f"{_what_does_not(given)}, or work on a copy."
            )
    if exercise.largest and sizes.largest > exercise.largest(case.inputs):
        return "too-large", (
            f"It built a tensor of {sizes.largest:,} elements; here no tensor may hold more than "
            f"{exercise.largest(case.inputs):,}. Work block by block."
        )
    fault, text = compare(value, case.expected, case.like, exercise.tolerance[case.dtype], "")
    if fault is None and exercise.trains:
        return judge_gradients(exercise, case, gradients)
    return fault, text


def judge_gradients(exercise: Exercise, case: Case, gradients) -> tuple[str | None, str]:
    """Are these the gradients that the reference has? If not, the fault and a sentence.

    They are compared loosely: rounding is larger in them, and a part that is missing is larger yet.
    """
    if gradients is None:
        there = any(bool((expected != 0).any()) for expected in case.gradients.values())
        return ("no-gradient", NO_GRADIENT) if there else (None, "")
    for name, expected in case.gradients.items():
        tolerance = 100 * exercise.tolerance[case.dtype]
        what = f"the gradient with respect to {name}"
        like = case.inputs[name]
        fault, text = compare(gradients.get(name), expected, like, tolerance, what)
        if fault:
            return "gradient", WRONG_GRADIENT.format(text)
    return None, ""


def _what_writes(given) -> str:
    if isinstance(given, torch.Tensor):
        return "`+=`, `x[…] = …` and methods that end in an underscore write"
    if isinstance(given, dict):
        return "`x[key] = …`, update, pop and `+=` on what it holds write"
    return "`x[i] = …`, `+=`, append, insert, pop and sort (on what it holds, too) write"


def _what_does_not(given) -> str:
    if isinstance(given, torch.Tensor):
        return "Use `x = x + …` or torch.where"
    if isinstance(given, dict):
        return "Make a new one, `{**x, key: …}`"
    return "Make a new one, `[*x, …]` or `sorted(x)`"


def same(a: Outcome, b: Outcome, tolerance: float) -> bool:
    """Did two functions do the same thing? Values within tolerance, or the same fault."""
    if a.fault == "raised" or b.fault == "raised":
        return a.fault == b.fault and _general(a.error) == _general(b.error)
    a, b = (replace(x, fault=None) if x.fault in GRADIENT else x for x in (a, b))
    if {a.fault, b.fault} & {"timeout", "forbidden", "not-attempted"}:
        return a.fault == b.fault
    if "mutated" in (a.fault, b.fault):  # what came back tells which mistake was made besides
        return _same_value(a.value, b.value, tolerance)
    if a.fault == b.fault == "dtype":  # 0 and 1 as integers or as floats: the same mistake
        return _same_value(_as_double(a.value), _as_double(b.value), tolerance)
    return a.fault == b.fault and _same_value(a.value, b.value, tolerance)


def _general(error: str) -> str:
    """An error without what people choose freely: einsum's letters, which factor comes first."""
    error = re.sub(r"subscript \w\b", "a subscript", error)
    sizes = r"of tensor a \((\d+)\) must match the size of tensor b \((\d+)\)"
    return re.sub(sizes, lambda found: " and ".join(sorted(found.groups(), key=int)), error)


def _as_double(value):
    if isinstance(value, tuple | list):
        return tuple(_as_double(part) for part in value)
    real = isinstance(value, torch.Tensor) and not value.is_complex()
    return value.detach().double() if real else value


def _same_value(a, b, tolerance) -> bool:
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(a) == len(b) and all(
            _same_value(x, y, tolerance) for x, y in zip(a, b, strict=True)
        )
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        if a.shape != b.shape or a.dtype != b.dtype or a.device != b.device:
            return False
        return bool(close(a.detach().double(), b.detach().double(), tolerance).all())
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same_value(a[k], b[k], tolerance) for k in a)
    if isinstance(a, int | float) and isinstance(b, int | float):
        if too_large(a) or too_large(b):
            return a == b
        return math.isclose(a, b, rel_tol=FLOATS, abs_tol=FLOATS)
    return a == b if isinstance(a, str) and isinstance(b, str) else type(a) is type(b)


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else "(no message)"


@cache
def _not_a_learners() -> tuple[str, ...]:
    """Where the files lie that are no learner's."""
    paths = sysconfig.get_paths()
    ours = (str(Path(__file__).parent), str(Path(torch.__file__).parent), "<frozen")
    return ours + tuple(paths[name] for name in ("stdlib", "purelib", "platlib"))


def _learner_line(error: BaseException) -> str:
    """Where in the learner's code it happened: the last frame outside libraries and this package.

    `exit()` ends in a file of Python's own; the learner's line is the one that called it.
    """
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_not_a_learners())
    ]
    if not frames:
        return ""
    line = f": {frames[-1].line}" if frames[-1].line else ""
    return f" (line {frames[-1].lineno} of {frames[-1].name}{line})"
