"""A reward model reads a row at its last token, and learns which answers were chosen."""

import math

import pytest
import torch
from preference_models import Letters, preference_model, small_pairs

from clearhead import lora
from clearhead.preference import RewardModel, encode_pairs, score_pairs, train_reward
from clearhead.training import hidden_states


def reward_model(**changes):
    model = RewardModel(preference_model(**changes))
    torch.nn.init.normal_(model.head)
    return model


def test_the_score_is_read_at_the_last_token_and_padding_changes_nothing():
    model = reward_model()
    ids = torch.randint(0, 32, (3, 8))
    real = torch.arange(8)[None] < torch.tensor([[8], [3], [5]])
    scores = model(ids, real)
    for i, length in enumerate((8, 3, 5)):
        row = ids[i : i + 1, :length]
        want = hidden_states(model.body, row)[0, -1] @ model.head
        torch.testing.assert_close(scores[i], want)
        torch.testing.assert_close(model(row, torch.ones_like(row, dtype=torch.bool))[0], want)


def test_pairs_are_scored_at_the_end_of_each_answer():
    model, pairs = reward_model(), small_pairs()
    scores = score_pairs(model, pairs)
    for which in (0, 1):
        for i in range(pairs.ids.shape[1]):
            end = int(pairs.completion[which, i].nonzero().max()) + 1
            row = pairs.ids[which, i : i + 1, :end]
            want = model(row, torch.ones_like(row, dtype=torch.bool))[0]
            torch.testing.assert_close(scores[which, i], want)


def test_a_new_head_has_no_opinion():
    model = RewardModel(preference_model())
    losses, _ = train_reward(model, small_pairs(), steps=1, lr=0.01)
    assert losses == [pytest.approx(math.log(2))]


def test_it_learns_a_rule_and_holds_to_it_on_new_pairs():
    """Answers with an x are chosen, wherever it stands."""
    draw, letters = torch.Generator().manual_seed(0), "abcdefgh"

    def pair():
        def word(n):
            return "".join(letters[i] for i in torch.randint(8, (n,), generator=draw).tolist())

        place = int(torch.randint(3, (1,), generator=draw))
        liked = word(place) + "x" + word(2 - place)
        return word(2), liked, word(3)

    pairs = [encode_pairs(Letters(), [pair() for _ in range(n)]) for n in (48, 48)]
    model = RewardModel(preference_model())
    losses, accuracies = train_reward(model, pairs[0], steps=40, lr=0.01, batch=24)
    assert losses[-1] < 0.3 and accuracies[-1] > 0.9
    chosen, rejected = score_pairs(model, pairs[1])
    assert (chosen > rejected).double().mean() > 0.8


def test_adapters_and_head_learn_and_the_base_stays():
    model = RewardModel(preference_model())
    lora.apply(model.body, ["query", "value"], r=2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train_reward(model, small_pairs(), steps=3, lr=0.05)
    moved = {name for name, p in model.named_parameters() if not p.equal(before[name])}
    assert "head" in moved and all(name == "head" or "adapters" in name for name in moved)


def test_padding_at_the_left_and_empty_rows_are_refused():
    model, ids = reward_model(), torch.ones(2, 3, dtype=torch.int64)
    for wrong in ([[True] * 3, [False, True, True]], [[True] * 3, [False] * 3]):
        with pytest.raises(ValueError, match="filled up at the right"):
            model(ids, torch.tensor(wrong))
