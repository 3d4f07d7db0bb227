"""Who runs in the next step: rows worked by hand, and what must hold for every plan."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearhead.inference import after_preemption, blocks_for, schedule_step


def plan(running, waiting=(), *, free, block=4, budget=8):
    found = schedule_step(running, list(waiting), free_blocks=free, block=block, budget=budget)
    return list(found["tokens"].items()), found["preempted"]


def test_decodes_go_first_then_the_running_prefill_then_who_waits():
    running = [("a", 5, 8), ("b", 6, 7), ("c", 9, 4)]
    assert plan(running, [("d", 3, 0)], free=2) == ([("a", 1), ("b", 1), ("c", 4)], [])
    assert plan(running, [("d", 3, 0)], free=9) == ([("a", 1), ("b", 1), ("c", 5), ("d", 1)], [])


def test_a_decode_without_a_block_takes_the_youngest_ones():
    running = [("a", 5, 8), ("b", 6, 7), ("c", 9, 4)]
    assert plan(running, [("d", 3, 0)], free=0) == ([("a", 1), ("b", 1)], ["c"])


def test_a_decode_goes_on_before_an_older_prefill():
    assert plan([("a", 20, 4), ("b", 2, 3)], free=9) == ([("b", 1), ("a", 7)], [])


def test_the_youngest_preempts_itself_when_all_others_are_older():
    assert plan([("a", 2, 3), ("b", 4, 4)], free=0) == ([("a", 1)], ["b"])


def test_victims_go_until_a_block_is_free():
    running = [("a", 4, 4), ("b", 3, 2), ("c", 9, 0), ("d", 8, 0)]
    assert plan(running, free=0) == ([("a", 1)], ["d", "c", "b"])


def test_what_a_victim_frees_beyond_one_block_is_used_in_this_step():
    running = [("a", 4, 4), ("b", 4, 8), ("c", 12, 2), ("d", 20, 12)]
    assert plan(running, free=0) == ([("a", 1), ("b", 1), ("c", 6)], ["d"])


def test_nobody_is_preempted_for_a_token_that_the_budget_does_not_hold():
    running = [("a", 2, 2), ("b", 4, 4), ("c", 4, 8)]
    assert plan(running, free=0, budget=1) == ([("a", 1)], [])


def test_a_step_that_preempts_admits_nobody():
    running = [("a", 4, 4), ("b", 40, 32)]
    assert plan(running, [("c", 3, 0)], free=0) == ([("a", 1)], ["b"])


@pytest.mark.parametrize(
    ("free", "budget", "chunk"), [(9, 100, 14), (9, 5, 5), (2, 100, 10), (0, 100, 2), (0, 1, 1)]
)
def test_a_chunk_is_the_least_of_rest_budget_and_room(free, budget, chunk):
    assert plan([("a", 20, 6)], free=free, budget=budget) == ([("a", chunk)], [])


def test_a_prefill_without_room_is_passed_over_and_preempts_nobody():
    assert plan([("a", 9, 4), ("b", 9, 6)], free=0) == ([("b", 2)], [])


def test_who_waits_stops_at_the_first_that_gets_nothing():
    waiting = [("a", 3, 0), ("b", 9, 0), ("c", 1, 0)]
    assert plan([], waiting, free=9, budget=5) == ([("a", 3), ("b", 2)], [])
    assert plan([], waiting, free=1, budget=50) == ([("a", 3)], [])
    assert plan([], [("a", 3, 0), ("b", 6, 2)], free=0) == ([], [])  # b has slots, and waits
    assert plan([], [], free=1) == ([], [])


def test_a_preempted_request_has_what_it_generated_in_its_prompt():
    assert after_preemption(("a", 5, 8)) == ("a", 9, 0)  # 8 in the cache, the 9th chosen
    assert after_preemption(("a", 5, 5)) == ("a", 6, 0)
    assert after_preemption(("a", 5, 3)) == ("a", 5, 0)  # still in prefill: nothing generated


rows = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 40)), max_size=6)


@given(rows, rows, st.integers(0, 9), st.integers(1, 5), st.integers(1, 40))
@settings(max_examples=400, deadline=None)
def test_no_plan_spends_more_than_there_is(some, more, free, block, budget):
    running = [(f"r{i}", prompt, done) for i, (prompt, done) in enumerate(some)]
    waiting = [(f"w{i}", prompt, 0) for i, (prompt, _) in enumerate(more)]
    given = (list(running), list(waiting))
    found = schedule_step(running, waiting, free_blocks=free, block=block, budget=budget)
    assert (running, waiting) == given
    tokens, preempted = found["tokens"], found["preempted"]
    assert sum(tokens.values()) <= budget
    assert not set(tokens) & set(preempted)
    assert preempted == [row[0] for row in running[::-1]][: len(preempted)]
    taken = 0
    for id, prompt, done in running + waiting:
        n = tokens.get(id, 0)
        assert n <= max(prompt - done, 1)
        taken += blocks_for(done + n, block) - blocks_for(done, block)
        if id in preempted:
            taken -= blocks_for(done, block)
    assert taken <= free


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"free_blocks": -1}, "free_blocks is -1"),
        ({"block": 0}, "block is 0"),
        ({"budget": 0}, "budget is 0"),
        ({"running": [("a", 0, 0)]}, "prompt is 0"),
        ({"running": [("a", 1, -1)]}, "done is -1"),
        ({"running": [("a", 1, 1)], "waiting": [("a", 1, 0)]}, "stands twice"),
        ({"waiting": [("a", 3, 3)]}, "nothing left to compute"),
    ],
)
def test_what_cannot_be_planned_is_refused(change, message):
    call = dict(running=[], waiting=[], free_blocks=1, block=1, budget=1) | change
    with pytest.raises(ValueError, match=message):
        schedule_step(call.pop("running"), call.pop("waiting"), **call)
