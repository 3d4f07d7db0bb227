"""Constants of hardware stand once, each with its source."""

import re
from pathlib import Path

import pytest

from clearhead.hardware import A100, B200, CHIPS, H100, H200, L4, RTX_4090, T4, Chip

ROOT = Path(__file__).parent.parent


def test_the_ridge_is_arithmetic_over_bandwidth():
    chip = Chip("a", bf16=100.0, bandwidth=4.0, memory=1.0, source="s", date="2026")
    assert chip.ridge == 25.0
    assert round(H200.ridge) == 206


@pytest.mark.parametrize(
    ("chip", "ridge"),
    [(T4, 203), (L4, 403), (RTX_4090, 164), (A100, 153), (H100, 295), (B200, 281)],
)
def test_the_ridges_that_are_quoted_for_well_known_chips(chip, ridge):
    assert round(chip.ridge) == ridge


@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
def test_every_chip_has_a_source_and_a_date_and_no_figure_with_sparsity(chip):
    assert chip.source and re.fullmatch(r"20\d\d", chip.date)
    assert chip.bf16 not in (242e12, 330.3e12, 624e12, 1979e12, 4.5e15)
    # what a data sheet counts in MB/s, GB/s or TB/s by a slip stands far outside these
    assert 1e11 < chip.bandwidth < 1e13 and 1e13 < chip.bf16 < 1e16 and 1e10 < chip.memory < 1e12


def test_no_other_file_of_the_library_holds_a_chips_peak():
    peaks = re.compile(r"\b(989e12|4\.8e12|9\.89e14|312e12|2039e9|3\.35e12|2\.25e15|165\.2e12)\b")
    holders = [f.name for f in (ROOT / "lib").rglob("*.py") if peaks.search(f.read_text())]
    assert holders == ["hardware.py"]
