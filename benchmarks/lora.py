"""LoRA's layers beside PEFT's and beside no LoRA at all: forward, merged, training, many adapters.

    python benchmarks/lora.py [--quick]

One Llama of 27 million random weights from transformers, fp32, adapters of rank 8 on every linear
layer but the head. Ours and PEFT's sit on copies of it and hold the same adapter (we save it, PEFT
loads it), so the ratios compare adapters and nothing else. Then our batched form of many adapters
beside the loop, and our fast DoRA beside the plain one. What is compared runs in turn; a ratio is
the smallest time of one over the smallest of the other. Prints tables and writes
benchmarks/results/lora-<device>.json; `--quick` makes a short run and writes nothing.
"""

import argparse
import copy
import os
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import peft
import torch
import torch.nn.functional as F
import transformers
from timing import (
    MEMORY_METHOD,
    best_device,
    device_name,
    interleave,
    peak_bytes,
    ratio_of_minima,
    write,
)
from torch import nn

from clearhead.lora import (
    apply,
    batched_adapters,
    dora_fast,
    dora_forward,
    lora_parameters,
    merge_model,
    per_row,
    row_lengths,
    save,
)

SIZES = dict(
    vocab_size=4096,
    hidden_size=512,
    intermediate_size=1536,
    num_hidden_layers=8,
    num_attention_heads=8,
    num_key_value_heads=4,
    tie_word_embeddings=True,
)
RANK, ALPHA = 8, 16.0
TRAINING_BATCH, TRAINING_T = 4, 64
MANY = dict(B=32, N=16, I=576, O=1536, R=8)  # one MLP matrix of SmolLM2-135M, 16 adapters


def prepared_models(device: str) -> dict[str, nn.Module]:
    """The base, and copies of it with one adapter: ours, ours merged, PEFT's, PEFT's merged."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SIZES, attn_implementation="sdpa")
    base = transformers.LlamaForCausalLM(config).eval().to(device)
    ours = copy.deepcopy(base)
    apply(ours, "all-linear", r=RANK, alpha=ALPHA)
    with torch.no_grad():
        for parameter in lora_parameters(ours):
            parameter.normal_(std=0.02)
    with tempfile.TemporaryDirectory() as folder:
        save(ours, folder)
        theirs = peft.PeftModel.from_pretrained(copy.deepcopy(base), folder).eval()
        for parameter in theirs.parameters():  # it loads for inference; let the adapter train
            parameter.requires_grad_(False)
        for name, parameter in theirs.named_parameters():
            parameter.requires_grad_("lora_" in name)
    merged, merged_peft = copy.deepcopy(ours), copy.deepcopy(theirs)
    merge_model(merged)
    merged_peft.merge_adapter()
    return {
        "base": base,
        "clearhead": ours,
        "peft": theirs,
        "clearhead merged": merged,
        "peft merged": merged_peft,
    }


@torch.no_grad()
def compare_forward(models: dict, T: int, rounds: int, device: str) -> dict:
    """Least seconds of each model on T tokens, and the ratios that the chapter speaks of."""
    ids = torch.randint(0, SIZES["vocab_size"], (1, T), device=device)
    calls = {
        name: (lambda model=model: model(input_ids=ids, use_cache=False).logits)
        for name, model in models.items()
    }
    apart = (calls["clearhead"]() - calls["peft"]()).abs().max().item()
    samples = interleave(calls, rounds=rounds, device=device)
    pairs = {
        "clearhead / peft": ("clearhead", "peft"),
        "clearhead / base": ("clearhead", "base"),
        "peft / base": ("peft", "base"),
        "clearhead merged / base": ("clearhead merged", "base"),
        "peft merged / base": ("peft merged", "base"),
    }
    return {
        "T": T,
        "time_ratios": {name: ratio_of_minima(samples, *pair) for name, pair in pairs.items()},
        "least_seconds": {name: min(seconds) for name, seconds in samples.items()},
        "logits_apart": apart,
    }


def training_step(model: nn.Module, ids: torch.Tensor, optimiser=None) -> None:
    """Forward, backward and one step of AdamW; a fresh optimiser, with its memory, unless given."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = optimiser or torch.optim.AdamW(trained, lr=1e-5)
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


def compare_training(models: dict, rounds: int, device: str) -> dict:
    """One step of full fine-tuning, of our LoRA and of PEFT's: time, and memory beyond weights."""
    shape = (TRAINING_BATCH, TRAINING_T)
    ids = torch.randint(0, SIZES["vocab_size"], shape, device=device)
    full = copy.deepcopy(models["base"]).requires_grad_(True)
    learners = {"full": full, "clearhead": models["clearhead"], "peft": models["peft"]}
    peaks, calls = {}, {}
    for name, model in learners.items():
        peaks[name] = peak_bytes(lambda model=model: training_step(model, ids), device)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimiser = torch.optim.AdamW(trained, lr=1e-5)
        calls[name] = lambda model=model, o=optimiser: training_step(model, ids, o)
    samples = interleave(calls, rounds=rounds, device=device)
    return {
        "batch": shape,
        "trained_parameters": {
            name: sum(p.numel() for p in model.parameters() if p.requires_grad)
            for name, model in learners.items()
        },
        "time_ratios": {
            "clearhead / full": ratio_of_minima(samples, "clearhead", "full"),
            "clearhead / peft": ratio_of_minima(samples, "clearhead", "peft"),
        },
        "least_seconds": {name: min(seconds) for name, seconds in samples.items()},
        "peak_bytes_beyond_weights": peaks,
        "weight_bytes": sum(p.numel() * p.element_size() for p in models["base"].parameters()),
    }


@torch.no_grad()
def compare_batched(T: int, rounds: int, device: str) -> dict:
    """A batch whose rows have different adapters: the loop beside two batched products."""
    B, N, I, O, R = MANY.values()
    x, weight = torch.randn(B, T, I, device=device), torch.randn(O, I, device=device) / I**0.5
    down, up = torch.randn(N, R, I, device=device) / I**0.5, torch.randn(N, O, R, device=device)
    which = torch.arange(B, device=device) % (N + 1) - 1
    calls = {
        "loop": lambda: per_row(x, weight, down, up, ALPHA, which),
        "batched": lambda: batched_adapters(x, weight, down, up, ALPHA, which),
        "base": lambda: F.linear(x, weight),
    }
    apart = (calls["loop"]() - calls["batched"]()).abs().max().item()
    samples = interleave(calls, rounds=rounds, device=device)
    return {
        **MANY,
        "T": T,
        "time_ratios": {
            "loop / batched": ratio_of_minima(samples, "loop", "batched"),
            "batched / base": ratio_of_minima(samples, "batched", "base"),
        },
        "least_seconds": {name: min(seconds) for name, seconds in samples.items()},
        "outputs_apart": apart,
    }


def compare_dora(T: int, rounds: int, device: str) -> dict:
    """DoRA on one matrix, forward and backward: W' written out, and never written out."""
    I, O, R = MANY["I"], MANY["O"], MANY["R"]
    x, weight = torch.randn(T, I, device=device), torch.randn(O, I, device=device) / I**0.5
    A, B = torch.randn(R, I, device=device) / I**0.5, torch.randn(O, R, device=device) / 10
    trained = [A, B, row_lengths(weight, A, B, ALPHA)]
    for tensor in trained:
        tensor.requires_grad_(True)
    x.requires_grad_(True)

    def call(version):
        y = version(x, weight, *trained, ALPHA)
        torch.autograd.grad(y.sum(), [x, *trained])

    calls = {"plain": lambda: call(dora_forward), "fast": lambda: call(dora_fast)}
    peaks = {name: peak_bytes(function, device) for name, function in calls.items()}
    samples = interleave(calls, rounds=rounds, device=device)
    return {
        **{"T": T, "I": I, "O": O, "R": R},
        "time_ratio_plain_over_fast": ratio_of_minima(samples, "plain", "fast"),
        "least_seconds": {name: min(seconds) for name, seconds in samples.items()},
        "peak_bytes": peaks,
    }


def show(title: str, ratios: dict[str, dict]) -> None:
    """One line a ratio: the ratio of minima and the range of the rounds."""
    for name, r in ratios.items():
        print(f"{title:>24} {name:>26} {r['ratio']:7.3f} ({r['lowest']:.2f}–{r['highest']:.2f})")
    print(end="", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a short run that writes nothing")
    quick = parser.parse_args().quick
    device = best_device()
    rounds = 3 if quick else 40
    print(f"{device_name(device)}, {torch.get_num_threads()} threads, fp32, {rounds} rounds")
    models = prepared_models(device)
    forward = []
    for T in (1, 256):
        forward.append(compare_forward(models, T, rounds, device))
        show(f"forward, T = {T}", forward[-1]["time_ratios"])
    training = compare_training(models, max(3, rounds // 2), device)
    show("training step", training["time_ratios"])
    for name, peak in training["peak_bytes_beyond_weights"].items():
        print(f"{'training step':>24} {name + ', peak MB':>26} {peak / 1e6:7.1f}")
    batched, dora = [], []
    for T in (1, 64):
        batched.append(compare_batched(T, rounds, device))
        show(f"{MANY['B']} rows, T = {T}", batched[-1]["time_ratios"])
    for T in (1, 256):
        dora.append(compare_dora(T, rounds, device))
        ratio = {"plain / fast": dora[-1]["time_ratio_plain_over_fast"]}
        show(f"DoRA with backward, T = {T}", ratio)
    if not quick:
        payload = {
            "peer": {"peft": peft.__version__, "transformers": transformers.__version__},
            "sizes": {**SIZES, "rank": RANK, "alpha": ALPHA},
            "memory": MEMORY_METHOD[device],
            **{"forward": forward, "training": training, "batched": batched, "dora": dora},
        }
        print(f"wrote {write('lora', device, payload).name}")


if __name__ == "__main__":
    main()
