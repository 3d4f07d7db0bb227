"""Every rule of choosing gives what transformers' processor gives, and so do all in their order."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch

import clearhead.inference as I

transformers = pytest.importorskip("transformers", reason="pip install 'clearhead[parity]'")

from transformers.generation import logits_process as theirs  # noqa: E402

V = 97


def logits(kind: str, rows: int = 6) -> torch.Tensor:
    """Rows without ties; with wide ones, up to ±50; with many ties."""
    z = torch.randn(rows, V)
    if kind == "wide":
        return z / z.abs().amax(-1, keepdim=True) * 50
    if kind == "ties":
        return (z * 2).round()
    return z * 3


KINDS = pytest.mark.parametrize("kind", ["plain", "wide", "ties"])


@KINDS
@pytest.mark.parametrize("tau", [0.1, 0.7, 1.0, 1.5])
def test_temperature(kind, tau):
    z = logits(kind)
    assert torch.equal(I.temperature(z, tau), theirs.TemperatureLogitsWarper(tau)(None, z))


@KINDS
@pytest.mark.parametrize("k", [1, 2, 7, 50, V, V + 5])
def test_top_k_ties_and_all(kind, k):
    z = logits(kind)
    assert torch.equal(I.top_k(z, k), theirs.TopKLogitsWarper(k)(None, z))


@pytest.mark.parametrize("kind", ["plain", "wide"])
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_top_p_without_ties(kind, p):
    z = logits(kind, rows=50)
    assert torch.equal(I.top_p(z, p), theirs.TopPLogitsWarper(p)(None, z))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 0.99])
def test_top_p_keeps_as_many_of_each_logit_where_there_are_ties(p):
    """Which of the equal ones stay is not said by transformers; how many is."""
    z = logits("ties", rows=50)
    ours, want = I.top_p(z, p), theirs.TopPLogitsWarper(p)(None, z)
    assert torch.equal(ours.sort(-1).values, want.sort(-1).values)
    assert not torch.equal(ours, want)


def test_of_equally_likely_tokens_transformers_keeps_the_higher_ids_and_we_the_lower():
    z = torch.zeros(1, 4)
    kept = theirs.TopPLogitsWarper(0.5)(None, z).isfinite()
    assert kept.tolist() == [[False, False, True, True]]
    assert I.top_p(z, 0.5).isfinite().tolist() == [[True, True, False, False]]


@KINDS
@pytest.mark.parametrize("m", [0.0, 0.01, 0.1, 0.5, 1.0])
def test_min_p(kind, m):
    z = logits(kind)
    assert torch.equal(I.min_p(z, m), theirs.MinPLogitsWarper(m)(None, z))


@KINDS
@pytest.mark.parametrize("rho", [0.8, 1.0, 1.3, 2.0])
def test_repetition_penalty(kind, rho):
    z = logits(kind)
    seen = torch.randint(V, (len(z), 30))  # some of them several times
    want = theirs.RepetitionPenaltyLogitsProcessor(rho)(seen, z)
    assert torch.equal(I.repetition_penalty(z, seen, rho), want)


def test_generate_puts_the_rules_in_the_order_that_a_sampler_does():
    config = transformers.LlamaConfig(
        vocab_size=V,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    model.lm_head.weight.data.mul_(60)  # logits of the size of a trained model's
    settings = dict(temperature=0.7, top_k=20, top_p=0.9, min_p=0.05, repetition_penalty=1.4)
    seen = torch.randint(V, (3, 12))
    out = model.generate(
        seen,
        attention_mask=torch.ones_like(seen),
        do_sample=True,
        max_new_tokens=1,
        output_scores=True,
        output_logits=True,
        return_dict_in_generate=True,
        **settings,
    )
    sampler = I.Sampler(temperature=0.7, k=20, p=0.9, min_p=0.05, repetition_penalty=1.4)
    ours = sampler.probabilities(out.logits[0], seen)
    assert (ours == 0).any()
    torch.testing.assert_close(ours, out.scores[0].softmax(-1))


@pytest.mark.parametrize("kind", ["plain", "wide"])
def test_all_five_in_a_row(kind):
    z, seen = logits(kind, rows=40), torch.randint(V, (40, 20))
    want = theirs.RepetitionPenaltyLogitsProcessor(1.2)(seen, z)
    for rule in (
        theirs.TemperatureLogitsWarper(0.8),
        theirs.TopKLogitsWarper(30),
        theirs.TopPLogitsWarper(0.85),
        theirs.MinPLogitsWarper(0.04),
    ):
        want = rule(seen, want)
    sampler = I.Sampler(temperature=0.8, k=30, p=0.85, min_p=0.04, repetition_penalty=1.2)
    torch.testing.assert_close(sampler.probabilities(z, seen), want.softmax(-1))
