"""Masks: small ones written out, and what must hold at any size."""

import pytest
import torch

from clearhead.attention import causal_mask, sliding_window_mask

SIZES = [(1, 1), (1, 7), (7, 1), (5, 5), (3, 65), (65, 3), (0, 4), (4, 0)]


def drawn(*rows: str) -> torch.Tensor:
    return torch.tensor([[mark == "x" for mark in row] for row in rows])


def test_a_square_causal_mask_is_the_lower_triangle():
    assert torch.equal(causal_mask(3, 3), drawn("x..", "xx.", "xxx"))


def test_the_last_of_few_queries_sees_the_last_key():
    assert torch.equal(causal_mask(2, 4), drawn("xxx.", "xxxx"))


def test_queries_before_the_first_key_see_nothing():
    assert torch.equal(causal_mask(4, 2), drawn("..", "..", "x.", "xx"))


def test_a_window_of_two_holds_two_keys_with_the_own_one():
    assert torch.equal(sliding_window_mask(4, 4, 2), drawn("x...", "xx..", ".xx.", "..xx"))
    assert torch.equal(sliding_window_mask(2, 4, 2), drawn(".xx.", "..xx"))


def test_a_window_of_one_is_the_diagonal():
    assert torch.equal(sliding_window_mask(5, 5, 1), torch.eye(5, dtype=torch.bool))


@pytest.mark.parametrize(("T", "S"), SIZES)
def test_a_window_as_long_as_the_keys_is_causal(T, S):
    assert torch.equal(sliding_window_mask(T, S, max(S, 1)), causal_mask(T, S))


@pytest.mark.parametrize(("T", "S"), SIZES)
def test_the_last_rows_are_those_of_a_square_mask(T, S):
    longest = max(T, S)
    square = causal_mask(longest, longest)
    assert torch.equal(causal_mask(T, S), square[longest - T :, longest - S :])


def test_masks_are_boolean_and_on_the_asked_device():
    for mask in (causal_mask(2, 3, device="meta"), sliding_window_mask(2, 3, 1, device="meta")):
        assert mask.dtype == torch.bool
        assert mask.device.type == "meta"
