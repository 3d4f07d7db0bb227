"""Merging adds the update once, in the right orientation, and rounds once."""

import pytest
import torch

from clearhead.lora import delta, forward, merge, unmerge


def draw(dtype=torch.float64, O=5, I=7, R=3):
    sizes = {"weight": (O, I), "A": (R, I), "B": (O, R)}
    return {name: torch.randn(size).to(dtype) for name, size in sizes.items()}


def test_a_merge_worked_by_hand():
    A, B = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [5.0]])
    W = torch.tensor([[10.0, 20.0], [30.0, 40.0]])
    assert delta(A, B, 0.5).tolist() == [[1.5, 3.0], [2.5, 5.0]]
    assert merge(W, A, B, 0.5).tolist() == [[11.5, 23.0], [32.5, 45.0]]
    assert unmerge(W, A, B, 0.5).tolist() == [[8.5, 17.0], [27.5, 35.0]]


@pytest.mark.parametrize("rank_stabilized", [False, True])
def test_the_merged_weight_alone_gives_the_output_of_the_adapted_layer(rank_stabilized):
    given, x = draw(), torch.randn(4, 7, dtype=torch.float64)
    merged = merge(**given, alpha=5.0, rank_stabilized=rank_stabilized)
    expected = forward(x, **given, alpha=5.0, rank_stabilized=rank_stabilized)
    torch.testing.assert_close(x @ merged.T, expected)
    back = unmerge(merged, given["A"], given["B"], 5.0, rank_stabilized=rank_stabilized)
    torch.testing.assert_close(back, given["weight"])


def test_the_weight_that_was_given_does_not_change():
    given = draw()
    before = given["weight"].clone()
    merge(**given, alpha=5.0)
    unmerge(before, given["A"], given["B"], 5.0)
    assert torch.equal(given["weight"], before)


def test_the_sum_is_rounded_once_to_the_dtype_of_the_weight():
    given = draw(torch.bfloat16)
    precise = merge(*(x.float() for x in given.values()), alpha=5.0)
    merged = merge(**given, alpha=5.0)
    assert merged.dtype == torch.bfloat16
    assert torch.equal(merged, precise.bfloat16())
    update = delta(given["A"], given["B"], 5.0)
    assert update.dtype == torch.float32
    rounded_twice = given["weight"] + update.bfloat16()
    assert not torch.equal(merged, rounded_twice)


def test_factors_in_fp32_go_into_a_weight_in_bf16():
    given = draw()
    W = given.pop("weight").bfloat16()
    factors = {name: x.float() for name, x in given.items()}
    merged = merge(W, **factors, alpha=5.0)
    assert merged.dtype == torch.bfloat16
    assert torch.equal(merged, merge(W.float(), **factors, alpha=5.0).bfloat16())


def test_bf16_loses_an_update_below_one_in_512_of_the_weight_and_fp32_does_not():
    W = torch.tensor([[1.0, 1.9]])
    A, B = torch.ones(1, 2), torch.ones(1, 1)
    small = 1 / 520
    assert torch.equal(merge(W.bfloat16(), A, B, small), W.bfloat16())
    torch.testing.assert_close(merge(W, A, B, small), W + small)
    assert not torch.equal(merge(W.bfloat16(), A, B, 1 / 100), W.bfloat16())


def test_unmerging_gives_the_base_back_only_nearly():
    A, B = torch.tensor([[1.0]]), torch.tensor([[1.0]])
    base = torch.tensor([[0.001]]).bfloat16()
    merged = merge(base, A, B, 1.0)
    assert merged.item() == 1.0  # 1.001 is not a number in bf16
    assert unmerge(merged, A, B, 1.0).item() == 0.0


def test_two_updates_merged_in_turn_add_and_are_not_the_product_of_added_factors():
    given = draw()
    A2, B2 = torch.randn(3, 7).double(), torch.randn(5, 3).double()
    both = merge(merge(**given, alpha=5.0), A2, B2, 2.0)
    expected = given["weight"] + 5 / 3 * given["B"] @ given["A"] + 2 / 3 * B2 @ A2
    torch.testing.assert_close(both, expected)
    wrong = merge(given["weight"], given["A"] + A2, given["B"] + B2, 5.0)
    assert (wrong - merge(merge(**given, alpha=5.0), A2, B2, 5.0)).abs().max() > 0.1
