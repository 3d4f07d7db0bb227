r"""What distinguishes one run of reinforcement learning from another, and what a run reports.

`Settings` names every choice that GRPO, Dr. GRPO and DAPO make differently. `GRPO`, `DR_GRPO` and
`DAPO` are three sets of them, and `dataclasses.replace` changes one at a time:

    replace(GRPO, high=0.28)      # clip higher, and nothing else
    replace(DAPO, dynamic=False)  # DAPO without dynamic sampling
"""

from dataclasses import dataclass
from typing import NamedTuple

from clearhead._checks import require_integer
from clearhead.training._checks import require_positive

from ._rl_checks import require_between
from .aggregate import require_how


@dataclass(frozen=True)
class Settings:
    """The defaults are GRPO without a KL term. Raises when a number is out of range."""

    prompts: int = 16  # Q, each step
    group: int = 8  # G, answers a prompt
    minibatches: int = 4  # updates a step
    learning_rate: float = 1e-3
    low: float = 0.2
    high: float = 0.2
    scale: bool = True  # divide advantages by the group's spread
    how: str = "sequence"  # the mean: see aggregate_loss
    dynamic: bool = False  # keep only groups with right and wrong answers, and refill
    most_rounds: int = 6  # of sampling; then the step makes do with what it has
    cache: int | None = None  # DAPO's penalty on the last `cache` tokens before the limit
    filtered: bool = False  # answers that the limit cut off teach nothing
    clip: float = 1.0  # the longest gradient

    def __post_init__(self):
        counts = {name: getattr(self, name) for name in ("prompts", "minibatches", "most_rounds")}
        require_integer(1, **counts)
        require_integer(2, group=self.group)
        require_positive(learning_rate=self.learning_rate, clip=self.clip)
        require_between(0, 1, ends=False, low=self.low, high=self.high)
        require_how(self.how)
        if self.cache is not None:
            require_integer(1, cache=self.cache)


GRPO = Settings()
DR_GRPO = Settings(scale=False, how="constant")
DAPO = Settings(high=0.28, how="token", dynamic=True, cache=4)


class RLStep(NamedTuple):
    """One step of a run. `accuracy` to `sampled` are about every answer that it sampled."""

    accuracy: float  # share of right answers: the policy's before the step
    reward: float  # mean, the penalty on length included
    entropy: float  # of the next token, mean over tokens, nats
    length: float  # mean tokens of an answer, EOS among them
    cut: float  # share of answers that the limit cut off
    mixed: float  # share of prompts with right and wrong answers
    sampled: int  # answers
    kept: int  # prompts in the update
    clipped: float  # share of tokens that the clip left without a gradient, mean over minibatches
    loss: float  # mean over minibatches
    seconds: dict[str, float]  # of processor time: rollout, reward, update
