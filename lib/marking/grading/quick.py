"""Imports without two things that cost seconds and that nobody here needs."""

import contextlib
import gc
import sys
from collections.abc import Iterator

GRAMMAR = "rfc3987_syntax"


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Import nbgrader, nbformat or torch inside.

    Nothing that is imported is ever collected, so the collector need not look: a fifth of the time.
    And jsonschema builds a grammar of international web addresses where that package is installed,
    more than half of the time to import nbgrader, for a format that no notebook's schema names.
    """
    there, collecting = GRAMMAR in sys.modules, gc.isenabled()
    if not there:
        sys.modules[GRAMMAR] = None  # an import of it fails, which jsonschema expects
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
        if not there:
            del sys.modules[GRAMMAR]
