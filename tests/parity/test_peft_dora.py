"""DoRA gives what PEFT's gives: outputs, gradients, merged weights, on three kinds of layer."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch
from torch import nn

from clearhead.lora import apply as adapt
from clearhead.lora import (
    dora_fast,
    dora_forward,
    dora_weight,
    lora_layers,
    merge_model,
    row_lengths,
)

peft = pytest.importorskip("peft", reason="pip install 'clearhead[parity]'")
from transformers.pytorch_utils import Conv1D  # noqa: E402

SIZES = dict(I=13, O=9, R=4)
OPTIONS = pytest.mark.parametrize("rank_stabilized", [False, True])


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.line, self.turned = nn.Embedding(17, 13), nn.Linear(13, 9), Conv1D(7, 9)
        nn.init.normal_(self.turned.weight, std=0.3)
        nn.init.normal_(self.turned.bias)

    def forward(self, ids):
        return self.turned(self.line(self.table(ids)).tanh())


def both(rank_stabilized):
    """PEFT's model and ours, of the same weights and adapters, which have left the start."""
    torch.manual_seed(0)
    base, ours = Model(), Model()
    ours.load_state_dict(base.state_dict())
    names = ["table", "line", "turned"]
    config = peft.LoraConfig(
        r=4, lora_alpha=6, target_modules=names, use_dora=True, use_rslora=rank_stabilized
    )
    with pytest.warns(UserWarning, match="fan_in_fan_out is set to False"):
        theirs = peft.get_peft_model(base, config)
    adapt(ours, names, r=4, alpha=6.0, dora=True, rank_stabilized=rank_stabilized)
    with torch.no_grad():
        for name, layer in lora_layers(ours).items():
            adapter = layer.adapters["default"]
            peer = theirs.base_model.model.get_submodule(name)
            magnitude = peer.lora_magnitude_vector["default"].weight
            torch.testing.assert_close(adapter.magnitude, magnitude)  # both start at the rows'
            for parameter in (adapter.A, adapter.B):
                parameter.normal_(std=0.5)
            magnitude.mul_(torch.rand_like(magnitude) + 0.5)
            adapter.magnitude.copy_(magnitude)
            if name == "table":
                A, B = peer.lora_embedding_A["default"], peer.lora_embedding_B["default"]
            else:
                A, B = peer.lora_A["default"].weight, peer.lora_B["default"].weight
            A.copy_(adapter.A)
            B.copy_(adapter.B)
    return theirs, ours


def gradients(peer, name):
    if name == "table":
        return peer.lora_embedding_A["default"].grad, peer.lora_embedding_B["default"].grad
    return peer.lora_A["default"].weight.grad, peer.lora_B["default"].weight.grad


@OPTIONS
def test_outputs_and_gradients_are_theirs(rank_stabilized):
    theirs, ours = both(rank_stabilized)
    ids = torch.randint(0, 17, (2, 5))
    y, expected = ours(ids), theirs(ids)
    torch.testing.assert_close(y, expected, atol=1e-6, rtol=1e-6)
    d_output = torch.randn_like(y)
    y.backward(d_output)
    expected.backward(d_output)
    for name, layer in lora_layers(ours).items():
        adapter, peer = layer.adapters["default"], theirs.base_model.model.get_submodule(name)
        pairs = zip((adapter.A.grad, adapter.B.grad), gradients(peer, name), strict=True)
        for ours_, theirs_ in pairs:
            torch.testing.assert_close(ours_, theirs_, atol=2e-6, rtol=2e-6)
        torch.testing.assert_close(
            *(adapter.magnitude.grad, peer.lora_magnitude_vector["default"].weight.grad),
            **{"atol": 2e-6, "rtol": 2e-6},
        )


@OPTIONS
def test_merged_weights_are_theirs(rank_stabilized):
    theirs, ours = both(rank_stabilized)
    merge_model(ours)
    theirs.merge_adapter()
    for name, layer in lora_layers(ours).items():
        merged = theirs.base_model.model.get_submodule(name).get_base_layer().weight
        torch.testing.assert_close(layer.merged_weight, merged, atol=1e-6, rtol=1e-6)


@OPTIONS
@pytest.mark.parametrize("version", [dora_forward, dora_fast])
def test_the_functions_on_their_own_give_what_their_layer_gives(version, rank_stabilized):
    theirs, _ = both(rank_stabilized)
    peer = theirs.base_model.model.line
    weight, bias = peer.get_base_layer().weight, peer.get_base_layer().bias
    A, B = peer.lora_A["default"].weight, peer.lora_B["default"].weight
    magnitude = peer.lora_magnitude_vector["default"].weight
    x, given = torch.randn(2, 3, 13), {"rank_stabilized": rank_stabilized}
    got = version(x, weight, A, B, magnitude, 6.0, bias, **given)
    torch.testing.assert_close(got, peer(x), atol=1e-6, rtol=1e-6)
    lengths = row_lengths(weight, A, B, 6.0, **given)
    merged = dora_weight(weight, A, B, lengths, 6.0, **given)  # with these magnitudes, plain LoRA
    torch.testing.assert_close(merged, weight + peer.scaling["default"] * B @ A)
