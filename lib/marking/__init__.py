"""Checks that say which mistake was made: `check`, `hint` and `status`, for notebooks."""

from marking.check import check
from marking.hints import hint
from marking.progress import status

__all__ = ["check", "hint", "status"]
