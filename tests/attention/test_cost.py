"""The cost of attention: numbers worked by hand, and pairs counted on the mask."""

import pytest

from clearhead.attention import attention_cost, causal_mask


def test_a_small_case_worked_by_hand():
    # 2·1·4·3 pairs over 5 features, two products, two operations each: 4·2·5·12 = 480.
    cost = attention_cost(1, 2, 1, 4, 3, 5)
    assert cost.flops == 480
    # q and output 2·4·5 each, k and v 1·3·5 each: 110 values of 2 bytes.
    assert cost.bytes_flash == 220
    # and 2·4·3 = 24 scores, four times.
    assert cost.bytes_plain == 220 + 2 * 4 * 24


@pytest.mark.parametrize(("T", "S"), [(1, 1), (5, 5), (1, 9), (4, 9), (9, 4), (0, 3), (3, 0)])
def test_causal_pairs_are_the_true_entries_of_the_causal_mask(T, S):
    pairs = int(causal_mask(T, S).sum())
    assert attention_cost(2, 6, 3, T, S, 8, causal=True).flops == 4 * 2 * 6 * 8 * pairs


def test_causal_halves_the_arithmetic_but_not_the_plain_matrices():
    full = attention_cost(1, 1, 1, 1000, 1000, 64)
    half = attention_cost(1, 1, 1, 1000, 1000, 64, causal=True)
    assert half.flops / full.flops == pytest.approx(0.5005)
    assert half[1:] == full[1:]


def test_plain_traffic_grows_with_the_square_and_flash_with_the_length():
    one, two = (attention_cost(1, 8, 8, n, n, 128) for n in (4096, 8192))
    assert two.flops == 4 * one.flops
    assert two.bytes_flash == 2 * one.bytes_flash
    assert two.bytes_plain > 3.8 * one.bytes_plain


def test_fewer_key_value_heads_save_bytes_and_no_arithmetic():
    many, few = attention_cost(1, 8, 8, 64, 64, 16), attention_cost(1, 8, 1, 64, 64, 16)
    assert few.flops == many.flops
    assert many.bytes_flash - few.bytes_flash == 2 * 2 * 7 * 64 * 16


def test_bytes_scale_with_the_size_of_a_value():
    two, four = (attention_cost(1, 2, 2, 3, 3, 4, bytes_per_value=b) for b in (2, 4))
    assert [x / y for x, y in zip(four, two, strict=True)] == [1, 2, 2]
