"""Run the scripts of benchmarks/, one after the other: `python -m tooling.bench [SCRIPT]`.

Without a name, all but `grading`, which needs bubblewrap and has a verb of its own, and those whose
measuring is a training of many minutes: name them.
"""

import subprocess
import sys

from tooling.settings import ROOT

BY_NAME = {"diffusion", "grading", "lora_fine_tune", "lora_rank", "rl", "sft"}


def main(names: list[str]) -> None:
    files = sorted((ROOT / "benchmarks").glob("*.py"))
    files = [path for path in files if (path.stem in names if names else path.stem not in BY_NAME)]
    scripts = [path for path in files if "__main__" in path.read_text(encoding="utf-8")]
    if not scripts:
        sys.exit("benchmarks/ holds no such script.")
    for script in scripts:
        print(f"== {script.stem}", flush=True)
        run = subprocess.run([sys.executable, str(script)], cwd=ROOT)
        if run.returncode:
            sys.exit(f"benchmarks/{script.name} failed.")


if __name__ == "__main__":
    main(sys.argv[1:])
