"""Adapter files go both ways: PEFT reads what we save, and we read what PEFT saves."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import json
import warnings

import pytest
import torch
from torch import nn

from clearhead.lora import apply as adapt
from clearhead.lora import load, lora_layers, lora_parameters, save, switch
from clearhead.model import Decoder
from clearhead.model.hugging_face import convert_config
from clearhead.model.names import HUGGING_FACE, empty, fill

peft = pytest.importorskip("peft", reason="pip install 'clearhead[parity]'")
import transformers  # noqa: E402
from transformers.pytorch_utils import Conv1D  # noqa: E402


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.turned = nn.Embedding(17, 13), Conv1D(7, 9)
        self.part = nn.ModuleDict({"line": nn.Linear(13, 9)})
        nn.init.normal_(self.turned.weight, std=0.3)

    def forward(self, ids):
        return self.turned(self.part.line(self.table(ids)).tanh())


NAMES = ["table", "turned", "part.line"]
IDS = torch.tensor([[1, 2, 16, 0], [5, 5, 7, 9]])
# ours: PEFT's
KINDS = {
    "plain": ({}, {}),
    "rslora": ({"rank_stabilized": True}, {"use_rslora": True}),
    "dora": ({"dora": True}, {"use_dora": True}),
    "dora and rslora": (
        {"dora": True, "rank_stabilized": True},
        {"use_dora": True, "use_rslora": True},
    ),
    "dropout": ({"dropout": 0.25}, {"lora_dropout": 0.25}),
    "pissa": ({"init": "pissa"}, {"init_lora_weights": "pissa"}),
}


def two_bases():
    torch.manual_seed(0)
    one, two = Model(), Model()
    two.load_state_dict(one.state_dict())
    return one.eval(), two.eval()


@torch.no_grad()
def train(parameters):
    """As if: every trained number moves."""
    for parameter in parameters:
        parameter.add_(torch.randn_like(parameter) / 3)


def quietly(call, *args, **kwargs):
    """Without PEFT's warnings: a Conv1D is turned, an embedding is a target, its own future."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", message=".*fan_in_fan_out.*")
        warnings.filterwarnings("ignore", message=".*save_embedding_layers.*|.*embedding layer.*")
        return call(*args, **kwargs)


@pytest.mark.parametrize("kind", KINDS)
def test_peft_reads_what_we_save(kind, tmp_path):
    base, ours = two_bases()
    adapt(ours, NAMES, r=3, alpha=5.0, **KINDS[kind][0])
    ours.eval()
    train(lora_parameters(ours))
    save(ours, tmp_path)
    theirs = quietly(peft.PeftModel.from_pretrained, base, tmp_path).eval()
    assert theirs.peft_config["default"].lora_dropout == (0.25 if kind == "dropout" else 0.0)
    limit = 2e-5 if kind == "pissa" else 1e-6  # PiSSA is saved as another adapter that is equal
    torch.testing.assert_close(theirs(IDS), ours(IDS), atol=limit, rtol=limit)
    quietly(theirs.merge_and_unload)
    torch.testing.assert_close(base(IDS), ours(IDS), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_we_read_what_peft_saves(kind, tmp_path):
    base, plain = two_bases()
    targets = NAMES[1:] if kind == "pissa" else NAMES  # PEFT has no PiSSA for embeddings
    config = peft.LoraConfig(r=3, lora_alpha=5, target_modules=targets, **KINDS[kind][1])
    theirs = quietly(peft.get_peft_model, base, config).eval()
    train(p for p in theirs.parameters() if p.requires_grad)
    expected = theirs(IDS)
    quietly(theirs.save_pretrained, tmp_path)
    assert load(plain, tmp_path) == targets
    limit = 2e-5 if kind == "pissa" else 1e-6
    torch.testing.assert_close(plain.eval()(IDS), expected, atol=limit, rtol=limit)


def test_there_and_back_every_number_is_the_same(tmp_path):
    base, ours = two_bases()
    adapt(ours, NAMES, r=3, alpha=5.0, dora=True)
    train(lora_parameters(ours))
    save(ours, tmp_path / "ours")
    theirs = quietly(peft.PeftModel.from_pretrained, base, tmp_path / "ours")
    quietly(theirs.save_pretrained, tmp_path / "theirs")
    again = two_bases()[0]
    load(again, tmp_path / "theirs")
    for path, layer in lora_layers(ours).items():
        mine, back = layer.adapters["default"], lora_layers(again)[path].adapters["default"]
        pairs = zip(mine.parameters(), back.parameters(), strict=True)
        assert all(torch.equal(p, q) for p, q in pairs)
        assert mine.scale == back.scale


def test_patterns_of_rank_and_alpha_mean_the_same_to_both(tmp_path):
    base, plain = two_bases()
    config = peft.LoraConfig(
        r=3,
        lora_alpha=5,
        target_modules=NAMES,
        rank_pattern={"line": 5, "^turned": 2},
        alpha_pattern={"tur.*": 7},
    )
    theirs = quietly(peft.get_peft_model, base, config)
    train(p for p in theirs.parameters() if p.requires_grad)
    quietly(theirs.save_pretrained, tmp_path / "theirs")
    load(plain, tmp_path / "theirs")
    torch.testing.assert_close(plain(IDS), theirs(IDS), atol=1e-6, rtol=1e-6)
    save(plain, tmp_path / "ours")
    other = quietly(peft.PeftModel.from_pretrained, two_bases()[0], tmp_path / "ours")
    torch.testing.assert_close(other(IDS), theirs(IDS), atol=1e-6, rtol=1e-6)
    patterns = json.loads((tmp_path / "ours" / "adapter_config.json").read_text())
    assert patterns["rank_pattern"] and patterns["alpha_pattern"]


def both_decoders():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=101,
        hidden_size=48,
        intermediate_size=80,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    theirs = transformers.LlamaForCausalLM(config).eval()
    weights = dict(theirs.named_parameters())
    settings = {**config.to_dict(), "architectures": ["LlamaForCausalLM"]}
    ours = empty(lambda: Decoder(convert_config(settings, source="transformers")))
    fill(
        ours,
        weights,
        lambda name: weights[name].detach().clone(),
        style=HUGGING_FACE,
        source="transformers",
    )
    return theirs, ours.eval()


def test_an_adapter_of_our_decoder_serves_transformers_llama_and_back(tmp_path):
    theirs, ours = both_decoders()
    ids = torch.randint(0, 101, (2, 9))
    adapt(ours, "all-linear", r=3, alpha=5.0)
    train(lora_parameters(ours))
    save(ours, tmp_path / "ours")
    model = quietly(peft.PeftModel.from_pretrained, theirs, tmp_path / "ours").eval()
    torch.testing.assert_close(model(ids).logits, ours(ids), atol=2e-5, rtol=2e-5)
    train(p for name, p in model.named_parameters() if "lora_" in name)
    expected = model(ids).logits
    quietly(model.save_pretrained, tmp_path / "theirs")
    load(ours, tmp_path / "theirs", "back")
    switch(ours, "back")
    torch.testing.assert_close(ours(ids), expected, atol=2e-5, rtol=2e-5)


def test_what_other_starts_leave_in_the_base_is_refused(tmp_path):
    base, plain = two_bases()
    config = peft.LoraConfig(r=3, target_modules=["line"], init_lora_weights="olora")
    quietly(peft.get_peft_model, base, config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="init_lora_weights = 'olora'"):
        load(plain, tmp_path)
