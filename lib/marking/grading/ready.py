"""A student's cells, compiled here once instead of in each exercise's child.

Compiling runs nothing. What comes of it is the student's own code still, and is run in the sandbox
alone; it travels there as bytes that only the child reads.
"""

import marshal
import warnings
from functools import lru_cache

import torch

from marking.grading.forbidden import read

CODE = "code"


@lru_cache(maxsize=4)
def ready(cells: tuple[str, ...]) -> tuple[list[str | None], dict[str, torch.Tensor]]:
    """For a job's message the source of each cell that is left to the child, None for the others;
    and their code objects, as the bytes of a tensor."""
    codes = [_compiled(source) for source in cells]
    sources = [None if code else source for source, code in zip(cells, codes, strict=True)]
    data = bytearray(marshal.dumps([code for code in codes if code]))
    return sources, {CODE: torch.frombuffer(data, dtype=torch.uint8)}


def _compiled(source: str):
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
            return compile(source, "<cell>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
