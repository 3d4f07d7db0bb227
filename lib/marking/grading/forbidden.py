"""What can be read off a submission without running it: forbidden calls, and smells.

A forbidden call is reported here, with its line, only where it is certain: it stands in the
exercise's function or in one that it calls, and its name is torch's. Everything else is left to the
tripwire in the container. Smells tell staff where to look; they never cost a point.
"""

import ast
import re
import warnings
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

LONGEST = 200_000  # characters of a cell that is read here; a longer one is a smell
REMEMBERED = 20_000  # characters of a cell that is kept as read
SMELLY_IMPORTS = {"gc", "ctypes", "threading", "subprocess", "socket", "os", "multiprocessing"}
SMELLY_IMPORTS |= {"inspect", "pickle", "signal", "importlib", "mmap", "builtins", "weakref"}
SMELLY_IMPORTS |= {"torch.library", "torch._C", "torch._refs", "torch._decomp", "torch._dynamo"}
BELOW_AUTOGRAD = {f"torch.autograd.{name}" for name in ("forward_ad", "variable", "Variable")}
SMELLY_IMPORTS |= BELOW_AUTOGRAD
SMELLY_CALLS = {"eval", "exec", "compile", "open", "__import__", "globals", "vars"}
SMELLY_NAMES = {"sys._getframe", "sys.settrace", "sys.setprofile", "sys._current_frames"}
SMELLY_NAMES |= {"torch.library", "torch._C", "torch._refs", "torch._decomp", "torch.ops"}
SMELLY_NAMES |= BELOW_AUTOGRAD
SMELLY_ATTRIBUTES = {"__globals__", "__subclasses__", "__code__", "__closure__", "f_globals"}
SMELLY_ATTRIBUTES |= {"f_back", "f_locals", "__builtins__", "grad_fn", "next_functions"}


class Cell(NamedTuple):
    """A cell as it was read: its tree (None where it cannot be), every node of it, its smells."""

    tree: ast.Module | None
    nodes: tuple[ast.AST, ...]
    smells: tuple[tuple[str, int], ...]  # name and line


def call(exercise, cells: list[str]) -> str:
    """A sentence about a forbidden call that is certain, or nothing."""
    if not exercise.forbidden:
        return ""
    calls, at, names, methods = _together(tuple(cells))
    for function in _reached(exercise.name, calls):
        for node in calls[function]:
            name = _dotted(node.func, names)
            last = name.rpartition(".")[2]
            if last not in exercise.forbidden:
                continue
            if name.startswith("torch.") or (name.startswith(".") and last not in methods):
                shown = name.lstrip(".") if name.startswith("torch.") else f"the method .{last}()"
                own = at[function] == at[exercise.name]
                where = "its cell" if own else f"the cell of {function}"
                return (
                    f"It calls {shown} in line {node.lineno} of {where}, which answers the "
                    "exercise for you. Write that part yourself."
                )
    return ""


def smells(cells: list[str]) -> tuple[str, ...]:
    """What staff may want to look at: "gc (cell 2, line 1)", at most 20 of them."""
    found: dict[str, str] = {}
    for number, source in enumerate(cells, 1):
        if len(source) > LONGEST:
            found.setdefault("a very long cell", f"a very long cell (cell {number})")
        for name, line in read(source).smells:
            found.setdefault(name, f"{name} (cell {number}, line {line})")
    return tuple(found.values())[:20]


def without_magics(source: str) -> str:
    """The cell without IPython's own lines (%matplotlib, !pip); its lines keep their numbers."""
    if source.lstrip().startswith("%%"):
        return "#" + source.replace("\n", "\n#")
    if not re.search(r"^\s*[%!?]", source, re.MULTILINE) or read(source).tree:
        return source
    return re.sub(r"^(\s*)([%!?].*)$", r"\1pass  # \2", source, flags=re.MULTILINE)


def read(source: str) -> Cell:
    """The cell, read once: every exercise of a submission asks, and the given cells are the same in
    all of them."""
    return _read_once(source) if len(source) < REMEMBERED else _read_now(source)


def _read_now(source: str) -> Cell:
    if len(source) > LONGEST:
        return Cell(None, (), ())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Cell(None, (), ())
    nodes = tuple(ast.walk(tree))
    return Cell(
        tree, nodes, tuple((name, node.lineno) for node in nodes for name in _smells_of(node))
    )


_read_once = lru_cache(maxsize=128)(_read_now)


@lru_cache(maxsize=2)
def _together(cells: tuple[str, ...]) -> tuple[dict, dict[str, int], dict[str, str], set[str]]:
    """All cells of a notebook: the calls in the last definition of each function, the cell that it
    stands in, what the notebook's imports bind, and its own methods."""
    seen = [cell for cell in map(read, cells) if cell.tree]
    nodes = [node for cell in seen for node in cell.nodes]
    calls: dict[str, tuple[ast.Call, ...]] = {}
    at: dict[str, int] = {}
    for number, cell in enumerate(seen):
        for function in cell.tree.body:
            if isinstance(function, ast.FunctionDef):
                inside = ast.walk(function)
                calls[function.name] = tuple(n for n in inside if isinstance(n, ast.Call))
                at[function.name] = number
    return calls, at, _bindings(nodes), _methods(nodes)


def _smells_of(node) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        modules = [a.name for a in node.names]
        if isinstance(node, ast.ImportFrom):
            modules = [f"{node.module}.{name}" for name in modules]
        for module in modules:
            parts = module.split(".")
            heads = {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
            yield from sorted(heads & SMELLY_IMPORTS)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id in SMELLY_CALLS:
            yield f"{node.func.id}()"
        elif node.func.id in ("getattr", "setattr") and node.args:
            if _dotted(node.args[0], {}).split(".")[0] == "torch":
                yield f"{node.func.id} on torch"
    elif isinstance(node, ast.Subscript) and _dotted(node.value, {}) == "sys.modules":
        yield "sys.modules"
    elif isinstance(node, ast.Attribute):
        name = _dotted(node, {})
        if name in SMELLY_NAMES:
            yield name
        elif node.attr in SMELLY_ATTRIBUTES:
            yield node.attr
        elif node.attr in ("get_ipython", "_destroy", "unfreeze"):
            yield node.attr


def _bindings(nodes: list[ast.AST]) -> dict[str, str]:
    """What each imported name stands for; "?" if that is not torch's, or not certain."""
    found: dict[str, str] = {"torch": "torch"}
    other: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name, target in _imported(node):
                ours = target.split(".")[0] == "torch"
                found[name] = target if ours and found.get(name, "torch") != "?" else "?"
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            other.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            other.add(node.id)
        elif isinstance(node, ast.arg):
            other.add(node.arg)
    return {name: "?" if name in other else target for name, target in found.items()}


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
    """(name, what it stands for) of each name that an import binds."""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            yield alias.asname or alias.name, f"{node.module}.{alias.name}"
        elif alias.asname:
            yield alias.asname, alias.name
        else:
            yield alias.name.split(".")[0], alias.name.split(".")[0]


def _methods(nodes: list[ast.AST]) -> set[str]:
    """Names of methods and attributes of the student's own: a call of one proves nothing."""
    classes = [n for n in nodes if isinstance(n, ast.ClassDef)]
    inside = [n for c in classes for n in ast.walk(c)]
    own = {n.name for n in inside if isinstance(n, ast.FunctionDef)}
    return own | {
        n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)
    }


def _reached(name: str, calls: dict[str, tuple[ast.Call, ...]]) -> list[str]:
    """The function, where it is defined, and those that it calls by name."""
    found: dict[str, None] = {}
    todo = [name]
    while todo:
        current = todo.pop()
        if current in found or current not in calls:
            continue
        found[current] = None
        todo += [n.func.id for n in calls[current] if isinstance(n.func, ast.Name)]
    return list(found)


def _dotted(node, names: dict[str, str]) -> str:
    """`torch.nn.functional.softmax` for `F.softmax`; `.softmax` for a method of anything else."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    parts.reverse()
    if isinstance(node, ast.Name):
        if node.id in names or not names:
            return ".".join([names.get(node.id, node.id), *parts])
        return f".{parts[-1]}" if parts else ""
    return f".{parts[-1]}" if parts else ""
