"""A function of an exercise's record as a learner would paste it: text that stands on its own."""

import ast
import functools
import inspect
import math
import re
import textwrap
import types

PLAIN = (int, float, bool, str, type(None))
MODULES = {"math": "import math", "torch": "import torch", "functools": "import functools"}
MODULES |= {"copy": "import copy", "torch.nn": "import torch.nn as nn"}
MODULES["torch.nn.functional"] = "import torch.nn.functional as F"
GIVEN = {"LoRALinear"}  # classes of the notebook's own given cells
ATTEMPTS = ("learner_attempts", "lora_attempts", "inference_attempts")
ATTEMPTS += ("training_attempts_a", "training_attempts_b")
ATTEMPTS += ("preference_attempts_a", "preference_attempts_b")


class NoText(Exception):
    """The function needs something that an answer cell may not have."""


def as_text(function, name: str) -> str:
    """Source that defines `name`, after what it uses of its own file, renamed to be private.

    Raises `NoText` when it uses anything but torch, math, given classes and plain values.
    """
    pieces: dict[str, str] = {}
    private = f"_{name}_"
    if isinstance(function, functools.partial):
        target = _add(function.func, private, pieces)
        given = "".join(f", {k}={_value(v, private, pieces)}" for k, v in function.keywords.items())
        if function.args:
            raise NoText("positional arguments of a partial")
        last = f"def {name}(*args, **kwargs):\n    return {target}(*args{given}, **kwargs)"
    else:
        last = _renamed(function, name, private, pieces)
    imports = sorted({text for text in pieces.values() if text.startswith("import ")})
    others = [text for text in pieces.values() if not text.startswith("import ")]
    return "\n\n\n".join([*(["\n".join(imports)] if imports else []), *others, last])


def _add(function: types.FunctionType, private: str, pieces: dict[str, str]) -> str:
    """Put a helper, and what it uses, into `pieces`; returns its private name."""
    if not isinstance(function, types.FunctionType) or function.__name__ == "<lambda>":
        raise NoText("a helper is no function with a name")
    if not function.__module__.startswith(("marking.exercises.", *ATTEMPTS)):
        raise NoText(f"{function.__module__} is not there in the sandbox")
    new = private + function.__name__.strip("_")
    if new not in pieces:
        pieces[new] = ""  # seen, should it call itself
        text = _renamed(function, new, private, pieces)
        del pieces[new]  # after what it uses
        pieces[new] = text
    return new


def _renamed(function, new: str, private: str, pieces: dict[str, str]) -> str:
    if function.__code__.co_freevars:
        raise NoText("it uses names of the function that made it")
    source = textwrap.dedent(inspect.getsource(function))
    tree = ast.parse(source).body[0]
    source = "\n".join(source.splitlines()[tree.lineno - 1 :])
    tree.decorator_list = []
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names = {function.__name__: new}
    code = function.__code__
    own = {function.__name__, *code.co_varnames, *code.co_cellvars}
    for name in sorted(used & function.__globals__.keys() - own):
        names[name] = _bring(name, function.__globals__[name], private, pieces)
    for old, other in names.items():
        source = re.sub(rf"(?<![\w.]){old}(?!\w|=[^=])", other, source)
    return source.strip()


def _bring(name: str, value, private: str, pieces: dict[str, str]) -> str:
    """Make one global of a helper available; returns the name it goes by."""
    if isinstance(value, types.ModuleType):
        if value.__name__ not in MODULES:
            raise NoText(f"{value.__name__} is not there in the sandbox")
        pieces[value.__name__] = MODULES[value.__name__]
        return name
    if isinstance(value, types.FunctionType):
        return _add(value, private, pieces)
    if isinstance(value, type) and name in GIVEN:
        return name
    pieces[private + name] = f"{private}{name} = {_value(value, private, pieces)}"
    return private + name


def _value(value, private: str, pieces: dict[str, str]) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, types.FunctionType):
        return _add(value, private, pieces)
    raise NoText(f"{type(value).__name__} cannot be written down")
