"""LoRA and its variants beside full fine-tuning: the same model, data, steps and optimiser.

    python benchmarks/lora_fine_tune.py [--quick]

SmolLM2-135M learns to answer as a pirate from the sixteen chats of clearhead.lora.voices. Every
method runs at two or three learning rates, because no one rate is fair to all. On the way we
measure the loss on the chats, on unseen questions in the same voice (what was learned) and on
prose without any voice (what was forgotten). Then one step of each method is timed, in turn, and
its memory measured. Writes benchmarks/results/lora_fine_tune-<device>.json; `--quick` writes
nothing.
"""

import argparse
import copy

import torch
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

from clearhead.lora import NF4Linear, apply
from clearhead.lora.fine_tune import answer_loss, encode_chats, fine_tune, text_loss
from clearhead.lora.voices import PIRATE, PROSE, UNSEEN
from clearhead.model import load

MODEL, BATCH, EVERY = "smollm2-135m", 8, 4
HIGH = (1e-3, 3e-3)

# name -> (arguments of apply, or None for full fine-tuning; learning rates)
METHODS = {
    "full fine-tuning": (None, (3e-5, 1e-4, 3e-4)),
    "LoRA, r = 8": ({"targets": "all-linear", "r": 8}, (3e-4, *HIGH)),
    "LoRA, r = 1": ({"targets": "all-linear", "r": 1}, HIGH),
    "LoRA, r = 8, q and v": ({"targets": ["query", "value"], "r": 8}, HIGH),
    "DoRA, r = 8": ({"targets": "all-linear", "r": 8, "dora": True}, HIGH),
    "PiSSA, r = 8": ({"targets": "all-linear", "r": 8, "init": "pissa"}, (3e-4, 1e-3)),
    "QLoRA, r = 8": ({"targets": "all-linear", "r": 8, "quantise": True}, HIGH),
}

LONGER = {"LoRA, r = 8": (4e-4, 40)}  # a small rate, given the steps that it needs


def quantise_linears(module: nn.Module) -> None:
    """Replace every linear layer inside `module` by its NF4 form."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, NF4Linear(child))
        else:
            quantise_linears(child)


def prepared(base: nn.Module, arguments: dict | None, seed: int = 0) -> nn.Module:
    """A copy of `base`, ready to train: everything, or adapters of scale 2 on a frozen base."""
    torch.manual_seed(seed)
    model = copy.deepcopy(base)
    if arguments is None:
        return model.requires_grad_(True)
    given = dict(arguments)
    targets, r = given.pop("targets"), given.pop("r")
    if given.pop("quantise", False):
        quantise_linears(model)
    apply(model, targets, r=r, alpha=2 * r, **given)
    return model


def losses_of(model, tokenizer, data) -> dict[str, float]:
    with torch.no_grad():
        return {
            "chats": answer_loss(model, *data["chats"]).item(),
            "unseen": answer_loss(model, *data["unseen"]).item(),
            "prose": text_loss(model, tokenizer, PROSE),
        }


def run(start, tokenizer, data, learning_rate: float, steps: int) -> dict:
    """One run from a copy of the prepared model `start`, measured every few steps."""
    model, measured = copy.deepcopy(start), []

    def watch(done: int) -> None:
        if done % EVERY == 0 or done == steps:
            measured.append({"step": done, **losses_of(model, tokenizer, data)})

    losses = fine_tune(
        *(model, *data["chats"]), learning_rate=learning_rate, steps=steps, batch=BATCH, watch=watch
    )
    return {
        "learning_rate": learning_rate,
        "losses": losses,
        "measured": measured,
    }


def held_bytes(model) -> dict[str, int]:
    """What a run holds all the time: weights and scales, gradients, the two moments of Adam."""
    tensors = [*model.parameters(), *model.buffers()]
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    return {
        "weights": sum(x.numel() * x.element_size() for x in tensors),
        "gradients": trained,
        "optimiser": 2 * trained,
    }


def steps_of(model, data):
    """One training step, and the same without the optimiser; no gradient is left over by either."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-5, weight_decay=0.0)
    ids, labels = (x[:BATCH] for x in data["chats"])

    def step():
        answer_loss(model, ids, labels).backward()
        optimiser.step()
        optimiser.zero_grad()

    def passes():
        answer_loss(model, ids, labels).backward()
        optimiser.zero_grad()

    return step, passes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a short run that writes nothing")
    quick = parser.parse_args().quick
    device, steps, rounds = best_device(), *((4, 1) if quick else (16, 7))
    base, tokenizer = load(MODEL, device=device)
    data = {
        name: tuple(x.to(device) for x in encode_chats(tokenizer, chats))
        for name, chats in (("chats", PIRATE), ("unseen", UNSEEN))
    }
    print(f"{device_name(device)}, {torch.get_num_threads()} threads, fp32, {steps} steps")
    rows, calls, passes = [], {}, {}
    for name, (arguments, rates) in METHODS.items():
        start = prepared(base, arguments)
        runs = [run(start, tokenizer, data, rate, steps) for rate in rates[: 1 if quick else 3]]
        if name in LONGER and not quick:
            runs.append(run(start, tokenizer, data, *LONGER[name]))
        trainable = sum(p.numel() for p in start.parameters() if p.requires_grad)
        rows.append({"method": name, "trainable": trainable, "held": held_bytes(start)})
        rows[-1]["runs"] = runs
        for r in runs:
            last = {k: round(v, 3) for k, v in r["measured"][-1].items()}
            print(f"{name:22} {r['learning_rate']:.0e} {last}", flush=True)
        calls[name], passes[name] = steps_of(start, data)
    for row in rows:
        row["step_peak_bytes"] = peak_bytes(calls[row["method"]], device)
    both = {
        (name, kind): f
        for kind, c in (("step", calls), ("passes", passes))
        for name, f in c.items()
    }
    timed = interleave(both, rounds=rounds, device=device)
    samples, without = (
        {name: seconds for (name, k), seconds in timed.items() if k == kind}
        for kind in ("step", "passes")
    )
    for row in rows:
        row["passes_time_ratio"] = ratio_of_minima(without, row["method"], "full fine-tuning")
        row["least_seconds_passes"] = min(without[row["method"]])
        row["step_time_ratio"] = ratio_of_minima(samples, row["method"], "full fine-tuning")
        row["least_seconds"] = min(samples[row["method"]])
        held, peak = row["held"], row["step_peak_bytes"]
        total = (held["weights"] + held["optimiser"] + peak) / 1e6
        print(
            f"{row['method']:22} {row['trainable']:>11,} {total:7.0f} MB at the peak, step "
            f"{row['step_time_ratio']['ratio']:.2f} x full, "
            f"without the optimiser {row['passes_time_ratio']['ratio']:.2f}"
        )
    if not quick:
        setting = {"model": MODEL, "batch": BATCH, "steps": steps, "dtype": "float32"}
        setting |= {"memory": MEMORY_METHOD[device], "rounds": rounds}
        print(f"wrote {write('lora_fine_tune', device, {**setting, 'rows': rows}).name}")


if __name__ == "__main__":
    main()
