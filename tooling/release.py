"""Generate the learners' notebooks from every master: `python -m tooling.release`.

nbgrader does it, by nbgrader_config.py; this only calls it for each folder of solutions/.
"""

import subprocess
import sys

from tooling import sync
from tooling.settings import ROOT


def main() -> None:
    sync.stamp_masters()
    assignments = sorted(p.parent.name for p in (ROOT / "solutions").glob("*/*.ipynb"))
    for name in dict.fromkeys(assignments):
        command = ["generate_assignment", name, "--force", "--log-level=WARN"]
        run = subprocess.run([sys.executable, "-m", "nbgrader", *command], cwd=ROOT)
        if run.returncode:
            sys.exit(f"nbgrader could not generate {name}: its own words are above.")
        print(f"released chapters/exercises/{name}")


if __name__ == "__main__":
    main()
