"""Diffusion-DPO against a policy gradient: two ways to move one diffusion model, at equal compute.

    python benchmarks/diffusion.py [--quick] [--seeds 5]

The reference draws points around eight places on a circle; four of them, on one side of a line, are
preferred. For each seed one reference is trained. Diffusion-DPO gets 1,000 random pairs of its
samples, of which those that tell the sides apart are used; the policy gradient (DDPO) gets the
reward 1 or 0 for every sample it draws. Compute is counted in passes of the network for one point:
forward 1, backward 2; drawing the pairs is charged too. Each method runs at the same learning
rates. Measured along each run, with one stock of noise: the share of samples on the preferred side;
over how many places those are spread (the exponential of the entropy, four at best); the share
farther than four spreads from every place; the KL divergence of the whole path from the reference's
path. Intervals are percentiles of bootstrap means over seeds. Writes
benchmarks/results/diffusion-<device>.json; `--quick` makes a few steps of one seed and writes
nothing. Nothing is timed. About five minutes on one core.
"""

import argparse
import copy
import math

import torch
from rl import interval
from timing import write

from clearhead.preference import (
    PointDenoiser,
    chain_log_probs,
    noise_schedule,
    pairs_by_reward,
    prefer_samples,
    reward_samples,
    ring,
    sample,
    train_denoiser,
)

STEPS, SPREAD, EVALUATED = 50, 0.12, 400
DRAWN, BATCH = 2000, 256  # Diffusion-DPO: samples put into pairs, pairs a step
SAMPLES = 160  # the policy gradient: chains a round
RATES = (3e-4, 1e-3, 3e-3)
ARMS = {
    **{f"dpo, β 0.5, lr {lr:g}": ("dpo", lr, 0.5) for lr in RATES},
    "dpo, β 0.1, lr 0.001": ("dpo", 1e-3, 0.1),
    **{f"policy gradient, lr {lr:g}": ("gradient", lr, None) for lr in RATES},
}
MEASURED = ("share", "places", "off", "kl")

alpha_bar = noise_schedule(STEPS)
angles = torch.arange(8) * math.pi / 4
places = math.sqrt(2) * torch.stack([angles.cos(), angles.sin()], dim=1)
side = torch.tensor([math.cos(math.pi / 8), math.sin(math.pi / 8)])


def reward(x: torch.Tensor) -> torch.Tensor:
    """1 on the preferred side of the line, else 0."""
    return (x @ side > 0).float()


@torch.no_grad()
def measure(model, reference) -> dict[str, float]:
    states = sample(model, alpha_bar, EVALUATED, seed=1234, keep=True)
    x, good = states[-1], reward(states[-1]) > 0
    far, nearest = torch.cdist(x, places).min(1)
    p = torch.bincount(nearest[good], minlength=8) / good.sum().clamp(min=1)
    ratios = chain_log_probs(model, states, alpha_bar) - chain_log_probs(
        reference, states, alpha_bar
    )
    return {
        "share": good.float().mean().item(),
        "places": torch.special.entr(p).sum().exp().item(),
        "off": (far > 4 * SPREAD).float().mean().item(),
        "kl": ratios.sum(1).mean().item(),
    }


def passes_of_round() -> int:
    """Sampling; scoring the chains for old; an update; what the clip kept."""
    return SAMPLES * (STEPS + (STEPS - 1) * (1 + 3 + 1))


def passes_of_step() -> int:
    """Two samples a pair: the model forward and backward, the reference forward."""
    return BATCH * 2 * (3 + 1)


def one_run(reference, arm: str, seed: int, rounds: int) -> list[dict]:
    """What was measured along the run, and after how many passes."""
    kind, lr, beta = ARMS[arm]
    model, found = copy.deepcopy(reference), []
    if kind == "dpo":
        points = sample(reference, alpha_bar, DRAWN, seed=seed + 100)
        chosen, rejected = pairs_by_reward(points, reward(points), seed=seed)
        paid = DRAWN * STEPS
        steps = (rounds * passes_of_round() - paid) // passes_of_step()
        shares = (0, 1 / 64, 1 / 32, 1 / 16, *(k / 12 for k in range(1, 13)))
        stops = {round(share * steps) for share in shares}
    else:
        paid, steps = 0, rounds
        stops = {0, 1, 2, *(round(k / 12 * rounds) for k in range(1, 13))}

    def watch(done):
        if done in stops:
            each = passes_of_step() if kind == "dpo" else passes_of_round()
            found.append({"passes": paid + done * each, **measure(model, reference)})

    if kind == "dpo":
        how = dict(beta=beta, steps=steps, lr=lr, batch=BATCH, seed=seed)
        prefer_samples(model, chosen, rejected, alpha_bar, **how, watch=watch)
    else:
        how = dict(rounds=rounds, samples=SAMPLES, lr=lr, seed=seed)
        reward_samples(model, alpha_bar, reward, **how, watch=watch)
    return found


def summary(runs: list[list[dict]]) -> dict:
    """Over seeds: the end, the worst fall from the best share so far, and where it passed 90 %."""
    last = {key: interval([run[-1][key] for run in runs]) for key in MEASURED}
    falls = [
        max(max(p["share"] for p in run[: k + 1]) - run[k]["share"] for k in range(len(run)))
        for run in runs
    ]
    crossings = [next((p for p in run if p["share"] >= 0.9), None) for run in runs]
    crossed = [point for point in crossings if point is not None]
    mean = [
        {key: sum(run[k][key] for run in runs) / len(runs) for key in ("passes", *MEASURED)}
        for k in range(len(runs[0]))
    ]
    at = {key: interval([p[key] for p in crossed]) for key in ("passes", *MEASURED) if crossed}
    return {
        "end": last,
        "spread_of_share": torch.tensor([run[-1]["share"] for run in runs]).std().item(),
        "worst_fall": interval(falls),
        "passed_90": {"of": len(runs), "runs": len(crossed), **at},
        "mean": [{key: round(value, 4) for key, value in point.items()} for point in mean],
        "by_seed": [
            [{key: round(point[key], 4) for key in ("passes", *MEASURED)} for point in run]
            for run in runs
        ],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a short run that writes nothing")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    seeds, rounds, training = (1, 3, 60) if options.quick else (options.seeds, 32, 1500)
    runs = {arm: [] for arm in ARMS}
    started = []
    for seed in range(seeds):
        reference = PointDenoiser(seed=seed)
        train_denoiser(reference, ring(4000, seed=seed), alpha_bar, steps=training, seed=seed)
        started.append(measure(reference, reference))
        print(f"seed {seed}: {started[-1]}", flush=True)
        for arm in ARMS:
            runs[arm].append(one_run(reference, arm, seed, rounds))
            print(f"  {arm:28}", *(f"{k} {runs[arm][-1][-1][k]:.3f}" for k in MEASURED), flush=True)
    body = {
        "seeds": seeds,
        "passes": rounds * passes_of_round(),
        "steps": STEPS,
        "pairs_drawn": DRAWN // 2,
        "batch": BATCH,
        "samples_a_round": SAMPLES,
        "rounds": rounds,
        "start": {key: interval([point[key] for point in started]) for key in MEASURED},
        "arms": {arm: summary(found) for arm, found in runs.items()},
    }
    print("\nat the end" + " " * 22 + "".join(f"{key:>24}" for key in (*MEASURED, "worst fall")))
    for arm, row in body["arms"].items():
        cells = [*(row["end"][key] for key in MEASURED), row["worst_fall"]]
        text = "  ".join("{mean:6.3f} [{low:6.3f}, {high:6.3f}]".format(**cell) for cell in cells)
        print(f"{arm:28} {text}   σ {row['spread_of_share']:.3f}")
    if not options.quick:
        print("wrote", write("diffusion", "cpu", body))


if __name__ == "__main__":
    main()
