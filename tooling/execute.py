"""Run the lessons that the execution cache does not hold, without network where that can be had.

jupyter-book would run them itself, one after another and with the network there. Here each runs in
a process of its own, in a container without network where bubblewrap is installed. How many run at
a time CLEARHEAD_AT_ONCE says (1 by default: a lesson that measures wants the machine for itself).
Beside the cache stands `lessons.json`: the processor seconds of each run and whether it had a
network. The tests read it.
"""

import json
import os
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from myst_nb.core.read import myst_nb_reader_plugin

from tooling import settings
from tooling.settings import ROOT
from tooling.sync import lessons

UNPLUGGED = ["bwrap", "--dev-bind", "/", "/", "--unshare-net", "--die-with-parent"]


def fill(folder: Path) -> list[str]:
    """Run what is missing in the cache; the messages of the lessons that failed."""
    kept = get_cache(str(folder))
    missing = [lesson for lesson in lessons() if not holds(kept, lesson)]
    for made in folder.glob("*.run.ipynb"):
        made.unlink()
    failed = []
    with ThreadPoolExecutor(at_once()) as pool:
        for lesson, (record, said) in zip(
            missing, pool.map(lambda lesson: run_apart(lesson, folder), missing), strict=True
        ):
            if record is None:
                failed.append(f"{lesson.relative_to(ROOT)} stopped:\n{said}")
                continue
            executed = nbformat.read(result(lesson, folder), as_version=4)
            took = {"execution_seconds": record["clock"]}
            bundle = CacheBundleIn(executed, str(lesson), data=took)
            kept.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
            result(lesson, folder).unlink()
            write(folder, lesson, record)
            print(f"  {lesson.relative_to(ROOT)}: {record['processor']:.0f} s of processor time")
            sys.stdout.flush()
    return failed


def holds(kept, lesson: Path) -> bool:
    try:
        kept.match_cache_notebook(myst_nb_reader_plugin(str(lesson)))
    except KeyError:
        return False
    return True


def run_apart(lesson: Path, folder: Path) -> tuple[dict | None, str]:
    """The record of the run, or None and what was said."""
    unplugged = can_unplug()
    command = [
        *(UNPLUGGED if unplugged else []),
        sys.executable,
        "-m",
        "tooling.execute",
        str(lesson),
        str(folder),
    ]
    threads = max(1, (os.cpu_count() or 1) // at_once())
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if run.returncode:
        return None, run.stderr
    return {**json.loads(run.stdout.splitlines()[-1]), "network": not unplugged}, ""


def at_once() -> int:
    """How many lessons run at a time. Ends with a sentence when the variable is no number."""
    said = os.environ.get("CLEARHEAD_AT_ONCE", "1")
    if not said.isdecimal() or int(said) == 0:
        sys.exit(f"CLEARHEAD_AT_ONCE is {said!r}; give the number of lessons to run at a time.")
    return int(said)


@cache
def can_unplug() -> bool:
    """Is bubblewrap here, and may it make a container?"""
    try:
        return subprocess.run([*UNPLUGGED, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def run_here(lesson: Path, folder: Path) -> dict:
    """Execute the lesson in its own folder, as jupyter-book does, and keep the outputs."""
    from jupyter_cache.executors.utils import single_nb_execution

    notebook = myst_nb_reader_plugin(str(lesson))
    limit = settings.config()["execute"]["timeout"]
    done = single_nb_execution(notebook, str(lesson.parent), timeout=limit, allow_errors=False)
    if done.err is not None:
        sys.exit(str(done.err))
    nbformat.write(notebook, result(lesson, folder))
    return {"clock": done.time, "processor": processor_seconds()}


def processor_seconds() -> float:
    """What the kernel took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def result(lesson: Path, folder: Path) -> Path:
    return folder / f"{lesson.parent.name}-{lesson.stem}.run.ipynb"


def records(folder: Path) -> dict[str, dict]:
    """Lesson → record of its last run, for lessons whose run the cache holds."""
    path = folder / "lessons.json"
    return json.loads(path.read_text()) if path.exists() else {}


def write(folder: Path, lesson: Path, record: dict) -> None:
    known = {**records(folder), lesson.relative_to(ROOT).as_posix(): record}
    (folder / "lessons.json").write_text(json.dumps(known, indent=1))


if __name__ == "__main__":
    print(json.dumps(run_here(*map(Path, sys.argv[1:]))))
