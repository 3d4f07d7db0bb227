"""Run every test this machine can run: `python -m tooling.test [pytest arguments]`.

The suite, then nbval over the masters, in one pytest run of two processes. The lessons have been
run by `make book`, whose records `tests/book/test_runs.py` reads; where there are none, nbval runs
their twins. A file stays in one process, as a notebook's cells need each other. What a machine
lacks is said in one line, with how to get it; those tests skip (with CLEARHEAD_STRICT=1 they fail).
"""

import os
import shutil
import subprocess
import sys

from tooling.build import cache_folder, warm_up
from tooling.execute import records
from tooling.settings import ROOT
from tooling.sync import lessons

PACKAGES = {"chromium": ("chromium", "google-chrome"), "bubblewrap": ("bwrap",)}


def missing() -> list[str]:
    return [name for name, programs in PACKAGES.items() if not any(map(shutil.which, programs))]


def main(arguments: list[str]) -> int:
    if lacking := missing():
        names = " ".join(lacking)
        print(
            f"Some tests will skip: this machine has no {' and no '.join(lacking)} "
            f"(on Debian: sudo apt-get install {names})."
        )
    warm_up()
    if not arguments:
        notebooks = sorted((ROOT / "solutions").glob("*/*.ipynb"))
        ran = records(cache_folder())
        if any(path.relative_to(ROOT).as_posix() not in ran for path in lessons()):
            notebooks += [path.with_suffix(".ipynb") for path in lessons()]
        arguments = ["tests", *(str(path.relative_to(ROOT)) for path in notebooks)]
        arguments += ["--nbval-lax", "--nbval-current-env"] if notebooks else []
        arguments += ["-n", "2", "--dist", "loadfile", "--durations", "20"]
    command = [sys.executable, "-m", "pytest", *arguments]
    one_each = {"OMP_NUM_THREADS": "1", **os.environ}  # processes that share cores wait for threads
    return subprocess.run(command, cwd=ROOT, env=one_each).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
