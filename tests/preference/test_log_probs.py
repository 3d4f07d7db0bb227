"""The log-probability of an answer is a sum over its own tokens, shifted by one, and no others."""

import math

import pytest
import torch

from clearhead.preference import completion_tokens, sequence_log_prob

B, T, V = 3, 7, 11


def inputs(dtype=torch.float64):
    logits = 3 * torch.randn(B, T, V, dtype=torch.float64)
    ids = torch.randint(0, V, (B, T))
    completion = torch.zeros(B, T, dtype=torch.bool)
    completion[0, 3:6] = completion[1, 1:] = completion[2, 6:] = True
    return logits.to(dtype).requires_grad_(True), ids, completion


def token_by_token(logits, ids, completion):
    totals = []
    for b in range(B):
        total = logits.new_zeros((), dtype=torch.float64)
        for t in range(1, T):
            if completion[b, t]:
                scores = logits[b, t - 1].double()
                total = total + scores[ids[b, t]] - scores.logsumexp(-1)
        totals.append(total)
    return torch.stack(totals)


def test_an_answer_of_two_tokens_by_hand():
    """p = 1/2 for the first, 1/4 for the second: the answer has 1/8."""
    p = torch.tensor([[[0.5, 0.25, 0.25], [0.25, 0.25, 0.5], [0.9, 0.05, 0.05]]])
    ids = torch.tensor([[2, 0, 1]])
    completion = torch.tensor([[False, True, True]])
    assert sequence_log_prob(p.log(), ids, completion).item() == pytest.approx(math.log(1 / 8))


def test_it_is_the_sum_token_by_token(dtype, close):
    logits, ids, completion = inputs(dtype)
    got, want = sequence_log_prob(logits, ids, completion), token_by_token(logits, ids, completion)
    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    close(got, want)
    [gradient] = torch.autograd.grad(got.sum(), logits)
    precise = logits.detach().double().requires_grad_(True)
    close(gradient, torch.autograd.grad(token_by_token(precise, ids, completion).sum(), precise)[0])


def test_the_first_token_of_a_row_has_no_prediction_marked_or_not():
    logits, ids, completion = inputs()
    marked = completion.clone()
    marked[:, 0] = True
    assert sequence_log_prob(logits, ids, marked).equal(sequence_log_prob(logits, ids, completion))
    assert completion_tokens(marked).tolist() == completion_tokens(completion).tolist() == [3, 6, 1]


def test_what_does_not_count_is_not_read():
    """Neither a NaN among the prompt's logits nor an id outside the vocabulary in the padding."""
    logits, ids, completion = inputs()
    want = sequence_log_prob(logits, ids, completion)
    dirty, wrong = logits.detach().clone(), ids.clone()
    predicted = torch.nn.functional.pad(completion[:, 1:], (0, 1))
    dirty[~predicted], wrong[~completion] = torch.nan, -100
    dirty.requires_grad_(True)
    got = sequence_log_prob(dirty, wrong, completion)
    assert got.equal(want)
    [gradient] = torch.autograd.grad(got.sum(), dirty)
    assert gradient.isfinite().all() and (gradient[~predicted] == 0).all()


def test_a_bf16_sum_is_taken_in_fp32():
    """600 tokens of ln 2 each: a running sum in bf16 stops near 256 of them."""
    logits = torch.zeros(1, 601, 2, dtype=torch.bfloat16)
    ids, completion = torch.zeros(1, 601, dtype=torch.int64), torch.ones(1, 601, dtype=torch.bool)
    total = sequence_log_prob(logits, ids, completion)
    assert total.item() == pytest.approx(-600 * math.log(2), rel=1e-6)


def test_the_prompt_cancels_in_a_difference_of_sums_and_not_of_means():
    """The same prompt before two answers: marked by mistake, it hurts means alone."""
    V, prompt = 5, torch.tensor([1, 2, 3])
    head = torch.randn(3, V, dtype=torch.float64)
    sums, means = [], []
    for marked in (False, True):
        pair = []
        for answer in ([4], [0, 1, 2, 4]):
            torch.manual_seed(len(answer))
            ids = torch.cat([prompt, torch.tensor(answer)])[None]
            logits = torch.cat([head, torch.randn(len(answer), V, dtype=torch.float64)])[None]
            completion = torch.arange(ids.shape[1])[None] >= (0 if marked else 3)
            total = sequence_log_prob(logits, ids, completion)
            pair.append((total.item(), (total / completion_tokens(completion)).item()))
        sums.append(pair[0][0] - pair[1][0])
        means.append(pair[0][1] - pair[1][1])
    assert sums[0] == pytest.approx(sums[1], abs=1e-12)
    assert abs(means[0] - means[1]) > 0.01
