"""Rows that hold several documents: what lies where, and who sees whom."""

import random

import pytest
import torch

from clearhead.model import Config, Decoder
from clearhead.training import (
    IGNORED,
    document_mask,
    document_positions,
    pack_best_fit,
    pack_documents,
    packed_labels,
)

EOS = 0


def drawn(seed, most=9, count=12):
    draw = random.Random(seed)
    return [[draw.randint(1, 50) for _ in range(draw.randint(1, most))] for _ in range(count)]


def test_documents_lie_end_to_end_each_followed_by_its_end():
    ids, documents, positions = pack_documents([[1, 2, 3], [4], [5, 6, 7]], 4, EOS)
    assert ids.tolist() == [[1, 2, 3, EOS], [4, EOS, 5, 6]]  # 7 and its end fill no row
    assert documents.tolist() == [[0, 0, 0, 0], [1, 1, 2, 2]]
    assert positions.tolist() == [[0, 1, 2, 3], [0, 1, 0, 1]]
    assert ids.dtype == documents.dtype == positions.dtype == torch.int64


def test_a_document_cut_by_the_end_of_a_row_starts_again_at_0():
    ids, documents, positions = pack_documents([[1], [2, 3, 4, 5, 6, 7]], 3, EOS)
    assert ids.tolist() == [[1, EOS, 2], [3, 4, 5], [6, 7, EOS]]
    assert documents.tolist() == [[0, 0, 1], [1, 1, 1], [1, 1, 1]]
    assert positions.tolist() == [[0, 1, 0], [0, 1, 2], [0, 1, 2]]


def test_an_empty_document_is_its_end_alone():
    _, documents, positions = pack_documents([[], [], [3]], 4, EOS)
    assert (documents.tolist(), positions.tolist()) == ([[0, 1, 2, 2]], [[0, 0, 0, 1]])


@pytest.mark.parametrize("length", [1, 5, 7, 64])
def test_the_rows_are_the_ribbon_cut(length):
    texts = drawn(1)
    ids, documents, positions = pack_documents(texts, length, EOS)
    ribbon = [(i, d) for d, text in enumerate(texts) for i in [*text, EOS]]
    rows = len(ribbon) // length
    assert ids.shape == documents.shape == positions.shape == (rows, length)
    packed = zip(ids.flatten().tolist(), documents.flatten().tolist(), strict=True)
    assert list(packed) == ribbon[: rows * length]
    for row, place in zip(documents.tolist(), positions.tolist(), strict=True):
        assert place == [t - row.index(d) for t, d in enumerate(row)]


def test_a_token_sees_its_own_document_up_to_itself():
    assert document_mask(torch.tensor([[4, 4, 9, -1]])).int().tolist() == [
        [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    ]


def test_the_mask_of_each_row_is_its_own():
    _, documents, _ = pack_documents(drawn(2), 11, EOS)
    documents[0, -3:] = -1
    mask = document_mask(documents)
    assert mask.dtype == torch.bool
    assert mask.shape == (len(documents), 11, 11)
    for b in range(len(documents)):
        for t in range(11):
            for s in range(11):
                same = documents[b, s] == documents[b, t] != -1
                assert mask[b, t, s].item() == (s <= t and bool(same))


def small_model():
    config = Config(
        vocab_size=51, width=16, layers=2, heads=2, kv_heads=1, head_size=8, feed_forward=24
    )
    return Decoder(config).double()


@pytest.mark.parametrize("kind", ["cut", "best fit"])
def test_a_packed_document_has_the_logits_that_it_has_alone(kind, close):
    model, texts = small_model(), drawn(3)
    if kind == "cut":
        ids, documents, positions = pack_documents(texts, 13, EOS)
    else:
        ids, documents, positions = pack_best_fit(texts, 13, EOS)
        assert (documents == -1).any()
    logits = model(ids, positions=positions, mask=document_mask(documents)[:, None])
    assert logits.isfinite().all()
    for b in range(len(ids)):
        for d in set(documents[b].tolist()) - {-1}:
            here = documents[b] == d
            close(logits[b, here], model(ids[b, here][None])[0])


def test_without_mask_and_positions_it_has_others(close):
    model = small_model()
    ids, documents, positions = pack_documents(drawn(3), 13, EOS)
    right = model(ids, positions=positions, mask=document_mask(documents)[:, None])
    later = documents != documents[:, :1]
    assert (model(ids) - right)[later].abs().max() > 1e-3
    assert (model(ids, positions=positions) - right)[later].abs().max() > 1e-3


def test_the_fullest_row_that_has_room_takes_a_document():
    """In the order given, 3 4 2 5 1 in rows of 5 would fill 4 rows."""
    ids, documents, positions = pack_best_fit([[1] * 3, [2] * 4, [3] * 2, [4] * 5, [5]], 5, 9)
    assert ids.tolist() == [[4] * 5, [2, 2, 2, 2, 5], [1, 1, 1, 3, 3]]
    assert documents.tolist() == [[3] * 5, [1, 1, 1, 1, 4], [0, 0, 0, 2, 2]]
    assert positions.tolist() == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 0], [0, 1, 2, 0, 1]]


def test_the_tightest_room_is_chosen_not_the_first():
    """With 8 places left in the first row and 1 in the second, one token goes to the second."""
    ids, _, _ = pack_best_fit([[1] * 12, [2] * 10, [3] * 9, [4]], 20, 0)
    assert ids.tolist() == [[1] * 12 + [0] * 8, [2] * 10 + [3] * 9 + [4]]


@pytest.mark.parametrize("seed", range(10))
def test_best_fit_cuts_nothing_that_fits_and_loses_nothing(seed):
    texts, length = drawn(seed, most=23, count=20), 10
    ids, documents, positions = pack_best_fit(texts, length, -7)
    assert (documents == -1).equal(ids == -7)
    assert (positions[documents == -1] == 0).all()
    for d, text in enumerate(texts):
        pieces = [ids[b, documents[b] == d].tolist() for b in range(len(ids))]
        pieces = sorted(filter(None, pieces), key=len, reverse=True)
        assert len(pieces) == -(-len(text) // length)
        assert sorted(i for piece in pieces for i in piece) == sorted(text)
    pieces = [min(len(t) - s, length) for t in texts for s in range(0, len(t), length)]
    assert len(ids) <= 1.25 * -(-sum(pieces) // length) + 1


def test_labels_packed_alike_lie_under_their_ids():
    texts = drawn(5)
    labels = [[IGNORED, *text[1:]] for text in texts]
    ids, documents, positions = pack_best_fit(texts, 12, EOS)
    packed, numbers, _ = pack_best_fit(labels, 12, IGNORED)
    assert numbers.equal(documents)
    learned = (documents >= 0) & (positions > 0)
    assert packed[learned].equal(ids[learned])
    assert (packed[~learned] == IGNORED).all()
    assert packed.equal(packed_labels(ids, documents))


def test_the_first_token_of_a_document_is_not_told_from_another():
    ids, documents = torch.tensor([[1, 2, 3, 4, 9]]), torch.tensor([[0, 0, 1, 2, -1]])
    assert packed_labels(ids, documents).tolist() == [[IGNORED, 2, IGNORED, IGNORED, IGNORED]]


def test_numbers_of_32_bits_will_do():
    documents = torch.tensor([[0, 0, 3, 3, -1]], dtype=torch.int32)
    assert document_positions(documents).tolist() == [[0, 1, 0, 1, 0]]
    assert document_mask(documents).equal(document_mask(documents.long()))
