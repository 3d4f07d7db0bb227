"""What some tests need of the machine: Chromium, bubblewrap, a GPU, the built site.

Where it is missing the test skips and says how to get it. With CLEARHEAD_STRICT=1 (as in CI, which
installs the first two and builds the site) such a skip is a failure.
"""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STRICT = {"chromium", "bubblewrap", "site"}


@cache
def chromium() -> str | None:
    """The browser that the site's tests drive."""
    return shutil.which("chromium") or shutil.which("google-chrome")


def _no_chromium() -> str:
    return "" if chromium() else "no Chromium (Debian: apt-get install chromium)"


def _no_bubblewrap() -> str:
    if not shutil.which("bwrap"):
        return "no bubblewrap (Debian: apt-get install bubblewrap)"
    trial = ["bwrap", "--dev-bind", "/", "/", "--unshare-net", "true"]
    run = subprocess.run(trial, capture_output=True, text=True)
    return "" if run.returncode == 0 else f"bubblewrap cannot make a container: {run.stderr[:200]}"


def _no_gpu() -> str:
    import torch

    return "" if torch.cuda.is_available() else "no CUDA device"


def _no_site() -> str:
    if not (ROOT / "_build" / "html" / "index.html").exists():
        return "no built site (make book)"
    return "the last `make book` failed" if (ROOT / "_build" / ".failed").exists() else ""


REASONS = {
    "chromium": cache(_no_chromium),
    "bubblewrap": cache(_no_bubblewrap),
    "gpu": cache(_no_gpu),
    "site": cache(_no_site),
}


def strict() -> bool:
    return os.environ.get("CLEARHEAD_STRICT") == "1"


def pytest_runtest_setup(item):
    for name, reason in REASONS.items():
        if item.get_closest_marker(name) and reason():
            pytest.skip(reason())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    names = [name for name in STRICT if item.get_closest_marker(name)]
    if report.skipped and names and strict() and not hasattr(report, "wasxfail"):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"CLEARHEAD_STRICT=1 and this test did not run: {why}"
    return report
