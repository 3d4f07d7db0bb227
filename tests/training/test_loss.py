"""The loss: by hand, against torch, over what counts and nothing else."""

import math

import pytest
import torch
import torch.nn.functional as F

from clearhead.training import (
    IGNORED,
    next_token_loss,
    per_token_loss,
    perplexity,
    weighted_prompt_loss,
)


def random_batch(dtype=torch.float64):
    """Three rows of seven tokens: one whole, one filled up at the right, one at the left."""
    logits = (3 * torch.randn(3, 7, 11, dtype=torch.float64)).to(dtype).requires_grad_(True)
    ids = torch.randint(0, 11, (3, 7))
    real = torch.ones(3, 7, dtype=torch.bool)
    real[1, 4:] = False
    real[2, :3] = False
    return logits, ids, real


def test_by_hand_position_t_predicts_token_t_plus_1():
    p = torch.tensor([[[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.9, 0.05, 0.05]]], dtype=torch.float64)
    ids = torch.tensor([[2, 1, 0]])
    loss = next_token_loss(p.log(), ids, torch.ones(1, 3, dtype=torch.bool))
    assert loss.item() == pytest.approx(-(math.log(0.3) + math.log(0.1)) / 2, abs=1e-12)


def test_it_is_torch_s_cross_entropy_over_tokens_that_follow_a_token(dtype, close):
    logits, ids, real = random_batch(dtype)
    pairs = [(b, t) for b in range(3) for t in range(6) if real[b, t] and real[b, t + 1]]
    rows, places = zip(*pairs, strict=True)
    places = torch.tensor(places)
    want = F.cross_entropy(logits.double()[rows, places], ids[rows, places + 1])
    got = next_token_loss(logits, ids, real)
    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    close(got, want)
    close(torch.autograd.grad(got, logits), torch.autograd.grad(want, logits))


def test_a_long_row_weighs_more_than_a_short_one():
    logits, ids, real = random_batch()
    rows = [
        next_token_loss(logits[b : b + 1], ids[b : b + 1], real[b : b + 1]).item() for b in range(3)
    ]
    mean = (6 * rows[0] + 3 * rows[1] + 3 * rows[2]) / 12
    assert next_token_loss(logits, ids, real).item() == pytest.approx(mean, abs=1e-12)
    assert abs(sum(rows) / 3 - mean) > 1e-2


def test_nothing_of_the_padding_reaches_the_loss_or_the_gradient():
    logits, ids, real = random_batch()
    clean = next_token_loss(logits, ids, real)
    dirty_ids = ids.masked_fill(~real, IGNORED)
    dirty = logits.detach().masked_fill(~real[..., None], torch.nan).requires_grad_(True)
    loss = next_token_loss(dirty, dirty_ids, real)
    [gradient] = torch.autograd.grad(loss, dirty)
    assert loss.item() == clean.item()
    assert gradient.isfinite().all() and (gradient[~real] == 0).all()
    labels = ids.masked_fill(~real, IGNORED)
    nll, counted = per_token_loss(dirty, labels.masked_fill(~F.pad(real[:, :-1], (1, 0)), IGNORED))
    [gradient] = torch.autograd.grad(nll.sum() / counted.sum(), dirty)
    assert gradient.isfinite().all()


def test_16_bits_are_summed_in_32():
    """512 equal losses: summed in bf16 their mean is off by percents."""
    logits = torch.zeros(1, 513, 5, dtype=torch.bfloat16)
    real = torch.ones(1, 513, dtype=torch.bool)
    loss = next_token_loss(logits, torch.zeros(1, 513, dtype=torch.int64), real)
    assert loss.item() == pytest.approx(math.log(5), rel=1e-6)


def test_per_token_losses_are_those_of_the_mean():
    logits, ids, real = random_batch()
    labels = ids.masked_fill(~real, IGNORED)
    labels[2, 3] = IGNORED  # the first token after left padding, which nothing real comes before
    nll, counted = per_token_loss(logits, labels)
    assert nll.shape == counted.shape == (3, 6)
    assert (nll[~counted] == 0).all() and (nll[counted] > 0).all()
    assert (nll.sum() / counted.sum()).item() == pytest.approx(
        next_token_loss(logits, ids, real).item(), abs=1e-12
    )
    where = -logits.log_softmax(-1)[0, torch.arange(6), ids[0, 1:]]
    torch.testing.assert_close(nll[0], where)


def test_per_token_losses_of_nothing_are_zeros():
    logits, ids, _ = random_batch()
    nll, counted = per_token_loss(logits, torch.full_like(ids, IGNORED))
    assert not counted.any() and (nll == 0).all()


def test_perplexity_is_over_all_rows_together():
    log_p = torch.tensor([[0.5, 0.25, 1.0], [0.125, 1.0, 1.0]]).log()
    log_p[1, 2] = torch.nan
    real = torch.tensor([[True, True, True], [True, True, False]])
    ppl, bits = perplexity(log_p, real, n_bytes=4)
    assert isinstance(ppl, float) and isinstance(bits, float)
    assert ppl == pytest.approx(2 ** (6 / 5)) and bits == pytest.approx(6 / 4)


def test_a_uniform_guess_has_the_perplexity_of_the_vocabulary():
    real = torch.ones(4, 9, dtype=torch.bool)
    ppl, _ = perplexity(torch.full((4, 9), -math.log(50), dtype=torch.float64), real, n_bytes=1)
    assert ppl == pytest.approx(50)


def test_perplexity_adds_up_in_fp64():
    """A million fp32 numbers added in fp32 lose digits that the exponential shows."""
    real = torch.ones(1, 1_000_003, dtype=torch.bool)
    log_p = torch.full((1, 1_000_003), -0.1)
    want = math.exp(-log_p[0, 0].double().item())
    assert perplexity(log_p, real, n_bytes=1)[0] == pytest.approx(want, rel=1e-9)


def test_a_perplexity_beyond_the_largest_number_is_infinite():
    """math.exp raises there."""
    ppl, bits = perplexity(torch.full((1, 2), -1000.0), torch.ones(1, 2, dtype=torch.bool), 10)
    assert ppl == math.inf and bits == pytest.approx(200 / math.log(2))


def prompts():
    nll = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, torch.nan, torch.inf]])
    prompt = torch.tensor([[True, True, False, False], [True, False, False, False]])
    response = torch.tensor([[False, False, True, True], [False, True, False, False]])
    return nll, prompt, response


@pytest.mark.parametrize(
    ("weight", "loss"), [(0.0, 13 / 3), (1.0, 21 / 6), (0.5, 17 / 4.5), (2.0, 29 / 9)]
)
def test_a_prompt_token_counts_its_weight_above_and_below_the_line(weight, loss):
    got = weighted_prompt_loss(*prompts(), weight)
    assert got.item() == pytest.approx(loss, rel=1e-6)


def test_the_gradient_of_the_weighted_loss_is_the_weights():
    nll, prompt, response = prompts()
    nll = nll.double().requires_grad_(True)
    [gradient] = torch.autograd.grad(weighted_prompt_loss(nll, prompt, response, 0.5), nll)
    torch.testing.assert_close(gradient, (0.5 * prompt + response.double()) / 4.5)


def test_weight_zero_does_not_read_the_prompt():
    nll, prompt, response = prompts()
    nll[prompt] = torch.nan
    assert weighted_prompt_loss(nll, prompt, response, 0.0).item() == pytest.approx(13 / 3)
