r"""Policies that run a real model and measure each step, for `replay`.

The clock of `replay` goes on by what a step took here, so that a trace of many seconds with pauses
costs no more time than its steps. `prompts[i]` are the tokens of request i. Every request generates
exactly the tokens that its trace says: there is no token of stop.
"""

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .cache import StaticCache
from .engine import Engine
from .generate import left_pad
from .phases import decode_step, prefill
from .policies import StaticBatching
from .replay import Work
from .workload import Arrival


class LiveEngine:
    """An `Engine` as a policy: continuous batching with chunked prefill over a paged cache."""

    def __init__(
        self,
        engine: Engine,
        prompts: Sequence[Sequence[int]],
        *,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self.engine, self.prompts, self.clock = engine, prompts, clock
        self._trace_id: dict[int, int] = {}  # of the engine's ids

    @property
    def busy(self) -> bool:
        return self.engine.busy

    def add(self, id: int, arrival: Arrival) -> None:
        _require_prompt(id, self.prompts[id], arrival)
        self._trace_id[self.engine.submit(self.prompts[id], arrival.generated)] = id

    def step(self) -> Work:
        start = self.clock()
        events = self.engine.step()
        if self.engine.cache.keys.is_cuda:
            torch.cuda.synchronize()
        seconds = self.clock() - start
        step, mine = self.engine.last_step, self._trace_id
        phases = {mine[id]: "decode" for id in step.decode}
        phases |= {mine[id]: "prefill" for id in step.prefill}
        return Work(
            new=list(step.tokens.values()),
            past=list(step.past.values()),
            phases=phases,
            emits=[mine[event.id] for event in events],
            preempted=[mine[id] for id in step.preempted],
            seconds=seconds,
        )


class LiveStatic(StaticBatching):
    """Static batching: left-padded prompts, one contiguous cache, greedy, to the longest answer.

    `generated[i]` are the tokens of request i so far. `model` is a `Decoder`, or a `FastDecoder`.
    """

    def __init__(
        self,
        model,
        prompts: Sequence[Sequence[int]],
        *,
        batch: int,
        clock: Callable[[], float] = time.perf_counter,
    ):
        super().__init__(batch)
        self.model, self.prompts, self.clock = model, prompts, clock
        self.generated: dict[int, list[int]] = {}
        self._arrivals: dict[int, Arrival] = {}

    def add(self, id: int, arrival: Arrival) -> None:
        _require_prompt(id, self.prompts[id], arrival)
        super().add(id, arrival)
        self._arrivals[id] = arrival

    def step(self) -> Work:
        starts = not self.running
        work = super().step()
        ids = list(work.phases)
        begin = self.clock()
        logits = self._prefill(ids) if starts else self._decode()
        self._last = logits.argmax(-1)
        chosen = self._last.tolist()
        seconds = self.clock() - begin
        for id, token in zip(ids, chosen, strict=True):
            if id in work.emits:
                self.generated.setdefault(id, []).append(token)
        return work._replace(seconds=seconds)

    def _prefill(self, ids: list[int]) -> Tensor:
        batch, pads = left_pad(
            [self.prompts[id] for id in ids], device=self.model.embedding.weight.device
        )
        most = max(self._arrivals[id].generated for id in ids)
        self._pads = pads if pads.any() else None
        length = batch.shape[1] + most - 1
        own = getattr(self.model, "new_cache", None)
        self._cache = (
            own(len(ids), length)
            if own
            else StaticCache.for_model(self.model, batch=len(ids), max_length=length)
        )
        return prefill(self.model, batch, self._cache, pads=self._pads)

    def _decode(self) -> Tensor:
        return decode_step(self.model, self._last, self._cache, pads=self._pads)


def _require_prompt(id: int, prompt: Sequence[int], arrival: Arrival) -> None:
    if len(prompt) != arrival.prompt:
        raise ValueError(
            f"Prompt {id} has {len(prompt)} tokens, and its request in the trace {arrival.prompt}; "
            "give prompts of the trace's lengths."
        )
