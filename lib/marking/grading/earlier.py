"""Which other answers of its notebook does an answer call?

A student may build on earlier answers. Where one of them is wrong, a later one that calls it fails
through no fault of its own, and what it does may equal a known mistake that nobody made. Nothing is
run here: the notebook's names are read, as Python itself resolves them.
"""

import ast
import symtable
from collections.abc import Iterator
from functools import lru_cache

from marking.exercise import Exercise
from marking.grading.forbidden import read
from marking.registry import exercises


def called(exercise: Exercise, cells: list[str]) -> list[Exercise]:
    """The other exercises of the chapter whose functions this one's reaches, in the book's order.

    Reached is what it names, and what the notebook's functions, classes and other names that it
    names name in turn; a local variable of that name is none of it.
    """
    names = _names(tuple(cells))
    found: set[str] = set()
    todo = [exercise.name]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += names.get(name, ())
    others = exercises(exercise.chapter).values()
    return [one for one in others if one.name in found & names.keys() and one.id != exercise.id]


@lru_cache(maxsize=2)
def _names(cells: tuple[str, ...]) -> dict[str, frozenset[str]]:
    """For each name that a cell binds at its top level, the global names that its value uses; of
    two functions of one name the last, as in the notebook."""
    found: dict[str, frozenset[str]] = {}
    for source in cells:
        tree = read(source).tree
        if tree is None:
            continue
        try:
            table = symtable.symtable(source, "<cell>", "exec")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for child in table.get_children():
            if child.get_type() in ("function", "class"):
                found[child.get_name()] = frozenset(_globals(child))
        for node in tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                used = {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)}
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for name in {t.id for t in targets if isinstance(t, ast.Name)}:
                    found[name] = found.get(name, frozenset()) | used
    return found


def _globals(table: symtable.SymbolTable) -> Iterator[str]:
    """The names that a function or class, and what stands in it, take from the notebook."""
    todo = [table]
    while todo:  # by a list: a student's lambdas may stand in one another deeper than calls may
        table = todo.pop()
        for symbol in table.get_symbols():
            if symbol.is_global() and symbol.is_referenced():
                yield symbol.get_name()
        todo += table.get_children()
