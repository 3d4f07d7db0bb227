r"""Measure a machine's own roof: how fast it multiplies, and how fast it reads and copies memory.

Three kernels, each on data far larger than a processor's cache, so that every byte comes from
memory; rounds of all three in turn, and of each the shortest time, which is the one that other work
on the machine disturbed least:

| kernel | counted | what needs it |
|---|---|---|
| matrix $n \times n$ times matrix | $2 n^3$ operations | prefill |
| matrix times vector | the bytes of the matrix | decode: each weight is used once |
| copy | bytes read and bytes written | moving a cache |

The product with a vector is what decoding asks of the memory: a program that decodes can hardly
read faster than that, while a copy also writes, and is counted for it.

**Source.** The copy: McCalpin's STREAM, 1995. The shortest of several rounds: Chen and Revels,
2016, section 3.
"""

import time
from collections.abc import Callable

import torch

from clearhead._checks import require_integer

from .prediction import Roof


def measure_roof(
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    size: int | None = None,
    buffer: int | None = None,
    rounds: int = 10,
) -> Roof:
    """The `Roof` of `device` in `dtype`, in a few seconds on a laptop.

    `size` is the side of the matrices that are multiplied (default 1024, on a GPU 8192), `buffer`
    the bytes that are read and copied (default 256 MiB, on a GPU 2 GiB). Raises `ValueError` when
    one is less than 1.
    """
    device = torch.device(device)
    large = device.type == "cuda"
    size = (8192 if large else 1024) if size is None else size
    buffer = (2**31 if large else 2**28) if buffer is None else buffer
    require_integer(1, size=size, buffer=buffer, rounds=rounds)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    columns = 4096
    rows = max(1, buffer // (columns * a.element_size()))
    matrix = torch.ones(rows, columns, device=device, dtype=dtype)
    vector = torch.ones(1, columns, device=device, dtype=dtype)
    target = torch.zeros_like(matrix)
    kernels = {
        "flops": (lambda: a @ b, 2 * size**3),
        "read": (lambda: torch.nn.functional.linear(vector, matrix), matrix.nbytes),
        "copy": (lambda: target.copy_(matrix), 2 * matrix.nbytes),
    }
    best = dict.fromkeys(kernels, float("inf"))
    with torch.no_grad():
        for _ in range(rounds + 1):  # one more, since the first warms up
            for name, (run, _) in kernels.items():
                best[name] = min(best[name], seconds(run, device))
    name = torch.cuda.get_device_name(device) if large else str(device)
    rates = {key: amount / best[key] for key, (_, amount) in kernels.items()}
    return Roof(name=name, dtype=str(dtype).removeprefix("torch."), **rates)


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """How long `run` takes, from an idle device to an idle device."""
    synchronise(device)
    start = time.perf_counter()
    run()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was asked: a GPU runs behind the program."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
