"""Positions and masks of padded and chunked batches, by hand and against the plain masks."""

import pytest
import torch

from clearhead.attention import causal_mask, sliding_window_mask
from clearhead.inference import chunked_prefill_mask, padded_positions


def picture(mask):
    return ["".join("x" if seen else "." for seen in row) for row in mask.tolist()]


def test_positions_count_real_tokens_wherever_the_padding_stands():
    real = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [1, 0, 0, 1, 0]]).bool()
    got = padded_positions(real, torch.tensor([0, 7, 2]))
    assert got.tolist() == [[0, 0, 0, 1, 2], [7, 8, 9, 10, 11], [2, 0, 0, 3, 0]]
    assert got.dtype == torch.int64


def test_positions_of_a_row_of_padding_are_zero():
    assert padded_positions(torch.zeros(1, 3).bool(), torch.tensor([4])).tolist() == [[0, 0, 0]]


def test_positions_do_not_depend_on_how_the_tokens_were_cut():
    real = torch.rand(4, 11) < 0.6
    whole = padded_positions(real, torch.zeros(4).long())
    parts = [padded_positions(real[:, :5], torch.zeros(4).long())]
    parts.append(padded_positions(real[:, 5:], real[:, :5].sum(-1)))
    assert torch.equal(torch.cat(parts, dim=1), whole)


def test_a_chunk_sees_the_cache_and_itself_up_to_each_token():
    mask = chunked_prefill_mask(2, 3, torch.tensor([0, 2]))
    assert picture(mask[0]) == ["xxxx.", "xxxxx"]
    assert picture(mask[1]) == ["..xx.", "..xxx"]


def test_padding_that_reaches_into_the_chunk_sees_nothing():
    mask = chunked_prefill_mask(3, 2, torch.tensor([4, 5]))
    assert picture(mask[0]) == [".....", ".....", "....x"]
    assert not mask[1].any()


def test_a_window_counts_slots_and_the_token_itself():
    mask = chunked_prefill_mask(3, 2, torch.tensor([0, 2]), window=2)
    assert picture(mask[0]) == [".xx..", "..xx.", "...xx"]
    assert picture(mask[1]) == ["..x..", "..xx.", "...xx"]


@pytest.mark.parametrize(("T", "past"), [(1, 0), (1, 6), (5, 0), (3, 4), (0, 3)])
@pytest.mark.parametrize("window", [None, 1, 3, 99])
def test_without_padding_it_is_the_mask_of_chapter_one(T, past, window):
    got = chunked_prefill_mask(T, past, torch.zeros(2).long(), window=window)
    S = past + T
    want = causal_mask(T, S) if window is None else sliding_window_mask(T, S, window)
    assert torch.equal(got, want.expand(2, T, S))


def test_chunks_put_together_are_the_mask_of_the_whole():
    pads = torch.tensor([0, 3, 6])
    whole = chunked_prefill_mask(9, 0, pads, window=4)
    for past, T in ((0, 2), (2, 5), (7, 2)):
        part = chunked_prefill_mask(T, past, pads, window=4)
        assert torch.equal(part, whole[:, past : past + T, : past + T])
