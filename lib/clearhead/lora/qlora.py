r"""QLoRA: the frozen weights are kept in four bits, the adapters are trained in full precision.

$$
y = \hat W x + b + s\, B A x, \qquad \hat W = \operatorname{dequantise}(k, a) \tag{1}
$$

$k$ are the indices and $a$ the scales of NF4 with double quantisation. Each use writes $\hat W$ out
in the dtype of the model, multiplies, and drops it. The base then takes 4.127 bits a parameter in
place of 16 or 32, and the price is time: a training step writes each weight out twice.

The gradient reaches `x`, `A` and `B`; the codes have none:

$$
\frac{\partial L}{\partial x} = \hat W^\top \frac{\partial L}{\partial y}
+ s\, A^\top B^\top \frac{\partial L}{\partial y} \tag{2}
$$

Quantise before or after `apply`: `quantise_model` finds the linear layers, adapted or not, and
leaves embeddings and the output head as they are.

Training starts from the *quantised* model, which is a little worse than the model that was
quantised, and the adapter makes up for it. Merging would round the update to four bits, so a
quantised layer is not merged: dequantise it first (`to_linear`).

**Numerics.** Quantised in fp32 and written out in the dtype that the weight had;
`model.to(torch.bfloat16)` changes that dtype. The scales are kept as bits, which it leaves alone.

**Source.** Dettmers et al., 2023 (QLoRA), section 3, equations 5 and 6.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .double_quantisation import QuantisedScales, dequantise_scales, quantise_scales
from .model import lora_layers, replace_modules
from .nf4 import dequantise, pack, quantise, unpack
from .targets import ALL_LINEAR, find_targets


class NF4Linear(nn.Linear):
    """An `nn.Linear` whose weight is kept in NF4; everything in it is frozen.

    `weight` is a property that writes the matrix out anew each time. Raises `TypeError` when
    `linear` is not an `nn.Linear` that holds a weight of its own, and `ValueError` for a weight
    that is not finite.
    """

    def __init__(self, linear: nn.Linear, block_size: int = 64):
        nn.Module.__init__(self)
        if not isinstance(linear, nn.Linear) or isinstance(linear, NF4Linear):
            raise TypeError(f"NF4Linear replaces an nn.Linear; given a {type(linear).__name__}.")
        self.out_features, self.in_features = linear.weight.shape
        self.block_size = block_size
        codes, absmax = quantise(linear.weight.detach().float().flatten(), block_size)
        scale_codes, largest, mean = quantise_scales(absmax)
        self.register_buffer("codes", pack(codes))
        self.register_buffer("scale_codes", scale_codes)
        self.register_buffer("scales", torch.cat([largest, mean[None]]).view(torch.int32))
        self.register_buffer("like", linear.weight.new_empty(0), persistent=False)  # the dtype
        bias = None if linear.bias is None else linear.bias.detach().clone()
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    @property
    def weight(self) -> Tensor:
        """The matrix that the codes stand for, (O, I), written out anew."""
        scales = self.scales.view(torch.float32)
        absmax = dequantise_scales(QuantisedScales(self.scale_codes, scales[:-1], scales[-1]))
        codes = unpack(self.codes, self.out_features * self.in_features)
        values = dequantise(codes, absmax, self.block_size)
        return values.to(self.like.dtype).reshape(self.out_features, self.in_features)

    def forward(self, x: Tensor) -> Tensor:
        """The first two terms of (1). The matrix is dropped at once, and written out again for
        the gradient of `x`: F.linear(x, self.weight) would keep it until then."""
        return _Multiply.apply(x, self)

    def to_linear(self) -> nn.Linear:
        """An ordinary frozen layer that holds the rounded weight."""
        linear = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        linear.weight = nn.Parameter(self.weight, requires_grad=False)
        linear.bias = self.bias
        return linear


def quantise_model(
    model: nn.Module, targets: Sequence[str] | str = ALL_LINEAR, block_size: int = 64
) -> list[str]:
    """Put an `NF4Linear` in the place of each linear layer that `targets` name; returns the names.

    Targets are named as for `apply`; the base inside a LoRA layer is called `base`. Raises
    `TypeError` for a target that is not an `nn.Linear` or is quantised already, and `ValueError`
    for a name that no module has, a weight that is not finite or a base whose adapter is merged.
    The model is unchanged then.
    """
    found = find_targets(model, targets)
    for layer in lora_layers(model).values():
        if layer.base in found.values():
            layer.require_switchable(None)  # refuses a merged one
    new = {}
    for path, linear in found.items():
        if not isinstance(linear, nn.Linear):
            kind = type(linear).__name__
            raise TypeError(f"NF4Linear replaces an nn.Linear; {path!r} is a {kind}.")
        new[linear] = NF4Linear(linear, block_size)
    replace_modules(model, new)
    return list(found)


class _Multiply(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, layer: NF4Linear) -> Tensor:
        ctx.layer = layer
        return F.linear(x, layer.weight, layer.bias)

    @staticmethod
    def backward(ctx, d_output: Tensor) -> tuple[Tensor, None]:
        return d_output @ ctx.layer.weight, None
