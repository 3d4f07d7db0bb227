"""What the book's tests share: the repository, its lessons, and the pages of the built site."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture
def address(monkeypatch):
    """`address(url)` makes the tools believe that `_config.yml` names this repository."""
    from tooling import settings

    def say(url: str) -> None:
        real = settings.config()
        repository = {**real["repository"], "url": url}
        monkeypatch.setattr(settings, "config", lambda: {**real, "repository": repository})

    return say
