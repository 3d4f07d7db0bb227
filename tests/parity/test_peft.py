"""Our LoRA layers give what PEFT's give: outputs, gradients, merged weights, initialisation."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import copy
import warnings

import pytest
import torch
from torch import nn

import clearhead.lora as L

peft = pytest.importorskip("peft", reason="pip install 'clearhead[parity]'")
transformers = pytest.importorskip("transformers", reason="pip install 'clearhead[parity]'")

from transformers.pytorch_utils import Conv1D  # noqa: E402

LIMIT = {torch.float32: 1e-6, torch.float64: 1e-12}  # for values of size 1


class Small(nn.Module):
    """One layer of each kind, with unequal sizes, and an output head."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(11, 6)
        self.linear = nn.Linear(6, 9)
        self.conv = Conv1D(7, 9)
        nn.init.normal_(self.conv.weight, std=0.3)
        self.bare = nn.Linear(7, 5, bias=False)

    def forward(self, ids):
        x = self.conv(torch.tanh(self.linear(self.table(ids))))
        return self.bare(torch.tanh(x))


IDS = torch.tensor([[1, 5, 2, 10], [3, 3, 0, 7]])
TARGETS = ["linear", "conv", "bare", "table"]
OPTIONS = {
    "plain": ({}, {}),
    "rank-stabilised": ({"rank_stabilized": True}, {"use_rslora": True}),
    "gaussian": ({"init": "gaussian"}, {"init_lora_weights": "gaussian"}),
    "dora": ({"dora": True}, {"use_dora": True}),
    "dora-rank-stabilised": (
        {"dora": True, "rank_stabilized": True},
        {"use_dora": True, "use_rslora": True},
    ),
}
EVERY_OPTION = pytest.mark.parametrize(("ours", "theirs"), OPTIONS.values(), ids=OPTIONS)


def config(targets=TARGETS, r=3, alpha=7, **options):
    return peft.LoraConfig(r=r, lora_alpha=alpha, target_modules=targets, **options)


def adapted_by_peft(model, **options):
    """A copy of the model with PEFT's layers, and none of its factors zero."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that Conv1D stores its weight transposed
        theirs = peft.get_peft_model(copy.deepcopy(model), config(**options)).eval()
    for name, parameter in theirs.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data + 0.3 * torch.randn_like(parameter)
    return theirs


def factors(layer, name="default"):
    """PEFT's parameters of one layer, by our names."""
    if name in layer.lora_embedding_A:
        found = {"A": layer.lora_embedding_A[name], "B": layer.lora_embedding_B[name]}
    else:
        found = {"A": layer.lora_A[name].weight, "B": layer.lora_B[name].weight}
    if name in layer.lora_magnitude_vector:
        found["magnitude"] = layer.lora_magnitude_vector[name].weight
    return found


def adapted_by_us(model, theirs, name="default", **options):
    """A copy of the model with our layers, and PEFT's numbers in them."""
    ours = copy.deepcopy(model)
    paths = L.apply(ours, TARGETS, r=3, alpha=7, name=name, **options)
    for path in paths:
        for factor, value in factors(theirs.base_model.model.get_submodule(path)).items():
            getattr(ours.get_submodule(path).adapters[name], factor).data = value.detach().clone()
    return ours.eval()


def gradients(model, names):
    """The output, and the gradients of the named parameters, for one fixed upstream gradient."""
    y = model(IDS)
    upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    return [y.detach(), *torch.autograd.grad(y, names, upstream)]


def assert_near(actual, expected, limit=None):
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape and a.dtype == e.dtype
        limit = limit or LIMIT[a.dtype]
        assert (a - e).abs().max() <= limit * max(1, e.abs().max())


@EVERY_OPTION
def test_outputs_and_gradients_are_those_of_peft(ours, theirs):
    model = Small().double()
    peft_model = adapted_by_peft(model, **theirs)
    our_model = adapted_by_us(model, peft_model, **ours)
    mine, other = [], []
    for path, layer in L.lora_layers(our_model).items():
        twin = factors(peft_model.base_model.model.get_submodule(path))
        mine += [getattr(layer.adapters["default"], name) for name in twin]
        other += twin.values()
    assert (our_model(IDS) - model(IDS)).abs().max() > 0.1
    assert_near(gradients(our_model, mine), gradients(peft_model, other))


@EVERY_OPTION
def test_merged_weights_are_those_of_peft_and_ours_come_back_exactly(ours, theirs):
    model = Small().double()
    peft_model = adapted_by_peft(model, **theirs)
    our_model = adapted_by_us(model, peft_model, **ours)
    before = our_model(IDS)
    peft_model.merge_adapter()
    L.merge_model(our_model)
    assert_near([our_model(IDS)], [peft_model(IDS)])
    for path, layer in L.lora_layers(our_model).items():
        twin = peft_model.base_model.model.get_submodule(path)
        assert_near([layer.merged_weight], [twin.base_layer.weight])
    L.unmerge_model(our_model)
    peft_model.unmerge_adapter()
    assert torch.equal(our_model(IDS), before)
    assert_near([our_model(IDS)], [peft_model(IDS)])


def test_fp32_factors_merge_into_a_bf16_weight_as_in_peft():
    torch_weight = torch.randn(9, 6).bfloat16()
    A, B = torch.randn(3, 6), torch.randn(9, 3)
    linear = nn.Linear(6, 9, bias=False).bfloat16()
    linear.weight.data = torch_weight.clone()
    theirs = peft.get_peft_model(nn.Sequential(linear), config(["0"]))
    layer = theirs.base_model.model[0]
    layer.lora_A["default"].weight.data, layer.lora_B["default"].weight.data = A, B
    theirs.merge_adapter()
    ours = L.merge(torch_weight, A, B, 7)
    assert torch.equal(ours, layer.base_layer.weight)


@pytest.mark.parametrize("rank_stabilized", [False, True])
def test_pissa_starts_as_peft_s_does(rank_stabilized):
    model = Small()
    layers = ["linear", "conv", "bare"]
    options = {"init_lora_weights": "pissa", "use_rslora": rank_stabilized}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = peft.get_peft_model(copy.deepcopy(model), config(layers, **options))
    ours = copy.deepcopy(model)
    L.apply(ours, layers, r=3, alpha=7, init="pissa", rank_stabilized=rank_stabilized)
    assert_near([ours(IDS)], [theirs(IDS)], 5e-6)
    for path, layer in L.lora_layers(ours).items():
        twin = theirs.base_model.model.get_submodule(path)
        mine, other = layer.adapters["default"], factors(twin)
        assert_near([mine.B @ mine.A], [other["B"] @ other["A"]], 5e-6)
        assert_near([mine.A.norm(dim=1)], [other["A"].norm(dim=1)], 5e-6)  # the sign is free
        residual = mine.residual.T if path == "conv" else mine.residual
        assert_near([residual], [twin.base_layer.weight], 5e-6)


@pytest.mark.parametrize("init", ["kaiming", "gaussian"])
def test_initialisation_is_spread_as_peft_s(init):
    model = nn.Sequential(nn.Linear(4000, 300), nn.Embedding(4000, 300))
    given = {} if init == "kaiming" else {"init_lora_weights": "gaussian"}
    theirs = peft.get_peft_model(copy.deepcopy(model), config(["0", "1"], r=32, **given))
    L.apply(model, ["0", "1"], r=32, init=init)
    for path, layer in L.lora_layers(model).items():
        other = factors(theirs.base_model.model.get_submodule(path))
        for name, expected in other.items():
            actual = getattr(layer.adapters["default"], name)
            assert actual.shape == expected.shape
            for statistic in (torch.std, lambda x: x.abs().max(), lambda x: x.abs().mean()):
                wanted = statistic(expected)
                assert (statistic(actual) - wanted).abs() <= 0.2 * wanted


@pytest.mark.parametrize("head", [True, False])
def test_all_linear_of_a_language_model_is_the_choice_of_peft(head):
    sizes = dict(vocab_size=31, hidden_size=16, intermediate_size=24, num_hidden_layers=2)
    heads = dict(num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=not head)
    llama = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, **heads)).eval()
    theirs = adapted_by_peft(llama, targets="all-linear", task_type="CAUSAL_LM")
    chosen = {
        name
        for name, module in theirs.base_model.model.named_modules()
        if isinstance(module, peft.tuners.lora.LoraLayer)
    }
    ours = copy.deepcopy(llama)
    assert set(L.apply(ours, "all-linear", r=3, alpha=7)) == chosen
    trained = sum(p.numel() for p in L.lora_parameters(ours))
    assert trained == sum(p.numel() for p in theirs.parameters() if p.requires_grad)


def test_a_whole_language_model_with_two_adapters_gives_what_peft_gives():
    sizes = dict(vocab_size=31, hidden_size=16, intermediate_size=24, num_hidden_layers=2)
    heads = dict(num_attention_heads=4, num_key_value_heads=2)
    llama = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, **heads)).eval()
    theirs = adapted_by_peft(llama, targets=["q_proj", "down_proj"])
    theirs.add_adapter("two", config(["q_proj", "down_proj"], r=5, alpha=3, use_rslora=True))
    for name, parameter in theirs.named_parameters():
        if ".two." in name:
            parameter.data = 0.3 * torch.randn_like(parameter)
    ours = copy.deepcopy(llama)
    L.apply(ours, ["q_proj", "down_proj"], r=3, alpha=7)
    L.add_adapter(ours, "two", r=5, alpha=3, rank_stabilized=True)
    for path, layer in L.lora_layers(ours).items():
        for name, adapter in layer.adapters.items():
            for factor, value in factors(theirs.base_model.model.get_submodule(path), name).items():
                getattr(adapter, factor).data = value.detach().clone()
    ids = torch.randint(31, (2, 7))
    for name in ("default", "two"):
        theirs.set_adapter(name)
        L.switch(ours, name)
        assert_near([ours(ids).logits], [theirs(ids).logits])
    L.switch(ours, None)
    with theirs.disable_adapter():
        assert_near([ours(ids).logits], [theirs(ids).logits])
    assert torch.equal(ours(ids).logits, llama(ids).logits)


@pytest.mark.parametrize("dora", [False, True])
def test_dropout_acts_where_peft_s_acts(dora):
    model, x = nn.Sequential(nn.Linear(6, 9)).double(), torch.randn(4, 6).double()
    options = {"targets": ["0"], "lora_dropout": 0.4, "use_dora": dora}
    theirs = adapted_by_peft(model, **options).train()
    ours = copy.deepcopy(model)
    L.apply(ours, ["0"], r=3, alpha=7, dropout=0.4, dora=dora)
    for factor, value in factors(theirs.base_model.model[0]).items():
        getattr(ours[0].adapters["default"], factor).data = value.detach().clone()
    outputs = []
    for adapted in (ours.train(), theirs):
        torch.manual_seed(5)
        outputs.append(adapted(x))
    assert_near(outputs[:1], outputs[1:])
    assert (outputs[0] - ours.eval()(x)).abs().max() > 0.01
