"""A trace under three policies, worked by hand and against each other; and run on a real model."""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from inference_models import V, sharp_model
from serving import alone

from clearhead.hardware import H100
from clearhead.inference import (
    LLAMA_3_1_8B,
    Arrival,
    ChunkedPrefill,
    ContinuousBatching,
    Engine,
    LiveEngine,
    LiveStatic,
    Replay,
    Served,
    Span,
    StaticBatching,
    draw_trace,
    replay,
    step_seconds,
)

POLICIES = pytest.mark.parametrize(
    "policy",
    [
        lambda: StaticBatching(3),
        lambda: ContinuousBatching(3),
        lambda: ChunkedPrefill(3, budget=6),
    ],
    ids=["static", "continuous", "chunked"],
)


def rows(new, past):
    """A chip that takes one second a row."""
    return float(sum(new))


def one(new, past):
    """A chip on which every step takes a second."""
    return 1.0


def chip(new, past):
    """A model of 8B on a chip of 1e15 FLOP/s and 3e12 bytes/s: weights or work, then the cache."""
    return 2e-3 + max(16e9 / 3e12, 16e9 * sum(new) / 1e15) + 131e3 * sum(past) / 3e12


# Request 0 is there at 0, with 2 + 4 tokens; request 1 comes during the first step, with 5 + 2.
TRACE = [Arrival(0.0, 2, 4), Arrival(0.5, 5, 2)]


def spans(found, request):
    return [(phase, start, end) for r, phase, start, end in found.spans if r == request]


class TestByHand:
    def test_static_batching_lets_the_second_wait_for_the_whole_first_batch(self):
        found = replay(TRACE, StaticBatching(2), one)
        assert found.served[0].times == (1, 2, 3, 4)
        assert found.served[1].times == (5, 6)
        assert spans(found, 1) == [("waiting", 0.5, 4), ("prefill", 4, 5), ("decode", 5, 6)]

    def test_a_static_batch_is_padded_to_the_longest_and_runs_to_the_longest(self):
        together = [Arrival(0.0, 2, 4), Arrival(0.0, 5, 2)]
        found = replay(together, StaticBatching(2), rows)
        assert found.served[0].times == (10, 12, 14, 16)  # 2 · 5 rows, then 2 a step
        assert found.served[1].times == (10, 12)
        assert spans(found, 1) == [("prefill", 0, 10), ("decode", 10, 12), ("padding", 12, 16)]
        assert found.waste == pytest.approx(1 - (2 + 3 + 5 + 1) / 16)

    def test_static_batching_reads_the_padded_cache(self):
        asked = []
        together = [Arrival(0.0, 2, 3), Arrival(0.0, 5, 1)]
        replay(together, StaticBatching(2), lambda *call: asked.append(call) or 1.0)
        assert asked == [([5, 5], [0, 0]), ([1, 1], [5, 5]), ([1, 1], [6, 6])]

    def test_prompts_first_lets_the_first_stall(self):
        found = replay(TRACE, ContinuousBatching(2), rows)
        assert found.served[0].times == (2, 9, 10, 11)  # after 5 rows of prompt, 2, 1 and 1
        assert found.served[1].times == (7, 9)
        assert spans(found, 0) == [("prefill", 0, 2), ("stalled", 2, 7), ("decode", 7, 11)]
        assert found.waste == 0

    def test_chunks_let_nobody_stall(self):
        found = replay(TRACE, ChunkedPrefill(2, budget=3), rows)
        assert found.served[0].times == (2, 5, 8, 10)  # beside chunks of 2, 2 and 1
        assert found.served[1].times == (10, 11)
        assert spans(found, 0) == [("prefill", 0, 2), ("decode", 2, 10)]
        assert spans(found, 1) == [("waiting", 0.5, 2), ("prefill", 2, 10), ("decode", 10, 11)]
        assert [(s.prefill, s.decode) for s in found.steps] == [
            (2, 0),
            (2, 1),
            (2, 1),
            (1, 1),
            (0, 1),
        ]

    def test_the_times_of_a_request(self):
        found = replay(TRACE, ContinuousBatching(2), rows)
        first = found.served[0]
        assert (first.ttft, first.latency, first.worst_gap) == (2, 11, 7)
        assert first.tpot == 3
        assert found.throughput == 6 / 11
        assert found.quantile("ttft", 0.5) == 2 and found.quantile("ttft", 0.51) == 6.5
        assert found.quantile("latency", 1.0) == 11
        assert found.attained(ttft=2, tpot=4) == 0.5
        assert found.attained(ttft=7, tpot=2.5) == 0.5
        assert found.attained(ttft=7, tpot=4) == 1

    def test_a_single_token_has_no_time_between_two(self):
        (served,) = replay([Arrival(1.0, 3, 1)], ContinuousBatching(2), one).served
        assert (served.times, served.ttft, served.tpot, served.worst_gap) == ((2,), 1, 0, 0)


@POLICIES
def test_the_clock_jumps_to_the_next_arrival(policy):
    trace = [Arrival(3.0, 2, 1), Arrival(10.25, 2, 1)]
    assert [s.times for s in replay(trace, policy(), one).served] == [(4,), (11.25,)]


@POLICIES
def test_a_place_is_taken_when_it_is_free(policy):
    found = replay([Arrival(0.0, 1, 2)] * 7, policy(), one)
    for i, served in enumerate(found.served):
        assert served.times == (1 + 2 * (i // 3), 2 + 2 * (i // 3))


@POLICIES
def test_every_request_is_served_in_full_and_its_spans_leave_no_hole(policy):
    trace = draw_trace(40, rate=3, prompt_median=9, generated_median=6, seed=3)
    found = replay(trace, policy(), partial(step_seconds, LLAMA_3_1_8B, H100, overhead=0.05))
    for i, (arrival, served) in enumerate(zip(trace, found.served, strict=True)):
        assert (served.id, served.arrival) == (i, arrival)
        assert len(served.times) == arrival.generated
        assert all(a < b for a, b in pairwise(served.times))
        own = [span for span in found.spans if span.request == i]
        assert own[0].start == arrival.time
        assert all(a.end == b.start and a.phase != b.phase for a, b in pairwise(own))
        last = [span for span in own if span.phase != "padding"][-1]
        assert last.end == served.times[-1]
    assert [s.end for s in found.steps] == sorted(s.end for s in found.steps)
    computed = sum(s.prefill + s.decode for s in found.steps)
    needed = sum(p + g - 1 for _, p, g in trace)
    assert computed >= needed and found.waste == 1 - needed / computed
    assert (found.waste > 0) == isinstance(policy(), StaticBatching)


def test_chunks_shorten_the_worst_gap_and_continuous_batching_the_wait():
    trace = draw_trace(
        60, rate=6, prompt_median=800, generated_median=120, most_prompt=6000, seed=1
    )
    static = replay(trace, StaticBatching(16), chip)
    whole = replay(trace, ContinuousBatching(16), chip)
    chunked = replay(trace, ChunkedPrefill(16, budget=512), chip)
    assert whole.throughput > 1.3 * static.throughput
    assert whole.quantile("ttft", 0.5) < 0.1 * static.quantile("ttft", 0.5)
    assert chunked.quantile("worst_gap", 0.9) < 0.3 * whole.quantile("worst_gap", 0.9)
    assert chunked.throughput > 0.95 * whole.throughput


class TestTraces:
    def test_a_trace_is_the_same_for_the_same_seed(self):
        options = dict(rate=2.0, prompt_median=50, generated_median=20)
        assert draw_trace(9, **options, seed=4) == draw_trace(9, **options, seed=4)
        assert draw_trace(9, **options, seed=4) != draw_trace(9, **options, seed=5)
        assert draw_trace(9, **options, seed=4)[:5] == draw_trace(5, **options, seed=4)

    def test_it_has_the_rate_and_the_medians_that_were_asked_for(self):
        trace = draw_trace(4000, rate=2.5, prompt_median=50, generated_median=20, seed=0)
        assert trace[0].time == 0
        assert 4000 / trace[-1].time == pytest.approx(2.5, rel=0.05)
        gaps = [b.time - a.time for a, b in pairwise(trace)]
        assert torch.tensor(gaps).std() == pytest.approx(
            1 / 2.5, rel=0.1
        )  # exponential: std = mean
        for name, median in (("prompt", 50), ("generated", 20)):
            logs = torch.tensor([math.log(getattr(a, name)) for a in trace])
            assert logs.median() == pytest.approx(math.log(median), abs=0.06)
            assert logs.std() == pytest.approx(1.0, abs=0.05)

    def test_lengths_are_one_at_least_and_cut_at_the_most(self):
        trace = draw_trace(
            500,
            rate=math.inf,
            prompt_median=2,
            generated_median=2,
            most_prompt=5,
            most_generated=3,
        )
        assert {a.prompt for a in trace} == {1, 2, 3, 4, 5}
        assert {a.generated for a in trace} == {1, 2, 3}
        assert {a.time for a in trace} == {0.0}

    def test_no_spread_makes_all_alike(self):
        spread = dict(prompt_spread=0.0, generated_spread=0.0)
        trace = draw_trace(5, rate=1.0, prompt_median=7, generated_median=3, **spread)
        assert {a[1:] for a in trace} == {(7, 3)}

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"rate": 0.0}, "rate is 0"),
            ({"prompt_median": -1.0}, "prompt_median is -1"),
            ({"generated_spread": -0.5}, "generated_spread is -0.5"),
            ({"most_prompt": 0}, "most_prompt is 0"),
        ],
    )
    def test_what_is_no_trace_is_refused(self, change, message):
        options = dict(rate=2.0, prompt_median=50.0, generated_median=20.0) | change
        with pytest.raises(ValueError, match=message):
            draw_trace(9, **options)

    @pytest.mark.parametrize(
        ("trace", "message"),
        [
            ([], "The trace is empty"),
            ([Arrival(0.0, 0, 3)], "Request 0 has 0 prompt tokens"),
            ([Arrival(0.0, 3, 0)], "generates 0"),
            ([Arrival(1.0, 3, 1), Arrival(0.0, 3, 1)], "Request 1 comes at 0.0 s, before"),
        ],
    )
    def test_what_cannot_be_replayed_is_refused(self, trace, message):
        with pytest.raises(ValueError, match=message):
            replay(trace, StaticBatching(2), one)

    def test_a_share_outside_0_to_1_is_refused(self):
        with pytest.raises(ValueError, match="q is 0"):
            replay(TRACE, StaticBatching(2), one).quantile("ttft", 0)


class Ticks:
    """A clock that goes on by one second each time it is read."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


class TestLive:
    """The real model: every request gets the tokens it gets alone, under both policies."""

    TRACE = draw_trace(9, rate=0.4, prompt_median=6, generated_median=5, most_prompt=20, seed=2)

    @pytest.fixture(scope="class")
    def model(self):
        return sharp_model(layers=2)

    @pytest.fixture(scope="class")
    def prompts(self):
        source = torch.Generator().manual_seed(0)
        return [torch.randint(1, V, (a.prompt,), generator=source).tolist() for a in self.TRACE]

    @pytest.fixture(scope="class")
    def expected(self, model, prompts):
        return [alone(model, p, a.generated) for p, a in zip(prompts, self.TRACE, strict=True)]

    def test_the_engine(self, model, prompts, expected):
        engine = Engine(model, blocks=10, block=4, budget=8)
        found = replay(self.TRACE, LiveEngine(engine, prompts, clock=Ticks()))
        assert [r.generated for r in engine.requests.values()] == expected
        assert [len(s.times) for s in found.served] == [a.generated for a in self.TRACE]
        assert len(found.steps) == engine.statistics.steps
        assert {s.end - s.start for s in found.steps} == {1.0}
        assert engine.statistics.preemptions > 0
        assert {span.phase for span in found.spans} >= {"waiting", "prefill", "decode"}
        recomputed = sum(s.prefill + s.decode for s in found.steps)
        assert recomputed == engine.statistics.prefill_tokens + engine.statistics.decode_tokens

    def test_a_preempted_request_waits_again(self, model, prompts):
        engine = Engine(model, blocks=10, block=4, budget=8)
        found = replay(self.TRACE, LiveEngine(engine, prompts, clock=Ticks()))
        phases = [[s.phase for s in found.spans if s.request == i] for i in range(9)]
        again = [own[i : i + 2] for own in phases for i in range(1, len(own))]
        assert ["waiting", "prefill"] in again

    def test_static_batches(self, model, prompts, expected):
        policy = LiveStatic(model, prompts, batch=3, clock=Ticks())
        found = replay(self.TRACE, policy)
        assert [policy.generated[i] for i in range(9)] == expected
        assert [len(s.times) for s in found.served] == [a.generated for a in self.TRACE]
        modelled = replay(self.TRACE, StaticBatching(3), one)
        assert found == modelled

    @pytest.mark.parametrize("live", ["engine", "static"])
    def test_prompts_of_other_lengths_are_refused(self, model, prompts, live):
        wrong = [[1, *p] for p in prompts]
        policy = (
            LiveStatic(model, wrong, batch=3)
            if live == "static"
            else LiveEngine(Engine(model, blocks=20), wrong)
        )
        with pytest.raises(ValueError, match=r"Prompt 0 has \d+ tokens"):
            replay(self.TRACE, policy)


def test_a_span_reads_as_who_what_when():
    assert Span(3, "decode", 0.5, 1.0)._asdict() == dict(
        request=3, phase="decode", start=0.5, end=1.0
    )


def test_a_time_that_is_not_finite_is_refused():
    for time in (math.nan, math.inf):
        with pytest.raises(ValueError, match=r"trace\[0\].time is"):
            replay([Arrival(time, 1, 1)], ContinuousBatching(1), one)


def test_a_policy_that_measures_no_time_needs_seconds():
    with pytest.raises(TypeError, match="measures no time; give `seconds`"):
        replay(TRACE, ContinuousBatching(1))


def test_a_chip_that_takes_no_time_has_an_infinite_throughput():
    found = replay([Arrival(0.0, 2, 3)], ContinuousBatching(1), lambda new, past: 0.0)
    assert found.throughput == math.inf


def test_a_quantile_has_the_rank_that_its_share_says():
    served = tuple(Served(i, Arrival(0.0, 1, 1), (i + 1.0,)) for i in range(100))
    found = Replay(served, (), ())
    assert [found.quantile("ttft", r / 100) for r in range(1, 101)] == list(range(1, 101))


def test_a_draw_too_long_for_a_float_is_cut_like_any_other():
    sizes = dict(rate=1.0, prompt_median=10, generated_median=10)
    trace = draw_trace(20, **sizes, prompt_spread=1000.0, most_prompt=50, seed=1)
    assert {arrival.prompt for arrival in trace} == {1, 50}


@pytest.mark.parametrize("name", ["prompt_median", "generated_median"])
def test_an_infinite_median_is_refused(name):
    sizes = dict(rate=1.0, prompt_median=10, generated_median=10)
    with pytest.raises(ValueError, match=f"{name} is inf; give a finite number"):
        draw_trace(3, **{**sizes, name: math.inf})
