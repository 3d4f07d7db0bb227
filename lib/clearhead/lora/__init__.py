r"""LoRA, from the best matrix of rank r to many adapters on one model.

One orientation everywhere: `A` is `(R, I)`, `B` is `(O, R)`, and a weight is `(O, I)` as
`nn.Linear` stores it; the update is `scale(alpha, r) * B @ A`.
"""

from .adapter import Adapter
from .batched import batched_adapters, per_row
from .count import TrainingBytes, multiply_adds, trainable_parameters, training_bytes
from .dora import dora_fast, dora_forward, dora_weight, row_lengths
from .double_quantisation import (
    QuantisedScales,
    bits_per_parameter,
    dequantise_scales,
    dynamic_code,
    quantise_scales,
)
from .files import load, save
from .forward import forward, gradients, scale
from .initialise import initial, initialise, pissa
from .layer import LoRALayer
from .layers import LoRAConv1D, LoRAEmbedding, LoRALinear
from .low_rank import best_rank_r, energy, rank_for_energy, split
from .merge import delta, merge, unmerge
from .model import (
    active,
    add_adapter,
    apply,
    lora_layers,
    lora_parameters,
    merge_model,
    remove,
    switch,
    unmerge_model,
)
from .nf4 import NF4, dequantise, nf4, normal_float_code, pack, quantise, unpack
from .plus import loraplus_groups
from .qlora import NF4Linear, quantise_model

__all__ = [
    "NF4",
    "Adapter",
    "LoRAConv1D",
    "LoRAEmbedding",
    "LoRALayer",
    "LoRALinear",
    "NF4Linear",
    "QuantisedScales",
    "TrainingBytes",
    "active",
    "add_adapter",
    "apply",
    "batched_adapters",
    "best_rank_r",
    "bits_per_parameter",
    "delta",
    "dequantise",
    "dequantise_scales",
    "dora_fast",
    "dora_forward",
    "dora_weight",
    "dynamic_code",
    "energy",
    "forward",
    "gradients",
    "initial",
    "initialise",
    "load",
    "lora_layers",
    "lora_parameters",
    "loraplus_groups",
    "merge",
    "merge_model",
    "multiply_adds",
    "nf4",
    "normal_float_code",
    "pack",
    "per_row",
    "pissa",
    "quantise",
    "quantise_model",
    "quantise_scales",
    "rank_for_energy",
    "remove",
    "row_lengths",
    "save",
    "scale",
    "split",
    "switch",
    "trainable_parameters",
    "training_bytes",
    "unmerge",
    "unmerge_model",
    "unpack",
]
