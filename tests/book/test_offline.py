"""Each lesson runs from top to bottom with the network unplugged, in the time the book promises."""

import subprocess
import sys

import pytest
from tooling.sync import lessons

SECONDS = 90


@pytest.mark.bubblewrap
@pytest.mark.parametrize("lesson", lessons(), ids=lambda p: p.stem)
def test_a_lesson_runs_offline_in_time(lesson, tmp_path):
    command = ["bwrap", "--dev-bind", "/", "/", "--unshare-net", "--die-with-parent"]
    command += [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute"]
    command += [str(lesson.with_suffix(".ipynb")), "--output-dir", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert run.returncode == 0, run.stderr[-3000:]


@pytest.mark.bubblewrap
def test_the_container_really_has_no_network():
    look = "import socket; print([name for _, name in socket.if_nameindex()])"
    command = ["bwrap", "--dev-bind", "/", "/", "--unshare-net", sys.executable, "-c", look]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "['lo']"
