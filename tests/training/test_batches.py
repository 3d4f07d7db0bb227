"""Rows and batches: what is learned, what is read, and that a step's rows are known beforehand."""

import pytest
import torch
from training_models import padded_rows, texts

from clearhead.training import IGNORED, batch_rows, document_mask, make_rows, pack_documents


def test_every_round_reads_every_row_once_in_another_order():
    n, batch = 10, 4
    read = torch.cat([batch_rows(3, step, n, batch) for step in range(15)]).view(6, n)
    assert all(row.sort().values.tolist() == list(range(n)) for row in read)
    assert len({tuple(row.tolist()) for row in read}) == 6


def test_a_step_s_rows_depend_on_seed_and_step_alone():
    torch.manual_seed(1)
    first = [batch_rows(5, step, 7, 3).tolist() for step in range(9)]
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again = [batch_rows(5, step, 7, 3).tolist() for step in reversed(range(9))][::-1]
    assert again == first and torch.equal(torch.get_rng_state(), before)
    assert [batch_rows(6, step, 7, 3).tolist() for step in range(9)] != first


def test_a_batch_may_be_larger_than_all_rows():
    rows = batch_rows(0, 0, 3, 8)
    assert sorted(rows[:3].tolist()) == sorted(rows[3:6].tolist()) == [0, 1, 2]


def test_texts_are_learned_whole():
    ids = torch.arange(12).view(2, 6)
    rows = make_rows(ids)
    assert torch.equal(rows.labels, ids) and rows.counted() == 10 and rows.mask() is None


def test_packed_rows_see_and_learn_within_documents():
    packed = pack_documents(texts(), 9, eos=0)
    rows = make_rows(packed[0], documents=packed[1], positions=packed[2])
    assert torch.equal(rows.mask(), document_mask(packed[1])[:, None])
    borders = packed[1][:, 1:] != packed[1][:, :-1]
    assert torch.equal(rows.labels[:, 1:] == IGNORED, borders)
    assert rows.counted() == int((~borders).sum())


def test_columns_that_nobody_learns_are_left_out():
    rows = padded_rows()
    part = rows.take(torch.tensor([0, 2]))  # 4 tokens and 2
    assert part.ids.shape == (2, 4) and torch.equal(part.ids, rows.ids[[0, 2], :4])
    assert part.counted() == 4 == rows.take(torch.tensor([0])).counted() + 1
    assert rows.take(torch.tensor([6, 0])).ids.shape == (2, 12)


def test_rows_stay_together_when_they_are_taken():
    packed = pack_documents(texts(), 9, eos=0)
    rows = make_rows(packed[0], documents=packed[1], positions=packed[2])
    part = rows.take(torch.tensor([2, 0]))
    for taken, whole in zip(part, rows, strict=True):
        assert torch.equal(taken, whole[[2, 0]])


@pytest.mark.parametrize("part", ["ids", "labels"])
def test_the_fingerprint_shows_any_change(part):
    rows = padded_rows()
    assert rows.fingerprint() == padded_rows().fingerprint()
    changed = getattr(rows, part).clone()
    changed[3, 4] += 1
    assert rows._replace(**{part: changed}).fingerprint() != rows.fingerprint()
    swapped = getattr(rows, part).flip(0)
    assert rows._replace(**{part: swapped}).fingerprint() != rows.fingerprint()
    assert rows._replace(documents=rows.ids, positions=rows.ids).fingerprint() != rows.fingerprint()
