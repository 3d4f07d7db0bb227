"""One layer and its adapters: what it computes, what trains, what merging changes."""

import copy

import pytest
import torch
from lora_models import KINDS, layer, trained
from torch import nn

import clearhead.lora as L
from clearhead.lora import LoRAEmbedding, LoRALinear

EVERY_KIND = pytest.mark.parametrize("kind", KINDS)
OPTIONS = {
    "plain": {},
    "rank-stabilised": {"rank_stabilized": True},
    "gaussian": {"init": "gaussian"},
    "pissa": {"init": "pissa"},
    "dora": {"dora": True},
    "dora-on-pissa": {"dora": True, "init": "pissa", "rank_stabilized": True},
}
EVERY_OPTION = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def plain(adapted, vectors, name="default"):
    """The output by the plain functions, from the layer's own numbers."""
    adapter, bias = adapted.adapters[name], getattr(adapted, "bias", None)
    W = adapted.matrix if adapter.residual is None else adapter.residual
    given = {"bias": bias, "rank_stabilized": adapter.rank_stabilized}
    if adapter.magnitude is None:
        return L.forward(vectors, W, adapter.A, adapter.B, adapter.alpha, **given)
    factors = adapter.A, adapter.B, adapter.magnitude, adapter.alpha
    return L.dora_forward(vectors, W, *factors, **given)


def run(function, adapted, upstream):
    """The output, and the gradient of everything that trains."""
    y = function()
    given = [p for p in adapted.parameters() if p.requires_grad]
    return y.detach(), *torch.autograd.grad(y, given, upstream)


@EVERY_KIND
@EVERY_OPTION
def test_the_fast_layer_equals_the_plain_functions_with_its_gradients(kind, options):
    adapted, x, vectors = layer(kind)
    adapted.add("default", 3, 5.0, **options)
    trained(adapted)
    upstream = torch.randn(2, 3, 5, dtype=torch.float64)
    fast = run(lambda: adapted(x), adapted, upstream)
    slow = run(lambda: plain(adapted, vectors), adapted, upstream)
    torch.testing.assert_close(fast, slow)


@pytest.mark.parametrize("batch", [(), (4,), (0,), (2, 0), (2, 1, 3)], ids=str)
@pytest.mark.parametrize("kind", ["linear", "conv1d"])
def test_any_leading_axes_and_any_strides(kind, batch):
    adapted, _, _ = layer(kind)
    adapted.add("default", 3, 5.0)
    trained(adapted)
    x = torch.randn(7, *batch[::-1], dtype=torch.float64).permute(*reversed(range(len(batch) + 1)))
    torch.testing.assert_close(adapted(x), plain(adapted, x))


@EVERY_KIND
@EVERY_OPTION
def test_a_new_adapter_changes_nothing_yet(kind, options):
    adapted, x, _ = layer(kind)
    before = adapted(x)
    adapted.add("default", 3, 5.0, **options)
    torch.testing.assert_close(adapted(x), before)


@EVERY_KIND
def test_at_the_first_step_one_factor_moves_and_the_base_never(kind):
    adapted, x, _ = layer(kind)
    adapted.add("default", 3, 5.0)
    adapted(x).square().sum().backward()
    adapter = adapted.adapters["default"]
    moves, rests = (adapter.B, adapter.A) if kind != "embedding" else (adapter.A, adapter.B)
    assert moves.grad.any() and not rests.grad.any()
    assert all(p.grad is None and not p.requires_grad for p in adapted.base.parameters())


def test_an_embedding_that_training_never_meets_keeps_its_row():
    adapted, ids, _ = layer("embedding")
    adapted.add("default", 3, 5.0)
    optimiser = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        adapted(ids).square().sum().backward()
        optimiser.step()
    tokens = torch.arange(7)
    changed = (adapted(tokens) != adapted.base(tokens)).any(-1)
    assert changed.tolist() == [token in ids for token in tokens]


@EVERY_KIND
@EVERY_OPTION
def test_merged_the_layer_gives_the_same_and_unmerged_the_very_same(kind, options):
    adapted, x, _ = layer(kind)
    adapted.add("default", 3, 5.0, **options)
    trained(adapted)
    weight, before = adapted.weight.clone(), adapted(x)
    adapted.merge()
    assert adapted.merged
    assert adapted.merged_weight.shape == weight.shape and adapted.merged_weight.is_contiguous()
    torch.testing.assert_close(adapted(x), before)
    assert not adapted(x).requires_grad
    assert torch.equal(adapted.weight, weight)
    adapted.unmerge()
    assert torch.equal(adapted(x), before) and not adapted.merged


@EVERY_KIND
def test_merging_in_bf16_and_back_leaves_the_base_bit_for_bit(kind):
    adapted, x, _ = layer(kind)
    x = x if kind == "embedding" else x.bfloat16()
    adapted.to(torch.bfloat16)
    adapted.add("default", 3, 5.0)
    trained(adapted)
    before = adapted(x)
    adapted.merge()
    assert adapted.merged_weight.dtype == torch.bfloat16
    torch.testing.assert_close(adapted(x), before, atol=0.1, rtol=0.05)
    adapted.unmerge()
    assert torch.equal(adapted(x), before)


@EVERY_KIND
@EVERY_OPTION
def test_a_half_precision_base_gets_factors_in_fp32_and_keeps_its_output_dtype(kind, options):
    adapted, x, _ = layer(kind, torch.bfloat16)
    adapted.add("default", 3, 5.0, **options)
    trained(adapted)
    assert {p.dtype for p in adapted.adapters.parameters()} == {torch.float32}
    y = adapted(x)
    assert y.dtype == torch.bfloat16
    y.float().square().sum().backward()
    precise = copy.deepcopy(adapted).double()
    precise_x = x if kind == "embedding" else x.double()
    torch.testing.assert_close(y.double(), precise(precise_x), atol=0.1, rtol=0.05)


def test_under_autocast_the_layer_gives_what_the_plain_version_gives_nearly():
    adapted, x, _ = layer("linear", torch.float32)
    adapted.add("default", 3, 5.0)
    trained(adapted)
    with torch.autocast("cpu", torch.bfloat16):
        y = adapted(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), adapted(x), atol=0.1, rtol=0.05)


@EVERY_OPTION
@pytest.mark.parametrize("kind", ["linear", "conv1d"])
def test_dropout_acts_on_what_the_adapter_reads_and_only_in_training(kind, options):
    adapted, x, _ = layer(kind)
    adapted.add("default", 3, 5.0, dropout=0.4, **options)
    trained(adapted)
    adapted.eval()
    expected = adapted(x)
    torch.testing.assert_close(expected, plain(adapted, x))
    adapted.train()
    adapter, stand = adapted.adapters["default"], adapted.stand(adapted.adapters["default"])
    torch.manual_seed(5)
    mask = nn.functional.dropout(torch.ones_like(x), 0.4)
    torch.manual_seed(5)
    y = adapted(x)
    frozen = nn.functional.linear(x, stand, adapted.bias)
    read = x * mask  # the branch is what the adapter adds to its frozen matrix
    branch = plain(adapted, read) - nn.functional.linear(read, stand, adapted.bias)
    torch.testing.assert_close(y, frozen + branch)
    assert adapter.dropout == 0.4 and not torch.equal(y, expected)


def test_dropout_is_off_while_merged():
    adapted, x, _ = layer("linear")
    adapted.add("default", 3, 5.0, dropout=0.9)
    trained(adapted).train()
    adapted.merge()
    assert torch.equal(adapted(x), adapted(x))
    torch.testing.assert_close(adapted(x), plain(adapted, x))


@EVERY_KIND
def test_each_adapter_is_its_own_and_none_is_the_base(kind):
    adapted, x, vectors = layer(kind)
    base = adapted(x)
    for i, (name, options) in enumerate(OPTIONS.items()):
        adapted.add(name, 1 + i % 3, 2.0 + i, **options)
    trained(adapted)
    for name in OPTIONS:
        adapted.switch(name)
        torch.testing.assert_close(adapted(x), plain(adapted, vectors, name))
    adapted.switch(None)
    assert torch.equal(adapted(x), base)


def test_the_first_adapter_is_active_and_the_active_one_trains_alone():
    adapted, _, _ = layer("linear")
    assert adapted.active is None
    adapted.add("one", 2, 4.0)
    adapted.add("two", 2, 4.0)
    assert adapted.active == "one"

    def training():
        return {name for name, p in adapted.named_parameters() if p.requires_grad}

    assert training() == {"adapters.one.A", "adapters.one.B"}
    adapted.switch("two")
    assert training() == {"adapters.two.A", "adapters.two.B"}
    adapted.switch(None)
    assert training() == set()


def test_the_padding_row_of_an_embedding_gets_no_gradient():
    adapted = LoRAEmbedding(nn.Embedding(7, 5, padding_idx=3))
    adapted.add("default", 2, 4.0)
    adapted(torch.tensor([3, 1])).sum().backward()
    A = adapted.adapters["default"].A
    assert not A.grad[:, 3].any() and A.grad[:, 1].any()


@EVERY_KIND
def test_dora_leaves_an_output_at_zero_whose_weights_are_all_zero(kind):
    adapted, x, _ = layer(kind)
    adapted.matrix.data[2] = 0
    adapted.add("default", 3, 5.0, dora=True)
    frozen, adapter = adapted.base(x), adapted.adapters["default"]
    torch.testing.assert_close(adapted(x), frozen)
    adapted(x).sum().backward()
    assert all(p.grad.isfinite().all() for p in adapter.parameters())


def test_a_copy_and_a_saved_state_are_the_same_layer():
    adapted, x, _ = layer("linear")
    adapted.add("default", 3, 5.0, init="pissa")
    trained(adapted)
    again = copy.deepcopy(adapted)
    torch.testing.assert_close(again(x), adapted(x))
    other, _, _ = layer("linear")
    other.add("default", 3, 5.0, init="pissa")
    other.load_state_dict(adapted.state_dict())
    assert torch.equal(other(x), adapted(x))


def test_an_adapter_on_a_quantised_base_runs_and_neither_merges_nor_starts_by_pissa():
    base = L.NF4Linear(nn.Linear(64, 5))
    adapted, x = LoRALinear(base), torch.randn(2, 64)
    adapted.add("default", 3, 5.0)
    trained(adapted)
    torch.testing.assert_close(adapted(x), plain(adapted, x))
    with pytest.raises(ValueError, match="NF4Linear, which keeps no full weight, and merging"):
        adapted.merge()
    with pytest.raises(ValueError, match="PiSSA needs one; dequantise it first"):
        adapted.add("pissa", 3, 5.0, init="pissa")
    assert list(adapted.adapters) == ["default"] and not adapted.merged
