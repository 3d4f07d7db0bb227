"""trl's GRPOTrainer has our losses, values and gradients, under the conventions named here.

`GRPOTrainer._compute_loss` is called on hand-made log-probs, in fp64, with the attributes that it
reads. Where the two differ by convention:

* trl's "bnpo" is the mean over the tokens of the batch. Its "dapo", the default, divides by
  `num_items_in_batch`, the tokens of the whole generation batch: the same if that is one batch.
* "dr_grpo" divides by B times `max_completion_length`.
* GSPO is `importance_sampling_level="sequence"` with `loss_type="grpo"`.
* The KL term is multiplied by the ratio unless `use_bias_correction_kl=False`: our `corrected`.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import collections
import types
import warnings

import pytest
import torch

from clearhead.preference import (
    aggregate_loss,
    clipped_share,
    dapo_loss,
    dr_grpo_loss,
    group_advantages,
    grpo_loss,
    gspo_loss,
    token_losses,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    trl = pytest.importorskip("trl", reason="pip install 'clearhead[parity]'")

B, T, LONGEST = 6, 9, 12


class OneProcess:
    """What the loss asks of accelerate."""

    num_processes, sync_gradients = 1, True

    def gather(self, x):
        return x

    def reduce(self, x, reduction):
        return x


def trainer(new, **settings):
    """The attributes that `_compute_loss` reads, at trl's defaults unless given."""
    defaults = dict(
        loss_type="dapo",
        importance_sampling_level="token",
        beta=0.0,
        epsilon_low=0.2,
        epsilon_high=0.2,
        max_completion_length=LONGEST,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        aux_loss_enabled=False,
        use_vllm=False,
        _entropy_bonus_enabled=False,
        current_gradient_accumulation_steps=1,
    )
    args = dict(delta=None, use_bias_correction_kl=True, steps_per_generation=1)
    args |= {name: settings.pop(name) for name in list(settings) if name in args}
    self = types.SimpleNamespace(**{**defaults, **settings}, args=types.SimpleNamespace(**args))
    self.model = types.SimpleNamespace(training=True)
    self.accelerator = OneProcess()
    self._metrics = {"train": collections.defaultdict(list)}
    self._get_per_token_logps_and_entropies = lambda *a, **k: (new, torch.zeros_like(new), None)
    return self


@pytest.fixture
def batch():
    """Ratios beyond both bounds, both signs, lengths from 1 to T."""
    old = -3 * torch.rand(B, T).double()
    new = old + 0.4 * torch.randn(B, T).double()
    mask = torch.arange(T) < torch.tensor([9, 1, 4, 7, 2, 9])[:, None]
    rewards = torch.tensor([1.0, -1.0, -1.0, 1.0, 1.0, -1.0]).double()
    return types.SimpleNamespace(
        new=new.requires_grad_(True),
        old=old,
        reference=old + 0.3 * torch.randn(B, T).double(),
        advantages=group_advantages(rewards, 3),
        mask=mask,
    )


def theirs(batch, self):
    ids = torch.zeros(B, T, dtype=torch.int64)
    inputs = dict(
        prompt_ids=ids[:, :2],
        prompt_mask=ids[:, :2],
        completion_ids=ids,
        completion_mask=batch.mask.long(),
        advantages=batch.advantages,
        old_per_token_logps=batch.old,
        ref_per_token_logps=batch.reference,
        num_items_in_batch=batch.mask.sum(),
    )
    return trl.GRPOTrainer._compute_loss(self, None, inputs)


def agree(batch, loss, **settings):
    self = trainer(batch.new, **settings)
    want = theirs(batch, self)
    torch.testing.assert_close(loss, want, atol=1e-12, rtol=1e-12)
    [got], [expected] = (torch.autograd.grad(x, batch.new, retain_graph=True) for x in (loss, want))
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-12)
    assert expected.abs().max() > 1e-3
    return self


def parts(batch):
    return batch.new, batch.old, batch.advantages, batch.mask


def test_grpo(batch):
    agree(batch, grpo_loss(*parts(batch)), loss_type="grpo")


@pytest.mark.parametrize("corrected", [False, True])
def test_grpo_with_a_kl_term(batch, corrected):
    loss = grpo_loss(*parts(batch), reference=batch.reference, beta=0.04, corrected=corrected)
    agree(batch, loss, loss_type="grpo", beta=0.04, use_bias_correction_kl=corrected)


def test_the_mean_over_tokens_is_bnpo(batch):
    losses = token_losses(*parts(batch)[:3], low=0.2, high=0.2)
    agree(batch, aggregate_loss(losses, batch.mask, "token"), loss_type="bnpo")


def test_dapo_and_the_share_that_is_clipped(batch):
    self = agree(batch, dapo_loss(*parts(batch)), loss_type="dapo", epsilon_high=0.28)
    each = batch.advantages[:, None].expand(B, T)
    share = clipped_share(batch.new.detach(), batch.old, each, batch.mask, low=0.2, high=0.28)
    [region] = self._metrics["train"]["clip_ratio/region_mean"]
    assert share == pytest.approx(region, abs=1e-6) and share > 0.05


def test_dr_grpo(batch):
    agree(batch, dr_grpo_loss(*parts(batch), length=LONGEST), loss_type="dr_grpo")


@pytest.mark.parametrize(("low", "high"), [(3e-4, 4e-4), (0.1, 0.1)])
def test_gspo(batch, low, high):
    loss = gspo_loss(*parts(batch), low=low, high=high)
    agree(
        batch,
        loss,
        loss_type="grpo",
        importance_sampling_level="sequence",
        epsilon_low=low,
        epsilon_high=high,
    )


def test_an_answer_without_tokens_counts_among_the_answers(batch):
    """What masking truncated answers leaves."""
    batch.mask[3] = False
    agree(batch, grpo_loss(*parts(batch)), loss_type="grpo")
    agree(batch, dapo_loss(*parts(batch)), loss_type="dapo", epsilon_high=0.28)


def test_the_defaults_that_the_book_names(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        args = trl.GRPOConfig(str(tmp_path), use_cpu=True, bf16=False, report_to=[])
    assert (args.loss_type, args.importance_sampling_level) == ("dapo", "token")
    assert (args.epsilon, args.epsilon_high, args.beta) == (0.2, None, 0.0)
    assert args.scale_rewards == "group"
    assert args.use_bias_correction_kl is True
    assert args.mask_truncated_completions is False
