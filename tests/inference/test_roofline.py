"""The roofline: sums of maxima by hand, the operations of a pass, and a prediction from them."""

import pytest
import torch

import clearhead.inference as I
from clearhead.hardware import A100, H100, H200, Chip
from clearhead.inference import measure
from clearhead.model import Config

TINY = Config(vocab_size=11, width=12, layers=2, heads=6, kv_heads=2, head_size=4, feed_forward=10)
ROUND = Chip("round", bf16=1000.0, bandwidth=10.0, memory=1.0, source="s", date="2026")


# --- the bound ------------------------------------------------------------------------------------


def test_operations_one_after_another_add_their_longer_halves():
    bound = I.time_lower_bound([(10, 1), (1, 10), (6, 3)], 2.0, 1.0)
    assert bound.seconds == 5 + 10 + 3
    assert bound.limits == ["compute", "memory", "compute"]  # at the ridge itself: compute


def test_the_sum_lies_above_the_larger_of_the_two_sums():
    operations = [(10, 1), (1, 10)]
    assert I.time_lower_bound(operations, 1, 1).seconds == 20
    assert max(sum(f for f, _ in operations), sum(b for _, b in operations)) == 11


def test_nothing_takes_no_time():
    assert I.time_lower_bound([], 1, 1) == (0, [])


def test_the_limit_changes_at_the_ridge():
    ridge = H100.ridge
    for intensity, limit in ((0.99 * ridge, "memory"), (1.01 * ridge, "compute")):
        bound = I.time_lower_bound([(intensity * 1e9, 1e9)], H100.bf16, H100.bandwidth)
        assert bound.limits == [limit]


# --- the operations of a pass ---------------------------------------------------------------------


def by_name(operations):
    return {o.name: o for o in operations}


def test_one_pass_worked_by_hand():
    """Two sequences: 3 new tokens behind 5, and 1 behind 2; H D = 24, K D = 8, C = 12, F = 10."""
    o = by_name(I.phase_operations(TINY, [3, 1], [5, 2], bytes_per_weight=1, bytes_per_value=2))
    n, L = 4, 2
    assert o["query, key, value"][1:] == (
        L * 2 * n * 40 * 12,
        L * (40 * 12 + 2 * n * (40 + 12)),
    )
    pairs = 3 * 5 + 6 + 2 + 1
    assert o["attention"].flops == L * 4 * 24 * pairs
    assert o["attention"].bytes == L * 2 * (2 * 8 * (8 + 3) + 2 * 24 * n)
    assert o["output"][1:] == (L * 2 * n * 24 * 12, L * (24 * 12 + 2 * n * 36))
    assert o["gate, up"][1:] == (L * 2 * n * 20 * 12, L * (20 * 12 + 2 * n * 32))
    assert o["down"][1:] == (L * 2 * n * 10 * 12, L * (10 * 12 + 2 * n * 22))
    assert o["head"][1:] == (2 * 2 * 11 * 12, 11 * 12 + 2 * 2 * 23)  # one position a sequence


@pytest.mark.parametrize("config", [TINY, I.SMOLLM2_135M, I.LLAMA_3_1_8B])
def test_a_prefill_and_its_steps_have_the_operations_that_are_counted(config):
    T, n = 17, 5
    weights = I.matmul_weights(config)
    sizes = config.layers, config.heads, config.head_size
    want = I.phase_flops(*weights, *sizes, T, n)
    assert sum(o.flops for o in I.phase_operations(config, [T], [0])) == want.prefill
    steps = [I.phase_operations(config, [1], [T + i]) for i in range(n - 1)]
    assert sum(o.flops for step in steps for o in step) == want.decode


def test_a_chunked_prefill_has_the_same_operations_and_moves_the_weights_once_a_chunk():
    whole = I.phase_operations(I.LLAMA_3_1_8B, [512], [0])
    chunks = [I.phase_operations(I.LLAMA_3_1_8B, [128], [128 * i]) for i in range(4)]
    head = by_name(whole)["head"]
    total = sum(o.flops for chunk in chunks for o in chunk) - 3 * head.flops
    assert total == sum(o.flops for o in whole)
    moved = sum(o.bytes for chunk in chunks for o in chunk)
    weights = 2 * sum(I.matmul_weights(I.LLAMA_3_1_8B))
    assert moved > 4 * weights > 2 * sum(o.bytes for o in whole)


def test_a_decode_step_moves_little_beside_weights_and_caches():
    lengths = [1000, 3000]
    moved = sum(o.bytes for o in I.phase_operations(I.LLAMA_3_1_8B, [1, 1], lengths))
    read = I.step_bytes(I.LLAMA_3_1_8B, lengths).total
    assert 1 < moved / read < 1.002


@pytest.mark.parametrize("batch", [1, 8, 64, 512])
def test_a_batch_makes_the_products_denser_and_attention_no_denser(batch):
    o = by_name(I.phase_operations(I.LLAMA_3_1_8B, [1] * batch, [4000] * batch))
    assert o["attention"].intensity == pytest.approx(4, rel=1e-2)  # H / K
    assert o["gate, up"].intensity == pytest.approx(batch, rel=0.2)


def test_a_large_batch_is_limited_by_compute_in_its_products_and_by_memory_in_attention():
    work = I.phase_operations(I.LLAMA_3_1_8B, [1] * 512, [4000] * 512)
    bound = I.time_lower_bound([o[1:] for o in work], H100.bf16, H100.bandwidth)
    limits = dict(zip([o.name for o in work], bound.limits, strict=True))
    assert limits.pop("attention") == "memory"
    assert set(limits.values()) == {"compute"}


# --- the prediction -------------------------------------------------------------------------------


def test_the_prediction_is_the_bound_of_each_step_summed():
    sizes = dict(bytes_per_weight=1, bytes_per_value=2)
    got = I.predict(TINY, ROUND, prompt=9, generated=6, batch=3, **sizes)
    steps = [I.step_seconds(TINY, ROUND, [1] * 3, [9 + past] * 3, **sizes) for past in range(5)]
    assert got.ttft == I.step_seconds(TINY, ROUND, [9] * 3, [0] * 3, **sizes)
    assert got.tpot == pytest.approx(sum(steps) / 5)
    assert got.request == pytest.approx(got.ttft + sum(steps))


def test_one_token_has_no_gap_after_it():
    got = I.predict(TINY, ROUND, prompt=9, generated=1)
    assert got.tpot == 0 and got.request == got.ttft


def test_overhead_comes_once_a_pass():
    bare = I.predict(TINY, ROUND, prompt=9, generated=6)
    slow = I.predict(TINY, ROUND, prompt=9, generated=6, overhead=0.5)
    assert slow.ttft - bare.ttft == pytest.approx(0.5) == slow.tpot - bare.tpot
    assert slow.request - bare.request == pytest.approx(3.0)


def test_decode_follows_bandwidth_and_prefill_follows_arithmetic():
    """H200 and H100 multiply equally fast and differ in memory alone."""
    at = dict(prompt=2000, generated=100)
    h100, h200 = (I.predict(I.LLAMA_3_1_8B, chip, **at) for chip in (H100, H200))
    assert h100.tpot / h200.tpot == pytest.approx(4.8 / 3.35, rel=1e-3)
    assert h100.ttft / h200.ttft == pytest.approx(1, rel=0.02)


def test_an_8b_model_on_an_a100_decodes_below_the_floor_that_its_bytes_set():
    """gpt-fast's README reports 93.9 tokens a second for Llama-3.1-8B on an A100 (80 GB)."""
    floor = I.predict(I.LLAMA_3_1_8B, A100, prompt=100, generated=200).tpot
    assert 1 / floor == pytest.approx(135, rel=0.01)
    assert 0.6 < 93.9 * floor < 0.8


def test_a_measured_roof_serves_as_a_chip_does():
    roof = I.Roof("mine", "float32", flops=1000.0, read=10.0, copy=8.0)
    assert roof.bandwidth == 10.0 and roof.ridge == 100.0
    assert I.Roof("mine", "float32", flops=1000.0, read=7.0, copy=8.0).bandwidth == 8.0
    at = dict(prompt=9, generated=6)
    assert I.predict(TINY, roof, **at) == I.predict(TINY, ROUND, **at)


# --- the measurement ------------------------------------------------------------------------------


def test_a_measured_roof_is_within_what_a_machine_can_do():
    roof = I.measure_roof(size=128, buffer=2**22, rounds=2)
    assert roof.name == "cpu" and roof.dtype == "float32"
    assert 1e8 < roof.flops < 1e14
    assert 1e8 < roof.read < 1e13 and 1e8 < roof.copy < 1e13


def test_rates_are_amounts_over_the_shortest_time(monkeypatch):
    """Three kernels in turn, in 3 rounds; each one's time falls, then rises."""
    times = iter([8.0, 8.0, 8.0, 2.0, 4.0, 1.0, 5.0, 5.0, 5.0])
    monkeypatch.setattr(measure, "seconds", lambda run, device: run() is None or next(times))
    roof = I.measure_roof(size=10, buffer=4096 * 4 * 3, rounds=2)
    assert roof.flops == 2 * 10**3 / 2.0
    assert roof.read == 4096 * 4 * 3 / 4.0
    assert roof.copy == 2 * 4096 * 4 * 3 / 1.0


def test_a_timing_waits_for_the_device(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: calls.append("wait"))
    measure.seconds(lambda: calls.append("run"), torch.device("cuda"))
    assert calls == ["wait", "run", "wait"]
