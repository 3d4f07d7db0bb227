"""Lint, format, and see that generated files are fresh: `python -m tooling.check`."""

import subprocess
import sys

from tooling import sync
from tooling.settings import ROOT

CODE = ["lib", "tests", "tooling", "benchmarks", "nbgrader_config.py", "conftest.py"]


def main() -> None:
    ruff = [sys.executable, "-m", "ruff"]
    paths = [path for path in CODE if (ROOT / path).exists()]
    runs = [[*ruff, "check", *paths], [*ruff, "format", "--check", *paths]]
    failed = [run for run in runs if subprocess.run(run, cwd=ROOT).returncode]
    sync.main(check=True)
    if failed:
        sys.exit("ruff found something: `ruff check --fix` and `ruff format` repair most of it.")
    print("Lint, format and generated files are in order.")


if __name__ == "__main__":
    main()
