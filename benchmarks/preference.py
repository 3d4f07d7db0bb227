"""Preference losses from chunks of logits beside plain ones and liger-kernel's; an RL step's parts.

    python benchmarks/preference.py [--quick]

SimPO (a loss of pairs) and DAPO's loss (of sampled tokens), forward and backward, from hidden
states and the vocabulary's matrix, three ways: all logits at once, ours in chunks, and
liger-kernel's fused losses where it is installed (not compiled on a CPU): time and peak memory, and
how far gradients are apart. Then a step of reinforcement learning on the board, by part: rollout,
reward, update. What is compared runs in turn; a ratio is the smallest time of one over that of the
other. Prints tables and writes benchmarks/results/preference-<device>.json; `--quick` makes a short
run on small sizes and writes nothing.
"""

import argparse
from dataclasses import asdict
from functools import partial
from importlib.metadata import PackageNotFoundError, version

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

from clearhead.preference import (
    DAPO,
    GRPO,
    Board,
    chunked_grpo_loss,
    chunked_preference_loss,
    dapo_loss,
    group_advantages,
    reinforce,
    sequence_log_prob,
    simpo_loss,
    starting_policy,
)

SIZES = {  # answers, tokens each, width, vocabulary
    "cpu": (16, 128, 576, 49152),
    "cuda": (16, 1024, 4096, 128256),
    "quick": (4, 8, 16, 256),
}
SIMPO = dict(beta=2.0, gamma=0.5)
CHUNK = {"cpu": 128, "cuda": 1024, "quick": 8}


def liger():
    """liger-kernel's module of chunked losses, or None where it is not installed."""
    try:
        import liger_kernel.chunked_loss as module
    except ImportError:
        return None
    return module


def tensors(B: int, T: int, C: int, V: int, device: str):
    """Hidden states, matrix and ids; answers of half to all of T tokens."""
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    hidden = torch.randn(B, T + 1, C, device=device, dtype=dtype, requires_grad=True)
    matrix = (torch.randn(V, C, device=device) / C**0.5).to(dtype).requires_grad_(True)
    ids = torch.randint(0, V, (B, T + 1), device=device)
    lengths = torch.linspace(T // 2, T, B, device=device).long()
    mask = torch.arange(T, device=device) < lengths[:, None]
    return hidden, matrix, ids, mask


def simpo_ways(hidden, matrix, ids, mask, chunk: int, compiled: bool) -> dict:
    """SimPO of B/2 pairs. `mask` is about ids from the second on: the first is the prompt."""
    B = len(ids)
    completion = torch.nn.functional.pad(mask, (1, 0))
    loss = partial(simpo_loss, **SIMPO)

    def plain():
        sums = sequence_log_prob(hidden @ matrix.mT, ids, completion)
        return loss(sums[: B // 2], sums[B // 2 :], *mask.sum(1).split(B // 2))

    def chunked():
        pairs = (x.unflatten(0, (2, B // 2)) for x in (ids, completion))
        return chunked_preference_loss(
            hidden.unflatten(0, (2, B // 2)), matrix, *pairs, loss=loss, pairs=1
        )

    ways = {"plain": plain, "chunked": chunked}
    if module := liger():
        theirs = module.LigerFusedLinearSimPOLoss(
            beta=SIMPO["beta"],
            gamma=SIMPO["gamma"],
            compute_nll_loss=False,
            compiled=compiled,
        )
        labels = torch.where(mask, ids[:, 1:], -100)
        ways["liger"] = lambda: theirs(matrix, hidden[:, :-1], labels)[0]
    return ways


def dapo_ways(hidden, matrix, ids, mask, chunk: int, compiled: bool) -> dict:
    """DAPO's loss of B answers, off the policy."""
    rows, targets = hidden[:, :-1], ids[:, 1:]
    index = targets[..., None]

    def log_probs():
        return (rows @ matrix.mT).float().log_softmax(-1).gather(-1, index)[..., 0]

    with torch.no_grad():
        old = log_probs()
        old = old + 0.2 * torch.randn_like(old)
    rewards = torch.tensor([1.0, -1.0] * (len(ids) // 2), device=ids.device)
    advantages = group_advantages(rewards, len(ids))

    def plain():
        return dapo_loss(log_probs(), old, advantages, mask)

    def chunked():
        options = dict(how="token", high=0.28, chunk=chunk)
        return chunked_grpo_loss(rows, matrix, targets, old, advantages, mask, **options)

    ways = {"plain": plain, "chunked": chunked}
    if module := liger():
        theirs = module.LigerFusedLinearGRPOLoss(
            beta=0.0, epsilon_high=0.28, loss_type="bnpo", use_ref_model=False, compiled=compiled
        )
        ways["liger"] = lambda: theirs(
            rows, matrix, targets, mask.float(), advantages, old_per_token_logps=old
        )[0]
    return ways


def compare(make, sizes, chunk: int, rounds: int, device: str) -> dict:
    """Forward and backward of each way: least seconds, ratios, peak memory, how far apart."""
    torch.manual_seed(0)
    hidden, matrix, ids, mask = tensors(*sizes, device)
    ways = make(hidden, matrix, ids, mask, chunk, device == "cuda")

    def call(way):
        loss = way()
        return loss.detach(), torch.autograd.grad(loss, [hidden, matrix])

    of_plain = call(ways["plain"])
    apart = {}
    for name, way in ways.items():
        value, gradients = call(way)
        errors = [(a - b).abs().max() for a, b in zip(gradients, of_plain[1], strict=True)]
        apart[name] = {
            "value": (value - of_plain[0]).abs().item(),
            "gradients": max(errors).item(),
        }
    del of_plain, gradients
    calls = {name: lambda way=way: call(way) for name, way in ways.items()}
    peaks = {name: peak_bytes(function, device) for name, function in calls.items()}
    samples = interleave(calls, rounds=rounds, device=device)
    others = [name for name in ways if name != "chunked"]
    return {
        "sizes": dict(zip(("answers", "tokens", "width", "vocabulary"), sizes, strict=True)),
        "dtype": str(hidden.dtype),
        "time_ratios": {
            f"chunked / {name}": ratio_of_minima(samples, "chunked", name) for name in others
        },
        "memory_ratios": {f"chunked / {name}": peaks["chunked"] / peaks[name] for name in others},
        "least_seconds": {name: min(samples[name]) for name in ways},
        "peak_bytes": peaks,
        "apart_from_plain": apart,
    }


def parts_of_a_step(settings, steps: int, start_steps: int) -> dict:
    """The mean processor time of a step's parts, the first two steps left out."""
    task = Board()
    history = reinforce(starting_policy(task, steps=start_steps), task, settings, steps=steps)[2:]
    seconds = {
        part: sum(step.seconds[part] for step in history) / len(history)
        for part in ("rollout", "reward", "update")
    }
    return {
        "settings": asdict(settings),
        "seconds": seconds,
        "shares": {part: value / sum(seconds.values()) for part, value in seconds.items()},
        "answers_sampled": sum(step.sampled for step in history) / len(history),
        "answers_kept": settings.group * sum(step.kept for step in history) / len(history),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a short run that writes nothing")
    quick = parser.parse_args().quick
    device = best_device()
    kind, rounds = "quick" if quick else device, 2 if quick else 6
    print(f"{device_name(device)}, {torch.get_num_threads()} threads, {rounds} rounds")
    losses = {}
    for name, make in {"SimPO": simpo_ways, "DAPO": dapo_ways}.items():
        losses[name] = row = compare(make, SIZES[kind], CHUNK[kind], rounds, device)
        for pair, r in row["time_ratios"].items():
            print(
                f"{name}, {pair}: time {r['ratio']:.3f} ({r['lowest']:.2f}–{r['highest']:.2f}), "
                f"memory {row['memory_ratios'][pair]:.3f}",
                flush=True,
            )
        print(f"  apart: {row['apart_from_plain']}")
    steps = {}
    for name, settings in {"GRPO": GRPO, "DAPO": DAPO}.items():
        steps[name] = parts_of_a_step(settings, *((4, 20) if quick else (12, 100)))
        shares = ", ".join(f"{part} {x:.0%}" for part, x in steps[name]["shares"].items())
        print(f"a step of {name}: {shares}")
    if not quick:
        try:
            peer = version("liger-kernel")
        except PackageNotFoundError:
            peer = None
        payload = {
            **{"peer": {"liger-kernel": peer}, "memory": MEMORY_METHOD[device]},
            **{"losses": losses, "steps": steps},
        }
        print(f"wrote {write('preference', device, payload).name}")


if __name__ == "__main__":
    main()
