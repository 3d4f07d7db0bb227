"""What an exercise is: data that checks, diagnosis, the kill matrix and the grader all read.

One `Exercise` record holds the reference, the situations its inputs are drawn from, the mistakes
people make as runnable code, and other right answers that must pass.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch

from marking.draw import Draw

Inputs = dict[str, Any]


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that people really give.

    `id` names it ("no-scale"), `impl` is the mistake as code, `says` tells the learner in one
    sentence what went wrong, `read` is the page and heading that explains it
    ("attention/02_scale#slug"). `also` holds the same mistake with other numbers in it, for the
    diagnosis alone. Mistakes whose code is a `functools.partial` of one function, each with its own
    keywords, are also recognised when two are made at once.
    """

    id: str
    impl: Callable
    says: str
    read: str
    also: tuple[Callable, ...] = ()


@dataclass(frozen=True)
class Tolerance:
    """Largest allowed |yours − expected| / (1 + |expected|), by dtype."""

    fp32: float = 2e-5
    fp64: float = 1e-9

    def __getitem__(self, dtype: torch.dtype) -> float:
        return self.fp64 if dtype == torch.float64 else self.fp32


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    `cases` maps the name of a situation ("fewer queries than keys") to a function that draws its
    inputs; shapes vary as well as values. `forbidden` names torch functions that would answer the
    exercise. `largest` gives, for some inputs, how many elements any intermediate tensor may hold
    (None: no limit). `returns` says in words what must come back; `outputs` names the parts of a
    tuple. `gpu`: only a machine with a CUDA device can grade it. `trains` names the inputs that
    what comes back is to train: its gradient with respect to each must be the reference's.

    A function that changes an object, or takes one that does not travel (a module, a callable), is
    checked through another: `through(answer, **inputs)` builds the object from plain inputs, lets
    the answer work on it and returns plain data. Its source runs in the grader's sandbox as well,
    so it may use torch and what it defines itself, nothing else. `cheap`: a run through it takes
    hardly longer than a plain one, so that the diagnosis need not save any.
    """

    id: str
    title: str
    returns: str
    points: int
    difficulty: int
    minutes: int
    reference: Callable
    cases: Mapping[str, Callable[[Draw], Inputs]]
    mistakes: tuple[Mistake, ...]
    alternatives: tuple[Callable, ...]
    hints: tuple[str, str, str]
    read: str
    tolerance: Tolerance = field(default_factory=Tolerance)
    forbidden: tuple[str, ...] = ()
    largest: Callable[[Inputs], int] | None = None
    outputs: tuple[str, ...] = ()
    gpu: bool = False
    trains: tuple[str, ...] = ()
    through: Callable | None = None
    cheap: bool = False

    def given(self, inputs: Inputs) -> Inputs:
        """A copy for an answer to work on; one that wants gradients where it is to be trained."""
        copy = copy_inputs(inputs)
        return {**copy, **{name: wanting(copy[name]) for name in self.trains}}

    def gradients(self, value: Any, inputs: Inputs) -> dict[str, torch.Tensor] | None:
        """Of the sum of all that came back, by the name of the input; None where none flows."""
        return gradients(value, {name: inputs[name] for name in self.trains})

    def call(self, answer: Callable, inputs: Inputs) -> Any:
        """What `answer` does with the inputs."""
        return self.through(answer, **inputs) if self.through else answer(**inputs)

    @property
    def name(self) -> str:
        """The name of the function that the learner writes."""
        return self.id.partition(".")[2]

    @property
    def chapter(self) -> str:
        return self.id.partition(".")[0]


@dataclass(frozen=True)
class Case:
    """One situation, drawn: inputs in `dtype`, and what the reference answers.

    `expected` is computed in float64 from the same numbers; `like` is the reference's answer to
    the inputs as they are, and fixes the type, shape and dtype that must come back. `gradients`
    are those of the sum of `expected`, by the name of the input that is to be trained.
    """

    situation: str
    dtype: torch.dtype
    inputs: Inputs
    expected: Any
    like: Any
    gradients: dict[str, torch.Tensor] | None = None


def draw_case(exercise: Exercise, situation: str, draw: Draw) -> Case:
    """Draw one case of a situation and answer it with the reference."""
    inputs = exercise.cases[situation](draw)
    precise = exercise.given(map_tensors(inputs, torch.Tensor.double, floats=True))
    expected = like = _answer(exercise, precise)
    gradients = exercise.gradients(expected, precise) if exercise.trains else None
    if draw.dtype != torch.float64:  # in float64 the two are one
        like = _answer(exercise, exercise.given(inputs))
    expected, like = (map_tensors(x, torch.Tensor.detach) for x in (expected, like))
    return Case(situation, draw.dtype, inputs, expected, like, gradients)


def suite(exercise: Exercise, seed: int, dtype: torch.dtype) -> list[Case]:
    """One case for each situation, drawn from `seed` in `dtype`."""
    return [
        draw_case(exercise, situation, Draw(seed=f"{exercise.id}|{situation}|{seed}", dtype=dtype))
        for situation in exercise.cases
    ]


def copy_inputs(inputs: Inputs) -> Inputs:
    """A copy that shares no memory: what a function does to it does not reach the original."""
    return map_tensors(inputs, torch.Tensor.clone)


def map_tensors(value: Any, change: Callable, *, floats: bool = False) -> Any:
    """The value with every tensor in it changed, or every tensor of floats; new containers."""
    if isinstance(value, torch.Tensor):
        return change(value) if value.is_floating_point() or not floats else value
    if isinstance(value, dict):
        return {key: map_tensors(item, change, floats=floats) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map_tensors(item, change, floats=floats) for item in value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(item, change, floats=floats) for item in value))
    return value


def wanting(x: torch.Tensor) -> torch.Tensor:
    """A copy that wants a gradient and is no leaf, so that it may be changed in place."""
    return x.clone().requires_grad_().clone()


def gradients(value: Any, inputs: Inputs) -> dict[str, torch.Tensor] | None:
    """Of the sum of all tensors of floats in a value with respect to these inputs; zeros where an
    input has no part in it, and None where no gradient flows at all."""
    parts = [x.sum() for x in tensors_in(value) if x.requires_grad]
    if not parts:
        return None
    found = torch.autograd.grad(sum(parts), list(inputs.values()), allow_unused=True)
    pairs = zip(inputs.items(), found, strict=True)
    return {name: torch.zeros_like(x) if g is None else g.detach() for (name, x), g in pairs}


def tensors_in(value: Any) -> list[torch.Tensor]:
    """Every tensor in a value, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list | tuple):
        return [x for item in items for x in tensors_in(item)]
    return []


def _answer(exercise: Exercise, inputs: Inputs) -> Any:
    """The reference's answer, a tuple with its parts named so that a report can say which."""
    value = exercise.call(exercise.reference, inputs)
    return _tuple_of(exercise.outputs)(*value) if exercise.outputs else value


@cache
def _tuple_of(names: tuple[str, ...]) -> type:
    return namedtuple("Outputs", names)
