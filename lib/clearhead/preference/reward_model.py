r"""A reward model: a decoder whose last word is a number.

The body of a language model reads question and answer; one dot product with its state at the last
token makes the score, for only there has a causal model seen everything:

$$
r(x, y) = w \cdot h_{\text{last}}(x, y) \tag{1}
$$

It is trained on pairs with Bradley and Terry's loss. Scores mean something as differences between
answers to one question; their zero is left to chance, and so is what the model thinks of answers
unlike those it has seen.

**Shapes.** `ids` and `real` `(B, T)`, rows filled up at the right, where `real` is False; scores
`(B,)`.

**Source.** Stiennon et al., 2020 (arXiv 2009.01325), section 3.4; Ouyang et al., 2022
(arXiv 2203.02155), section 3.5.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from clearhead._checks import require_integer
from clearhead.model import Decoder
from clearhead.training import batch_rows, hidden_states

from ._checks import require_bools, require_positive
from .bradley_terry import bradley_terry_loss
from .pairs import Pairs, require_pairs


class RewardModel(nn.Module):
    """Equation (1) on a `Decoder`, which it shares and does not copy; w starts at 0."""

    def __init__(self, body: Decoder):
        super().__init__()
        weight = body.embedding.weight
        self.body = body
        self.head = nn.Parameter(torch.zeros(body.config.width).to(weight))

    def forward(self, ids: Int[Tensor, "B T"], real: Bool[Tensor, "B T"]) -> Float[Tensor, "B"]:
        """A score for each row. Raises `ValueError` when one is empty or filled up at the left."""
        require_bools(ids.shape, real=real)
        lengths = real.sum(1)
        place = torch.arange(ids.shape[1], device=ids.device)
        if not real.equal(place < lengths[:, None]) or (lengths == 0).any():
            raise ValueError(
                "real is not True for the first tokens of each row and False after; give rows of "
                "one token or more, filled up at the right."
            )
        rows = torch.arange(len(ids), device=ids.device)
        return hidden_states(self.body, ids)[rows, lengths - 1] @ self.head


def score_pairs(model: RewardModel, pairs: Pairs) -> Float[Tensor, "2 N"]:
    """The scores of chosen and rejected answers: read at the token that ends each."""
    require_pairs(pairs)
    ids, completion = (x.flatten(0, 1) for x in pairs)
    after = completion.flip(1).cumsum(1).flip(1)  # completion tokens from here on
    return model(ids, after > 0).view(2, -1)


def train_reward(
    model: RewardModel,
    pairs: Pairs,
    *,
    steps: int,
    lr: float,
    batch: int | None = None,
    seed: int = 0,
    watch: Callable[[int], object] | None = None,
) -> tuple[list[float], list[float]]:
    """Train what requires a gradient, in place; `(losses, accuracies)` of each step, before it.

    An accuracy is the share of the step's pairs whose chosen answer has the higher score. AdamW
    without decay; `batch` is all pairs unless given. `watch` is called with the number of steps
    done, from 0 to `steps`.
    """
    require_pairs(pairs)
    N, device = pairs.ids.shape[1], model.head.device
    batch = N if batch is None else batch
    require_integer(1, steps=steps, batch=batch)
    require_positive(lr=lr)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=lr, weight_decay=0.0)
    losses, accuracies, watch = [], [], watch or (lambda done: None)
    for step in range(steps):
        watch(step)
        rows = pairs.take(batch_rows(seed, step, N, batch), device)
        chosen, rejected = score_pairs(model, rows)
        loss = bradley_terry_loss(chosen, rejected, torch.zeros_like(chosen))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        accuracies.append((chosen > rejected).double().mean().item())
    watch(steps)
    return losses, accuracies
