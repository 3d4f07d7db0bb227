r"""Fine-tuning with a weight on the prompt: 0 masks it, 1 learns it as if it were an answer.

The loss is that of `weighted_prompt_loss` over the batch, with $w$ = `prompt_weight` for every real
token that is no answer (the template's own among them) and 1 for a token of an answer:

$$
\text{loss} = \frac{\sum_t w_t\, \ell_t}{\sum_t w_t} \tag{1}
$$

`train` is the loop for long runs. This one is for comparing weights in a lesson: a constant rate,
no weight decay, no clipping.

**Shapes.** `ids` and `labels` are `(N, T)`, as `encode_chats` gives them; `real` `(N, T)` is False
at padding.

**Numerics.** Logits are made where the weight is not zero, and nowhere else. The softmax is in
fp32, in fp64 for fp64.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clearhead._checks import precise, require_finite, require_integer
from clearhead.model import Decoder

from .batches import batch_rows
from .chunked import hidden_states, vocabulary_matrix
from .labels import IGNORED
from .loss import weighted_prompt_loss


def weighted_loss(
    model: Decoder,
    ids: Int[Tensor, "B T"],
    labels: Int[Tensor, "B T"],
    real: Bool[Tensor, "B T"],
    prompt_weight: float,
) -> Float[Tensor, ""]:
    """Equation (1) for one batch. Raises what `weighted_prompt_loss` raises."""
    response = labels[:, 1:] != IGNORED
    prompt = real[:, 1:] & ~response
    needed = response | (prompt & (prompt_weight != 0))
    hidden = hidden_states(model, ids)[:, :-1][needed]
    logits = precise(hidden @ vocabulary_matrix(model).mT)
    nll = logits.new_zeros(needed.shape)
    targets = ids[:, 1:][needed].long()
    nll = nll.masked_scatter(needed, F.cross_entropy(logits, targets, reduction="none"))
    return weighted_prompt_loss(nll, prompt, response, prompt_weight)


def tune(
    model: Decoder,
    ids: Int[Tensor, "N T"],
    labels: Int[Tensor, "N T"],
    real: Bool[Tensor, "N T"],
    *,
    prompt_weight: float,
    steps: int,
    batch: int,
    learning_rate: float,
    seed: int = 0,
    watch: Callable[[int], object] | None = None,
) -> list[float]:
    """Train what requires a gradient, in place; returns the loss before each step.

    `watch` is called with the number of steps done, from 0 to `steps`. Raises `ValueError` when
    nothing requires a gradient.
    """
    require_integer(1, steps=steps, batch=batch)
    require_finite(learning_rate=learning_rate)
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ValueError("no parameter requires a gradient: apply LoRA first, or unfreeze some.")
    optimiser = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.0)
    losses = []
    watch = watch or (lambda done: None)
    for step in range(steps):
        watch(step)
        rows = batch_rows(seed, step, len(ids), batch).to(ids.device)
        end = int(real[rows].sum(1).max())  # the longest of these
        part = (x[rows, :end] for x in (ids, labels, real))
        loss = weighted_loss(model, *part, prompt_weight)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    watch(steps)
    return losses
