"""Progress is a convenience that survives everything and never stands in the way."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from marking import check, status
from marking.progress import record
from marking.registry import exercises

SOFTMAX = exercises()["attention.softmax"].reference


def test_a_solved_exercise_shows_as_solved():
    check("attention.softmax", SOFTMAX)
    text = str(status("attention"))
    line = next(row for row in text.splitlines() if row.startswith("attention.softmax"))
    assert "solved" in line and "1 of" in text


def test_the_best_attempt_is_kept(own_progress):
    check("attention.softmax", lambda x, dim: torch.zeros_like(x))
    check("attention.softmax", SOFTMAX)
    check("attention.softmax", lambda x, dim: torch.zeros_like(x))
    row = json.loads(own_progress.read_text())["attention.softmax"]
    assert row["best"] == 1.0 and row["attempts"] == 3


def test_an_unreadable_record_is_set_aside_and_told(own_progress, capsys):
    own_progress.write_text("{ not json")
    check("attention.softmax", SOFTMAX)
    assert "could not be read; it is kept as" in capsys.readouterr().out
    kept = own_progress.with_suffix(".unreadable.json")
    assert kept.read_text() == "{ not json"
    assert json.loads(own_progress.read_text())["attention.softmax"]["best"] == 1.0


@pytest.mark.parametrize("row", ['{"best": "x"}', '{"best": null}', '{"attempts": 1}', "[]"])
def test_a_row_that_is_none_is_set_aside_and_each_file_kept(own_progress, row):
    for number in ("", "1", "2"):
        own_progress.write_text(f'{{"attention.softmax": {row}, "number": "{number}"}}')
        assert "0 of" in str(status("attention"))
        kept = own_progress.with_suffix(f".unreadable{number}.json")
        assert f'"number": "{number}"' in kept.read_text()


def test_a_row_that_counts_no_attempts_is_kept(own_progress):
    own_progress.write_text('{"attention.softmax": {"best": 0.5}}')
    record("attention.softmax", 0.25)
    row = json.loads(own_progress.read_text())["attention.softmax"]
    assert row == {"best": 0.5, "attempts": 1, "solved": None}


def test_two_kernels_that_note_at_once_lose_nothing(own_progress):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(record, [f"chapter.{n % 8}" for n in range(64)], [0.5] * 64))
    rows = json.loads(own_progress.read_text())
    assert [row["attempts"] for row in rows.values()] == [8] * 8


def test_a_folder_that_cannot_be_written_loses_only_the_note(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("CLEARHEAD_PROGRESS", str(blocked / "progress.json"))
    assert check("attention.softmax", SOFTMAX).share == 1.0


def test_the_terminal_shows_the_same_table(own_progress):
    check("attention.softmax", SOFTMAX)
    done = subprocess.run(
        [sys.executable, "-m", "marking", "status"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and "attention.softmax" in done.stdout and "solved" in done.stdout


def test_a_notebook_shows_a_table():
    assert "<table" in status()._repr_html_()
