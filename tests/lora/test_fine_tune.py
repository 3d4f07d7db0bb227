"""The loop of clearhead.lora.fine_tune: what is learned, what is not, and what moves."""

import pytest
import torch
import torch.nn.functional as F

from clearhead.lora.fine_tune import IGNORED, answer_loss, encode_chats, fine_tune, reply, text_loss
from clearhead.lora.voices import CARD, PIRATE, PROSE, UNSEEN
from clearhead.model import Config, Decoder


class Letters:
    """A tokenizer of one token a letter, whose chat template is `question>`."""

    eos_id = 0

    def encode(self, text):
        return [1 + ord(letter) % 60 for letter in text]

    def decode(self, ids):
        return "".join(chr(96 + int(i)) for i in ids)

    def chat(self, messages):
        return "".join(message["content"] for message in messages) + ">"


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Decoder(
        Config(
            vocab_size=64,
            width=16,
            layers=2,
            heads=2,
            kv_heads=1,
            head_size=8,
            feed_forward=32,
            tied=True,
        )
    )


CHATS = [("ab", "cde"), ("a", "fghij")]


def test_the_labels_are_the_answer_and_the_token_that_ends_it():
    ids, labels = encode_chats(Letters(), CHATS)
    assert ids.shape == labels.shape == (2, 8)
    assert (labels != IGNORED).sum(1).tolist() == [4, 6]
    assert labels[0, :3].tolist() == [IGNORED] * 3  # a, b and the template
    assert labels[0, 3:7].tolist() == [*Letters().encode("cde"), 0]
    assert (ids == labels)[labels != IGNORED].all()


def test_the_loss_is_the_cross_entropy_of_the_answers_alone(model):
    ids, labels = encode_chats(Letters(), CHATS)
    logits = model(ids)[:, :-1].flatten(0, 1)
    expected = F.cross_entropy(logits, labels[:, 1:].flatten(), ignore_index=IGNORED)
    assert torch.allclose(answer_loss(model, ids, labels), expected, atol=1e-6)


def test_padding_and_the_other_rows_change_nothing(model):
    together = answer_loss(model, *encode_chats(Letters(), CHATS))
    alone = [answer_loss(model, *encode_chats(Letters(), [chat])) for chat in CHATS]
    assert torch.allclose(together, (4 * alone[0] + 6 * alone[1]) / 10, atol=1e-6)


def test_only_what_requires_a_gradient_moves(model):
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.endswith("query.weight"))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    losses = fine_tune(model, *encode_chats(Letters(), CHATS), learning_rate=1e-2, steps=4, batch=2)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name in before if name.endswith("query.weight")}
    assert len(losses) == 4 and losses[-1] < losses[0]


def test_the_rows_of_a_batch_come_round_in_order(model):
    ids, labels = encode_chats(Letters(), [("a", "b"), ("c", "d"), ("e", "f")])
    first = fine_tune(model, ids, labels, learning_rate=0.0, steps=3, batch=2)
    expected = [answer_loss(model, ids[r], labels[r]).item() for r in ([0, 1], [2, 0], [1, 2])]
    assert first == pytest.approx(expected, abs=1e-6)


def test_the_watcher_sees_every_number_of_steps_and_changes_nothing(model):
    ids, labels = encode_chats(Letters(), CHATS)
    seen, start = [], {name: x.clone() for name, x in model.state_dict().items()}
    given = {"learning_rate": 1e-2, "steps": 3, "batch": 1}
    watched = fine_tune(model, ids, labels, **given, watch=seen.append)
    model.load_state_dict(start)
    assert seen == [0, 1, 2, 3] and watched == fine_tune(model, ids, labels, **given)


def test_a_model_in_which_everything_is_frozen_is_refused(model):
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="apply LoRA first"):
        fine_tune(model, *encode_chats(Letters(), CHATS), learning_rate=1e-3, steps=1, batch=1)


def test_labels_without_an_answer_and_empty_chats_are_refused(model):
    ids, labels = encode_chats(Letters(), CHATS)
    with pytest.raises(ValueError, match="nothing to learn"):
        answer_loss(model, ids, torch.full_like(labels, IGNORED))
    with pytest.raises(ValueError, match="chats is empty"):
        encode_chats(Letters(), [])


def test_the_loss_of_a_text_is_a_mean_over_all_tokens_and_not_over_texts(model):
    texts = ["abcdefgh", "ab"]
    short, long = (text_loss(model, Letters(), [text]) for text in texts[::-1])
    assert text_loss(model, Letters(), texts) == pytest.approx((7 * long + short) / 8, abs=1e-6)


def test_a_reply_stops_at_the_end_token_or_at_the_limit(model):
    with torch.no_grad():
        model.embedding.weight[0] = 0.0  # the logit of the end token is then 0
    assert len(reply(model, Letters(), "abc", at_most=5)) <= 5
    with torch.no_grad():
        model.norm.weight.zero_()  # all logits are 0: the first is taken, and it ends the answer
    assert reply(model, Letters(), "abc", at_most=5) == ""


def test_no_unseen_question_and_no_prose_is_in_the_training_data():
    asked = {question for question, _ in PIRATE + CARD}
    assert not asked & {question for question, _ in UNSEEN}
    assert len(PIRATE) == len(CARD) == 16 and len(UNSEEN) == 8 and len(PROSE) == 4
