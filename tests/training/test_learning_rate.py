"""The learning rate: by hand at every corner of its curve."""

import math

import pytest

from clearhead.training import learning_rate, warmup_stable_decay

COSINE = dict(peak=8.0, warmup=4, total=12, floor=2.0)


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 2.0),  # never zero: update 1 of 4
        (2, 6.0),
        (3, 8.0),  # the peak is reached with the last update of the warm-up
        (4, 2 + 6 * (1 + math.cos(math.pi / 8)) / 2),
        (7, 5.0),  # half way down
        (11, 2.0),  # the last update, at the floor
        (12, 2.0),
        (1000, 2.0),
    ],
)
def test_the_cosine_at_its_corners(step, rate):
    got = learning_rate(step, **COSINE)
    assert isinstance(got, float) and got == pytest.approx(rate, abs=1e-12)


def test_without_warm_up_the_descent_starts_at_once():
    first = learning_rate(0, peak=1.0, warmup=0, total=10)
    assert first == pytest.approx((1 + math.cos(math.pi / 10)) / 2)


def test_a_warm_up_as_long_as_the_run_ends_at_the_peak():
    rates = [learning_rate(s, peak=1.0, warmup=3, total=3, floor=0.25) for s in range(5)]
    assert rates == pytest.approx([1 / 3, 2 / 3, 1.0, 0.25, 0.25])


def test_it_rises_then_falls():
    rates = [learning_rate(s, **COSINE) for s in range(15)]
    assert rates[:4] == sorted(rates[:4]) and rates[3:] == sorted(rates[3:], reverse=True)


def test_warm_up_stable_decay_at_its_corners():
    numbers = dict(peak=8.0, warmup=2, decay=3, total=8, floor=2.0)
    rates = [warmup_stable_decay(s, **numbers) for s in range(10)]
    assert rates == pytest.approx([4, 8, 8, 8, 8, 6, 4, 2, 2, 2])


def test_a_stable_run_can_be_made_longer_without_changing_what_was():
    short, long = (
        [warmup_stable_decay(s, peak=1.0, warmup=2, decay=3, total=n) for s in range(6)]
        for n in (9, 90)
    )
    assert short == long
