r"""The training loop: one page that pretrains, fine-tunes, resumes, and runs on one chip or more.

Step $s$ = 0, 1, … is a function of the weights and AdamW's means before it, and of $s$: the rows
that it reads (`batch_rows`), its learning rate, the noise of a dropout. So a run that was killed
and goes on from a checkpoint makes the numbers that it would have made.

1. The step's rows are shared among the processes, and each share is cut into micro-batches.
2. Each micro-batch adds the gradient of its summed losses over the labels of the *whole* batch.
3. The gradient is clipped, as one vector.
4. A loss or a gradient that is not finite ends the run here, before it touches a weight.
5. AdamW moves the weights at the step's learning rate; of them only matrices decay.

**Precision.** Weights and AdamW's means have the dtype of the model. With the recipe's `dtype`
products run in bf16 (autocast) and weights stay as they are: in 8 bits of mantissa an update below
1/512 of its weight is rounded away.

**Same numbers.** On a CPU with as many threads, a run and a resumed one agree bit for bit. Another
number of processes or another `micro_batch` adds up in another order: the same but for rounding.

**Source.** The order of clipping and step, and bf16 by autocast: Karpathy's nanoGPT, `train.py`.
"""

import contextlib
import math
import os
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from clearhead._checks import require_integer
from clearhead.model import Decoder

from .adamw import decay_groups
from .batches import Rows, batch_rows, derived_seed, require_rows
from .checkpoint import load_checkpoint, save_checkpoint
from .chunked import chunked_loss, hidden_states, vocabulary_matrix
from .distributed import join, mean_over_processes, shared, wait_for_all, without_averaging
from .evaluate import in_mode
from .recipe import Recipe, Step


class Objective(nn.Module):
    """A model with its loss: one module, so that torch averages gradients as they are made."""

    def __init__(self, model: Decoder, recipe: Recipe):
        super().__init__()
        self.model, self.chunk, self.dtype = model, recipe.chunk, recipe.dtype

    def forward(self, rows: Rows, count: int) -> Tensor:
        """The sum of the rows' losses, divided by `count`."""
        with torch.autocast(rows.ids.device.type, self.dtype, enabled=self.dtype is not None):
            hidden = hidden_states(self.model, rows.ids, positions=rows.positions, mask=rows.mask())
            matrix = vocabulary_matrix(self.model)
            return chunked_loss(hidden, matrix, rows.labels, chunk=self.chunk, count=count)


def train(
    model: Decoder,
    rows: Rows,
    recipe: Recipe,
    *,
    checkpoint: str | os.PathLike | None = None,
    every: int = 100,
    watch: Callable[[Step], object] | None = None,
) -> list[float]:
    """Train what requires a gradient, in place; returns the loss before each step, from step 0.

    `rows` come from `make_rows`. With `checkpoint`, a folder, the state is kept there every `every`
    steps and at the end, and a run that finds one there goes on from it. `watch` is called after
    each step, on every process; what it draws at random does not change the run. Raises
    `FloatingPointError`, with the weights as they were before the step, when a loss or gradient is
    not finite; `ValueError` when the checkpoint is of another model, recipe or other rows, or there
    are fewer rows in a batch than processes.
    """
    require_rows(rows)
    require_integer(1, every=every)
    device = next(model.parameters()).device
    rank, processes = join(device)
    if recipe.batch < processes:
        raise ValueError(f"batch is {recipe.batch} for {processes} processes; give each a row.")
    optimiser = _optimiser(model, recipe, device)
    losses = [] if checkpoint is None else _resume(checkpoint, model, optimiser, rows, recipe)
    wait_for_all(processes)  # nobody writes a checkpoint while another still reads one
    objective = shared(Objective(model, recipe), processes)
    for step in range(len(losses), recipe.steps):
        start, rate = time.perf_counter(), recipe.rate(step)
        index = batch_rows(recipe.seed, step, len(rows.ids), recipe.batch)
        labels = rows.take(index).counted()  # of all processes
        share = index[rank::processes].split(recipe.micro_batch or recipe.batch)
        parts = []
        optimiser.zero_grad()
        seed = derived_seed(recipe.seed, step, rank)
        with in_mode(model, training=True), _noise(seed, device):
            for i, micro in enumerate(share, start=1):
                with without_averaging(objective, i < len(share)):
                    part = processes * objective(rows.take(micro, device), labels)
                    part.backward()
                parts.append(part.detach())
        loss = mean_over_processes(torch.stack(parts).sum(), processes).item()
        norm = nn.utils.clip_grad_norm_(model.parameters(), recipe.clip).item()
        _require_finite(step, loss, norm)
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.step()
        losses.append(loss)
        done = step + 1
        if checkpoint is not None and rank == 0 and (done % every == 0 or done == recipe.steps):
            save_checkpoint(checkpoint, done, _state(model, optimiser, rows, recipe, losses))
        if watch is not None:
            seconds = time.perf_counter() - start
            watch(Step(done, recipe.steps, loss, norm, rate, labels, seconds))
    return losses


def _optimiser(model: nn.Module, recipe: Recipe, device: torch.device) -> torch.optim.Optimizer:
    """torch's AdamW, in one kernel where the device has it."""
    return torch.optim.AdamW(
        decay_groups(model, recipe.weight_decay),
        lr=recipe.peak,
        betas=(recipe.beta1, recipe.beta2),
        eps=recipe.eps,
        fused=device.type in ("cpu", "cuda"),
    )


@contextlib.contextmanager
def _noise(seed: int, device: torch.device):
    """What is drawn at random inside depends on `seed`, and nothing outside depends on it."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every GPU
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        if device.type == "mps":
            torch.mps.manual_seed(seed)
        yield


def _require_finite(step: int, loss: float, norm: float) -> None:
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise FloatingPointError(
            f"step {step} has loss {loss} and a gradient of length {norm}, so it was not made; the "
            "weights are those of the step before. Try a lower peak, a longer warm-up, or look at "
            "the rows of this step (batch_rows)."
        )


def _state(model, optimiser, rows: Rows, recipe: Recipe, losses: list[float]) -> dict:
    return {
        "recipe": recipe.trajectory(),
        "rows": rows.fingerprint(),
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "losses": losses,
    }


def _resume(folder, model, optimiser, rows: Rows, recipe: Recipe) -> list[float]:
    """The losses of a run kept in `folder`, its weights and means put in place; or no losses."""
    state = load_checkpoint(folder, device="cpu")
    if state is None:
        return []
    now, then = recipe.trajectory(), state["recipe"]
    other = [
        f"{name} {then.get(name)}, now {value}"
        for name, value in now.items()
        if value != then.get(name)
    ]
    if state["rows"] != rows.fingerprint():
        other.append("other rows")
    here, there = (
        {name: (x.shape, x.dtype) for name, x in weights.items()}
        for weights in (model.state_dict(), state["model"])
    )
    if here != there:
        other.append("a model of other sizes or dtype")
    if other:
        raise ValueError(
            f"the checkpoint in {folder} is of another run ({'; '.join(other)}); give the same to "
            "go on with it, or another folder to start anew."
        )
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    return state["losses"]
