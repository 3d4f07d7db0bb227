"""Tests that need a Python of their own; the files under `apart/` hold them.

Wrong input: the jaxtyping hook, which the other tests run under, would speak before our own checks.
Triton's interpreter: it must be chosen before Triton is first imported.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

APART = Path(__file__).parent / "apart"


def run(file: str, *options: str, **environment: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-rs", str(APART / file), *options]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout, done.stdout[-2000:]


def test_wrong_input_is_refused_in_one_clear_sentence():
    run("refusals.py", "-o", "addopts=")


@pytest.mark.skipif(not importlib.util.find_spec("triton"), reason="triton is not installed")
def test_the_triton_kernel_equals_plain_attention_in_the_interpreter():
    run("interpreted.py", TRITON_INTERPRET="1", OMP_NUM_THREADS="1")


@pytest.mark.skipif(not importlib.util.find_spec("triton"), reason="triton is not installed")
def test_the_triton_kernel_compiles_for_gpus_that_are_not_here(tmp_path):
    run("compiled.py", TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))
