"""What the tests of serving share: a request's tokens without an engine, and an engine's books."""

from collections import Counter

import torch

from clearhead.inference import Engine, Sampler, blocks_for

GREEDY = Sampler(temperature=0.0)


@torch.no_grad()
def alone(model, prompt, n, choose=GREEDY, stop=()) -> list[int]:
    """What a request generates with the whole sequence computed anew for each token."""
    known = list(prompt)
    for _ in range(n):
        logits = model(torch.tensor([known]))[0, -1]
        known.append(int(choose(logits, torch.tensor(known))))
        if known[-1] in stop:
            break
    return known[len(prompt) :]


def check_books(engine: Engine) -> None:
    """No block is leaked, shared illegally or freed twice, and the queues agree with the states."""
    pool, planner = engine.cache.pool, engine.planner
    queued = {"running": list(planner.running), "waiting": list(planner.waiting)}
    for request in engine.requests.values():
        assert [request in queued[state] for state in queued] == [
            request.state == state for state in queued
        ]
        if request.state != "running":
            assert request.sequence.table == [] and request.sequence.length == 0
    ages = [request.id for request in queued["running"] + queued["waiting"]]
    assert ages == sorted(ages)  # ids are given in order of arrival
    assert [r for r in planner.running[:-1] if not r.decodes] == []

    held = Counter()
    for request in planner.running:
        table, length = request.sequence.table, request.sequence.length
        assert len(table) == blocks_for(length, pool.block) == len(set(table))
        held.update(table)
    assert [pool.holders(b) for b in range(pool.blocks)] == [held[b] for b in range(pool.blocks)]
    assert pool.used == len(held) and pool.free == pool.blocks - len(held)
    for block in held:
        content = set()
        for request in planner.running:
            if block in request.sequence.table and held[block] > 1:
                end = (request.sequence.table.index(block) + 1) * pool.block
                assert end <= request.sequence.length  # a shared block is full
                content.add(tuple(request.known[:end]))
        assert len(content) <= 1

    assert sorted([*pool._free, *held]) == list(range(pool.blocks))  # each once, here or there
    assert pool._named == {name: block for block, name in pool._name.items()}
