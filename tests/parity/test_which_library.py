"""Each cell of the table "Which library does what?" in lesson 5.4, for the libraries installed."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import inspect
import warnings
from dataclasses import fields

import pytest
import torch
from test_trl_grpo import trainer

from clearhead.preference import (
    DAPO,
    GRPO,
    aggregate_loss,
    clipped_surrogate,
    dapo_loss,
    group_advantages,
    gspo_loss,
    overlong_penalty,
    token_losses,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    trl = pytest.importorskip("trl", reason="pip install 'clearhead[parity]'")
    from trl.rewards import get_soft_overlong_punishment
    from trl.trainer.utils import nanstd
liger = pytest.importorskip("liger_kernel.chunked_loss", reason="pip install 'clearhead[parity]'")

B, T = 4, 8
LENGTHS = torch.tensor([2, 8, 3, 6])
MASK = torch.arange(T) < LENGTHS[:, None]
ADVANTAGES = torch.tensor([1.0, -1.0, 0.5, -0.5]).double()
OLD = torch.full((B, T), -1.0).double()


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = str(tmp_path_factory.mktemp("trl"))
        return trl.GRPOConfig(folder, use_cpu=True, bf16=False, report_to=[])


def of_trl(rows=slice(None), new=OLD, *, total=None, parts=1, reference=OLD, **settings):
    """trl's loss of these rows, `parts` micro-batches being added up."""
    settings = dict(max_completion_length=12, current_gradient_accumulation_steps=parts) | settings
    self = trainer(new[rows], steps_per_generation=parts, **settings)
    mask = MASK[rows]
    ids = torch.zeros(mask.shape, dtype=torch.int64)
    inputs = dict(
        prompt_ids=ids[:, :2],
        prompt_mask=ids[:, :2],
        completion_ids=ids,
        completion_mask=mask.long(),
        advantages=ADVANTAGES[rows],
        old_per_token_logps=OLD[rows],
        ref_per_token_logps=reference[rows],
        num_items_in_batch=mask.sum() if total is None else total,
    )
    return trl.GRPOTrainer._compute_loss(self, None, inputs).item()


def default_of_liger(name):
    return inspect.signature(liger.LigerFusedLinearGRPOLoss).parameters[name].default


def of_liger(new=None, *, reference=None, **settings):
    """liger's loss of log-probs: hidden states of one number, and a vocabulary of two words.

    The second word's logit is 0, so the log-prob of the first is that of a sigmoid.
    """
    new = OLD if new is None else new
    hidden = (new.exp() / (1 - new.exp())).log()[..., None]
    matrix = torch.tensor([[1.0], [0.0]]).double()
    ids = torch.zeros(B, T, dtype=torch.int64)
    options = dict(compiled=False, use_ref_model=reference is not None) | settings
    loss = liger.LigerFusedLinearGRPOLoss(**options)
    parts = dict(ref_per_token_logps=reference, old_per_token_logps=OLD)
    return loss(hidden, matrix, ids, MASK.double(), ADVANTAGES, **parts)[0].item()


def ours(how, new=OLD, *, length=12, low=0.2, high=0.2, **options):
    losses = token_losses(new, OLD, ADVANTAGES, low=low, high=high, **options)
    return aggregate_loss(losses, MASK, how, length=length).item()


def off_policy():
    return OLD + 0.1 * torch.linspace(-1, 1, B * T).view(B, T).double()


# Row: mean, by default.


def test_the_default_mean(config):
    assert config.loss_type == default_of_liger("loss_type") == "dapo"
    assert of_trl() == pytest.approx(ours("token"))
    assert of_liger(beta=0.0) == pytest.approx(ours("token"), abs=1e-6)
    with pytest.raises(TypeError):
        aggregate_loss(OLD, MASK)
    assert (GRPO.how, DAPO.how) == ("sequence", "token")


# Rows: the names of the three means, and the divisor of the third.


@pytest.mark.parametrize(
    ("name", "how"), [("grpo", "sequence"), ("bnpo", "token"), ("dr_grpo", "constant")]
)
def test_the_names_of_the_means(name, how):
    assert of_trl(loss_type=name) == pytest.approx(ours(how))
    longest = dict(max_completion_length=12) if name == "dr_grpo" else {}
    assert of_liger(beta=0.0, loss_type=name, **longest) == pytest.approx(ours(how), abs=1e-6)
    assert len({ours(how) for how in ("sequence", "token", "constant")}) == 3


def test_the_constant_mean_divides_by_answers_times_length():
    total = -(ADVANTAGES * LENGTHS).sum().item()  # on the policy
    for value in (of_trl(loss_type="dr_grpo"), ours("constant")):
        assert value == pytest.approx(total / (B * 12))
    value = of_liger(beta=0.0, loss_type="dr_grpo", max_completion_length=12)
    assert value == pytest.approx(total / (B * 12), abs=1e-6)


# Row: in micro-batches.


def test_micro_batches_add_up_with_dapo_and_not_with_bnpo():
    halves = slice(0, 2), slice(2, 4)
    total = MASK.sum()
    dapo = sum(of_trl(rows, total=total, parts=2) for rows in halves)
    bnpo = sum(of_trl(rows, parts=2, loss_type="bnpo") for rows in halves)
    assert dapo == pytest.approx(of_trl())
    assert abs(bnpo - of_trl(loss_type="bnpo")) > 0.01


def test_liger_takes_the_number_of_tokens_from_outside():
    parameters = inspect.signature(liger.LigerFusedLinearGRPOLoss.forward).parameters
    assert "num_items_in_batch" in parameters


# Rows: the spread of a group; all rewards equal.


def test_the_spread_of_a_group(config):
    assert config.scale_rewards == "group"
    rewards = torch.tensor([1.0, 1.0, -1.0, -1.0, 1.0, -1.0, -1.0, -1.0]).double()
    groups = rewards.view(2, 4)
    theirs = (groups - groups.mean(1, keepdim=True)) / (nanstd(groups, dim=1, keepdim=True) + 1e-4)
    torch.testing.assert_close(group_advantages(rewards, 4), theirs.flatten())
    assert not torch.allclose(nanstd(groups, dim=1), groups.std(1, correction=0))
    source = inspect.getsource(trl.GRPOTrainer)
    assert "advantages = advantages / (std_rewards + 1e-4)" in source
    assert "nanstd(rewards.view(-1, num_generations), dim=1)" in source


def test_equal_rewards():
    rewards = torch.full((1, 4), 0.1).double()
    assert (rewards - rewards.nanmean(1, keepdim=True)).abs().max() < 1e-15
    assert nanstd(rewards, dim=1).item() == pytest.approx(0, abs=1e-15)
    assert torch.equal(group_advantages(rewards.flatten(), 4), torch.zeros(4).double())


def test_liger_takes_advantages_as_given():
    assert "advantages" in inspect.signature(liger.LigerFusedLinearGRPOLoss.forward).parameters
    assert not any(
        "reward" in name for name in inspect.signature(liger.LigerFusedLinearGRPOLoss).parameters
    )


# Rows: the default weight of the KL term; KL times the ratio.


def test_the_default_weight_of_the_kl_term(config):
    assert config.beta == 0.0
    assert default_of_liger("beta") == 0.04
    assert inspect.signature(token_losses).parameters["beta"].default == 0.0
    far = OLD - 0.5
    assert of_liger(reference=far) == pytest.approx(
        ours("token", reference=far, beta=0.04), abs=1e-6
    )


def test_the_kl_term_times_the_ratio(config):
    assert config.use_bias_correction_kl is True
    assert default_of_liger("use_bias_correction_kl") is False
    new, far = off_policy(), OLD - 0.5
    plain, corrected = (
        ours("token", new, reference=far, beta=0.04, corrected=corrected)
        for corrected in (False, True)
    )
    assert abs(plain - corrected) > 1e-5
    assert of_trl(new=new, reference=far, beta=0.04) == pytest.approx(corrected)
    assert of_trl(new=new, reference=far, beta=0.04, use_bias_correction_kl=False) == pytest.approx(
        plain
    )
    assert of_liger(new, reference=far) == pytest.approx(plain, abs=1e-6)


# Row: answers that were cut off.


def test_answers_that_were_cut_off_count(config):
    assert config.mask_truncated_completions is False
    assert not any(
        "trunc" in name for name in inspect.signature(liger.LigerFusedLinearGRPOLoss).parameters
    )
    assert GRPO.filtered is False and DAPO.filtered is False


# Row: clip.


def test_the_clip(config):
    assert (config.epsilon, config.epsilon_high) == (0.2, None)
    source = inspect.getsource(trl.GRPOTrainer.__init__)
    assert "args.epsilon_high if args.epsilon_high is not None else args.epsilon" in source
    assert (default_of_liger("epsilon_low"), default_of_liger("epsilon_high")) == (0.2, 0.2)
    of = {f: inspect.signature(f).parameters for f in (clipped_surrogate, dapo_loss)}
    bounds = [(of[f]["low"].default, of[f]["high"].default) for f in of]
    assert bounds == [(0.2, 0.2), (0.2, 0.28)] and (DAPO.low, DAPO.high) == (0.2, 0.28)


def test_the_name_dapo_does_not_raise_the_clip():
    new = OLD + torch.tensor(1.25).log()
    assert of_trl(new=new) == pytest.approx(ours("token", new))
    assert of_liger(new, beta=0.0) == pytest.approx(ours("token", new), abs=1e-6)
    assert abs(ours("token", new) - dapo_loss(new, OLD, ADVANTAGES, MASK).item()) > 0.005


# Row: GSPO.


def test_gspo(config):
    new = off_policy()
    want = gspo_loss(new, OLD, ADVANTAGES, MASK).item()
    settings = dict(
        loss_type="grpo", importance_sampling_level="sequence", epsilon_low=3e-4, epsilon_high=4e-4
    )
    assert config.importance_sampling_level == default_of_liger("importance_sampling_level")
    assert of_trl(new=new, **settings) == pytest.approx(want)
    assert of_liger(new, beta=0.0, **settings) == pytest.approx(want, abs=1e-6)


# Rows: dynamic sampling; the penalty on length.


def test_neither_has_dynamic_sampling():
    names = [field.name for field in fields(trl.GRPOConfig)]
    names += list(inspect.signature(liger.LigerFusedLinearGRPOLoss).parameters)
    assert [name for name in names if "dynamic_sampl" in name or "filter_groups" in name] == []


def test_the_penalty_on_length():
    """trl has it among its reward functions; it begins and ends where ours does."""
    lengths = [1, 9, 10, 11, 14, 15, 16]
    theirs = get_soft_overlong_punishment(max_completion_len=15, soft_punish_cache=5)
    want = theirs(completion_ids=[[0] * length for length in lengths])
    got = overlong_penalty(torch.tensor(lengths), longest=15, cache=5)
    assert got.tolist() == pytest.approx(want) and want[2] == 0 and want[-2:] == [-1, -1]
    assert not any("length_pen" in name or "overlong" in name for name in dir(liger))
