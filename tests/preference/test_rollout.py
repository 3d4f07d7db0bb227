"""Sampled answers: their log-probs are the model's, padding changes nothing, EOS and limit end."""

import pytest
import torch
from policy_models import EOS, dice, policy

from clearhead.preference import answer_log_probs, rollout
from clearhead.preference.rollout import join

PROMPTS = [[1, 2, 3], [4], [5, 0]]


def sample(model, prompts=PROMPTS, group=4, limit=5, seed=0):
    return rollout(model, prompts, group, limit=limit, eos=EOS, generator=dice(seed))


@pytest.mark.parametrize("prompts", [PROMPTS, torch.tensor([[1, 2], [3, 4]])])
def test_old_and_new_log_probs_are_those_of_the_whole_sequence_alone(prompts):
    """Each answer again without padding, cache or batch."""
    model = policy()
    sampled = sample(model, prompts)
    new = answer_log_probs(model, sampled)
    torch.testing.assert_close(sampled.log_probs, new.detach())
    for i, answer in enumerate(sampled.answers()):
        prompt = list(map(int, prompts[i // 4]))
        whole = torch.tensor([prompt + answer + [EOS] * int(sampled.ended[i])])
        log_p = model(whole).log_softmax(-1)[0, len(prompt) - 1 : -1]
        want = log_p.gather(1, whole[0, len(prompt) :, None])[:, 0]
        torch.testing.assert_close(new[i, : len(want)], want)
        assert (new[i, len(want) :] == 0).all()
        entropy = -(log_p.exp() * log_p).sum(1)
        torch.testing.assert_close(sampled.entropy[i, : len(want)], entropy.detach())


def test_an_answer_ends_with_its_first_eos_or_at_the_limit():
    sampled = sample(policy(), group=32)
    assert 0 < sampled.ended.sum() < len(sampled.ended)
    for row, n, ended in zip(
        sampled.completion.tolist(), sampled.lengths.tolist(), sampled.ended.tolist(), strict=True
    ):
        if ended:
            assert row.index(EOS) == n - 1
            assert set(row[n - 1 :]) == {EOS}
        else:
            assert EOS not in row and n == 5
    lengths = [len(answer) + e for answer, e in zip(sampled.answers(), sampled.ended, strict=True)]
    assert lengths == sampled.lengths.tolist()


def test_answers_are_drawn_as_often_as_they_are_likely():
    model = policy()
    n = 20_000
    first = sample(model, [[1, 2]], group=n, limit=1).completion[:, 0]
    p = model(torch.tensor([[1, 2]])).softmax(-1)[0, -1]
    share = first.bincount(minlength=len(p)) / n
    assert (share - p).abs().max() < 4 * (0.25 / n) ** 0.5


def test_the_answers_of_one_prompt_stand_side_by_side_and_differ():
    sampled = sample(policy(), group=8)
    starts = sampled.ids[:, 2].view(3, 8)  # the last token of the prompt
    assert starts.tolist() == [[3] * 8, [4] * 8, [0] * 8]
    assert len({tuple(answer) for answer in sampled.answers()[:8]}) > 1


def test_the_same_dice_give_the_same_answers():
    model = policy()
    assert sample(model).ids.equal(sample(model).ids)
    assert sample(model).answers() != sample(model, seed=1).answers()


def test_rollouts_of_unequal_sizes_join():
    model = policy()
    parts = [sample(model, [[1, 2, 3]], limit=2), sample(model, [[4], [5]], limit=6, seed=1)]
    whole = join(parts)
    assert whole.answers() == parts[0].answers() + parts[1].answers()
    assert whole.ended.tolist() == parts[0].ended.tolist() + parts[1].ended.tolist()
    torch.testing.assert_close(answer_log_probs(model, whole).detach(), whole.log_probs)
    index = torch.tensor([5, 0])
    taken = whole.take(index)
    assert taken.answers() == [whole.answers()[5], whole.answers()[0]]


def test_the_gradient_of_the_log_probs_is_that_of_the_plain_pass():
    model = policy()
    sampled = sample(model)
    parameters = list(model.parameters())
    got = torch.autograd.grad(answer_log_probs(model, sampled).sum(), parameters)
    total = 0.0
    for i, answer in enumerate(sampled.answers()):
        prompt = PROMPTS[i // 4]
        whole = torch.tensor([prompt + answer + [EOS] * int(sampled.ended[i])])
        log_p = model(whole).log_softmax(-1)[0, len(prompt) - 1 : -1]
        total = total + log_p.gather(1, whole[0, len(prompt) :, None]).sum()
    for a, b in zip(got, torch.autograd.grad(total, parameters), strict=True):
        torch.testing.assert_close(a, b)
