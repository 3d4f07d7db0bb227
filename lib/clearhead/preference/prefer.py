r"""The training loop of preference: pairs in, a changed policy out, and what happened on the way.

A step takes `batch` pairs, one pass of the policy over both answers of each, the loss of these
numbers and the reference's, and an AdamW step of constant size, the gradient clipped. The loop
does not know which loss it runs (`scores`), nor what it trains: AdamW is handed what requires
a gradient, after `lora.apply` the adapters alone.

What it records, for the pairs of each step and before it: the loss; ln π of the chosen and of the
rejected answers, means over the pairs; and how much each has gained on the reference,

$$
g_w = \ln \frac{\pi(y_w)}{\pi_\text{ref}(y_w)}, \qquad
g_l = \ln \frac{\pi(y_l)}{\pi_\text{ref}(y_l)}, \qquad \text{margin} = g_w - g_l \tag{1}
$$

The margin says whether the pairs are told apart; only $g_w$ says whether the chosen answer became
likelier.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clearhead._checks import require_integer
from clearhead.model import Decoder
from clearhead.training import batch_rows

from ._checks import require_positive
from .pairs import (
    Pairs,
    pair_log_probs,
    pair_scores,
    reference_log_probs,
    require_pairs,
    require_reference,
)
from .scores import pair_loss


class Measured(NamedTuple):
    """Means over pairs. Of a run, `prefer` gives one of these with `(steps,)` tensors for numbers.

    `accuracy` is the share of pairs whose margin is above 0. Before the first step every margin is
    0 but for rounding, and the accuracy says nothing.
    """

    loss: Tensor
    chosen: Tensor
    rejected: Tensor
    chosen_gain: Tensor
    rejected_gain: Tensor
    accuracy: Tensor

    @property
    def margin(self) -> Tensor:
        """Equation (1), without β."""
        return self.chosen_gain - self.rejected_gain


def prefer(
    model: Decoder,
    pairs: Pairs,
    *,
    loss: Callable[..., Tensor],
    steps: int,
    lr: float,
    batch: int | None = None,
    reference: Decoder | Float[Tensor, "2 N"] | None = None,
    clip: float | int = 1.0,
    seed: int = 0,
    chunk: int = 256,
    watch: Callable[[int], object] | None = None,
) -> Measured:
    """Train what requires a gradient, in place, and return what happened at each step.

    `loss` is one of this package, its options bound: `partial(dpo_loss, beta=0.1)`. `batch` is all
    pairs unless given; which of them a step reads depends on `seed` and the step alone.
    `reference` is another model, log-probabilities computed before, or by default what
    `reference_log_probs` gives: the base under the adapters, or the model as it is now. `watch` is
    called with the number of steps done, from 0 to `steps`.

    Raises `ValueError` when nothing requires a gradient or the reference does not fit, and
    `FloatingPointError`, the weights as before the step, when a loss or gradient is not finite.
    """
    require_pairs(pairs)
    N, device = pairs.ids.shape[1], next(model.parameters()).device
    batch = N if batch is None else batch
    require_integer(1, steps=steps, batch=batch)
    require_positive(lr=lr, clip=clip)
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ValueError("no parameter requires a gradient: apply LoRA first, or unfreeze some.")
    reference = fixed_reference(model, pairs, reference, chunk=chunk)
    optimiser = torch.optim.AdamW(trained, lr=lr, weight_decay=0.0)
    watch = watch or (lambda done: None)
    history = []
    for step in range(steps):
        watch(step)
        index = batch_rows(seed, step, N, batch)
        rows = pairs.take(index, device)
        log_probs = pair_log_probs(model, rows, chunk=chunk)
        scores = pair_scores(log_probs, rows, reference[:, index.to(device)])
        value = pair_loss(loss, scores)
        optimiser.zero_grad()
        value.backward()
        norm = nn.utils.clip_grad_norm_(trained, clip).item()
        if not (math.isfinite(value.item()) and math.isfinite(norm)):
            raise FloatingPointError(
                f"step {step} has loss {value.item()} and a gradient of length {norm}, so it was "
                "not made; try a lower lr."
            )
        optimiser.step()
        history.append(measured(value, log_probs, reference[:, index.to(device)]))
    watch(steps)
    return Measured(*map(torch.stack, zip(*history, strict=True)))


@torch.no_grad()
def measure_pairs(
    model: Decoder,
    pairs: Pairs,
    reference: Float[Tensor, "2 N"],
    *,
    loss: Callable[..., Tensor],
    batch: int = 8,
    chunk: int = 256,
) -> Measured:
    """The numbers of one step for all pairs, without a step: for pairs that were held out.

    Raises `TypeError` or `ValueError` for malformed pairs, a reference of others, or a `batch`
    below 1.
    """
    require_pairs(pairs)
    require_integer(1, batch=batch)
    require_reference(reference, pairs.ids.shape[1])
    device = next(model.parameters()).device
    parts = torch.arange(pairs.ids.shape[1]).split(batch)
    parts = [pair_log_probs(model, pairs.take(index, device), chunk=chunk) for index in parts]
    log_probs = torch.cat(parts, dim=1)
    pairs = Pairs(*(x.to(device) for x in pairs))
    return measured(pair_loss(loss, pair_scores(log_probs, pairs, reference)), log_probs, reference)


def measured(
    loss: Float[Tensor, ""], log_probs: Float[Tensor, "2 N"], reference: Float[Tensor, "2 N"]
) -> Measured:
    """The means of a batch of pairs, without gradients."""
    loss, log_probs = loss.detach().cpu(), log_probs.detach().cpu()
    gains = log_probs - reference.cpu()
    right = (gains[0] > gains[1]).to(gains.dtype).mean()
    return Measured(loss, *log_probs.mean(1), *gains.mean(1), right)


def fixed_reference(
    model: Decoder,
    pairs: Pairs,
    reference: Decoder | Float[Tensor, "2 N"] | None,
    *,
    chunk: int = 256,
) -> Float[Tensor, "2 N"]:
    """The reference's log-probabilities, from whatever it was given as.

    Raises `ValueError` when a reference model has another vocabulary, or given log-probabilities
    are of other pairs.
    """
    N, device = pairs.ids.shape[1], next(model.parameters()).device
    if isinstance(reference, Tensor):
        require_reference(reference, N)
        return reference.detach().to(device)
    if reference is not None:
        ours, theirs = model.config.vocab_size, reference.config.vocab_size
        if ours != theirs:
            raise ValueError(
                f"the policy has a vocabulary of {ours} and the reference one of {theirs}; a ratio "
                "of probabilities needs the same tokens. Give a reference of the same tokenizer."
            )
    return reference_log_probs(reference or model, pairs, chunk=chunk).to(device)
