"""Starting a driver over the light class, killing what it runs, and seeing what is left."""

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
from light_class import REAL

HERE = Path(__file__).parent
WAIT = 120.0


def start_driver(store: Path, count: int, job: str = REAL, *more: str, **how) -> subprocess.Popen:
    """A driver in a process of its own; its workers find the jobs of `light_class`."""
    command = [sys.executable, str(HERE / "light_class.py"), str(store), str(count), job, *more]
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **how}
    return subprocess.Popen(command, env=environment(), **how)


def environment() -> dict[str, str]:
    paths = [str(HERE), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def run_driver(store: Path, count: int, job: str = REAL, *more: str) -> None:
    """Run a driver to its end, which must be a good one."""
    driver = start_driver(store, count, job, *more)
    _, said = driver.communicate(timeout=WAIT * 2)
    assert driver.returncode == 0, said


class Watch:
    """Every process that a process ever starts, as far as a look each 20 ms sees them."""

    def __init__(self, process: subprocess.Popen):
        self._root = psutil.Process(process.pid)
        self._seen: set[psutil.Process] = set()
        self._go = True
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        with suppress(psutil.NoSuchProcess):
            while self._go and self._root.is_running():
                self._seen.update(self._root.children(recursive=True))
                time.sleep(0.02)

    def named(self, word: str) -> list[psutil.Process]:
        """Those that run now with this word in their command."""
        return [p for p in self._seen.copy() if _runs(p) and word in " ".join(_command(p))]

    def left(self, seconds: float = 10.0) -> list[str]:
        """The commands of those that still run after at most so many seconds; none is right."""
        self._go = False
        self._thread.join()
        end = time.monotonic() + seconds
        while time.monotonic() < end and any(_runs(p) for p in self._seen):
            time.sleep(0.05)
        return [" ".join(_command(p))[-200:] for p in self._seen if _runs(p)]


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _command(process: psutil.Process) -> list[str]:
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return process.cmdline()
    return []


def scores(store: Path) -> dict[tuple[str, str], tuple[str, float | None, str]]:
    """What each student got for each exercise; a row that is there twice fails."""
    from marking.grading.store import Store

    with Store(store) as opened:
        rows = opened.rows()
    found = {(row.student, row.exercise): (row.status, row.share, row.says) for row in rows}
    assert len(found) == len(rows), "a row is there twice"
    return found


def wait_for_rows(store: Path, count: int, driver: subprocess.Popen) -> int:
    """Wait until the store holds so many rows or the driver has ended; how many it holds."""
    from marking.grading.store import Store, StoreError

    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        with suppress(StoreError), Store(store) as opened:
            number = len(opened.rows())
            if number >= count or driver.poll() is not None:
                return number
        time.sleep(0.05)
    raise AssertionError(f"{count} rows did not come in {WAIT:g} s")
