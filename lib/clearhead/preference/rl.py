r"""The loop of reinforcement learning with verifiable rewards: sample, mark, update, on one page.

Each step:

1. Answers are sampled, marked and chosen (`collect`).
2. Each is compared with the others to its prompt (`group_advantages`).
3. The policy is updated on them in `minibatches` parts, one AdamW step each. From the second part
   on it is no longer the policy that sampled, which is what ratio and clip are for. Fewer answers
   than parts are an update each.

`Settings` says which of GRPO, Dr. GRPO, DAPO, or what in between, this is.

**Means.** A mean over tokens runs over the minibatch: what one AdamW step sees.

**Source.** Shao et al., 2024 (arXiv 2402.03300), algorithm 1; Yu et al., 2025 (arXiv 2503.14476),
algorithm 1.
"""

import math
import time
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clearhead._checks import require_integer
from clearhead.model import Decoder

from .advantages import group_advantages
from .aggregate import aggregate_loss
from .collect import Tally, collect
from .dapo import overlong_filter
from .losses import token_losses
from .rollout import Rollout, answer_log_probs, rollout
from .settings import RLStep, Settings
from .surrogate import clipped_share


def reinforce(
    model: Decoder,
    task,
    settings: Settings,
    *,
    steps: int,
    seed: int = 0,
    watch: Callable[[int, RLStep], object] | None = None,
) -> list[RLStep]:
    """Train what requires a gradient, in place; returns what each step was like.

    `task` is a `Board`, or anything that `collect` can use. `watch` is called after each step with
    its number, from 1. The same seed gives the same run. Raises `FloatingPointError`, with the
    weights as they were before the update, when a loss or a gradient is not finite.
    """
    require_integer(1, steps=steps)
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ValueError("no parameter requires a gradient: apply LoRA first, or unfreeze some.")
    generator = torch.Generator(trained[0].device).manual_seed(seed)
    optimiser = torch.optim.AdamW(
        trained,
        lr=settings.learning_rate,
        weight_decay=0.0,
        fused=trained[0].device.type in ("cpu", "cuda"),
    )
    history = []
    for step in range(1, steps + 1):
        chosen, rewards, tally = collect(model, task, settings, generator)
        start, updates = time.process_time(), []
        if chosen is not None:
            advantages = group_advantages(rewards.flatten(), settings.group, scale=settings.scale)
            order = torch.randperm(len(advantages), generator=generator, device=generator.device)
            for part in order.tensor_split(min(settings.minibatches, len(order))):
                loss, clipped = policy_loss(
                    model, chosen.take(part), advantages[part], settings, length=task.limit
                )
                _descend(optimiser, trained, loss, settings.clip, step)
                updates.append((loss.item(), clipped))
        tally.add_time("update", start)
        history.append(_summary(tally, updates, kept=len(rewards)))
        if watch is not None:
            watch(step, history[-1])
    return history


def policy_loss(
    model: Decoder,
    sampled: Rollout,
    advantages: Float[Tensor, " N"],
    settings: Settings,
    *,
    length: int,
) -> tuple[Float[Tensor, ""], float]:
    """The loss of these answers under `model`, and the share of their tokens that is clipped."""
    new, old = answer_log_probs(model, sampled), sampled.log_probs
    advantages = advantages.to(new)
    clip = dict(low=settings.low, high=settings.high)
    mask = overlong_filter(sampled.mask, ~sampled.ended) if settings.filtered else sampled.mask
    losses = token_losses(new, old, advantages, **clip)
    loss = aggregate_loss(losses, mask, settings.how, length=length)
    each = advantages[:, None].expand_as(new)
    return loss, clipped_share(new.detach(), old, each, mask, **clip)


def _descend(optimiser, trained: list[Tensor], loss: Tensor, longest: float, step: int) -> None:
    """One AdamW step along a clipped gradient, or an error and no step."""
    optimiser.zero_grad()
    loss.backward()
    norm = nn.utils.clip_grad_norm_(trained, longest).item()
    if not math.isfinite(loss.item() + norm):
        raise FloatingPointError(
            f"step {step} has loss {loss.item()} and a gradient of length {norm}, so this update "
            "was not made. Try a lower learning rate."
        )
    optimiser.step()


def _summary(tally: Tally, updates: list[tuple[float, float]], kept: int) -> RLStep:
    correct = torch.cat(tally.correct)  # prompts G
    right, G = correct.sum(1), correct.shape[1]
    tokens = sum(int(x.mask.sum()) for x in tally.answers)
    sampled = correct.numel()
    return RLStep(
        accuracy=correct.float().mean().item(),
        reward=torch.cat(tally.rewards).mean().item(),
        entropy=sum(x.entropy.sum().item() for x in tally.answers) / tokens,
        length=tokens / sampled,
        cut=sum(int((~x.ended).sum()) for x in tally.answers) / sampled,
        mixed=((right > 0) & (right < G)).float().mean().item(),
        sampled=sampled,
        kept=kept,
        clipped=sum(clipped for _, clipped in updates) / max(len(updates), 1),
        loss=sum(loss for loss, _ in updates) / max(len(updates), 1),
        seconds=tally.seconds,
    )


@torch.no_grad()
def success_rate(
    model: Decoder, task, prompts: Tensor, *, answers: int = 1, seed: int = 0
) -> float:
    """The share of right answers, of `answers` sampled to each of these prompts."""
    device = model.embedding.weight.device
    generator = torch.Generator(device).manual_seed(seed)
    sampled = rollout(model, prompts, answers, limit=task.limit, eos=task.eos, generator=generator)
    asked = prompts.repeat_interleave(answers, dim=0)
    return task.correct(asked, sampled.answers(), sampled.ended).float().mean().item()
