"""A student's cells as a job carries them: named, and compiled here once instead of in each
exercise's child.

Compiling runs nothing. What comes of it is the student's own code still, and is run in the sandbox
alone; it travels there as bytes that only the child reads.
"""

import marshal
import warnings
from functools import cache, lru_cache

import torch

from marking.grading.forbidden import read
from marking.grading.python_source import defines
from marking.registry import exercises

CODE = "code"


@lru_cache(maxsize=4)
def ready(cells: tuple[str, ...]) -> tuple[list[list], dict[str, torch.Tensor]]:
    """For a job's message each cell's name and its source, None where its code object is among
    those that are marshalled into the bytes of the tensor.

    A cell is named after the exercise whose function it defines; "" where it defines none.
    """
    named = [_name(source) for source in cells]
    codes = [_compiled(name, source) for name, source in zip(named, cells, strict=True)]
    rows = zip(named, cells, codes, strict=True)
    data = bytearray(marshal.dumps([code for code in codes if code]))
    sources = [[name, None if code else source] for name, source, code in rows]
    return sources, {CODE: torch.frombuffer(data, dtype=torch.uint8)}


def _name(source: str) -> str:
    return next(iter(sorted(defines(source) & _names())), "")


@cache
def _names() -> set[str]:
    return {exercise.name for exercise in exercises().values()}


def _compiled(name: str, source: str):
    """The code object; None where the child is to see for itself what is wrong with it.

    A `finally` is compiled twice, and so each that stands in another doubles: twenty of them would
    take all memory, which is the child's to lose and not ours.
    """
    cell = read(source)
    if cell.tree is None or any(getattr(node, "finalbody", None) for node in cell.nodes):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = compile(source, f"<cell {name}>", "exec", dont_inherit=True)
        marshal.dumps([code])  # ValueError where functions in functions lie too deep to travel
        return code
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
