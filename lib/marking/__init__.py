"""Checks that say which mistake was made: `check`, `hint` and `status`, for notebooks."""

import importlib
import sys
import types

__all__ = ["check", "hint", "status"]
HOMES = {"check": "marking.check", "hint": "marking.hints", "status": "marking.progress"}


class _Lazy(types.ModuleType):
    """Loads a function, and torch with it, when it is asked for: the grader's driver never asks."""


def _function(name: str) -> property:
    def get(_):
        return getattr(importlib.import_module(HOMES[name]), name)

    return property(get, lambda *_: None)  # a submodule of that name must not take its place


for _name in __all__:
    setattr(_Lazy, _name, _function(_name))
sys.modules[__name__].__class__ = _Lazy
