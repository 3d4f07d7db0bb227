"""What counting and predicting refuse; run by `test_bad_input`, without the jaxtyping hook."""

import pytest

import clearhead.inference as I
from clearhead.hardware import H100

C = I.SMOLLM2_135M


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        (lambda: I.kv_cache_bytes(2, 1, 4, [3, -1]), ValueError, r"lengths\[1\] is -1"),
        (lambda: I.kv_cache_bytes(2, 1, 4, [3.0]), TypeError, r"lengths\[0\] is a float"),
        (lambda: I.kv_cache_bytes(0, 1, 4, [3]), ValueError, "layers is 0"),
        (lambda: I.kv_cache_bytes(2, 1, 4, [3], block=0), ValueError, "block is 0"),
        (lambda: I.kv_cache_bytes(2, 1, 4, [3], bytes_per_value=0.5), TypeError, "integer"),
        (lambda: I.phase_flops(10, 3, 2, 2, 4, 5, 0), ValueError, "generated is 0"),
        (lambda: I.phase_flops(10, 3, 2, 2, 4, 0, 1), ValueError, "prompt is 0"),
        (lambda: I.phase_flops(10.0, 3, 2, 2, 4, 5, 1), TypeError, "block_weights"),
        (lambda: I.step_bytes(C, [-1]), ValueError, "-1"),
        (lambda: I.step_bytes(C, [1], bytes_per_weight=0), ValueError, "bytes_per_weight"),
        (lambda: I.weight_intensity(0), ValueError, "batch is 0"),
        (lambda: I.attention_intensity(C, queries=0), ValueError, "queries is 0"),
        (lambda: I.mla_bytes_per_token(0, 512, 64), ValueError, "layers is 0"),
        (lambda: I.mla_intensity(128, 512, -1), ValueError, "rotary is -1"),
        (lambda: I.time_lower_bound([(1, 1)], 0, 1), ValueError, "peak_flops is 0"),
        (lambda: I.time_lower_bound([(1, 1)], 1, -2), ValueError, "bandwidth is -2"),
        (lambda: I.time_lower_bound([(1, 1), (-1, 1)], 1, 1), ValueError, r"operations\[1\]"),
        (lambda: I.time_lower_bound([(1, "1")], 1, 1), TypeError, "number"),
        (lambda: I.phase_operations(C, [1], [1, 2]), ValueError, "1 numbers and past 2"),
        (lambda: I.phase_operations(C, [], []), ValueError, "one sequence or more"),
        (lambda: I.phase_operations(C, [0], [1]), ValueError, r"new\[0\] is 0"),
        (lambda: I.phase_operations(C, [1], [-1]), ValueError, r"past\[0\] is -1"),
        (lambda: I.step_seconds(C, H100, [1], [1], overhead=-1e-3), ValueError, "overhead"),
        (lambda: I.predict(C, H100, prompt=0, generated=1), ValueError, "prompt is 0"),
        (lambda: I.predict(C, H100, prompt=1, generated=0), ValueError, "generated is 0"),
        (lambda: I.predict(C, H100, prompt=1, generated=1, batch=0), ValueError, "batch is 0"),
        (lambda: I.measure_roof(rounds=0), ValueError, "rounds is 0"),
        (lambda: I.measure_roof(size=0), ValueError, "size is 0"),
    ],
)
def test_what_does_not_fit_is_refused(wrong, error, says):
    with pytest.raises(error, match=says):
        wrong()
