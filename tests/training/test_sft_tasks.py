"""The two tasks of the lessons on fine-tuning, and the loop that weighs the prompt."""

import pytest
import torch
from training_models import small_model

from clearhead.training import IGNORED, chunked_loss, hidden_states, make_rows, vocabulary_matrix
from clearhead.training.excerpts import KINDS, excerpts
from clearhead.training.one_word import ONE_WORD, UNSEEN, chats
from clearhead.training.tune import tune, weighted_loss


def batch():
    ids = torch.tensor([[5, 6, 7, 8, 9, 0], [5, 6, 8, 0, 0, 0]])
    labels = torch.tensor(
        [[IGNORED, IGNORED, 7, 8, 9, IGNORED], [IGNORED, IGNORED, 8, *[IGNORED] * 3]]
    )
    return ids, labels, ids != 0


def plain(model, ids, labels):
    return chunked_loss(hidden_states(model, ids), vocabulary_matrix(model), labels)


def test_held_out_text_and_unseen_excerpts_are_in_no_text_that_is_trained_on():
    data = excerpts()
    together = " ".join(" ".join(text.split()) for text in data.text)
    assert not any(" ".join(part.split())[:200] in together for part in data.held_out)
    known = {chat[0]["content"] for chat in data.chats}
    again = [chat for chat in data.unseen if chat[0]["content"] in known]
    assert len(again) < 0.02 * len(data.unseen)


def test_every_kind_of_excerpt_is_on_both_sides():
    data = excerpts()
    answers = {f"This is about {kind}." for kind in KINDS}
    assert (
        {c[1]["content"] for c in data.chats} == {c[1]["content"] for c in data.unseen} == answers
    )


def test_no_unseen_question_and_no_unseen_answer_is_an_example():
    for unseen, known in zip(zip(*UNSEEN, strict=True), zip(*ONE_WORD, strict=True), strict=True):
        assert not set(unseen) & set(known)
    assert chats(UNSEEN)[0][1] == {"role": "assistant", "content": "Berlin"}


def test_weight_zero_is_the_loss_of_the_answers():
    model, (ids, labels, real) = small_model(), batch()
    assert torch.allclose(weighted_loss(model, ids, labels, real, 0.0), plain(model, ids, labels))


def test_weight_one_is_the_loss_of_every_real_token():
    model, (ids, labels, real) = small_model(), batch()
    everything = ids.masked_fill(~real, IGNORED)
    assert torch.allclose(
        weighted_loss(model, ids, labels, real, 1.0), plain(model, ids, everything)
    )


def test_ids_of_32_bits_will_do():
    model, (ids, labels, real) = small_model(), batch()
    want = weighted_loss(model, ids, labels, real, 0.5)
    assert torch.equal(weighted_loss(model, ids.int(), labels.int(), real, 0.5), want)


def test_a_weight_between_counts_in_the_divisor_too():
    model, (ids, labels, real) = small_model(), batch()
    answers, whole = (weighted_loss(model, ids, labels, real, w) for w in (0.0, 1.0))
    n, m = 4, 2  # labels of answers, and real labels that are none
    expected = (n * answers + 0.25 * ((n + m) * whole - n * answers)) / (n + 0.25 * m)
    assert torch.allclose(weighted_loss(model, ids, labels, real, 0.25), expected)


def test_tuning_lowers_the_loss_and_refuses_a_frozen_model():
    model, data = small_model(), batch()
    make_rows(*data[:2])
    losses = tune(model, *data, prompt_weight=0.0, steps=20, batch=2, learning_rate=1e-2)
    assert losses[-1] < losses[0] / 2
    with pytest.raises(ValueError, match="requires a gradient"):
        tune(
            model.requires_grad_(False),
            *data,
            prompt_weight=0.0,
            steps=1,
            batch=1,
            learning_rate=1.0,
        )
