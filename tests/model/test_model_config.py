"""Config refuses sizes that no decoder can have."""

import math

import pytest
from small_models import small_config

from clearhead.model.config import linear_rope_scale, llama3_rope_scale


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(heads=4, kv_heads=3), "4 query heads can't share 3 key/value heads evenly"),
        (dict(heads=2, kv_heads=4), "2 query heads can't share 4"),
        (dict(head_size=7), "head_size is 7"),
        (dict(layers=0), "layers is 0; give a positive integer"),
        (dict(width=-32), "width is -32; give a positive integer"),
        (dict(vocab_size=True), "vocab_size is True"),
        (dict(rope_scale=(1.0,)), "rope_scale has 1 factors; head_size 8 needs 4"),
        (dict(rope_theta=0.0), "rope_theta is 0.0"),
        (dict(norm_eps=-1e-5), "norm_eps is -1e-05"),
    ],
)
def test_impossible_sizes_are_refused_in_one_sentence(changes, message):
    with pytest.raises(ValueError) as caught:
        small_config(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_linear_scaling_slows_every_frequency_alike():
    assert linear_rope_scale(8, 4.0) == (0.25,) * 4


def test_llama3_scaling_keeps_fast_frequencies_and_divides_slow_ones():
    """D = 4, theta = 10000: wavelengths 2π and 200π. With n = 400π: 200 turns and 2 turns."""
    options = dict(factor=8.0, original_max_positions=400 * math.pi)
    keep = llama3_rope_scale(4, 1e4, low_freq_factor=0.5, high_freq_factor=2.0, **options)
    assert keep == pytest.approx((1.0, 1.0))
    divide = llama3_rope_scale(4, 1e4, low_freq_factor=2.0, high_freq_factor=4.0, **options)
    assert divide == pytest.approx((1.0, 1 / 8))
    between = llama3_rope_scale(4, 1e4, low_freq_factor=1.0, high_freq_factor=3.0, **options)
    assert between == pytest.approx((1.0, (1 / 8 + 1) / 2))  # 2 turns lie halfway from 1 to 3
