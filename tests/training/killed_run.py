"""Kill a training run by SIGKILL, wherever it is, and go on: a script, in a Python of its own.

Prints how many kills there were after which the losses and weights were bit for bit those of a run
that nobody disturbed.
"""

import os
import signal
import sys
import tempfile
from pathlib import Path

import torch
from training_models import padded_rows, small_model

from clearhead.training import Recipe, checkpoint, train

RECIPE = Recipe(steps=5, batch=3, peak=0.02, warmup=2, micro_batch=2)
EVERY = 2


def run(folder=None, watch=None):
    model = small_model(layers=1)
    losses = train(model, padded_rows(), RECIPE, checkpoint=folder, every=EVERY, watch=watch)
    return losses, [p.detach().clone() for p in model.parameters()]


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def after_step(n):
    def prepare():
        return lambda step: die() if step.done == n else None

    return prepare


def writing(call, n):
    """Die at the n-th call of os.fsync or os.replace: within, before and after a rename."""

    def prepare():
        original, calls = getattr(os, call), []

        def deadly(*arguments):
            calls.append(1)
            if len(calls) == n:
                if call == "fsync" and n % 2:  # half of the file has reached the disk
                    os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
                die()
            return original(*arguments)

        setattr(checkpoint.os, call, deadly)
        return None

    return prepare


def killed(folder, prepare):
    child = os.fork()
    if child == 0:
        run(folder, prepare())
        os._exit(3)  # nobody killed it
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status


def main():
    torch.set_num_threads(1)
    want = run()
    deaths = [after_step(n) for n in range(1, RECIPE.steps)]
    deaths += [writing("fsync", n) for n in range(1, 7)] + [
        writing("replace", n) for n in (1, 2, 3)
    ]
    for prepare in deaths:
        with tempfile.TemporaryDirectory() as folder:
            killed(folder, prepare)
            losses, weights = run(folder)
            assert losses == want[0], (losses, want[0])
            assert all(torch.equal(a, b) for a, b in zip(weights, want[1], strict=True))
            assert not list(Path(folder).glob("*.part"))
    print(len(deaths))


if __name__ == "__main__":
    sys.exit(main())
