"""Train under torchrun: stop by an error after a step, go on, and write losses and weights.

torchrun --nproc-per-node 2 torchrun_train.py FOLDER
"""

import os
import sys
from pathlib import Path

import torch
from training_models import padded_rows, small_model

from clearhead.training import Recipe, local_device, train

RECIPE = Recipe(steps=5, batch=5, peak=0.02, warmup=2, clip=0.5, micro_batch=2)


class Stop(Exception):
    pass


def stop_after_three(step):
    if step.done == 3:
        raise Stop


def run(folder=None, watch=None, start=0.0):
    """`start` is added to every weight: another model, which process 0's must replace."""
    model = small_model().to(local_device())
    for p in model.parameters():
        p.data.add_(start)
    losses = train(model, padded_rows(), RECIPE, checkpoint=folder, every=2, watch=watch)
    return losses, [p.detach().cpu() for p in model.parameters()]


def main(folder):
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    checkpoint = Path(folder) / "checkpoint"
    try:
        run(checkpoint, stop_after_three, start=float(rank))
    except Stop:
        torch.save(run(checkpoint), Path(folder) / f"{rank}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
