"""Adapters as files: what is saved comes back, and what does not fit changes nothing."""

import json

import pytest
import torch
from torch import nn

from clearhead.lora import (
    Adapter,
    LoRALayer,
    active,
    add_adapter,
    apply,
    load,
    lora_layers,
    lora_parameters,
    remove,
    save,
    switch,
)
from clearhead.model import Config, Decoder

safetensors = pytest.importorskip("safetensors.torch", reason="pip install 'clearhead[model]'")


class Conv1D(nn.Module):
    """As in transformers: the weight is (I, O)."""

    def __init__(self, out_features, in_features):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(in_features, out_features) / 4)
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, x):
        return x @ self.weight + self.bias


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.first = nn.Embedding(11, 8), nn.Linear(8, 6)
        self.second, self.head = Conv1D(5, 6), nn.Linear(5, 11)

    def forward(self, ids):
        return self.head(self.second(self.first(self.table(ids)).tanh()).tanh())


IDS = torch.tensor([[1, 2, 3], [4, 10, 0]])
KINDS = {
    "plain": {},
    "rslora": {"rank_stabilized": True},
    "dora": {"dora": True, "alpha": 5.0},
    "pissa": {"init": "pissa"},
    "pissa, rslora and dora": {"init": "pissa", "dora": True, "rank_stabilized": True},
    "dropout": {"dropout": 0.25},
}
TARGETS = ["table", "first", "second"]


def trained(seed=0, **options):
    """A model with an adapter that has learned something, and one that has not seen it."""
    torch.manual_seed(0)
    base, model = Small(), Small()
    model.load_state_dict(base.state_dict())
    apply(model, options.pop("targets", TARGETS), **{"r": 2, "alpha": 3.0, **options})
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in lora_parameters(model):
            parameter.add_(torch.randn_like(parameter) / 3)
    return base.eval(), model.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_comes_back(kind, tmp_path):
    base, model = trained(**KINDS[kind])
    before = base(IDS)
    save(model, tmp_path / "new" / "folder")
    assert load(base, tmp_path / "new" / "folder") == TARGETS
    assert not torch.allclose(base(IDS), before, atol=1e-2)
    torch.testing.assert_close(base(IDS), model(IDS), atol=1e-5, rtol=1e-5)
    for path, layer in lora_layers(model).items():
        ours, theirs = layer.adapters["default"], lora_layers(base)[path].adapters["default"]
        assert theirs.scale == pytest.approx(ours.scale) and theirs.dropout == ours.dropout
        if "pissa" not in kind:
            assert torch.equal(theirs.A, ours.A) and torch.equal(theirs.B, ours.B)


def test_a_loaded_model_trains_the_adapter_and_nothing_else(tmp_path):
    base, model = trained()
    save(model, tmp_path)
    load(base, tmp_path)
    assert {id(p) for p in base.parameters() if p.requires_grad} == set(
        map(id, lora_parameters(base))
    )
    assert len(lora_parameters(base)) == 6
    remove(base)
    assert not any(isinstance(m, LoRALayer) for m in base.modules())


def test_the_file_holds_pefts_names_and_shapes_and_no_more(tmp_path):
    save(trained(dora=True)[1], tmp_path)
    tensors = safetensors.load_file(tmp_path / "adapter_model.safetensors")
    assert {name: tuple(t.shape) for name, t in tensors.items()} == {
        "base_model.model.table.lora_embedding_A": (2, 11),
        "base_model.model.table.lora_embedding_B": (8, 2),
        "base_model.model.table.lora_magnitude_vector": (8,),
        "base_model.model.first.lora_A.weight": (2, 8),
        "base_model.model.first.lora_B.weight": (6, 2),
        "base_model.model.first.lora_magnitude_vector": (6,),
        "base_model.model.second.lora_A.weight": (2, 6),
        "base_model.model.second.lora_B.weight": (5, 2),
        "base_model.model.second.lora_magnitude_vector": (5,),
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_a_decoder_writes_the_names_of_transformers(tmp_path):
    config = Config(
        vocab_size=20, width=8, layers=2, heads=2, kv_heads=1, head_size=4, feed_forward=12
    )
    model, other = Decoder(config), Decoder(config)
    other.load_state_dict(model.state_dict())
    apply(model, ["attention.query", "feed_forward.down"], r=2)
    with torch.no_grad():
        for parameter in lora_parameters(model):
            parameter.normal_()
    save(model, tmp_path)
    names = safetensors.load_file(tmp_path / "adapter_model.safetensors").keys()
    prefix = "base_model.model.model.layers.1."
    assert f"{prefix}self_attn.q_proj.lora_A.weight" in names
    assert f"{prefix}mlp.down_proj.lora_B.weight" in names
    assert "blocks.1.attention.query" in load(other, tmp_path)
    ids = torch.tensor([[1, 2, 3]])
    torch.testing.assert_close(other(ids), model(ids))


def test_two_adapters_are_saved_apart_and_loaded_side_by_side(tmp_path):
    base, first = trained(seed=1)
    _, second = trained(seed=2, r=3)
    save(first, tmp_path / "first")
    save(second, tmp_path / "second")
    load(base, tmp_path / "first", "first")
    load(base, tmp_path / "second", "second")
    assert active(base) == "first"
    torch.testing.assert_close(base(IDS), first(IDS))
    switch(base, "second")
    torch.testing.assert_close(base(IDS), second(IDS))
    save(base, tmp_path / "again", "first")
    expected = safetensors.load_file(tmp_path / "first" / "adapter_model.safetensors")
    again = safetensors.load_file(tmp_path / "again" / "adapter_model.safetensors")
    assert again.keys() == expected.keys()
    assert all(torch.equal(again[name], expected[name]) for name in expected)


def test_layers_of_different_rank_and_alpha_come_back(tmp_path):
    base, model = trained()
    for layer, r, alpha in ((model.first, 3, 7.0), (model.second, 2, 5.0)):
        O, I = layer.sizes
        del layer.adapters["default"]
        layer.put("default", Adapter(torch.randn(r, I), torch.randn(O, r), alpha))
    save(model, tmp_path)
    load(base, tmp_path)
    torch.testing.assert_close(base(IDS), model(IDS))


def test_a_half_precision_base_gets_its_adapter_in_fp32(tmp_path):
    base, model = trained()
    save(model, tmp_path)
    base.bfloat16()
    load(base, tmp_path)
    assert {p.dtype for p in lora_parameters(base)} == {torch.float32}
    torch.testing.assert_close(base(IDS).float(), model(IDS), atol=0.1, rtol=0.05)


def edit_config(folder, **changes):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_tensors(folder, change):
    path = folder / "adapter_model.safetensors"
    tensors = safetensors.load_file(path)
    change(tensors)
    safetensors.save_file(tensors, path)


FIRST = "base_model.model.first."
REFUSED = {
    "no config": (lambda f: (f / "adapter_config.json").unlink(), "has no adapter_config.json"),
    "no weights": (
        lambda f: (f / "adapter_model.safetensors").unlink(),
        "has no adapter_model.safetensors .*pickled",
    ),
    "config cut short": (
        lambda f: (f / "adapter_config.json").write_text('{"r": 2'),
        "is not valid JSON",
    ),
    "weights cut short": (
        lambda f: (f / "adapter_model.safetensors").write_bytes(
            (f / "adapter_model.safetensors").read_bytes()[:-8]
        ),
        "is cut short or damaged",
    ),
    "config is a list": (
        lambda f: (f / "adapter_config.json").write_text("[]"),
        "holds a list; expected settings",
    ),
    "other method": (
        lambda f: edit_config(f, peft_type="PREFIX_TUNING"),
        "is a file for 'PREFIX_TUNING'; clearhead.lora reads 'LORA'",
    ),
    "trained bias": (lambda f: edit_config(f, bias="all"), "asks for bias = 'all', which"),
    "saved modules": (
        lambda f: edit_config(f, modules_to_save=["head"]),
        r"asks for modules_to_save = \['head'\], which",
    ),
    "another start": (
        lambda f: edit_config(f, init_lora_weights="olora"),
        "asks for init_lora_weights = 'olora', which",
    ),
    "no rank": (lambda f: edit_config(f, r=None), "has r = None; expected a number"),
    "another rank than the tensors": (
        lambda f: edit_config(f, r=4),
        r"has \(2, 11\) for A of 'table'; the config's rank 4 and the module's 8 × 11 ask for "
        r"\(4, 11\)",
    ),
    "a factor of another shape": (
        lambda f: edit_tensors(f, lambda t: t.update({FIRST + "lora_A.weight": torch.ones(2, 9)})),
        r"has \(2, 9\) for A of 'first'; .* ask for \(2, 8\)",
    ),
    "a factor missing": (
        lambda f: edit_tensors(f, lambda t: t.pop(FIRST + "lora_B.weight")),
        r"has no tensor for B of 'first'; .* ask for \(6, 2\)",
    ),
    "dora without magnitudes": (
        lambda f: edit_config(f, use_dora=True),
        r"has no tensor for magnitude of 'table'",
    ),
    "magnitudes without dora": (
        lambda f: edit_tensors(
            f, lambda t: t.update({FIRST + "lora_magnitude_vector": torch.ones(6)})
        ),
        r"has \(6,\) for magnitude of 'first'; .* ask for none",
    ),
    "a module that is not there": (
        lambda f: edit_tensors(
            f, lambda t: t.update({"base_model.model.frist.lora_A.weight": torch.ones(2, 8)})
        ),
        "adapts 'frist', which the model does not have; the nearest .* 'first'",
    ),
    "a foreign tensor": (
        lambda f: edit_tensors(f, lambda t: t.update({FIRST + "weight": torch.ones(2, 8)})),
        "holds 'base_model.model.first.weight', which is no part of a LoRA adapter",
    ),
    "integers": (
        lambda f: edit_tensors(
            f, lambda t: t.update({FIRST + "lora_A.weight": torch.ones(2, 8, dtype=torch.int64)})
        ),
        "A of 'first' is torch.int64",
    ),
    "no tensor": (lambda f: edit_tensors(f, lambda t: t.clear()), "holds no tensor at all"),
}


@pytest.mark.parametrize("damage", REFUSED)
@pytest.mark.parametrize("adapted", [False, True], ids=["plain model", "adapted model"])
def test_a_file_that_does_not_fit_is_refused_and_nothing_changes(damage, adapted, tmp_path):
    base, model = trained()
    save(model, tmp_path)
    damaging, sentence = REFUSED[damage]
    damaging(tmp_path)
    if adapted:
        apply(base, TARGETS, r=3, name="mine")
    modules = dict(base.named_modules())
    needed = {name: (p.clone(), p.requires_grad) for name, p in base.named_parameters()}
    with pytest.raises(ValueError, match=sentence):
        load(base, tmp_path)
    assert dict(base.named_modules()) == modules
    for name, p in base.named_parameters():
        assert torch.equal(p, needed[name][0]) and p.requires_grad == needed[name][1]


def test_a_name_that_is_taken_and_modules_that_differ_are_refused(tmp_path):
    base, model = trained()
    save(model, tmp_path)
    with pytest.raises(ValueError, match="There is an adapter 'default' already"):
        load(model, tmp_path)
    del model.table.adapters["default"]  # the name is taken in some layers only
    with pytest.raises(ValueError, match="There is an adapter 'default' already"):
        load(model, tmp_path)
    assert not model.table.adapters
    apply(base, ["first"], r=2, name="mine")
    with pytest.raises(ValueError, match=r"other modules .*only: 'second', 'table'\)"):
        load(base, tmp_path)
    assert list(base.first.adapters) == ["mine"]


def test_an_adapter_that_is_not_there_is_not_saved(tmp_path):
    base, model = trained()
    add_adapter(model, "second", r=2)
    with pytest.raises(ValueError, match="no adapter 'pirate'; known: 'default', 'second'"):
        save(model, tmp_path / "new", "pirate")
    with pytest.raises(ValueError, match="no adapter 'default'; known: none"):
        save(base, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_layers_that_differ_in_what_a_file_holds_once_are_not_saved(tmp_path):
    for setting, options in (
        ("rank_stabilized", {"rank_stabilized": True}),
        ("dropout", {"dropout": 0.5}),
        ("DoRA", {"magnitude": torch.ones(6)}),
    ):
        model = trained()[1]
        del model.first.adapters["default"]
        adapter = Adapter(torch.randn(2, 8), torch.randn(6, 2), 3.0, **options)
        model.first.put("default", adapter)
        with pytest.raises(ValueError, match=f"{setting}.* a file holds one for all"):
            save(model, tmp_path / "new")
        assert not (tmp_path / "new").exists()


def test_a_failed_save_leaves_the_file_that_was_there(tmp_path, monkeypatch):
    model = trained()[1]
    save(model, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(tensors, path, **kwargs):
        path.write_bytes(b"half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr(safetensors, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save(trained(seed=3)[1], tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
