"""Progress is a convenience that survives everything and never stands in the way."""

import json
import subprocess
import sys

import torch

from marking import check, status
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
