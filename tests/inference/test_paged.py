"""Keys and values in blocks of one pool: the gather, by hand, by loop and by one index."""

import pytest
import torch

from clearhead.inference import blocks_for, gather_row_by_row, paged_gather

BOTH = pytest.mark.parametrize("version", [gather_row_by_row, paged_gather])


def draw(P=9, block=4, K=2, D=3, lengths=(5, 0, 12, 1), dtype=torch.float64):
    """A pool in which what no sequence uses is NaN, and tables in a random order of blocks."""
    pool = torch.full((P, block, K, D), torch.nan, dtype=dtype)
    order = torch.randperm(P).tolist()
    table = torch.full((len(lengths), 3), -1)
    for b, length in enumerate(lengths):
        for j in range(length):
            if j % block == 0:
                table[b, j // block] = order.pop()
            pool[table[b, j // block], j % block] = torch.randn(K, D, dtype=torch.float64).to(dtype)
    return pool, table, torch.tensor(lengths, dtype=torch.int64)


@BOTH
def test_two_sequences_worked_by_hand(version):
    pool = torch.arange(8.0).view(4, 2, 1, 1)  # slot s of block p holds 2 p + s
    table = torch.tensor([[3, 0], [1, -1]])
    got = version(pool, table, torch.tensor([3, 1]))
    assert got.shape == (2, 1, 3, 1)
    assert got[0].flatten().tolist() == [6, 7, 0]
    assert got[1].flatten().tolist() == [2, 0, 0]


@pytest.mark.parametrize("block", [1, 3, 4, 16])
def test_one_index_gives_what_the_loop_gives(block, dtype):
    pool, table, lengths = draw(P=20, block=block, lengths=(3, 0, 2, 1), dtype=dtype)
    slow, fast = gather_row_by_row(pool, table, lengths), paged_gather(pool, table, lengths)
    assert fast.shape == (4, 2, 3, 3) and fast.dtype == dtype
    assert torch.equal(fast, slow)


@BOTH
def test_what_no_sequence_uses_does_not_show(version):
    pool, table, lengths = draw()
    got = version(pool, table, lengths)
    assert got.shape == (4, 2, 12, 3) and not got.isnan().any()
    assert not got[0, :, 5:].any() and not got[1].any()
    beyond = torch.where(table < 0, torch.tensor(77), table)
    assert torch.equal(version(pool, beyond, lengths), got)


@BOTH
@pytest.mark.parametrize("lengths", [(), (0, 0)])
def test_nothing_cached_is_an_empty_axis(version, lengths):
    pool, table, lengths = draw(lengths=lengths)
    assert version(pool, table, lengths).shape == (len(lengths), 2, 0, 3)


@BOTH
def test_gradients_reach_the_slots_in_use_and_no_other(version):
    pool, table, lengths = draw()
    pool = pool.nan_to_num(0.0).requires_grad_()
    version(pool, table, lengths).sum().backward()
    assert pool.grad.sum() == 2 * 3 * sum((5, 0, 12, 1))
    assert set(pool.grad.unique().tolist()) == {0.0, 1.0}


def test_a_length_rounds_up_to_whole_blocks():
    assert [blocks_for(n, 4) for n in (0, 1, 4, 5, 8)] == [0, 1, 1, 2, 2]
