"""Constants of hardware stand once, each with its source."""

import re
from pathlib import Path

from clearhead.hardware import H200, Chip

ROOT = Path(__file__).parent.parent


def test_the_ridge_is_arithmetic_over_bandwidth():
    chip = Chip("a", bf16=100.0, bandwidth=4.0, memory=1.0, source="s", date="2026")
    assert chip.ridge == 25.0
    assert round(H200.ridge) == 206


def test_no_other_file_of_the_library_holds_a_chips_peak():
    peaks = re.compile(r"\b(989e12|4\.8e12|9\.89e14)\b")
    holders = [f.name for f in (ROOT / "lib").rglob("*.py") if peaks.search(f.read_text())]
    assert holders == ["hardware.py"]
