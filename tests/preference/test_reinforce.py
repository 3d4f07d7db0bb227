"""The board and the loop: what is right, what is learned, and what each setting changes."""

import itertools
from dataclasses import replace

import pytest
import torch
from policy_models import EOS, Echo, V, dice, policy

from clearhead.preference import (
    DAPO,
    GRPO,
    Board,
    Settings,
    aggregate_loss,
    answer_log_probs,
    clipped_surrogate,
    collect,
    dapo_loss,
    group_advantages,
    grpo_loss,
    policy_loss,
    reinforce,
    success_rate,
)

SMALL = Settings(prompts=4, group=4, minibatches=2, learning_rate=3e-3)
BOARD = Board(side=3, limit=5)  # cells 0 1 2 / 3 4 5 / 6 7 8, goals 9 to 17, EOS 18


# the board


@pytest.mark.parametrize(
    ("answer", "ended", "right"),
    [
        ([4, 8], True, True),  # diagonally
        ([1, 2, 5, 8], True, True),  # around
        ([4, 8], False, False),  # at the goal, and no EOS
        ([4], True, False),  # short of the goal
        ([8], True, False),  # a jump
        ([3, 2, 5, 8], True, False),  # from the end of a row to the next
        ([4, 8, 7], True, False),  # past the goal
        ([0, 4, 8], True, False),  # stands still first
        ([4, 17], True, False),  # the goal's own id is no cell
        ([3, 6, 9, 7, 8], True, False),  # through the row below the board
        ([], True, False),
    ],
)
def test_what_is_right_on_the_board(answer, ended, right):
    assert BOARD.is_right([17, 0], answer, ended) is right
    found = BOARD.correct(torch.tensor([[17, 0]]), [answer], torch.tensor([ended]))
    assert found.tolist() == [right]


def test_prompts_name_two_different_cells_and_all_of_them_occur():
    drawn = {tuple(p) for p in BOARD.prompts(2000, dice()).tolist()}
    assert drawn == {tuple(p) for p in BOARD.every_prompt().tolist()}
    assert len(drawn) == 9 * 8 and all(goal - 9 != start for goal, start in drawn)


def test_a_demonstration_draws_on_the_device_of_its_generator(monkeypatch):
    devices, drawn = [], torch.rand

    def watched(*size, device=None, **options):
        devices.append(device)
        return drawn(*size, **options)

    monkeypatch.setattr(torch, "rand", watched)
    BOARD.demonstration([17, 0], dice())
    assert devices == [dice().device]


def test_demonstrations_are_legal_and_mostly_but_not_always_right():
    prompts = BOARD.prompts(400, dice()).tolist()
    generator, right = dice(1), 0
    for prompt in prompts:
        walk = BOARD.demonstration(prompt, generator)
        ended = walk[-1] == BOARD.eos
        cells = walk[:-1] if ended else walk
        assert ended or len(walk) == 2 * BOARD.limit
        path = [prompt[1], *cells]
        assert all(BOARD.distance(a, b) == 1 for a, b in itertools.pairwise(path))
        right += BOARD.is_right(prompt, cells, ended)
    assert 0.5 < right / 400 < 0.99
    ids, labels, real = BOARD.demonstrations(10, dice())
    assert (labels[:, :2] == -100).all() and (real == (ids.cumsum(1) > -1) & real).all()
    assert (labels[:, 2:] == -100).equal(~real[:, 2:])


# the loop


def test_grpo_and_dapo_learn_the_echo():
    """Right by chance now and then; after 16 steps mostly."""
    for settings in (SMALL, replace(SMALL, high=0.28, how="token", dynamic=True, cache=2)):
        model = policy(torch.float32, std=0.1)
        wide = replace(settings, prompts=8, group=8, learning_rate=1e-2)
        history = reinforce(model, Echo(), wide, steps=16)
        early = sum(step.accuracy for step in history[:3]) / 3
        late = sum(step.accuracy for step in history[-3:]) / 3
        assert early < 0.4 and late > 0.7
        assert success_rate(model, Echo(), torch.tensor([[0], [1], [2]]), answers=50) > 0.7
        assert history[-1].entropy < history[0].entropy


def test_fewer_answers_than_minibatches_are_an_update_each():
    ends = []
    for minibatches in (2, 4):
        model = policy(std=0.1)
        few = replace(SMALL, prompts=1, group=2, minibatches=minibatches)
        reinforce(model, Echo(), few, steps=2)
        ends.append(model.embedding.weight.detach())
    assert ends[0].equal(ends[1])


def test_the_same_seed_gives_the_same_run():
    runs = []
    for seed in (0, 0, 1):
        model = policy()
        history = reinforce(model, Echo(), SMALL, steps=2, seed=seed)
        runs.append(([step._replace(seconds={}) for step in history], model.embedding.weight))
    assert runs[0][0] == runs[1][0] and runs[0][1].equal(runs[1][1])
    assert not runs[0][1].equal(runs[2][1])


def test_without_scaling_and_with_another_mean_the_run_is_another():
    ends = []
    for changes in ({}, {"scale": False}, {"how": "constant"}, {"minibatches": 1}):
        model = policy(std=0.1)
        reinforce(model, Echo(), replace(SMALL, **changes), steps=1)
        ends.append(model.embedding.weight.detach())
    for i, a in enumerate(ends):
        assert not any(a.equal(b) for b in ends[:i])


def test_the_first_update_goes_along_the_gradient_of_reinforce():
    """One minibatch, on the policy: no clip, whatever its bounds."""
    settings = replace(SMALL, minibatches=1)
    model = policy(std=0.1)
    chosen, rewards, _ = collect(model, Echo(), settings, dice())
    assert 0 < (rewards > 0).sum() < rewards.numel()
    advantages = group_advantages(rewards.flatten().double(), settings.group)
    loss, clipped = policy_loss(model, chosen, advantages, settings, length=Echo.limit)
    assert clipped == 0.0 and abs(loss.item()) < 1e-12  # and yet there is much to learn:
    got = torch.autograd.grad(loss, list(model.parameters()))
    assert max(g.abs().max() for g in got) > 1e-3
    plain = -advantages[:, None] * answer_log_probs(model, chosen)
    want = aggregate_loss(plain, chosen.mask, "sequence")
    for a, b in zip(got, torch.autograd.grad(want, list(model.parameters())), strict=True):
        torch.testing.assert_close(a, b)


def off_policy_batch():
    """Answers of one policy, another one to update."""
    sampler = policy(std=0.1)
    chosen, rewards, _ = collect(sampler, Echo(), replace(SMALL, prompts=24), dice())
    advantages = group_advantages(rewards.flatten().double(), SMALL.group)
    assert (advantages != 0).sum() > 8
    return policy(seed=1, std=0.2), chosen, advantages


def test_settings_choose_the_loss():
    model, chosen, advantages = off_policy_batch()
    new, old, mask = answer_log_probs(model, chosen), chosen.log_probs, chosen.mask

    def loss(**changes):
        settings = replace(SMALL, **changes)
        return policy_loss(model, chosen, advantages, settings, length=Echo.limit)[0]

    close = torch.testing.assert_close
    close(loss(), grpo_loss(new, old, advantages, mask))
    close(loss(how="token", high=0.28), dapo_loss(new, old, advantages, mask))
    each = clipped_surrogate(new, old, advantages[:, None].expand_as(new), low=0.1, high=0.5)
    close(loss(how="constant", low=0.1, high=0.5), aggregate_loss(each, mask, "constant", length=4))
    ended = mask & chosen.ended[:, None]
    assert not ended.equal(mask)
    close(loss(filtered=True), grpo_loss(new, old, advantages, ended))
    close(loss(filtered=True, how="token"), dapo_loss(new, old, advantages, ended, high=0.2))


def test_rewards_are_plus_and_minus_one_and_the_penalty_is_added():
    settings = replace(SMALL, prompts=8)
    plain, penalised = (
        collect(policy(), Echo(), replace(settings, cache=cache), dice()) for cache in (None, 2)
    )
    assert set(plain[1].flatten().tolist()) == {-1.0, 1.0}
    lengths = plain[0].lengths.view(8, 4)
    torch.testing.assert_close(penalised[1] - plain[1], ((2 - lengths) / 2).clamp(-1, 0))


def test_dynamic_sampling_keeps_mixed_prompts_with_their_answers():
    settings = replace(SMALL, dynamic=True, most_rounds=50)
    model = policy()
    chosen, rewards, tally = collect(model, Echo(), settings, dice())
    assert rewards.shape == (4, 4) and len(tally.answers) > 1
    assert (rewards.amax(1) > rewards.amin(1)).all()
    prompt = chosen.ids[:, -chosen.mask.shape[1] - 1 : -chosen.mask.shape[1]]
    right = Echo().correct(prompt, chosen.answers(), chosen.ended)
    assert (2.0 * right - 1).equal(rewards.flatten())
    torch.testing.assert_close(chosen.log_probs, answer_log_probs(model, chosen).detach())


class Hopeless(Echo):
    """Nothing is ever right."""

    def correct(self, prompts, answers, ended):
        return torch.zeros(len(answers), dtype=torch.bool)


def test_a_task_that_cannot_be_learned_changes_nothing_and_is_reported():
    model, before = policy(), policy()
    history = reinforce(model, Hopeless(), replace(SMALL, dynamic=True, most_rounds=2), steps=2)
    assert [(step.kept, step.sampled, step.accuracy) for step in history] == [(0, 32, 0.0)] * 2
    history = reinforce(model, Hopeless(), SMALL, steps=1)
    assert history[0].mixed == 0.0 and history[0].loss == 0.0
    for a, b in zip(model.parameters(), before.parameters(), strict=True):
        assert a.equal(b)


def test_a_step_reports_what_was_sampled():
    seen = []
    model = policy()
    [step] = reinforce(model, Echo(), SMALL, steps=1, watch=lambda n, s: seen.append((n, s)))
    answers = collect(policy(), Echo(), SMALL, dice())[0]
    assert seen == [(1, step)]
    assert step.sampled == 16 and step.kept == 4
    assert step.length == pytest.approx(answers.lengths.double().mean().item())
    assert step.cut == pytest.approx((~answers.ended).double().mean().item())
    assert step.entropy == pytest.approx(answers.entropy[answers.mask].mean().item())
    assert set(step.seconds) == {"rollout", "reward", "update"}


def test_a_gradient_that_is_not_finite_ends_the_run_before_the_update():
    model = policy()
    settings = replace(SMALL, minibatches=1)
    model.norm.weight.register_hook(lambda gradient: gradient * torch.nan)
    before = model.embedding.weight.detach().clone()
    with pytest.raises(FloatingPointError, match="this update was not made"):
        reinforce(model, Echo(), settings, steps=3)
    assert model.embedding.weight.equal(before)


def test_ready_made_settings_are_those_of_the_papers():
    assert (GRPO.low, GRPO.high, GRPO.how, GRPO.dynamic, GRPO.cache) == (
        *(0.2, 0.2, "sequence", False),
        None,
    )
    assert (DAPO.low, DAPO.high, DAPO.how, DAPO.dynamic) == (0.2, 0.28, "token", True)
    assert EOS < V
