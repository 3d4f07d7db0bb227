"""Running a learner's function in the learner's own process, with care.

A time limit, a watch on forbidden calls and on the size of intermediate tensors, and a state of
torch that is the same afterwards as before. This is honest help, not a sandbox.
"""

import contextlib
import ctypes
import functools
import signal
import threading
import warnings

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


class OutOfTime(BaseException):
    """Raised inside a function that ran past its time. Not an Exception: `except Exception`
    in the learner's code must not swallow it."""


class Forbidden(BaseException):
    """Raised when a function calls something that answers the exercise for it."""


@contextlib.contextmanager
def time_limit(seconds: float):
    """Stop the body after `seconds` with `OutOfTime`.

    Uses the interval timer where there is one and we are in the main thread; elsewhere (Windows,
    a worker thread) it raises in the running thread, which a pure-Python loop notices.
    """
    if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():
        yield from _by_signal(seconds)
    else:
        yield from _by_thread(seconds)


def _by_signal(seconds: float):
    def stop(signum, frame):
        raise OutOfTime

    previous = signal.signal(signal.SIGALRM, stop)
    # Fires again every half second, for code that catches everything once.
    outer, _ = signal.setitimer(signal.ITIMER_REAL, seconds, 0.5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, outer)
        signal.signal(signal.SIGALRM, previous)


def _by_thread(seconds: float):
    target = ctypes.c_ulong(threading.get_ident())
    stop = ctypes.py_object(OutOfTime)
    timer = threading.Timer(
        seconds, lambda: ctypes.pythonapi.PyThreadState_SetAsyncExc(target, stop)
    )
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class WatchCalls(TorchFunctionMode):
    """Refuses torch functions by name, however they were reached (F.x, torch.x, Tensor.x)."""

    def __init__(self, forbidden: tuple[str, ...]):
        super().__init__()
        self.forbidden = frozenset(forbidden)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        if name in self.forbidden:
            raise Forbidden(name)
        return func(*args, **(kwargs or {}))


class WatchSizes(TorchDispatchMode):
    """Remembers the largest tensor, in elements of storage, that any operation produced."""

    def __init__(self):
        super().__init__()
        self.largest = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here; with True torch would load its compiler, a second's work."""
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for item in out if isinstance(out, tuple | list) else (out,):
            if isinstance(item, torch.Tensor):
                stored = item.untyped_storage().nbytes() // max(item.element_size(), 1)
                self.largest = max(self.largest, stored)
        return out


@functools.cache
def load_watch() -> None:
    """Use `WatchSizes` once. What a version of torch loads the first time must not count against
    the learner's time limit."""
    with WatchSizes():
        torch.zeros(1)


@contextlib.contextmanager
def undisturbed():
    """Keep the learner's function from changing torch for whoever runs next; mute warnings."""
    dtype, grad = torch.get_default_dtype(), torch.is_grad_enabled()
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            torch.set_grad_enabled(grad)
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
