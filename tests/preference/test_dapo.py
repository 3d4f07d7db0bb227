"""DAPO's changes: which prompts are kept, how a batch is filled, and what length costs."""

import pytest
import torch

from clearhead.preference import (
    BatchNotFilledError,
    dynamic_sampling,
    fill_batch,
    overlong_filter,
    overlong_penalty,
)

ALL, SOME, NONE = [True] * 3, [True, False, True], [False] * 3


def test_prompts_with_right_and_wrong_answers_are_kept_in_order():
    correct = torch.tensor([ALL, SOME, NONE, SOME, SOME])
    rewards = torch.arange(15.0).view(5, 3)
    kept, chosen, missing = dynamic_sampling(correct, rewards, 2)
    assert kept.tolist() == [1, 3] and missing == 0
    assert chosen.equal(rewards[[1, 3]])
    kept, chosen, missing = dynamic_sampling(correct, rewards, 5)
    assert kept.tolist() == [1, 3, 4] and chosen.shape == (3, 3) and missing == 2
    kept, chosen, missing = dynamic_sampling(torch.tensor([ALL, NONE]), rewards[:2], 4)
    assert kept.dtype == torch.int64 and chosen.shape == (0, 3) and missing == 4


def test_rewards_do_not_choose():
    """A penalty on length makes the rewards of answers that are all wrong unequal."""
    correct = torch.tensor([NONE, SOME])
    rewards = torch.tensor([[-1.0, -1.5, -2.0], [0.0, 0.0, 0.0]])
    assert dynamic_sampling(correct, rewards, 2)[0].tolist() == [1]


def rounds_of(*rounds):
    """A `sample` that gives these rounds, and the list of what it was asked for."""
    asked, waiting = [], iter(rounds)

    def sample(missing):
        asked.append(missing)
        correct = torch.tensor(next(waiting))
        return correct, 2.0 * correct - 1, f"round {len(asked)}"

    return sample, asked


def test_a_batch_is_filled_and_not_overfilled():
    sample, asked = rounds_of([ALL, SOME], [NONE, NONE], [SOME, SOME, SOME])
    found = fill_batch(sample, 3)
    assert asked == [3, 2, 2]
    assert [(name, kept.tolist()) for name, kept, _ in found] == [
        ("round 1", [1]),
        ("round 2", []),
        ("round 3", [0, 1]),
    ]
    assert all(len(kept) == len(rewards) for _, kept, rewards in found)


def test_a_full_batch_is_not_sampled_again():
    sample, asked = rounds_of([SOME, SOME])
    fill_batch(sample, 2)
    assert asked == [2]


def test_a_batch_that_cannot_be_filled_says_why_and_hands_over_what_there_is():
    sample, _ = rounds_of([ALL, SOME], [ALL, ALL])
    with pytest.raises(BatchNotFilledError, match=r"2 rounds .* 1 of 3 prompts .* 92% were right"):
        fill_batch(sample, 3, most_rounds=2)
    sample, _ = rounds_of([ALL, SOME], [ALL, ALL])
    with pytest.raises(BatchNotFilledError) as error:
        fill_batch(sample, 3, most_rounds=2)
    assert [kept.tolist() for _, kept, _ in error.value.found] == [[1], []]


def test_the_penalty_at_the_numbers_of_the_paper():
    lengths = torch.tensor([0, 1, 16_383, 16_384, 16_385, 17_408, 18_432, 20_479, 20_480, 99_999])
    penalty = overlong_penalty(lengths, longest=20_480, cache=4096)
    want = [0, 0, 0, 0, -1 / 4096, -0.25, -0.5, -4095 / 4096, -1, -1]
    assert penalty.dtype == torch.float32
    assert penalty.tolist() == want


def test_the_penalty_of_a_cache_of_one_and_of_a_cache_as_long_as_the_limit():
    lengths = torch.arange(6)
    assert overlong_penalty(lengths, longest=4, cache=1).tolist() == [0, 0, 0, 0, -1, -1]
    assert overlong_penalty(lengths, longest=4, cache=4).tolist() == [
        *[0, -0.25, -0.5, -0.75, -1.0, -1.0]
    ]


def test_the_filter_leaves_out_whole_answers():
    mask = torch.tensor([[True, True], [True, False]])
    assert overlong_filter(mask, torch.tensor([True, False])).tolist() == [
        [False, False],
        [True, False],
    ]


def test_lengths_in_a_short_dtype_do_not_wrap_around():
    lengths = torch.tensor([0, 100, 127], dtype=torch.int8)
    assert overlong_penalty(lengths, longest=300, cache=100).tolist() == [0, 0, 0]
