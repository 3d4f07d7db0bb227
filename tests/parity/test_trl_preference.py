"""trl's DPO, IPO, KTO, SimPO and ORPO have our losses and our gradients, from the same weights."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import types
import warnings

import pytest
import torch

from clearhead.preference import (
    completion_tokens,
    dpo_loss,
    ipo_loss,
    kto_loss,
    orpo_loss,
    sequence_log_prob,
    simpo_loss,
)

transformers = pytest.importorskip("transformers", reason="pip install 'clearhead[parity]'")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    trl = pytest.importorskip("trl", reason="pip install 'clearhead[parity]'")
    from datasets import Dataset
    from trl.experimental.cpo import CPOTrainer
    from trl.experimental.orpo import ORPOTrainer

from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: E402

V, N, T = 37, 4, 9
LIMIT = 1e-6  # trl takes its log-softmax in fp32 whatever the model's dtype
BETA = 0.3


def small_model(seed):
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=V,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    return transformers.LlamaForCausalLM(config).double()


@pytest.fixture(scope="module")
def policy():
    return small_model(0)


@pytest.fixture(scope="module")
def reference():
    return small_model(1).requires_grad_(False)


@pytest.fixture(scope="module")
def tokenizer():
    vocab = {letter: i for i, letter in enumerate(["<pad>", "<eos>", *"abcdefgh"])}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>"
    )


def rows(seed, count):
    """Ids, attention mask and completion mask: prompts of 3, answers of 1 to 6, padded right."""
    torch.manual_seed(seed)
    ids, place = torch.randint(2, V, (count, T)), torch.arange(T)[None]
    end = 3 + torch.randint(1, 7, (count, 1))
    real = place < end
    return ids * real, real.long(), ((place >= 3) & real).long()


def quiet(config, **settings):
    return config(use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[], **settings)


def loss_of(trainer, model, batch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return trainer.compute_loss(model, batch)


def scores(model, ids, completion):
    completion = completion.bool()
    return sequence_log_prob(model(ids).logits, ids, completion), completion_tokens(completion)


def same(ours, theirs, model):
    """Values, and gradients in every weight of the model."""
    assert abs(ours.item() - theirs.item()) < LIMIT
    weights = list(model.parameters())
    both = [torch.autograd.grad(x, weights, retain_graph=True) for x in (ours, theirs)]
    assert all((a - b).abs().max() < LIMIT for a, b in zip(*both, strict=True))
    assert max(g.abs().max() for g in both[0]) > 1e-3


@pytest.mark.parametrize("kind", ["sigmoid", "ipo"])
def test_dpo_and_ipo(kind, policy, reference, tokenizer, tmp_path):
    """`beta` is τ in trl's IPO, which divides each log-ratio by its answer's tokens."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        args = quiet(trl.DPOConfig, output_dir=str(tmp_path), beta=BETA, loss_type=[kind])
        row = {"prompt": "a b", "chosen": " c", "rejected": " d e"}
        trainer = trl.DPOTrainer(
            policy,
            reference,
            args,
            train_dataset=Dataset.from_list([row]),
            processing_class=tokenizer,
        )
    ids, real, completion = rows(5, 2 * N)
    batch = {"input_ids": ids, "attention_mask": real, "completion_mask": completion}
    theirs = loss_of(trainer, policy, batch)
    (lp, tokens), (ref, _) = (scores(m, ids, completion) for m in (policy, reference))
    halves = *lp.split(N), *ref.split(N)
    if kind == "sigmoid":
        ours = dpo_loss(*halves, beta=BETA)
    else:
        ours = ipo_loss(*halves, *tokens.split(N), tau=BETA)
    same(ours, theirs, policy)


def mismatched(policy, reference, above):
    """Rows on which the policy gains on the reference, or loses: z₀ is above 0, or cut to 0."""
    for seed in range(20, 60):
        ids, real, completion = rows(seed, 5)
        with torch.no_grad():
            new, old = (scores(m, ids, completion)[0] for m in (policy, reference))
        if ((new - old).mean() > 0) == above:
            return ids, real, completion
    raise AssertionError("no such rows among forty")


@pytest.mark.parametrize("above", [False, True], ids=["z0 = 0", "z0 > 0"])
def test_kto(above, policy, reference, tokenizer, tmp_path):
    """The mean over the batch; z₀ from answers to other prompts, not below 0, without gradient."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        args = quiet(
            trl.KTOConfig,
            output_dir=str(tmp_path),
            beta=BETA,
            desirable_weight=1.5,
            undesirable_weight=0.75,
            per_device_train_batch_size=2,
        )
        row = {"prompt": "a b", "completion": " c", "label": True}
        trainer = trl.KTOTrainer(
            policy,
            reference,
            args,
            train_dataset=Dataset.from_list([row, {**row, "completion": " d", "label": False}]),
            processing_class=tokenizer,
        )
    ids, real, completion = rows(6, 5)
    other, other_real, other_completion = mismatched(policy, reference, above)
    label = torch.tensor([True, False, False, True, False])
    batch = {
        "input_ids": ids,
        "attention_mask": real,
        "completion_mask": completion,
        "KL_input_ids": other,
        "KL_attention_mask": other_real,
        "KL_completion_mask": other_completion,
        "label": label,
    }
    theirs = loss_of(trainer, policy, batch)
    (lp, _), (ref, _) = (scores(m, ids, completion) for m in (policy, reference))
    (kl, _), (ref_kl, _) = (scores(m, other, other_completion) for m in (policy, reference))
    options = {"beta": BETA, "desirable_weight": 1.5, "undesirable_weight": 0.75}
    same(kto_loss(lp, ref, label, kl, ref_kl, **options), theirs, policy)


def test_simpo(policy):
    """trl's `cpo_loss` is given means a token, and divides γ by β before it multiplies by β."""
    ids, _, completion = rows(9, 2 * N)
    lp, tokens = scores(policy, ids, completion)
    settings = {"loss_type": "simpo", "beta": 2.5, "simpo_gamma": 0.8, "label_smoothing": 0.0}
    stub = types.SimpleNamespace(
        **settings, alpha=0.0, accelerator=types.SimpleNamespace(device="cpu")
    )
    theirs = CPOTrainer.cpo_loss(stub, *(lp / tokens).split(N))[0].mean()
    ours = simpo_loss(*lp.split(N), *tokens.split(N), beta=2.5, gamma=0.8)
    same(ours, theirs, policy)


def test_orpo(policy):
    """The odds' term, to which trl adds the loss of fine-tuning (prompt included) by itself."""
    ids, _, completion = rows(10, 2 * N)
    lp, tokens = scores(policy, ids, completion)
    stub = types.SimpleNamespace(beta=0.4, accelerator=types.SimpleNamespace(device="cpu"))
    theirs = -ORPOTrainer.odds_ratio_loss(stub, *(lp / tokens).split(N))[0].mean()
    halves = *lp.split(N), *tokens.split(N)
    same(orpo_loss(*halves, lam=0.4) - orpo_loss(*halves, lam=0), theirs, policy)
