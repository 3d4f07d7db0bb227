"""Mistakes that nobody makes together with another one: the diagnosis does not try them in pairs.

Each pair costs time, and a learner waits for the answer.
"""

from collections.abc import Callable


def alone(impl: Callable) -> Callable:
    """The same code, no longer a `functools.partial`."""
    return lambda *args, **inputs: impl(*args, **inputs)
