"""Every test keeps its own record of progress, away from the person's who runs the tests."""

import pytest


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    file = tmp_path / "progress.json"
    monkeypatch.setenv("CLEARHEAD_PROGRESS", str(file))
    return file
