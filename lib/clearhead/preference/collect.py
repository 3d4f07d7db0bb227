r"""The first half of a step of reinforcement learning: answers sampled, marked, and chosen.

Every prompt gets G answers (`rollout`), every answer a reward: +1 if it is right, −1 if not, and
with `cache` DAPO's penalty on its length. With `dynamic` only prompts with right and wrong answers
are kept, and sampling goes on until there are as many as wanted (`fill_batch`).

A **task** is anything with `prompts(n, generator)`, `correct(prompts, answers, ended)`, `limit` and
`eos`: see `Board`.
"""

import time
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead.model import Decoder

from .dapo import BatchNotFilledError, fill_batch, overlong_penalty
from .rollout import Rollout, join, rollout
from .settings import Settings


@dataclass
class Tally:
    """Everything that a step has sampled, kept or not, and the processor time by part."""

    answers: list[Rollout] = field(default_factory=list)
    correct: list[Tensor] = field(default_factory=list)  # Q G each
    rewards: list[Tensor] = field(default_factory=list)  # Q G each
    seconds: dict[str, float] = field(default_factory=dict)

    def add_time(self, part: str, since: float) -> float:
        now = time.process_time()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - since
        return now


def mark(
    task, prompts: Tensor, answers: Rollout, settings: Settings
) -> tuple[Tensor, Float[Tensor, "Q G"]]:
    """Which answers are right, `(Q, G)`, and their rewards."""
    asked = prompts.repeat_interleave(settings.group, dim=0)
    correct = task.correct(asked, answers.answers(), answers.ended).to(answers.ids.device)
    rewards = 2.0 * correct - 1.0
    if settings.cache is not None:
        penalty = overlong_penalty(answers.lengths, longest=task.limit, cache=settings.cache)
        rewards = rewards + penalty
    return correct.view(-1, settings.group), rewards.view(-1, settings.group)


def collect(
    model: Decoder, task, settings: Settings, generator: torch.Generator
) -> tuple[Rollout | None, Float[Tensor, "K G"], Tally]:
    """The answers to learn from, their rewards, and all that was sampled.

    None in place of answers when no prompt had right and wrong ones.
    """
    tally = Tally()

    def sample(missing: int):
        start = time.process_time()
        prompts = task.prompts(settings.prompts, generator)
        options = dict(limit=task.limit, eos=task.eos, generator=generator)
        answers = rollout(model, prompts, settings.group, **options)
        start = tally.add_time("rollout", start)
        correct, rewards = mark(task, prompts, answers, settings)
        tally.add_time("reward", start)
        tally.answers.append(answers)
        tally.correct.append(correct)
        tally.rewards.append(rewards)
        return correct, rewards, answers

    if not settings.dynamic:
        _, rewards, answers = sample(settings.prompts)
        return answers, rewards, tally
    try:
        rounds = fill_batch(sample, settings.prompts, most_rounds=settings.most_rounds)
    except BatchNotFilledError as error:  # the step makes do with what there is
        rounds = error.found
    rewards = torch.cat([rewards for _, _, rewards in rounds])
    if len(rewards) == 0:
        return None, rewards, tally
    within = torch.arange(settings.group, device=rewards.device)
    chosen = [
        answers.take((kept[:, None] * settings.group + within).flatten())
        for answers, kept, _ in rounds
    ]
    return join(chosen), rewards, tally
