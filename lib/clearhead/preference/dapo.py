r"""DAPO's changes to GRPO that are no loss: which prompts are kept, and what the limit costs.

DAPO is "Decoupled Clip and Dynamic sAmpling Policy Optimization". Its four changes are separate
functions, to be taken alone or together:

| change | function |
|---|---|
| clip higher | `clipped_surrogate(…, low=0.2, high=0.28)` |
| token-level loss | `aggregate_loss(…, "token")` |
| dynamic sampling | `dynamic_sampling`, and `fill_batch` to sample on until the batch is full |
| overlong shaping | `overlong_penalty`, added to the reward; `overlong_filter` masks instead |

Of a prompt's $G$ answers some must be right and some wrong, or all advantages are 0:

$$
0 < \big| \{ i : \text{answer } i \text{ is right} \} \big| < G \tag{1}
$$

With $L$ the longest answer that is allowed and $C$ the cache before it, an answer of $n$ tokens
costs

$$
R_\text{length}(n) =
\begin{cases}
0 & n \le L - C \\
\dfrac{(L - C) - n}{C} & L - C < n \le L \\
-1 & n > L
\end{cases} \tag{2}
$$

$L$ is the hard limit, so the ramp ends there: with the paper's $L$ = 20,480 and $C$ = 4,096 it runs
from 16,384 to 20,480.

**Source.** Yu et al., 2025 (arXiv 2503.14476), equations 11 and 13.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clearhead._checks import require_floating, require_integer

from ._rl_checks import require_axes, require_group, require_mask

Batch = TypeVar("Batch")


class BatchNotFilledError(RuntimeError):
    """Too few prompts with right and with wrong answers; `found` holds those that there were."""

    def __init__(self, message: str, found: list):
        super().__init__(message)
        self.found = found


def dynamic_sampling(
    correct: Bool[Tensor, "Q G"], rewards: Float[Tensor, "Q G"], wanted: int
) -> tuple[Int[Tensor, " K"], Float[Tensor, "K G"], int]:
    """The first `wanted` prompts that satisfy equation (1): `(kept, rewards, missing)`.

    `kept` holds their numbers, `rewards` their rows, and `missing` says how many are still to be
    sampled. Rewards do not choose: a penalty on length makes the rewards of a prompt differ whose
    answers are all wrong. Raises `TypeError` for a wrong dtype and `ValueError` for unequal shapes
    and a group of one.
    """
    require_floating(rewards=rewards)
    require_axes("Q G", rewards=rewards)
    require_mask(rewards.shape, correct=correct)
    require_integer(1, wanted=wanted)
    if rewards.shape[1] == 1 or rewards.numel():
        require_group(rewards.shape[1], rewards.numel())
    right = correct.sum(1)
    kept = ((right > 0) & (right < correct.shape[1])).nonzero().flatten()[:wanted]
    return kept, rewards[kept], wanted - len(kept)


def fill_batch(
    sample: Callable[[int], tuple[Bool[Tensor, "Q G"], Float[Tensor, "Q G"], Batch]],
    wanted: int,
    *,
    most_rounds: int = 10,
) -> list[tuple[Batch, Int[Tensor, " K"], Float[Tensor, "K G"]]]:
    """Sample until `wanted` prompts satisfy equation (1): `(batch, kept, rewards)` of each round.

    `sample(missing)` answers some fresh prompts, as many as it likes, and returns which answers are
    right, their rewards, and the batch itself, which is handed on. Raises `BatchNotFilledError`,
    with what was found, when `most_rounds` rounds are not enough: the prompts are then too hard for
    the policy, or too easy.
    """
    require_integer(1, wanted=wanted, most_rounds=most_rounds)
    found, missing, asked, right = [], wanted, 0, 0.0
    for _ in range(most_rounds):
        correct, rewards, batch = sample(missing)
        kept, rewards, missing = dynamic_sampling(correct, rewards, missing)
        found.append((batch, kept, rewards))
        if missing == 0:
            return found
        asked, right = asked + len(correct), right + correct.float().mean(1).sum().item()
    raise BatchNotFilledError(
        f"{most_rounds} rounds of sampling gave {wanted - missing} of {wanted} prompts with right "
        f"and wrong answers; of {asked} prompts' answers {right / max(asked, 1):.0%} were right. "
        "Give easier or harder prompts, more answers a prompt, or more rounds.",
        found,
    )


def overlong_penalty(
    lengths: Int[Tensor, " N"], *, longest: int, cache: int
) -> Float[Tensor, " N"]:
    """Equation (2) for answers of these lengths, as float32, to be added to their rewards.

    Raises `TypeError` for lengths that are no integers and `ValueError` for a negative length and
    for a cache that is longer than `longest`.
    """
    if (
        not isinstance(lengths, Tensor)
        or lengths.is_floating_point()
        or lengths.dtype == torch.bool
    ):
        kind = lengths.dtype if isinstance(lengths, Tensor) else type(lengths).__name__
        raise TypeError(f"lengths is {kind}; give a tensor of integers, torch.int64.")
    require_axes("N", lengths=lengths)
    require_integer(1, longest=longest, cache=cache)
    if cache > longest:
        raise ValueError(
            f"cache is {cache} and longest {longest}; give a cache of {longest} or less."
        )
    if (lengths < 0).any():
        raise ValueError(f"lengths holds {int(lengths.min())}; give lengths of 0 or more.")
    return (((longest - cache) - lengths.long()).float() / cache).clamp(-1.0, 0.0)


def overlong_filter(
    mask: Bool[Tensor, "B T"], truncated: Bool[Tensor, " B"]
) -> Bool[Tensor, "B T"]:
    """The mask without the tokens of answers that the limit cut off: they teach nothing.

    Raises `TypeError` for a wrong dtype and `ValueError` when the shapes do not fit.
    """
    require_mask(mask.shape, mask=mask)
    require_axes("B T", mask=mask)
    require_mask(mask.shape[:1], truncated=truncated)
    return mask & ~truncated[:, None]
