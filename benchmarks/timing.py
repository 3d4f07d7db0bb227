"""What the benchmarks share: interleaved rounds, ratios of minima, peak memory, and the JSON.

On the CPU with one thread (OMP_NUM_THREADS=1) the clock is the processor time of this process, so
that other work on the machine counts less; with more threads it is the wall clock. On a GPU it is
CUDA's own.

Two things are compared by running them in turn, in one process, many times, and dividing the
smallest time of one by the smallest of the other: a machine that is busy for a while then slows
both. Seconds on a shared machine mean little; the ratio and its range mean more.
"""

import contextlib
import datetime
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"
SAMPLE_SECONDS = 0.005  # a sample repeats a fast function until it lasts about this long

MEMORY_METHOD = {
    "cpu": "running sum of the CPU allocator's events, as torch.profiler records them "
    "(scratch space inside kernels is seen; a matrix library's own buffers are not)",
    "cuda": "torch.cuda.max_memory_allocated, less what was allocated before",
}


def interleave(
    functions: dict[str, Callable[[], object]], *, rounds: int, device: str
) -> dict[str, list[float]]:
    """Seconds a call of each function, one sample a round, the order turning by one each round."""
    names = list(functions)
    repeats = {}
    for name, function in functions.items():
        function()  # warm up: allocation, compilation, tuning
        once = _seconds(function, 1, device)
        repeats[name] = max(1, min(1000, round(SAMPLE_SECONDS / max(once, 1e-7))))
    samples = {name: [] for name in names}
    for i in range(rounds):
        turn = i % len(names)
        for name in names[turn:] + names[:turn]:
            samples[name].append(_seconds(functions[name], repeats[name], device))
    return samples


def _seconds(function: Callable[[], object], repeats: int, device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(repeats):
            function()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1e3 / repeats
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    begin = clock()
    for _ in range(repeats):
        function()
    return (clock() - begin) / repeats


def ratio_of_minima(samples: dict[str, list[float]], slow: str, fast: str) -> dict[str, float]:
    """How many times longer `slow` takes than `fast`, and the lowest and highest of any round."""
    rounds = [a / b for a, b in zip(samples[slow], samples[fast], strict=True)]
    return {
        "ratio": min(samples[slow]) / min(samples[fast]),
        "lowest": min(rounds),
        "highest": max(rounds),
    }


def peak_bytes(function: Callable[[], object], device: str) -> int:
    """The most memory that one call holds at a time beyond what was there before it."""
    function()
    if device == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        function()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    activities = [torch.profiler.ProfilerActivity.CPU]
    with _without_stderr():  # some builds of the profiler announce their start there
        with torch.profiler.profile(activities=activities, profile_memory=True) as profiler:
            function()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


@contextlib.contextmanager
def _without_stderr():
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def best_device() -> str:
    """The GPU where there is one ("cuda"), otherwise "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def machine(device: str) -> dict[str, object]:
    """What ran the benchmark: device, versions, threads and date; nothing that names the host."""
    return {
        "device": device_name(device),
        "clock": clock_name(device),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": _version("triton"),
        "cuda": torch.version.cuda,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def clock_name(device: str) -> str:
    """Which clock `interleave` reads."""
    if device == "cuda":
        return "CUDA events"
    return "processor time" if torch.get_num_threads() == 1 else "wall clock"


def device_name(device: str) -> str:
    """The name of the GPU, or of the CPU where the system tells it."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        info = ""
    found = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def write(name: str, device: str, payload: dict[str, object]) -> Path:
    """Write `results/<name>-<device>.json`; the device is "cpu" or the GPU's name."""
    RESULTS.mkdir(exist_ok=True)
    slug = "cpu" if device == "cpu" else re.sub(r"\W+", "-", device_name(device).lower()).strip("-")
    path = RESULTS / f"{name}-{slug}.json"
    text = json.dumps({"machine": machine(device), **payload}, indent=2)
    path.write_text(text + "\n", encoding="utf-8")
    return path
