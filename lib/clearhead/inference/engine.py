r"""Serve many requests at once over one paged cache: continuous batching, step by step.

A step plans who runs (`schedule_step`), reserves their blocks, runs the model once over all their
new tokens (`packed_forward`), and lets each request whose tokens are all cached choose one more. A
request that ends makes room at once, and one that comes starts with the next step: nobody waits for
the longest of a batch.

What a request gets does not depend on who runs beside it: it attends to its own rows only, its
positions are its own, and it chooses with a `choose` of its own. Preemption computes rows again,
and prefix sharing finds rows that are there already; neither changes them (beyond rounding: a sum
of another shape may be rounded otherwise).

**What can't be served** is refused by `submit` before anything has changed: an empty prompt, ids
outside the vocabulary, and a request that the whole pool could not hold,

$$
\lceil (T + n - 1) / m \rceil > P \tag{1}
$$

with $T$ prompt tokens, $n$ to generate, and P blocks of m slots. What goes wrong later ends the
request it belongs to (`Request.state`) and no other.

**Source.** Yu et al., 2022 (Orca), section 3; Kwon et al., 2023 (vLLM), section 4.
"""

import itertools
from collections.abc import Callable, Collection, Iterator, Sequence

from torch import Tensor

from clearhead._checks import require_integer
from clearhead.model import Decoder

from ._checks import require_stop_ids
from .packed import packed_forward
from .paged import blocks_for
from .paged_cache import PagedCache
from .planner import Planner
from .request import Request
from .sampler import GREEDY
from .steps import EngineStatistics, Event, Step


class Engine:
    """A model, a paged cache of `blocks` blocks of `block` slots, and the requests to serve.

    A step takes in `budget` tokens at most. Raises `TypeError` and `ValueError` when a size is not
    an integer of 1 or more.
    """

    def __init__(
        self,
        model: Decoder,
        *,
        blocks: int,
        block: int = 16,
        budget: int = 256,
        share_prefixes: bool = True,
    ):
        weight = model.embedding.weight
        sizes = dict(blocks=blocks, block=block, dtype=weight.dtype, device=weight.device)
        self.model, self.cache = model, PagedCache(model.config, **sizes)
        self.planner = Planner(self.cache, budget=budget, share_prefixes=share_prefixes)
        self.requests: dict[int, Request] = {}
        self.statistics = EngineStatistics()
        self.last_step: Step | None = None
        self._ids = itertools.count()

    @property
    def busy(self) -> bool:
        """Somebody runs or waits."""
        return bool(self.planner.running or self.planner.waiting)

    def submit(
        self,
        prompt: Sequence[int] | Tensor,
        max_new_tokens: int,
        *,
        choose: Callable[[Tensor, Tensor], int | Tensor] = GREEDY,
        stop: Collection[int] = (),
    ) -> int:
        """Queue a request and return its id; it starts with one of the next steps.

        `choose(logits, seen)` gets the logits (V,) and all tokens so far (N,) and returns the next
        token; give each request its own where it draws at random. Generation ends after
        `max_new_tokens` or with a token of `stop`, which is kept. Raises `TypeError` and
        `ValueError` for what cannot be served (see above); nothing has changed then.
        """
        prompt = tuple(prompt.tolist() if isinstance(prompt, Tensor) else prompt)
        self._require_servable(prompt, max_new_tokens)
        stop = require_stop_ids(stop)
        request = Request(next(self._ids), prompt, max_new_tokens, choose, stop)
        self.requests[request.id] = request
        if max_new_tokens == 0:
            request.state, request.reason = "finished", "length"
        else:
            self.planner.waiting.append(request)
        return request.id

    def cancel(self, id: int) -> bool:
        """End a request now and free its blocks; False when it had ended before."""
        request = self.requests[id]
        if request.ended:
            return False
        request.state = "cancelled"
        self.planner.remove(request)
        return True

    def step(self) -> list[Event]:
        """Run the model once for all who are scheduled; the tokens that were chosen.

        When it raises (out of memory, Ctrl-C), the step has not happened for those who have not
        chosen yet: the next one does it again. What the others chose is in their `generated`, and
        no event tells of it. Raises `RuntimeError` when other users of `cache` hold the blocks.
        """
        if not self.busy:
            return []
        step = self.planner.plan()
        if not step.tokens:
            pool = self.cache.pool
            raise RuntimeError(
                f"Nobody can run: {pool.used} of {pool.blocks} blocks are in use and others hold "
                "what is missing; release their sequences first."
            )
        scheduled = [self.requests[id] for id in step.tokens]
        new = [r.known[r.sequence.length :][: step.tokens[r.id]] for r in scheduled]
        logits = packed_forward(self.model, self.cache, [r.sequence for r in scheduled], new)
        self.last_step = step
        self.statistics.add(step)
        events = []
        for request, tokens, row in zip(scheduled, new, logits, strict=True):
            if request.ended:  # cancelled by another one's `choose`
                continue
            token = None
            if request.sequence.length + len(tokens) == len(request.known):
                token = request.choose_next(row)
            if token is not None:
                events.append(Event(request.id, token))
                self.statistics.generated_tokens += 1
            self.planner.advance(request, len(tokens))
        return events

    def stream(self) -> Iterator[Event]:
        """Step until nobody runs or waits, and yield every token of every request as it comes."""
        while self.busy:
            yield from self.step()

    def tokens(self, id: int) -> Iterator[int]:
        """Yield the tokens of one request as they come; the others get theirs meanwhile."""
        request = self.requests[id]
        for sent in itertools.count():
            while sent == len(request.generated):
                if request.ended:
                    return
                self.step()
            yield request.generated[sent]

    def run(self) -> dict[int, list[int]]:
        """Step until nobody runs or waits; what each request has generated, ever."""
        for _ in self.stream():
            pass
        return {id: list(request.generated) for id, request in self.requests.items()}

    def _require_servable(self, prompt: tuple, max_new_tokens: int) -> None:
        require_integer(0, max_new_tokens=max_new_tokens)
        if not prompt:
            raise ValueError("The prompt is empty; give one token at least, such as the first one.")
        for i, token in enumerate(prompt):
            require_integer(0, **{f"prompt[{i}]": token})
            if token >= self.model.config.vocab_size:
                raise ValueError(
                    f"prompt[{i}] is {token}; the vocabulary has {self.model.config.vocab_size} "
                    "tokens, counted from 0."
                )
        pool = self.cache.pool
        rows = len(prompt) + max_new_tokens - 1
        if max_new_tokens and blocks_for(rows, pool.block) > pool.blocks:  # equation (1)
            raise ValueError(
                f"{len(prompt)} prompt tokens and {max_new_tokens} new ones need "
                f"{blocks_for(rows, pool.block)} blocks of {pool.block}, and the whole pool has "
                f"{pool.blocks}; ask for less, or make the engine with more blocks."
            )
