"""What the tools read in `_config.yml`: the only place where the repository's address stands."""

from functools import cache
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
PLACEHOLDER = "https://github.com/OWNER/REPOSITORY"


@cache
def config() -> dict:
    return yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))


def repository() -> str:
    """The repository's address, without a slash at its end."""
    return config()["repository"]["url"].rstrip("/")


def branch() -> str:
    return config()["repository"]["branch"]


def address_is_set() -> bool:
    return repository() != PLACEHOLDER
