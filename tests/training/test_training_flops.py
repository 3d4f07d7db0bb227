"""Training FLOPs: by hand, and beside torch's own counter."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from training_models import V, small_model

from clearhead.training import training_flops, utilisation


def test_by_hand():
    """One layer of width 2: 4·2 of q, k, v, o each 2 × 2 … = 16, and 3·2·3 of the feed-forward."""
    config = small_model(
        layers=1, width=2, heads=1, kv_heads=1, head_size=2, feed_forward=3, vocab_size=5
    ).config
    block, head = 4 * 2 * 2 + 3 * 2 * 3, 5 * 2
    pairs = 3 * (4 * 5 // 2)
    assert training_flops(config, 3, 4) == 6 * block * 12 + 6 * head * 9 + 12 * 2 * pairs
    assert training_flops(config, 3, 4, learned=2) == 6 * block * 12 + 6 * head * 2 + 12 * 2 * pairs


def test_the_matrices_are_counted_as_torch_counts_them():
    """torch's counter does not see the CPU's attention; here every position makes logits."""
    model, B, T = small_model(), 2, 9
    with FlopCounterMode(display=False) as counter:
        model(torch.randint(0, V, (B, T))).sum().backward()
    config = model.config
    attention = 12 * config.layers * config.heads * config.head_size * B * T * (T + 1) // 2
    want = training_flops(config, B, T, learned=B * T) - attention
    assert counter.get_total_flops() == want


def test_utilisation_is_the_share_of_the_peak():
    assert utilisation(3e12, 2.0, 6e12) == 0.25
    with pytest.raises(ValueError, match="seconds is 0"):
        utilisation(1, 0.0, 1.0)
