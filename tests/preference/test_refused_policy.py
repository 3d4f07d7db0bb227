"""Wrong input, in a Python of its own: the jaxtyping hook would speak before our own checks."""

import subprocess
import sys
from pathlib import Path


def test_wrong_input_is_refused_in_one_clear_sentence():
    file = Path(__file__).parent / "apart" / "refusals_policy.py"
    command = [sys.executable, "-m", "pytest", "-q", str(file), "-o", "addopts="]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
