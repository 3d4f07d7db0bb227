"""Run every script of benchmarks/, one after the other: `python -m tooling.bench`."""

import subprocess
import sys

from tooling.settings import ROOT


def main() -> None:
    files = sorted((ROOT / "benchmarks").glob("*.py"))
    scripts = [path for path in files if "__main__" in path.read_text(encoding="utf-8")]
    if not scripts:
        sys.exit("benchmarks/ holds no script.")
    for script in scripts:
        print(f"== {script.stem}", flush=True)
        run = subprocess.run([sys.executable, str(script)], cwd=ROOT)
        if run.returncode:
            sys.exit(f"benchmarks/{script.name} failed.")


if __name__ == "__main__":
    main()
