"""Random histories: of a pool of blocks alone, and of an engine under 500 random requests.

Whatever order of calls hypothesis finds, no block is leaked, shared illegally or freed twice, and
every request ends as it should.
"""

import random
from collections import Counter

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from inference_models import V, sharp_model
from serving import check_books

from clearhead.inference import BlockPool, Engine, Sampler, blocks_for, prefix_names

OUTCOMES = Counter()  # over all histories of an engine
OPTIONS = dict(deadline=None, suppress_health_check=list(HealthCheck))


class PoolMachine(RuleBasedStateMachine):
    """Tables of one pool, each with the tokens that it stands for; a block holds what they say."""

    @initialize(blocks=st.integers(1, 9), block=st.integers(1, 3))
    def start(self, blocks, block):
        self.pool, self.block = BlockPool(blocks, block), block
        self.tables: list[tuple[list[int], list[int]]] = []  # blocks and tokens
        self.content: dict[int, tuple[int, ...]] = {}  # of a full block: all tokens up to its end

    @rule(tokens=st.lists(st.integers(0, 1), min_size=1, max_size=12))
    def begin(self, tokens):
        names = prefix_names(tokens, self.block)
        table = self.pool.match(names)
        for i, b in enumerate(table):
            assert self.content[b] == tuple(tokens[: (i + 1) * self.block])
        if blocks_for(len(tokens), self.block) - len(table) > self.pool.free:
            before = list(table)
            with pytest.raises(ValueError, match="blocks are wanted"):
                self.pool.extend(table, len(tokens))
            assert table == before
            self.pool.release(table)
            return
        found = len(table)
        self.pool.extend(table, len(tokens))
        for i in range(found, len(names)):  # written: what it held before is gone
            self.content[table[i]] = tuple(tokens[: (i + 1) * self.block])
        self.pool.publish(table, names)
        self.tables.append((table, tokens))

    @precondition(lambda self: self.tables)
    @rule(data=st.data())
    def end(self, data):
        table, _ = self.tables.pop(data.draw(st.integers(0, len(self.tables) - 1)))
        kept = list(table)
        self.pool.release(table)
        gone = [b for b in kept if self.pool.holders(b) == 0]
        if gone:
            with pytest.raises(ValueError, match="released twice"):
                self.pool.release(gone)

    @precondition(lambda self: self.tables)
    @rule(data=st.data())
    def share(self, data):
        table, tokens = self.tables[data.draw(st.integers(0, len(self.tables) - 1))]
        self.tables.append((self.pool.share(table), tokens))

    @invariant()
    def every_block_is_free_or_held_and_counted(self):
        if not hasattr(self, "pool"):
            return
        held = Counter(b for table, _ in self.tables for b in table)
        assert [self.pool.holders(b) for b in range(self.pool.blocks)] == [
            held[b] for b in range(self.pool.blocks)
        ]
        assert sorted([*self.pool._free, *held]) == list(range(self.pool.blocks))

    def teardown(self):
        if hasattr(self, "pool"):
            for table, _ in self.tables:
                self.pool.release(table)
            assert self.pool.free == self.pool.blocks


def random_choose(rng: random.Random):
    """Greedy, drawing, or failing after some tokens; and the same once more for the check."""
    kind, seed, calls = rng.choice("ggsf"), rng.randrange(1000), rng.randint(1, 4)

    def make():
        left = [calls]
        sampler = Sampler(temperature=0.0 if kind != "s" else 2.0, seed=seed)

        def choose(logits, seen):
            left[0] -= 1
            if kind == "f" and left[0] == 0:
                raise RuntimeError("chosen to fail")
            return sampler(logits, seen)

        return choose

    return make


class EngineMachine(RuleBasedStateMachine):
    """An engine with a pool that is too small for all, and requests that often begin alike."""

    model = sharp_model(layers=1)

    @initialize(
        blocks=st.integers(3, 14),
        block=st.integers(1, 4),
        budget=st.integers(1, 12),
        share=st.booleans(),
    )
    def start(self, blocks, block, budget, share):
        sizes = dict(blocks=blocks, block=block, budget=budget)
        self.engine = Engine(self.model, **sizes, share_prefixes=share)
        self.makers = {}

    @rule(seed=st.integers(0, 10**6), count=st.integers(1, 4))
    def submit(self, seed, count):
        rng = random.Random(seed)
        for _ in range(count):
            start = [[], [3, 1, 4, 1, 5, 9, 2, 6], [3, 1, 4, 1, 5]][rng.randrange(3)]
            prompt = start[: rng.randint(0, 8)] + rng.choices(range(V), k=rng.randint(0, 9))
            n = rng.choice([0, 1, 2, 3, 5, 8, 12])
            stop = rng.choices(range(V), k=rng.choice([0, 0, 10]))
            make = random_choose(rng)
            pool = self.engine.cache.pool
            OUTCOMES["submitted"] += 1
            too_long = n > 0 and blocks_for(len(prompt) + n - 1, pool.block) > pool.blocks
            if not prompt or too_long:
                before = len(self.engine.requests)
                with pytest.raises(ValueError):
                    self.engine.submit(prompt, n, choose=make(), stop=stop)
                assert len(self.engine.requests) == before
                OUTCOMES["refused"] += 1
            else:
                self.makers[self.engine.submit(prompt, n, choose=make(), stop=stop)] = make

    @rule(steps=st.integers(1, 6))
    def step(self, steps):
        for _ in range(steps):
            self.engine.step()

    @precondition(lambda self: getattr(self, "makers", None))
    @rule(data=st.data())
    def cancel(self, data):
        id = data.draw(st.sampled_from(sorted(self.makers)))
        ended = self.engine.requests[id].ended
        assert self.engine.cancel(id) is not ended

    @invariant()
    def the_books_are_right(self):
        if hasattr(self, "engine"):
            check_books(self.engine)

    def teardown(self):
        if not hasattr(self, "engine"):
            return
        for _ in range(1000):  # far more than it takes: a scheduler that is stuck stops here
            self.engine.step()
        assert not self.engine.busy and self.engine.cache.pool.used == 0
        for id, make in self.makers.items():
            self.check_tokens(self.engine.requests[id], make())
        OUTCOMES["preempted"] += self.engine.statistics.preemptions
        OUTCOMES["shared"] += self.engine.statistics.shared_tokens

    @torch.no_grad()
    def check_tokens(self, request, choose):
        """One pass over all of its tokens, alone: each was the choice after those before it."""
        T, generated = len(request.prompt), request.generated
        OUTCOMES[request.reason or request.state] += 1
        logits = self.model(torch.tensor([request.known]))[0]
        for i, token in enumerate(generated):
            assert token == int(choose(logits[T + i - 1], torch.tensor(request.known[: T + i])))
        assert [t in request.stop for t in generated[:-1]] == [False] * len(generated[:-1])
        stopped = bool(generated) and generated[-1] in request.stop
        assert stopped == (request.reason == "stop")
        if request.state == "failed":
            assert str(request.error) == "chosen to fail"
            with pytest.raises(RuntimeError):
                choose(logits[-1], torch.tensor(request.known))
        if request.reason == "length":
            assert len(generated) == request.max_new_tokens


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=60, stateful_step_count=40, **OPTIONS)


def test_500_random_requests_end_as_they_should():
    OUTCOMES.clear()
    histories = settings(max_examples=15, stateful_step_count=25, **OPTIONS)
    while OUTCOMES["submitted"] < 500:
        run_state_machine_as_test(EngineMachine, settings=histories)
    wanted = ("refused", "length", "stop", "cancelled", "failed", "preempted", "shared")
    assert all(OUTCOMES[outcome] for outcome in wanted), OUTCOMES
