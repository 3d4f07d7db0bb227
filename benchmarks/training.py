"""Training: the chunked loss beside the plain one, a step beside transformers', use of a GPU.

    python benchmarks/training.py [--quick]

The chunked loss and the plain one (all logits, torch's cross_entropy), forward and backward, with
SmolLM2's width and vocabularies of three sizes: time and peak memory, with every token learned and
with one in four. A whole training step of ours (chunked loss, clipping, AdamW) beside the same
model in transformers (its own loss), same weights, both with torch's fused AdamW. On a GPU also
liger-kernel's fused loss where it is installed, with the sizes of Llama-3.1-8B in bf16, and the
share of a measured bf16 matrix product that the steps of a model of 400 million weights reach.
What is compared runs in turn; a ratio is the smallest time of one over that of the other. Prints
tables and writes benchmarks/results/training-<device>.json; `--quick` makes a short run, on small
models, and writes nothing.
"""

import argparse
import copy
import os
from importlib.metadata import PackageNotFoundError, version

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import torch.nn.functional as F
import transformers
from decoder import both_models
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

from clearhead.inference import measure_roof
from clearhead.inference.measure import seconds
from clearhead.model import Config, Decoder
from clearhead.training import (
    IGNORED,
    Recipe,
    chunked_loss,
    decay_groups,
    initialise,
    make_rows,
    training_flops,
    utilisation,
)
from clearhead.training.loop import Objective

LOSSES = {  # (tokens, width, vocabulary)
    "cpu": ((2048, 576, 4096), (2048, 576, 16384), (2048, 576, 49152)),
    "cuda": ((8192, 576, 49152), (8192, 4096, 128256)),
    "quick": ((64, 32, 512),),
}
STEP = dict(
    vocab_size=4096,
    hidden_size=512,
    intermediate_size=1536,
    num_hidden_layers=8,
    num_attention_heads=8,
    num_key_value_heads=4,
)
STEP_SHAPES = ((4, 64), (1, 512))
LARGE = Config(
    vocab_size=32_768,
    width=1024,
    layers=24,
    heads=16,
    kv_heads=8,
    head_size=64,
    feed_forward=4096,
)
LARGE_SHAPES = ((8, 2048), (16, 2048))
TINY = Config(vocab_size=64, width=32, layers=2, heads=4, kv_heads=2, head_size=8, feed_forward=48)


def plain_loss(hidden, matrix, labels):
    """What one writes first: all logits, and their gradient as large again."""
    logits = (hidden[:, :-1] @ matrix.mT).float()
    return F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)


def liger_loss():
    """liger-kernel's fused loss as a function like ours, or None where it is not installed."""
    try:
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss
    except ImportError:
        return None
    loss = LigerFusedLinearCrossEntropyLoss(ignore_index=IGNORED)
    return lambda h, w, y: loss(w, h[:, :-1].flatten(0, 1), y[:, 1:].flatten())


def compare_losses(tokens: int, C: int, V: int, learned: float, rounds: int, device: str) -> dict:
    """Forward and backward of each loss: least seconds, ratios, peak memory, how far apart."""
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    hidden = torch.randn(1, tokens + 1, C, device=device, dtype=dtype, requires_grad=True)
    matrix = (torch.randn(V, C, device=device) / C**0.5).to(dtype).requires_grad_(True)
    labels = torch.randint(0, V, (1, tokens + 1), device=device)
    labels[:, 1 + int(tokens * learned) :] = IGNORED
    losses = {"plain": plain_loss, "chunked": chunked_loss}
    if device == "cuda" and (liger := liger_loss()):
        losses["liger"] = liger

    def call(loss):
        return torch.autograd.grad(loss(hidden, matrix, labels), [hidden, matrix])

    of_plain, of_chunked = call(plain_loss), call(chunked_loss)
    apart = max((a - b).abs().max().item() for a, b in zip(of_plain, of_chunked, strict=True))
    del of_plain, of_chunked
    calls = {name: lambda loss=loss: call(loss) for name, loss in losses.items()}
    peaks = {name: peak_bytes(function, device) for name, function in calls.items()}
    samples = interleave(calls, rounds=rounds, device=device)
    return {
        **{"tokens": tokens, "width": C, "vocabulary": V, "learned": learned, "dtype": str(dtype)},
        "time_ratios": {
            f"chunked / {name}": ratio_of_minima(samples, "chunked", name)
            for name in losses
            if name != "chunked"
        },
        "memory_ratios": {
            f"chunked / {name}": peaks["chunked"] / peaks[name]
            for name in losses
            if name != "chunked"
        },
        "least_seconds": {name: min(samples[name]) for name in losses},
        "peak_bytes": peaks,
        "gradients_apart": apart,
    }


def optimiser_of(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(decay_groups(model, 0.1), lr=1e-4, betas=(0.9, 0.95), fused=True)


def step(model: nn.Module, optimiser: torch.optim.Optimizer, loss) -> None:
    """Forward, backward, clipping and AdamW."""
    optimiser.zero_grad()
    loss().backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()


def compare_steps(ours, theirs, B: int, T: int, rounds: int, device: str) -> dict:
    """A training step of ours and of transformers, on the same rows from the same weights."""
    ours, theirs = copy.deepcopy(ours), copy.deepcopy(theirs)
    for model in (ours, theirs):
        model.requires_grad_(True)
    rows = make_rows(torch.randint(0, ours.config.vocab_size, (B, T))).take(torch.arange(B), device)
    objective = Objective(ours, Recipe(steps=1, batch=B, peak=1.0))
    count = rows.counted()
    losses = {
        "clearhead": (ours, lambda: objective(rows, count)),
        "transformers": (
            theirs,
            lambda: theirs(input_ids=rows.ids, labels=rows.ids, use_cache=False).loss,
        ),
    }
    apart = abs(losses["clearhead"][1]().item() - losses["transformers"][1]().item())
    calls = {}
    for name, (model, loss) in losses.items():
        optimiser = optimiser_of(model)
        calls[name] = lambda m=model, o=optimiser, f=loss: step(m, o, f)
    peaks = {name: peak_bytes(function, device) for name, function in calls.items()}
    samples = interleave(calls, rounds=rounds, device=device)
    return {
        **{"B": B, "T": T, "losses_apart": apart, "peak_bytes_beyond_weights": peaks},
        "time_ratio": ratio_of_minima(samples, "clearhead", "transformers"),
        "least_seconds": {name: min(samples[name]) for name in samples},
    }


def use_of_the_machine(config: Config, B: int, T: int, steps: int, device: str) -> list[dict]:
    """The share of a measured matrix product's rate that training steps reach, and their memory.

    In bf16 (autocast) on a GPU: block by block as it is written, then compiled by Inductor.
    """
    dtype = torch.bfloat16 if device == "cuda" else None
    roof = measure_roof(device, dtype or torch.float32)
    model = initialise(Decoder(config)).to(device)
    rows = make_rows(torch.randint(0, config.vocab_size, (B, T))).take(torch.arange(B), device)
    objective = Objective(model, Recipe(steps=1, batch=B, peak=1.0, dtype=dtype))
    optimiser, found = optimiser_of(model), []

    def one() -> None:
        step(model, optimiser, lambda: objective(rows, rows.counted()))

    for compiled in (False, True) if device == "cuda" else (False,):
        if compiled:
            for block in model.blocks:
                block.compile()
        for _ in range(3):
            one()
        best = min(seconds(one, torch.device(device)) for _ in range(steps))
        flops = training_flops(config, B, T)
        found.append(
            {
                **{"B": B, "T": T, "compiled": compiled, "least_seconds": best, "flops": flops},
                "weights": sum(p.numel() for p in model.parameters()),
                "matmul_rate": roof.flops,
                "utilisation": utilisation(flops, best, roof.flops),
                "tokens_per_second": B * T / best,
            }
        )
    return found


def spread(r: dict) -> str:
    return f"{r['ratio']:.3f} ({r['lowest']:.2f}–{r['highest']:.2f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a short run that writes nothing")
    quick = parser.parse_args().quick
    device = best_device()
    rounds = 3 if quick else 20
    print(f"{device_name(device)}, {torch.get_num_threads()} threads, {rounds} rounds")
    losses = []
    for sizes in LOSSES["quick" if quick else device]:
        for learned in (1.0, 0.25):
            row = compare_losses(*sizes, learned, max(3, rounds // 2), device)
            losses.append(row)
            for pair, r in row["time_ratios"].items():
                print(
                    f"loss, {row['tokens']} tokens, V = {row['vocabulary']:>6}, {learned:4.0%} "
                    f"learned: {pair}: time {spread(r)}, memory {row['memory_ratios'][pair]:.3f}",
                    flush=True,
                )
    steps = []
    ours, theirs = both_models(device, **{**STEP, **({"num_hidden_layers": 2} if quick else {})})
    for B, T in STEP_SHAPES:
        steps.append(compare_steps(ours, theirs, B, T, rounds, device))
        r, apart = steps[-1]["time_ratio"], steps[-1]["losses_apart"]
        print(f"step, B = {B}, T = {T}: clearhead / transformers {spread(r)}, {apart:.0e} apart")
    use = []
    if device == "cuda" or quick:
        for B, T in ((2, 16),) if quick else LARGE_SHAPES:
            use += use_of_the_machine(TINY if quick else LARGE, B, T, rounds, device)
        for row in use:
            print(
                f"use, {row['weights'] / 1e6:.0f} M weights, B = {row['B']}, T = {row['T']}, "
                f"compiled {row['compiled']}: {row['utilisation']:.3f} of a matrix product's rate"
            )
    if not quick:
        peers = {"transformers": transformers.__version__}
        try:
            peers["liger-kernel"] = version("liger-kernel")
        except PackageNotFoundError:
            peers["liger-kernel"] = None
        payload = {
            **{"peer": peers, "memory": MEMORY_METHOD[device], "step_sizes": STEP},
            **{"losses": losses, "steps": steps, "use": use},
        }
        print(f"wrote {write('training', device, payload).name}")


if __name__ == "__main__":
    main()
