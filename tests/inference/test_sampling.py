"""Choosing a token: each rule on numbers worked by hand, their order, and an exact draw."""

import math
from dataclasses import replace

import pytest
import torch
from chi_square import p_value

import clearhead.inference as I

INF = math.inf


def logits_of(*probabilities, dtype=torch.float64):
    return torch.tensor(probabilities, dtype=dtype).log()


def kept(logits):
    return logits.isfinite().nonzero()[:, 0].tolist()


# --- the rules ------------------------------------------------------------------------------------


def test_temperature_raises_every_ratio_to_a_power():
    z = logits_of(0.6, 0.3, 0.1)
    sharp = I.temperature(z, 0.5).softmax(-1)
    flat = I.temperature(z, 2.0).softmax(-1)
    assert sharp.tolist() == pytest.approx([0.36 / 0.46, 0.09 / 0.46, 0.01 / 0.46])
    assert (flat[0] / flat[1]).item() == pytest.approx(math.sqrt(2))


def test_top_k_keeps_k_and_all_that_are_level_with_the_last():
    z = torch.tensor([1.0, 3.0, 2.0, 2.0, 0.0])
    assert kept(I.top_k(z, 1)) == [1]
    assert kept(I.top_k(z, 2)) == kept(I.top_k(z, 3)) == [1, 2, 3]
    assert kept(I.top_k(z, 4)) == [0, 1, 2, 3]


@pytest.mark.parametrize("k", [0, 5, 6, 99])
def test_top_k_of_0_or_of_the_vocabulary_or_more_keeps_everything(k):
    z = torch.randn(3, 5)
    assert torch.equal(I.top_k(z, k), z)


def test_top_p_keeps_the_token_with_which_the_sum_reaches_p():
    z = logits_of(0.5, 0.25, 0.125, 0.125)
    assert kept(I.top_p(z, 0.5)) == [0]
    assert kept(I.top_p(z, 0.51)) == [0, 1]
    assert kept(I.top_p(z, 0.75)) == [0, 1]
    assert kept(I.top_p(z, 0.76)) == [0, 1, 2]


def test_top_p_finds_the_likeliest_wherever_they_stand():
    assert kept(I.top_p(logits_of(0.1, 0.2, 0.05, 0.65), 0.8)) == [1, 3]


def test_top_p_keeps_one_token_however_small_p_is():
    assert kept(I.top_p(logits_of(0.2, 0.5, 0.3), 0.0)) == [1]
    assert kept(I.top_p(logits_of(0.2, 0.5, 0.3), 1e-9)) == [1]


def test_top_p_of_equally_likely_tokens_keeps_the_lower_ids():
    assert kept(I.top_p(torch.zeros(4), 0.5)) == [0, 1]
    assert kept(I.top_p(torch.tensor([0.0, 5.0, 0.0, 0.0]), 0.985)) == [0, 1]


def test_top_p_of_1_keeps_a_tail_that_a_rounded_sum_would_cut_off():
    z = torch.tensor([30.0] + [0.0] * 9)  # in fp32 the first token alone adds up to 1
    assert z.softmax(-1)[0] == 1
    assert kept(I.top_p(z, 1.0)) == list(range(10))


def test_min_p_compares_with_the_likeliest():
    z = logits_of(0.5, 0.3, 0.15, 0.05)
    assert kept(I.min_p(z, 0.2)) == [0, 1, 2]
    assert kept(I.min_p(z, 0.5)) == [0, 1]
    assert kept(I.min_p(z, 1.0)) == [0]
    assert kept(I.min_p(z, 0.0)) == [0, 1, 2, 3]


def test_a_repetition_penalty_lowers_logits_of_both_signs_once_each():
    z = torch.tensor([[2.0, -2.0, 1.0, 0.0]])
    assert I.repetition_penalty(z, torch.tensor([[0, 1, 0, 0]]), 2.0).tolist() == [[1, -4, 1, 0]]


def test_an_id_of_minus_1_is_no_token():
    z = torch.tensor([[2.0, 3.0], [2.0, 3.0]])
    seen = torch.tensor([[-1, 0], [-1, -1]])
    assert I.repetition_penalty(z, seen, 2.0).tolist() == [[1, 3], [2, 3]]
    assert torch.equal(I.repetition_penalty(z, seen[:, :0], 2.0), z)


@pytest.mark.parametrize(
    "rule",
    [
        lambda z: I.temperature(z, 0.7),
        lambda z: I.top_k(z, 3),
        lambda z: I.top_p(z, 0.7),
        lambda z: I.min_p(z, 0.1),
        lambda z: I.repetition_penalty(z, torch.arange(4).expand(*z.shape[:-1], 4), 1.3),
        lambda z: I.top_k_top_p(z, temperature=0.7, k=4, p=0.8),
    ],
)
def test_a_row_gets_what_it_gets_alone_and_the_logits_stay_as_they_are(rule):
    z = torch.randn(2, 3, 8)
    before = z.clone()
    together = rule(z)
    assert torch.equal(z, before)
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(rule(z[i, j]), together[i, j])


# --- their order ----------------------------------------------------------------------------------


def test_temperature_comes_before_top_p():
    p = I.top_k_top_p(logits_of(0.5, 0.3, 0.2), temperature=0.5, k=0, p=0.6)
    assert p.tolist() == [1, 0, 0]  # 0.25 of 0.38 is above 0.6; at temperature 1, two are needed
    p = I.top_k_top_p(logits_of(0.5, 0.3, 0.2), temperature=2.0, k=0, p=0.6)
    assert kept(p.log()) == [0, 1]


def test_top_p_adds_up_what_top_k_has_left():
    p = I.top_k_top_p(logits_of(0.4, 0.3, 0.2, 0.1), temperature=1.0, k=2, p=0.57)
    assert p.tolist() == [1, 0, 0, 0]  # 0.4 of 0.7 is 0.571; of 1.0 it is too little
    p = I.top_k_top_p(logits_of(0.4, 0.3, 0.2, 0.1), temperature=1.0, k=2, p=0.58)
    assert p.tolist() == pytest.approx([4 / 7, 3 / 7, 0, 0])


def test_switched_off_the_rules_leave_the_softmax():
    z = torch.randn(4, 9, dtype=torch.float64)
    torch.testing.assert_close(I.top_k_top_p(z, temperature=1.0, k=0, p=1.0), z.softmax(-1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("tau", [5e-324, 1e-46, 1e-40, 1e-3, 1.0, 1e3])
def test_wide_logits_and_extreme_temperatures_give_a_distribution(dtype, tau):
    z = torch.tensor([50.0, -50.0, 49.0, 0.0], dtype=dtype)
    p = I.top_k_top_p(z, temperature=tau, k=0, p=1.0)
    assert p.dtype == torch.float32 and p.argmax() == 0
    assert p.sum().item() == pytest.approx(1)
    assert (p[0] == 1) == (tau < 0.1)


def test_a_sampler_uses_all_five_rules_in_their_order():
    z, seen = torch.randn(3, 20, dtype=torch.float64), torch.randint(20, (3, 6))
    sampler = I.Sampler(temperature=0.7, k=6, p=0.9, min_p=0.2, repetition_penalty=1.3)
    want = I.repetition_penalty(z, seen, 1.3)
    want = I.min_p(I.top_p(I.top_k(I.temperature(want, 0.7), 6), 0.9), 0.2).softmax(-1)
    torch.testing.assert_close(sampler.probabilities(z, seen), want)
    for change in ({"k": 0}, {"p": 1.0}, {"min_p": 0.0}, {"repetition_penalty": 1.0}):
        other = replace(sampler, **change).probabilities(z, seen)
        assert not torch.allclose(other, want), change


# --- the draw -------------------------------------------------------------------------------------


def test_a_draw_takes_the_first_id_whose_sum_exceeds_the_number():
    p = torch.tensor([0.25, 0.25, 0.5], dtype=torch.float64).expand(6, 3)
    u = torch.tensor([0.0, 0.24, 0.25, 0.49, 0.5, 0.999], dtype=torch.float64)
    assert I.draw(p, u).tolist() == [0, 0, 1, 1, 2, 2]


def test_what_has_no_probability_is_never_drawn():
    p = torch.tensor([0.0, 0.5, 0.0, 0.5, 0.0, 0.0])
    almost_1 = 1 - 2**-53
    u = torch.tensor([0.0, 0.5, almost_1], dtype=torch.float64)
    assert I.draw(p.expand(3, 6), u).tolist() == [1, 3, 3]


@pytest.mark.parametrize("scale", [1e-30, 1 / 3, 7.0])
def test_weights_need_not_add_up_to_one(scale):
    w = torch.tensor([1.0, 2.0, 0.0, 1.0], dtype=torch.float64) * scale
    u = torch.tensor([0.2, 0.3, 0.7, 1 - 2**-53], dtype=torch.float64)
    assert I.draw(w.expand(4, 4), u).tolist() == [0, 1, 1, 3]


def test_sums_over_a_large_vocabulary_are_precise_enough():
    """Rounded to fp32, the sum stays at 1 for the last third of these tokens."""
    w = torch.full((60_000,), 1e-8)
    w[0] = 1.0
    last = I.draw(w, torch.tensor(1 - 1e-9, dtype=torch.float64))
    assert last > 59_000


def test_a_sampler_draws_what_its_probabilities_say():
    z = torch.randn(6) * 2
    sampler = I.Sampler(temperature=1.3, k=5, p=0.97, seed=1)
    drawn = sampler(z.expand(20_000, 6))
    counts = drawn.bincount(minlength=6)
    assert p_value(counts, sampler.probabilities(z)) > 0.01
    assert p_value(counts, z.softmax(-1)) < 1e-6  # what the rules changed shows


def test_equal_seeds_draw_equal_tokens_and_a_batch_draws_row_by_row():
    z = torch.randn(50, 9)
    first, second, other = (I.Sampler(seed=seed)(z) for seed in (3, 3, 4))
    assert torch.equal(first, second) and not torch.equal(first, other)
    alone = I.Sampler(seed=3)
    assert torch.stack([alone(row) for row in z]).tolist() == first.tolist()
    assert not torch.equal(alone(z), first)  # its numbers went on


def test_without_a_seed_pytorchs_own_generator_draws():
    z = torch.randn(50, 9)
    torch.manual_seed(5)
    first = I.Sampler()(z)
    torch.manual_seed(5)
    assert torch.equal(I.Sampler()(z), first)


def test_temperature_0_is_the_likeliest_after_the_penalty():
    z = torch.tensor([[1.0, 2.0, 1.9], [3.0, 3.0, 0.0]])
    greedy = I.Sampler(temperature=0.0)
    assert greedy(z).tolist() == [1, 0]
    assert greedy.probabilities(z).tolist() == [[0, 1, 0], [1, 0, 0]]
    penalised = I.Sampler(temperature=0.0, repetition_penalty=1.5)
    assert penalised(z, torch.tensor([[1], [0]])).tolist() == [2, 1]
