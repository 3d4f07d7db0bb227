r"""What an engine reports: an event for each token, a record of each step, and sums over all."""

from dataclasses import dataclass
from typing import NamedTuple


class Event(NamedTuple):
    """A request has generated a token."""

    id: int
    token: int


@dataclass(frozen=True)
class Step:
    """Who runs in a step and with how many tokens, by the id of the request."""

    decode: dict[int, int]  # 1 each
    prefill: dict[int, int]  # the size of the chunk
    past: dict[int, int]  # the tokens that each of them has in the cache already
    preempted: list[int]
    shared: dict[int, int]  # who starts with tokens found in the cache, and how many
    used_blocks: int  # reserved ones included

    @property
    def tokens(self) -> dict[int, int]:
        """The new tokens of everybody who runs."""
        return self.decode | self.prefill


@dataclass
class EngineStatistics:
    """Sums over all steps so far."""

    steps: int = 0
    decode_tokens: int = 0
    prefill_tokens: int = 0  # after a preemption, those computed again count again
    generated_tokens: int = 0
    preemptions: int = 0
    shared_tokens: int = 0  # found in the cache instead of computed
    most_blocks: int = 0

    @property
    def tokens_a_step(self) -> float:
        """How many tokens the model took in at once, on average."""
        return (self.prefill_tokens + self.decode_tokens) / max(self.steps, 1)

    def add(self, step: Step) -> None:
        """Count a step that was run."""
        self.steps += 1
        self.decode_tokens += sum(step.decode.values())
        self.prefill_tokens += sum(step.prefill.values())
        self.preemptions += len(step.preempted)
        self.shared_tokens += sum(step.shared.values())
        self.most_blocks = max(self.most_blocks, step.used_blocks)
