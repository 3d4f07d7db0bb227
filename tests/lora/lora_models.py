"""Small models with what makes adapting hard: tied weights, shared modules, transposed weights."""

import torch
from torch import nn

import clearhead.lora as L
from clearhead.model import Config, Decoder


def decoder(*, tied: bool = True) -> Decoder:
    """A Llama of 2 layers, in fp64, whose key and value are narrower than its query."""
    sizes = {"vocab_size": 11, "width": 8, "layers": 2, "heads": 2, "kv_heads": 1, "head_size": 4}
    return Decoder(Config(**sizes, feed_forward=12, tied=tied)).double().eval()


class Conv1D(nn.Module):
    """A linear layer as GPT-2 has it: the weight is (in, out)."""

    def __init__(self, out_features: int, in_features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(in_features, out_features))
        self.bias = nn.Parameter(torch.randn(out_features))

    def forward(self, x):
        return x @ self.weight + self.bias


def layer(kind: str, dtype=torch.float64) -> tuple[L.LoRALayer, torch.Tensor, torch.Tensor]:
    """A LoRA layer of 7 inputs and 5 outputs without adapters, an input, and the same as vectors.

    The vectors are what a linear layer would read: one-hot rows for an embedding.
    """
    if kind == "embedding":
        ids = torch.tensor([[3, 1, 6], [0, 3, 3]])
        base = nn.Embedding(7, 5).to(dtype)
        return L.LoRAEmbedding(base), ids, nn.functional.one_hot(ids, 7).to(dtype)
    x = torch.randn(2, 3, 7, dtype=dtype)
    if kind == "conv1d":
        return L.LoRAConv1D(Conv1D(5, 7).to(dtype)), x, x
    return L.LoRALinear(nn.Linear(7, 5, bias=kind == "linear").to(dtype)), x, x


KINDS = ["linear", "linear-without-bias", "conv1d", "embedding"]


def trained(module: nn.Module) -> nn.Module:
    """As after training: every factor of the module's adapters is redrawn, none of them zero."""
    for found in module.modules():
        if isinstance(found, L.Adapter):
            for parameter in found.parameters():
                parameter.data = parameter.data + 0.3 * torch.randn_like(parameter)
    return module
