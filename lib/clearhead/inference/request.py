r"""A request to an engine: its prompt, what it has generated, and how it ended.

Its tokens are known or cached. *Known* are the prompt and what was generated; *cached* those whose
keys and values are in the pool. The next token can be chosen when all known tokens are cached:

$$
\text{prompt} + \text{generated} = \text{known} \ge \text{cached} \tag{1}
$$

A request of $T$ prompt tokens that generates $n$ needs room for $T + n - 1$: the last one is never
read again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from .paged_cache import PagedSequence
from .sampler import GREEDY
from .schedule import Row, after_preemption


@dataclass(eq=False)
class Request:
    """What an engine knows of one request. `state` is one of

    - `"waiting"` and `"running"`;
    - `"finished"`: `reason` is `"stop"` (it chose a token of `stop`, which is the last of
      `generated`) or `"length"` (it has `max_new_tokens`);
    - `"cancelled"`: the caller asked for it;
    - `"failed"`: its `choose` raised or returned what is no token; `error` is the exception.
    """

    id: int
    prompt: tuple[int, ...]
    max_new_tokens: int
    choose: Callable[[Tensor, Tensor], int | Tensor] = GREEDY
    stop: frozenset[int] = frozenset()
    generated: list[int] = field(default_factory=list)
    state: Literal["waiting", "running", "finished", "cancelled", "failed"] = "waiting"
    reason: Literal["stop", "length", None] = None
    error: Exception | None = None

    sequence: PagedSequence = field(default_factory=PagedSequence, repr=False)
    names: list[bytes] = field(default_factory=list, repr=False)  # of its full blocks
    to_cache: int = field(init=False, repr=False)  # `prompt` of the scheduler's row

    def __post_init__(self):
        self.to_cache = len(self.prompt)

    @property
    def known(self) -> list[int]:
        """All of its tokens, in order."""
        return [*self.prompt, *self.generated]

    @property
    def ended(self) -> bool:
        """Nothing more will come."""
        return self.state not in ("waiting", "running")

    @property
    def row(self) -> Row:
        """The request as the scheduler sees it."""
        return Row(self.id, self.to_cache, self.sequence.length)

    @property
    def decodes(self) -> bool:
        """It takes in one token a step: what must be cached before is."""
        return self.row.done >= self.row.prompt

    def to_wait_again(self) -> None:
        """Forget what was cached; all that is known must be computed again."""
        self.to_cache = after_preemption(self.row).prompt
        self.sequence.length = 0
        self.state = "waiting"

    def choose_next(self, logits: Float[Tensor, " V"]) -> int | None:
        """Choose a token and end if it is the last; None when that failed, which ends it too."""
        seen = torch.tensor(self.known, device=logits.device)
        try:
            chosen = self.choose(logits, seen)
            token = int(chosen)
            if token != chosen or not 0 <= token < len(logits):
                raise ValueError(
                    f"choose returned {chosen}; give the id of a token, 0 to {len(logits) - 1}."
                )
        except Exception as error:
            self.state, self.error = "failed", error
            return None
        if self.ended:  # `choose` itself has cancelled the request
            return None
        self.generated.append(token)
        if token in self.stop:
            self.state, self.reason = "finished", "stop"
        elif len(self.generated) == self.max_new_tokens:
            self.state, self.reason = "finished", "length"
        return token
