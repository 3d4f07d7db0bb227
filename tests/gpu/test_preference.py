"""On a GPU: sampled log-probs are the model's, losses are the CPU's, no stored logits, a run."""

import sys
from pathlib import Path

import pytest
import torch

from clearhead.preference import (
    DAPO,
    Board,
    Settings,
    answer_log_probs,
    chunked_grpo_loss,
    dapo_loss,
    gae,
    group_advantages,
    reinforce,
    rollout,
    starting_policy,
)

sys.path.append(str(Path(__file__).parents[1] / "preference"))
from policy_models import EOS, Echo, policy

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("prompts", [[[1, 2, 3], [4]], [[1, 2], [3, 4]]])
def test_sampled_log_probs_are_the_model_s(prompts):
    model = policy(torch.float32).cuda()
    dice = torch.Generator("cuda").manual_seed(0)
    sampled = rollout(model, prompts, 64, limit=5, eos=EOS, generator=dice)
    assert sampled.ids.is_cuda and 0 < sampled.ended.sum() < len(sampled.ended)
    torch.testing.assert_close(
        sampled.log_probs, answer_log_probs(model, sampled).detach(), atol=1e-4, rtol=1e-4
    )


def test_losses_and_advantages_are_the_cpu_s():
    new, old = torch.randn(2, 8, 5).double()
    mask = torch.rand(8, 5) < 0.7
    advantages = group_advantages(torch.randn(8).double(), 4)
    rewards, values, done = torch.randn(8, 5), torch.randn(8, 6), torch.rand(8, 5) < 0.2
    torch.testing.assert_close(
        dapo_loss(*(x.cuda() for x in (new, old, advantages, mask))).cpu(),
        dapo_loss(new, old, advantages, mask),
    )
    there = gae(rewards.cuda(), values.cuda(), done.cuda())
    torch.testing.assert_close([x.cpu() for x in there], list(gae(rewards, values, done)))


def test_the_chunked_loss_in_bf16_stores_no_logits():
    B, T, C, V = 4, 512, 256, 32_000
    hidden = torch.randn(B, T, C, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    matrix = torch.randn(V, C, device="cuda", dtype=torch.bfloat16) / C**0.5
    matrix.requires_grad_(True)
    ids = torch.randint(0, V, (B, T), device="cuda")
    old = torch.full((B, T), -10.0, device="cuda")
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0], device="cuda")
    mask = torch.ones(B, T, dtype=torch.bool, device="cuda")
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    chunked_grpo_loss(hidden, matrix, ids, old, advantages, mask, chunk=64).backward()
    assert torch.cuda.max_memory_allocated() - before < B * T * V * 2
    assert torch.isfinite(matrix.grad).all()


def test_a_run_learns():
    model = policy(torch.float32, std=0.1).cuda()
    settings = Settings(prompts=8, group=8, minibatches=2, learning_rate=1e-2, dynamic=True)
    history = reinforce(model, Echo(), settings, steps=16)
    assert history[-1].accuracy > 0.6


def test_a_step_on_the_board_runs():
    model = starting_policy(Board(side=3), steps=5).cuda()
    [step] = reinforce(model, Board(side=3), DAPO, steps=1)
    assert step.sampled >= DAPO.prompts * DAPO.group
