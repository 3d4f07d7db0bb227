"""Inside the container: run a student's cells, then answer cases one at a time.

Runs in a child forked from the forkserver for one exercise. It holds no secret and no expected
answer; whatever the student's code does to it can only spoil that student's own exercise.
"""

import builtins
import contextlib
import marshal
import os
import resource
import socket
import sys
import traceback

import torch
import wire
from limits import WatchSizes
from unchanged import unchanged

# Read before student code can change them.
_exec, _compile = exec, compile
CELL = "<cell {}>"  # the file that a cell's code is said to be from, with the cell's name
_asked = [""]  # the name of the function that is asked for, and so of "its cell"
_PRINTABLE = {"__name__": "__main__", "__builtins__": builtins}


def limit(limits: dict) -> None:
    """Memory, processor time, file size, files; no core dumps.

    Memory (AS) counts from what this process takes now: builds of torch differ in that.
    """
    for name, value in limits.items():
        which = getattr(resource, f"RLIMIT_{name}")
        value += _taken() if name == "AS" else 0
        _, hard = resource.getrlimit(which)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _taken() -> int:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 4 << 30


def silence() -> None:
    """stdin, stdout and stderr lead nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)


def warm() -> None:
    """Use once what every child uses first, before the fork: what torch and safetensors set up at
    first use is then there already, a quarter of a child's time. One thread; no random numbers."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for dtype in (torch.float32, torch.float64):
            x = torch.ones(3, 3, dtype=dtype)
            y = torch.where(x > 0, x @ x.T, x.exp()).masked_fill(x < 0, 0.0).sum(-1)
            top, total = y.max(-1).values, y.amax(0).double().isfinite().all()
            y = torch.einsum("ij,jk->ik", x, x).transpose(0, 1).contiguous() - top
            value, tensors = wire.encode([y, total, torch.arange(3) <= torch.arange(3)[:, None]])
            wire.send(ours, {"value": value}, tensors)
            answer, tensors = wire.receive(theirs)
            wire.decode(answer["value"], tensors)
            _mutated({"x": x}, {"x": x.clone()})


def function_of(through: list | None):
    """The course's own function that the answer is called through, from its name and text."""
    if not through:
        return None
    space = {"torch": torch}
    _exec(_compile(through[1], "<through>", "exec"), space)
    return space[through[0]]


def run_cells(cells: list, code: torch.Tensor | None) -> tuple[dict, list[str]]:
    """Every cell in turn in one namespace, each with its own error; what each one raised.

    A cell is its source, or a name and its source; `code` holds, marshalled, the code objects of
    those whose source is None.
    """
    compiled = iter(marshal.loads(code.numpy().data) if code is not None else ())
    space = dict(_PRINTABLE)
    errors = []
    for cell in cells:
        name, source = cell if type(cell) is list else ("", cell)
        try:
            here = _compile(source, CELL.format(name), "exec") if source is not None else None
            _exec(here or next(compiled), space)
            errors.append("")
        except BaseException as error:
            errors.append(_sentence(error))
    return space, errors


def serve(connection, job: dict, tensors: dict) -> None:
    """Run the job's cells, say how they went, then answer each case that comes."""
    _asked[0] = job["name"]
    through = function_of(job.get("through"))
    space, errors = run_cells(job["cells"], tensors.get("code"))
    wire.send(connection, {"cells": errors, "defined": callable(space.get(job["name"]))}, {})
    while True:
        case, tensors = wire.receive(connection)
        if case.get("end"):
            return
        inputs = {k: wire.decode(d, tensors) for k, d in case["inputs"].items()}
        before = _copy(inputs)
        trained = case.get("trains", ())
        inputs |= {name: inputs[name].requires_grad_().clone() for name in trained}
        answer = {"id": case["id"], "fault": None, "value": ["none"], "mutated": None}
        found: dict[str, torch.Tensor] = {}
        try:
            with contextlib.ExitStack() as watch:
                sizes = watch.enter_context(WatchSizes()) if "largest" in case else None
                answer_to = space[job["name"]]
                value = through(answer_to, **inputs) if through else answer_to(**inputs)
            if sizes and sizes.largest > case["largest"]:
                answer |= {"fault": "too-large", "error": f"{sizes.largest:,} elements"}
            if trained:
                value = [value, _gradients(value, {name: inputs[name] for name in trained})]
            answer["value"], found = wire.encode(value)
            answer["mutated"] = _mutated(before, inputs)
        except NotImplementedError as error:
            kind = "raised" if str(error) else "not-attempted"
            answer |= {"fault": kind, "error": _sentence(error)}
        except BaseException as error:
            forbidden = getattr(error, "forbidden", None)
            kind = "forbidden" if isinstance(forbidden, str) else "raised"
            answer |= {
                "fault": kind,
                "error": forbidden if kind == "forbidden" else _sentence(error),
            }
        try:
            wire.send(connection, answer, found)
        except OSError:
            return
        except Exception as error:  # too long, or of a type that does not travel
            answer |= {"fault": "too-long", "value": ["none"], "error": _sentence(error)}
            wire.send(connection, answer, {})


def _copy(value):
    """A copy that shares no tensor with the original."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return type(value)(map(_copy, value)) if type(value) in (list, tuple) else value


def _gradients(value, inputs: dict) -> dict | None:
    """Of the sum of all tensors in a value with respect to these inputs; None where none flows."""
    parts = [x.sum() for x in _tensors(value) if x.requires_grad]
    if not parts:
        return None
    found = torch.autograd.grad(sum(parts), list(inputs.values()), allow_unused=True)
    pairs = zip(inputs.items(), found, strict=True)
    return {name: torch.zeros_like(x) if g is None else g for (name, x), g in pairs}


def _tensors(value) -> list:
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list | tuple):
        return [x for item in items for x in _tensors(item)]
    return []


def _mutated(before: dict, after: dict) -> str | None:
    """The first input that is not what it was."""
    return next((name for name in before if not unchanged(before[name], after[name])), None)


def _sentence(error: BaseException) -> str:
    """The class, the first line, and the student's line; at most 300 characters."""
    try:
        first, where = (str(error).splitlines() or [""])[0], ""
        frames = traceback.extract_tb(error.__traceback__)
        places = [(frame.lineno, frame.filename) for frame in frames]
        if isinstance(error, SyntaxError):
            first, places = str(error.msg), [*places, (error.lineno, error.filename)]
        for line, file in places:
            if str(file).startswith(CELL[:6]):
                where = f" (line {line} of {_place(file[6:-1])})"
        return f"{type(error).__name__}: {first}"[:260] + where
    except BaseException:
        return "an error that cannot be shown"
    finally:
        sys.exc_info()


def _place(name: str) -> str:
    return "its cell" if name == _asked[0] else f"{name}'s cell" if name else "another cell"
