"""Pairs as rows of ids, the reference under the adapters, and the loop that learns from them."""

from functools import partial

import pytest
import torch
from preference_models import PAIRS, Letters, preference_model, small_pairs

from clearhead import lora
from clearhead.preference import (
    Pairs,
    Scores,
    dpo_loss,
    encode_pairs,
    measure_pairs,
    orpo_loss,
    pair_log_probs,
    pair_loss,
    prefer,
    reference_log_probs,
    sequence_log_prob,
    simpo_loss,
)

DPO = partial(dpo_loss, beta=0.1)


def with_adapters(**options):
    model = preference_model()
    lora.apply(model, ["query", "value"], r=2, alpha=4, **options)
    return model


def moved_adapters(model):
    for p in lora.lora_parameters(model):
        torch.nn.init.normal_(p, std=0.3)
    return model


# --- rows ----------------------------------------------------------------------------------------


def test_the_answer_and_its_end_are_marked_and_nothing_else():
    pairs = small_pairs()
    assert pairs.ids.shape == pairs.completion.shape == (2, len(PAIRS), 9)
    for which in (0, 1):
        for i, pair in enumerate(PAIRS):
            marked = pairs.ids[which, i][pairs.completion[which, i]].tolist()
            assert marked == [*Letters().encode(pair[1 + which]), Letters.eos_id]
    assert pairs.tokens().tolist() == [[4, 3, 2, 5], [3, 7, 4, 5]]
    asked = Letters().encode("ab>")
    assert pairs.ids[:, 0, :3].tolist() == [asked, asked]


def test_a_system_message_stands_before_both_answers():
    with_system = encode_pairs(Letters(), PAIRS, system="be")
    assert (with_system.ids[:, :, :2] == torch.tensor(Letters().encode("be"))).all()
    assert with_system.tokens().equal(small_pairs().tokens())


def test_taking_pairs_cuts_what_nobody_reads():
    part = small_pairs().take(torch.tensor([0, 2]))
    assert part.ids.shape == (2, 2, 8) and part.tokens().tolist() == [[4, 2], [3, 4]]


# --- log-probabilities ---------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"tied": True}])
def test_log_probs_of_pairs_are_those_of_each_answer_alone(changes):
    """Neither padding nor the partner changes them."""
    model = preference_model(**changes)
    together = pair_log_probs(model, small_pairs(), chunk=5)
    for which in (0, 1):
        for i, pair in enumerate(PAIRS):
            asked = Letters().encode(pair[0] + ">")
            ids = torch.tensor([[*asked, *Letters().encode(pair[1 + which]), 0]])
            marked = torch.arange(ids.shape[1])[None] >= len(asked)
            alone = sequence_log_prob(model(ids), ids, marked)
            torch.testing.assert_close(together[which, i], alone[0])


def test_the_reference_of_adapters_is_their_base_and_they_come_back():
    base = pair_log_probs(preference_model(), small_pairs()).detach()
    model = moved_adapters(with_adapters())
    before = pair_log_probs(model, small_pairs())
    torch.testing.assert_close(reference_log_probs(model, small_pairs(), batch=3), base)
    assert lora.active(model) == "default" and not torch.allclose(before, base)
    assert pair_log_probs(model, small_pairs()).equal(before)


def test_the_adapters_come_back_after_an_error():
    model, pairs = with_adapters(), small_pairs()
    wrong = Pairs(pairs.ids + 100, pairs.completion)
    with pytest.raises(ValueError, match="vocabulary"):
        reference_log_probs(model, wrong)
    assert lora.active(model) == "default"


def test_the_reference_of_a_plain_model_is_the_model_without_gradients():
    model = preference_model()
    reference = reference_log_probs(model, small_pairs())
    assert not reference.requires_grad
    torch.testing.assert_close(reference, pair_log_probs(model, small_pairs()))


# --- losses by name ------------------------------------------------------------------------------


def test_a_loss_is_given_what_it_names():
    ones = torch.ones(3, dtype=torch.float64)
    counts = torch.tensor([1, 2, 3])
    scores = Scores(-ones, -2 * ones, counts, counts + 1, -3 * ones, -ones)
    want = simpo_loss(-ones, -2 * ones, counts, counts + 1, beta=2.0, gamma=0.5)
    assert pair_loss(partial(simpo_loss, beta=2.0, gamma=0.5), scores).equal(want)
    want = dpo_loss(-ones, -2 * ones, -3 * ones, -ones, beta=0.3)
    assert pair_loss(partial(dpo_loss, beta=0.3), scores).equal(want)


# --- the loop ------------------------------------------------------------------------------------


def by_hand(model, pairs, steps, lr):
    """DPO with a second, frozen model and torch's own loop."""
    frozen = preference_model()
    optimiser = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=lr, weight_decay=0.0
    )
    losses = []
    for _ in range(steps):
        policy, reference = (
            [sequence_log_prob(m(i), i, c) for i, c in zip(*pairs, strict=True)]
            for m in (model, frozen)
        )
        loss = dpo_loss(*policy, *(x.detach() for x in reference), beta=0.1)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("make", [preference_model, with_adapters])
def test_the_loop_is_dpo_with_a_frozen_copy(make):
    model, twin = make(), make()
    twin.load_state_dict(model.state_dict())
    history = prefer(model, small_pairs(), loss=DPO, steps=4, lr=0.02)
    assert history.loss.tolist() == pytest.approx(by_hand(twin, small_pairs(), 4, 0.02), abs=1e-9)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-7, rtol=0)


def test_the_margin_grows_and_what_is_frozen_stays():
    model = with_adapters()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    history = prefer(model, small_pairs(), loss=DPO, steps=25, lr=0.03)
    assert history.loss[0].item() == pytest.approx(0.6931, abs=1e-4) and history.loss[-1] < 0.5
    assert abs(history.margin[0]) < 1e-12 and history.margin[-1] > 2
    assert history.accuracy[-1] == 1
    moved = {name for name, p in model.named_parameters() if not p.equal(before[name])}
    assert moved and all("adapters" in name for name in moved)


def test_the_history_is_what_measuring_says_before_each_step():
    model, pairs, seen = with_adapters(), small_pairs(), []
    reference = reference_log_probs(model, pairs)

    def watch(done):
        seen.append((done, measure_pairs(model, pairs, reference, loss=DPO, batch=3)))

    history = prefer(model, pairs, loss=DPO, steps=3, lr=0.03, watch=watch)
    assert [done for done, _ in seen] == [0, 1, 2, 3]
    for name in (*history._fields, "margin"):
        at_steps = torch.stack([getattr(m, name) for _, m in seen[:3]])
        first = name == "accuracy"  # at first all margins are 0, but for rounding
        torch.testing.assert_close(getattr(history, name)[first:], at_steps[first:])
    torch.testing.assert_close(history.chosen_gain, history.chosen - reference[0].mean())


def test_a_batch_reads_its_pairs_and_their_reference():
    """Adam's first step is the same size whatever the gradient, so the order would show."""
    model, pairs = preference_model(), small_pairs()
    reference = reference_log_probs(model, pairs)
    history = prefer(model, pairs, loss=DPO, steps=2, lr=1e-9, batch=2, seed=3)
    rows = sorted([history.chosen[s].item() for s in (0, 1)])
    means = {
        (i, j): (reference[0, i] + reference[0, j]).item() / 2 for i in range(4) for j in range(i)
    }
    assert all(any(abs(r - m) < 1e-6 for m in means.values()) for r in rows)
    assert history.margin.abs().max() < 1e-5
    again = prefer(preference_model(), pairs, loss=DPO, steps=2, lr=1e-9, batch=2, seed=3)
    torch.testing.assert_close(again.chosen, history.chosen, atol=1e-6, rtol=0)


def test_another_model_or_numbers_may_be_the_reference():
    other, pairs = preference_model(seed=1), small_pairs()
    fixed = reference_log_probs(other, pairs)
    losses = [
        prefer(preference_model(), pairs, loss=DPO, steps=2, lr=0.01, reference=r).loss
        for r in (other, fixed)
    ]
    assert losses[0].equal(losses[1]) and abs(losses[0][0].item() - 0.6931) > 0.01


@pytest.mark.parametrize("loss", [partial(simpo_loss, beta=2.0, gamma=0.5), orpo_loss])
def test_losses_without_a_reference_run_too(loss):
    history = prefer(preference_model(), small_pairs(), loss=loss, steps=15, lr=0.02)
    assert history.loss[-1] < history.loss[0] and history.margin[-1] > 1


def test_a_step_that_is_not_finite_is_not_made():
    model = preference_model()
    before = [p.detach().clone() for p in model.parameters()]

    def broken(chosen):
        return chosen.mean() * torch.inf

    with pytest.raises(FloatingPointError, match="step 0 has loss -inf"):
        prefer(model, small_pairs(), loss=broken, steps=1, lr=0.01)
    assert all(p.equal(q) for p, q in zip(model.parameters(), before, strict=True))
