"""The engine: whoever runs beside it, a request gets the tokens that it gets alone."""

import pytest
import torch
from inference_models import FAMILIES, V, prompts, sharp_model
from serving import alone, check_books

from clearhead.inference import (
    Engine,
    PagedBatch,
    Sampler,
    blocks_for,
    prefill,
    schedule_step,
)

LENGTHS, NEW = (5, 9, 1, 12, 7, 4), (10, 6, 9, 3, 14, 1)

JOBS = list(zip(prompts(*LENGTHS), NEW, strict=True))


@pytest.fixture(scope="module")
def model():
    return sharp_model(layers=2)


@pytest.fixture(scope="module")
def expected(model):
    return [alone(model, *job) for job in JOBS]


def served(engine, jobs, *, every=2, **options) -> list:
    """Submit a job every so many steps, and run until all have ended, the books checked."""
    ids = []
    while len(ids) < len(jobs) or engine.busy:
        if len(ids) < len(jobs) and engine.statistics.steps >= every * len(ids):
            prompt, n = jobs[len(ids)]
            ids.append(engine.submit(prompt, n, **options))
        engine.step()
        check_books(engine)
    assert engine.cache.pool.used == 0
    return [engine.requests[id] for id in ids]


@pytest.mark.parametrize("share", [True, False], ids=["shared", "unshared"])
@pytest.mark.parametrize(
    ("blocks", "block", "budget"),
    [(64, 4, 100), (64, 4, 1), (64, 1, 2), (11, 2, 5), (6, 4, 7), (3, 8, 3), (2, 16, 64)],
    ids=str,
)
def test_every_request_gets_the_tokens_it_gets_alone(model, expected, blocks, block, budget, share):
    engine = Engine(model, blocks=blocks, block=block, budget=budget, share_prefixes=share)
    done = served(engine, JOBS)
    assert [r.generated for r in done] == expected
    assert {(r.state, r.reason) for r in done} == {("finished", "length")}
    assert (engine.statistics.preemptions > 0) == (blocks in (6, 11))
    assert engine.statistics.generated_tokens == sum(NEW)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_serves_every_family(family):
    model = sharp_model(family, layers=2)
    engine = Engine(model, blocks=8, block=4, budget=6)
    done = served(engine, JOBS, every=0)
    assert [r.generated for r in done] == [alone(model, *job) for job in JOBS]
    assert engine.statistics.preemptions > 0


def test_what_is_drawn_does_not_depend_on_who_runs_beside_it(model):
    engine = Engine(model, blocks=8, block=4, budget=6)

    def sampler(seed):
        return Sampler(temperature=1.5, k=20, p=0.9, repetition_penalty=1.3, seed=seed)

    ids = [engine.submit(p, n, choose=sampler(i)) for i, (p, n) in enumerate(JOBS)]
    found = engine.run()
    assert engine.statistics.preemptions > 0
    for i, (id, (prompt, n)) in enumerate(zip(ids, JOBS, strict=True)):
        assert found[id] == alone(model, prompt, n, sampler(i))


def test_a_token_is_chosen_once_also_when_its_request_is_preempted(model):
    seen = {}
    engine = Engine(model, blocks=6, block=4, budget=7)
    for i, (prompt, n) in enumerate(JOBS):

        def choose(logits, known, i=i):
            seen.setdefault(i, []).append(known.tolist())
            return logits.argmax()

        engine.submit(prompt, n, choose=choose)
    found = engine.run()
    assert engine.statistics.preemptions > 0
    for i, (prompt, n) in enumerate(JOBS):
        assert seen[i] == [prompt + found[i][:t] for t in range(n)]


def test_a_step_never_takes_in_more_than_the_budget_and_decodes_go_first(model):
    engine = Engine(model, blocks=64, block=4, budget=6)
    (first,), (second,) = prompts(3), prompts(20)
    engine.submit(first, 12)
    engine.step()
    engine.submit(second, 2)
    chunks = []
    for _ in range(5):
        engine.step()
        assert engine.last_step.decode.get(0) == 1
        assert sum(engine.last_step.tokens.values()) <= 6
        chunks.append(engine.last_step.prefill.get(1))
    assert chunks == [5, 5, 5, 5, None]  # with a decode in each step


def test_without_sharing_a_plan_is_one_call_of_the_rule(model):
    engine = Engine(model, blocks=6, block=4, budget=7, share_prefixes=False)
    for job in JOBS:
        engine.submit(*job)
    preempting = 0
    while engine.busy:
        queues = (engine.planner.running, engine.planner.waiting)
        rows = [[request.row for request in queue] for queue in queues]
        plan = schedule_step(*rows, free_blocks=engine.cache.pool.free, block=4, budget=7)
        engine.step()
        step = engine.last_step
        assert (list(step.tokens.items()), step.preempted) == (
            list(plan["tokens"].items()),
            plan["preempted"],
        )
        preempting += bool(step.preempted)
    assert preempting > 0


class TestSharedPrefixes:
    def test_a_later_request_computes_only_what_differs(self, model):
        (common, end) = prompts(12, 3)
        engine = Engine(model, blocks=32, block=4, budget=64)
        a = engine.submit([*common, 1], 6)
        engine.step()
        b = engine.submit(common + end, 6)
        engine.step()
        assert engine.last_step.shared == {b: 12} and engine.last_step.prefill == {b: 3}
        assert engine.last_step.used_blocks == 3 + 1 + 1
        check_books(engine)
        found = engine.run()
        assert found == {a: alone(model, [*common, 1], 6), b: alone(model, common + end, 6)}
        assert engine.statistics.shared_tokens == 12

    @pytest.mark.parametrize("length", [1, 4, 8, 9])
    def test_of_a_known_prompt_the_last_token_is_computed_all_the_same(self, model, length):
        (prompt,) = prompts(length)
        engine = Engine(model, blocks=32, block=4, budget=64)
        engine.submit(prompt, 3)
        engine.run()
        id = engine.submit(prompt, 3)
        engine.step()
        reused = (length - 1) // 4 * 4
        assert engine.last_step.prefill == {id: length - reused}
        assert engine.run()[id] == alone(model, prompt, 3)

    def test_an_answer_that_is_part_of_the_next_prompt_is_found_too(self, model):
        (prompt,) = prompts(6)
        engine = Engine(model, blocks=32, block=4, budget=64)
        answer = engine.run() if engine.submit(prompt, 7) else engine.run()[0]
        id = engine.submit(prompt + answer + [3], 2)
        engine.step()
        assert engine.last_step.shared == {id: 12}  # 6 + 7 - 1 are cached: three full blocks
        assert engine.run()[id] == alone(model, prompt + answer + [3], 2)

    def test_a_block_that_was_lent_again_is_no_longer_found(self, model):
        (a, b) = prompts(8, 16)
        engine = Engine(model, blocks=4, block=4, budget=64)
        engine.submit(a, 1)
        engine.run()
        engine.submit(b, 1)
        engine.run()
        id = engine.submit(a, 3)
        engine.step()
        assert engine.last_step.shared == {}
        assert engine.run()[id] == alone(model, a, 3)

    def test_a_victim_whose_blocks_are_shared_frees_too_few_so_that_more_must_go(self, model):
        common, *ends = prompts(8, 1, 1, 1)
        engine = Engine(model, blocks=5, block=4, budget=64)
        jobs = [(common + end, 8) for end in ends]
        engine.submit(*jobs[0])
        engine.step()
        for job in jobs[1:]:
            engine.submit(*job)
        while engine.busy:
            engine.step()
            check_books(engine)
        found = engine.run()
        assert [found[id] for id in range(3)] == [alone(model, *job) for job in jobs]
        assert engine.statistics.preemptions > 0 and engine.statistics.shared_tokens > 0

    def test_a_block_that_a_cancelled_prefill_left_half_full_is_not_found(self, model):
        (prompt,) = prompts(12)
        engine = Engine(model, blocks=8, block=4, budget=6)
        first = engine.submit(prompt, 3)
        engine.step()  # six of twelve tokens: one block and a half
        engine.cancel(first)
        second = engine.submit(prompt, 3)
        engine.step()
        assert engine.last_step.shared == {second: 4}
        assert engine.run()[second] == alone(model, prompt, 3)

    def test_it_can_be_turned_off(self, model):
        (prompt,) = prompts(9)
        engine = Engine(model, blocks=32, block=4, budget=64, share_prefixes=False)
        engine.submit(prompt, 3)
        engine.run()
        engine.submit(prompt, 3)
        engine.run()
        assert engine.statistics.shared_tokens == 0
        assert engine.statistics.prefill_tokens == 18


class TestOutcomes:
    """What ends a request otherwise than planned, and leaves the others as they were."""

    def others(self, engine, expected, but):
        found = engine.run()
        check_books(engine)
        assert engine.cache.pool.used == 0
        for id, tokens in enumerate(expected):
            if id != but:
                assert found[id] == tokens and engine.requests[id].state == "finished"
        return engine.requests[but]

    @pytest.mark.parametrize(
        ("prompt", "n", "error", "message"),
        [
            ([], 3, ValueError, "The prompt is empty"),
            ([1, V], 3, ValueError, rf"prompt\[1\] is {V}; the vocabulary has {V}"),
            ([1, -1], 3, ValueError, r"prompt\[1\] is -1"),
            ([1, 2], -1, ValueError, "max_new_tokens is -1"),
            ([1] * 20, 6, ValueError, "20 prompt tokens and 6 new ones need 7 blocks of 4.* has 6"),
            ([1] * 25, 1, ValueError, "need 7 blocks"),
        ],
    )
    def test_what_cannot_be_served_is_refused_and_nothing_changes(
        self, model, expected, prompt, n, error, message
    ):
        engine = Engine(model, blocks=6, block=4, budget=7)
        for job in JOBS:
            engine.submit(*job)
        engine.step()
        with pytest.raises(error, match=message):
            engine.submit(prompt, n)
        assert len(engine.requests) == len(JOBS)
        self.others(engine, expected, but=0)

    def test_a_request_that_just_fits_the_pool_is_served(self, model):
        (prompt,) = prompts(20)
        engine = Engine(model, blocks=6, block=4, budget=7)
        assert engine.submit(prompt, 5) == 0  # 24 slots: the last token is never read
        assert engine.run()[0] == alone(model, prompt, 5)
        assert engine.statistics.most_blocks == 6

    def test_a_prompt_can_be_a_tensor(self, model, expected):
        engine = Engine(model, blocks=20, block=4)
        engine.submit(torch.tensor(JOBS[0][0]), NEW[0])
        assert engine.run()[0] == expected[0]

    def test_no_new_tokens_is_an_end_without_a_step(self, model):
        engine = Engine(model, blocks=2, block=4)
        id = engine.submit([1] * 50, 0)
        assert not engine.busy and engine.step() == []
        assert (engine.requests[id].state, engine.requests[id].reason) == ("finished", "length")
        assert engine.run() == {id: []}

    @pytest.mark.parametrize("place", [0, 3])
    def test_a_token_of_stop_is_the_last_one(self, model, expected, place):
        stop = {expected[1][place]}
        assert not stop & set(expected[1][:place])
        engine = Engine(model, blocks=6, block=4, budget=7)
        for id, job in enumerate(JOBS):
            engine.submit(*job, stop=stop if id == 1 else ())
        ended = self.others(engine, expected, but=1)
        assert ended.generated == expected[1][: place + 1]
        assert (ended.state, ended.reason) == ("finished", "stop")

    @pytest.mark.parametrize("steps", [0, 1, 3, 6, 10])
    @pytest.mark.parametrize("id", [0, 3])
    def test_a_cancelled_request_keeps_what_it_has(self, model, expected, id, steps):
        engine = Engine(model, blocks=6, block=4, budget=7)
        for job in JOBS:
            engine.submit(*job)
        for _ in range(steps):
            engine.step()
        had = list(engine.requests[id].generated)
        assert engine.cancel(id) == (len(had) < NEW[id])
        check_books(engine)
        assert not engine.cancel(id)
        ended = self.others(engine, expected, but=id)
        assert ended.state == ("cancelled" if len(had) < NEW[id] else "finished")
        assert ended.generated == had == expected[id][: len(had)]

    @pytest.mark.parametrize("wrong", [None, "x", V, -1, torch.tensor([1, 2]), KeyError("no")])
    def test_a_choose_that_fails_ends_its_own_request(self, model, expected, wrong):
        def choose(logits, known):
            if len(known) < LENGTHS[1] + 2:
                return logits.argmax()
            if isinstance(wrong, Exception):
                raise wrong
            return wrong

        engine = Engine(model, blocks=6, block=4, budget=7)
        for id, job in enumerate(JOBS):
            engine.submit(*job, **({"choose": choose} if id == 1 else {}))
        ended = self.others(engine, expected, but=1)
        assert ended.state == "failed" and isinstance(ended.error, Exception)
        assert ended.generated == expected[1][:2]

    def test_a_choose_may_cancel_its_own_request_and_others(self, model, expected):
        engine = Engine(model, blocks=30, block=4, budget=50)

        def choose(logits, known):
            if len(known) == LENGTHS[1] + 2:
                engine.cancel(1)
                engine.cancel(3)
            return logits.argmax()

        for id, job in enumerate(JOBS):
            engine.submit(*job, **({"choose": choose} if id == 1 else {}))
        found = engine.run()
        check_books(engine)
        assert found[1] == expected[1][:2] and engine.requests[1].state == "cancelled"
        assert found[3] == expected[3][:2] and engine.requests[3].state == "cancelled"
        assert [found[id] for id in (0, 2, 4, 5)] == [expected[id] for id in (0, 2, 4, 5)]

    def test_who_is_cancelled_during_a_step_is_asked_for_no_token(self, model):
        engine, asked = Engine(model, blocks=30, block=4, budget=50), []

        def cancel_other(logits, known):
            engine.cancel(1)
            return 3

        engine.submit([1, 2], 1, choose=cancel_other)
        engine.submit([4, 5], 1, choose=lambda logits, known: asked.append(known))
        engine.step()  # both prompts
        assert engine.requests[1].state == "cancelled" and asked == []
        check_books(engine)

    def test_a_choose_may_write_into_its_logits(self, model, expected):
        def choose(logits, known):
            best = int(logits.argmax())
            logits.fill_(torch.nan)
            return best

        engine = Engine(model, blocks=6, block=4, budget=7)
        for job in JOBS:
            engine.submit(*job, choose=choose)
        assert list(engine.run().values()) == expected

    def test_nan_stays_with_the_request_it_came_from(self, expected):
        model, poison = sharp_model(layers=2), V - 1
        with torch.no_grad():
            model.embedding.weight[poison] = torch.nan
        clean = [i for i, (p, _) in enumerate(JOBS) if poison not in p + expected[i]]
        assert len(clean) > 3
        engine = Engine(model, blocks=24, block=4, budget=40)
        for i in clean[:2]:
            engine.submit(*JOBS[i])
        ill = engine.submit([1, 2, poison, 3, 4], 12, choose=lambda logits, known: poison)
        for i in clean[2:]:
            engine.submit(*JOBS[i])
        found = engine.run()
        assert found.pop(ill) == [poison] * 12
        assert list(found.values()) == [expected[i] for i in clean]

    @pytest.mark.parametrize("broken", [1, 7])
    def test_a_step_that_was_cut_short_is_done_again(self, expected, broken, monkeypatch):
        model, calls = sharp_model(layers=2), []
        whole = type(model.blocks[1].feed_forward).forward

        def cut(self, x):
            if self is model.blocks[1].feed_forward:
                calls.append(1)
                if len(calls) == broken:
                    raise KeyboardInterrupt
            return whole(self, x)

        monkeypatch.setattr(type(model.blocks[1].feed_forward), "forward", cut)
        engine = Engine(model, blocks=6, block=4, budget=7)
        for job in JOBS:
            engine.submit(*job)
        with pytest.raises(KeyboardInterrupt):
            engine.run()
        assert list(engine.run().values()) == expected
        assert engine.cache.pool.used == 0

    def test_an_interrupt_while_choosing_loses_no_token(self, model, expected):
        calls = []

        def choose(logits, known):
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return logits.argmax()

        engine = Engine(model, blocks=6, block=4, budget=7)
        for id, job in enumerate(JOBS):
            engine.submit(*job, **({"choose": choose} if id == 1 else {}))
        with pytest.raises(KeyboardInterrupt):
            engine.run()
        assert list(engine.run().values()) == expected
        assert engine.cache.pool.used == 0


class TestStreams:
    def test_events_come_as_the_tokens_are_chosen(self, model, expected):
        engine = Engine(model, blocks=6, block=4, budget=7)
        for job in JOBS:
            engine.submit(*job)
        heard = {id: [] for id in engine.requests}
        for id, token in engine.stream():
            heard[id].append(token)
            assert heard[id] == engine.requests[id].generated
        assert list(heard.values()) == expected

    def test_one_request_is_heard_while_the_others_go_on(self, model, expected):
        engine = Engine(model, blocks=6, block=4, budget=7)
        for job in JOBS:
            engine.submit(*job)
        assert list(engine.tokens(2)) == expected[2]
        assert engine.busy and engine.requests[0].generated
        assert list(engine.tokens(2)) == expected[2]  # once more from the start
        assert list(engine.run().values()) == expected

    def test_two_listeners_drive_one_engine(self, model, expected):
        engine = Engine(model, blocks=20, block=4, budget=40)
        for job in JOBS:
            engine.submit(*job)
        pairs = zip(engine.tokens(0), engine.tokens(4), strict=False)
        assert list(pairs) == list(zip(expected[0], expected[4], strict=False))

    def test_a_cancelled_request_ends_its_stream(self, model, expected):
        engine = Engine(model, blocks=20, block=4, budget=40)
        for job in JOBS:
            engine.submit(*job)
        heard = []
        for token in engine.tokens(0):
            heard.append(token)
            if len(heard) == 3:
                engine.cancel(0)
        assert heard == expected[0][:3]


def test_statistics_count_what_the_steps_did(model):
    engine = Engine(model, blocks=6, block=4, budget=7)
    for job in JOBS:
        engine.submit(*job)
    sums = dict(steps=0, decode=0, prefill=0, preempted=0, shared=0, blocks=0)
    while engine.busy:
        engine.step()
        step = engine.last_step
        sums["steps"] += 1
        sums["decode"] += len(step.decode)
        sums["prefill"] += sum(step.prefill.values())
        sums["preempted"] += len(step.preempted)
        sums["shared"] += sum(step.shared.values())
        sums["blocks"] = max(sums["blocks"], step.used_blocks)
    found = engine.statistics
    assert list(sums.values()) == [
        found.steps,
        found.decode_tokens,
        found.prefill_tokens,
        found.preemptions,
        found.shared_tokens,
        found.most_blocks,
    ]
    assert found.tokens_a_step == (found.decode_tokens + found.prefill_tokens) / found.steps
    # every token but the last of each request is computed or found, some again after a preemption
    least = sum(LENGTHS) + sum(NEW) - len(NEW)
    assert found.decode_tokens + found.prefill_tokens + found.shared_tokens >= least
    assert found.most_blocks <= 6 and blocks_for(1, 4) == 1


@pytest.mark.parametrize("size", ["blocks", "block", "budget"])
def test_an_engine_of_no_size_is_refused(model, size):
    with pytest.raises(ValueError, match=f"{size} is 0"):
        Engine(model, **{**dict(blocks=4, block=4, budget=4), size: 0})


def test_blocks_that_others_hold_are_named_as_the_reason_that_nobody_runs(model):
    engine = Engine(model, blocks=4, block=4)
    other = PagedBatch(engine.cache, 1)
    prefill(model, torch.tensor(prompts(15)), other)
    (job,) = prompts(3)
    id = engine.submit(job, 2)
    with pytest.raises(RuntimeError, match="4 of 4 blocks are in use and others hold"):
        engine.run()
    other.truncate(0)
    assert engine.run()[id] == alone(model, job, 2)


@pytest.mark.parametrize("wrong", [2.7, torch.tensor(2.7), V, -1])
def test_a_choice_that_is_no_token_ends_its_request(model, wrong):
    engine = Engine(model, blocks=4, block=4)
    id = engine.submit([1, 2], 2, choose=lambda logits, seen: wrong)
    engine.run()
    request = engine.requests[id]
    assert (request.state, request.generated) == ("failed", [])
    assert "give the id of a token" in str(request.error)


def test_a_token_counts_as_generated_also_when_a_later_choice_breaks_the_step_off(model):
    def interrupted(logits, seen):
        raise KeyboardInterrupt

    engine = Engine(model, blocks=8, block=4)
    first = engine.submit([1, 2], 2)
    engine.submit([3, 4], 2, choose=interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.step()
    assert len(engine.requests[first].generated) == engine.statistics.generated_tokens == 1
