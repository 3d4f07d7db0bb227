r"""One process, or several that share each batch: who am I, and how many are we?

`torchrun --nproc-per-node 4 script.py` starts a script four times and tells each process its number
in the environment. Each holds the whole model, reads its share of the batch, and torch's
`DistributedDataParallel` averages the gradients during the last backward pass of a step. The
script is the same for one process:

    model = Decoder(config).to(local_device())
    train(model, rows, recipe)

**Shares.** Process $r$ of $P$ takes the rows $r, r + P, r + 2P, \dots$ of a batch. The shares need
not be equal: losses are sums divided by the whole batch's count (`clearhead.training.accumulate`).

**Source.** Li et al., 2020 (PyTorch Distributed, arXiv 2006.15704), section 3.
"""

import atexit
import contextlib
import os

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def local_device() -> torch.device:
    """The GPU of this process, the first one where there is one process; otherwise the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


def join(device: torch.device) -> tuple[int, int]:
    """`(rank, processes)` of this process: `(0, 1)` unless torchrun started it.

    The first call under torchrun meets the others, by NCCL on GPUs and gloo elsewhere. Raises
    `ValueError` when several processes would share the first GPU.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 and not dist.is_initialized():
        return 0, 1
    if device.type == "cuda" and device.index != int(os.environ.get("LOCAL_RANK", 0)):
        raise ValueError(
            f"this process's model is on {device} and its own GPU is {local_device()}; move it "
            "there: model.to(local_device())."
        )
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(leave)
    return dist.get_rank(), dist.get_world_size()


def leave() -> None:
    """Part from the other processes, if there are any."""
    if dist.is_initialized():
        dist.destroy_process_group()


def shared(module: nn.Module, processes: int) -> nn.Module:
    """The module with its gradients averaged over all processes, and one process's weights."""
    return module if processes == 1 else DistributedDataParallel(module)


def without_averaging(module: nn.Module, quiet: bool):
    """A context in which backward keeps gradients to itself; all but a step's last are quiet."""
    if quiet and isinstance(module, DistributedDataParallel):
        return module.no_sync()
    return contextlib.nullcontext()


def mean_over_processes(x: Tensor, processes: int) -> Tensor:
    """The mean of every process's `x`, the same on all of them."""
    if processes > 1:
        dist.all_reduce(x)
    return x / processes


def wait_for_all(processes: int) -> None:
    """Go on when every process has come here."""
    if processes > 1:
        dist.barrier()
