"""What each of DAPO's changes brings on a small task: one by one, and added up.

    python benchmarks/rl.py [--quick] [--seeds 5]

The task is `clearhead.preference.Board`. For each seed one starting policy learns from imperfect
demonstrations; every variant goes on from it with the same prompts' seed. The variants are GRPO;
the path of the paper's table (overlong filtering, clip higher, the soft penalty on length,
token-level loss, dynamic sampling), each added to those before it; each change alone; DAPO without
the filter; Dr. GRPO. Measured: the share of right answers on every prompt of the board, at the end;
the same at an equal number of sampled answers (dynamic sampling samples more a step); curves of
accuracy, entropy and length. Intervals are percentiles of bootstrap means over seeds, differences
are taken within a seed. Writes benchmarks/results/rl-<device>.json; `--quick` makes three steps of
one seed and writes nothing. Nothing is timed but the parts of a step. About twelve minutes on one
core.
"""

import argparse
import copy
import random
import statistics
from dataclasses import asdict, replace

import torch
from timing import write

from clearhead.preference import (
    DAPO,
    DR_GRPO,
    GRPO,
    Board,
    reinforce,
    starting_policy,
    success_rate,
)

STEPS = 40
WINDOW = 8  # steps' worth of answers, whose accuracy is the one at an equal number of answers
CURVES = ("accuracy", "entropy", "length", "cut", "mixed", "clipped", "sampled", "kept")
CHANGES = {  # in the order of the paper's table
    "overlong filtering": dict(filtered=True),
    "clip higher": dict(high=DAPO.high),
    "soft punishment": dict(cache=DAPO.cache),
    "token-level loss": dict(how="token"),
    "dynamic sampling": dict(dynamic=True),
}


def variants() -> dict[str, object]:
    """Settings by name: GRPO, `+ …` cumulative, `only …` alone, and two more."""
    found, together = {"GRPO": GRPO}, GRPO
    for name, change in CHANGES.items():
        together = replace(together, **change)
        found[f"+ {name}"] = together
    for name, change in list(CHANGES.items())[1:]:  # the first alone is the first of the path
        found[f"only {name}"] = replace(GRPO, **change)
    return {**found, "DAPO without filtering": DAPO, "Dr. GRPO": DR_GRPO}


def interval(values: list[float], draws: int = 10_000) -> dict[str, float]:
    """The mean, and the middle 95 % of means of samples drawn with replacement."""
    dice = random.Random(0)
    n = len(values)
    means = sorted(statistics.fmean(dice.choices(values, k=n)) for _ in range(draws))
    low, high = means[int(0.025 * draws)], means[int(0.975 * draws) - 1]
    return {"mean": statistics.fmean(values), "low": low, "high": high}


def at_equal_answers(curves: dict[str, list], answers: int, window: int) -> float:
    """Accuracy over the last `window` answers, whole steps, before this many were sampled."""
    total, right, counted = 0, 0.0, 0
    for sampled, accuracy in zip(curves["sampled"], curves["accuracy"], strict=True):
        total += sampled
        if answers - window < total <= answers:
            right, counted = right + sampled * accuracy, counted + sampled
    return right / counted if counted else curves["accuracy"][0]  # one step was more than that


def one_run(start, task: Board, settings, seed: int, steps: int) -> dict:
    model = copy.deepcopy(start)
    history = reinforce(model, task, settings, steps=steps, seed=seed)
    parts, step_answers = history[0].seconds, settings.prompts * settings.group
    curves = {name: [getattr(step, name) for step in history] for name in CURVES}
    return {
        "final": success_rate(model, task, task.every_prompt(), answers=2, seed=seed),
        "equal_answers": at_equal_answers(curves, steps * step_answers, WINDOW * step_answers),
        "curves": curves,
        "seconds": {part: sum(step.seconds.get(part, 0.0) for step in history) for part in parts},
    }


def summary(runs: list[dict], baseline: list[dict]) -> dict:
    """Over seeds: intervals, differences to the baseline of the same seed, mean curves."""

    def differences(key):
        return [a[key] - b[key] for a, b in zip(runs, baseline, strict=True)]

    curves = {
        name: [round(statistics.fmean(step), 4) for step in zip(*rows, strict=True)]
        for name in CURVES
        for rows in [[run["curves"][name] for run in runs]]
    }
    return {
        "final": interval([run["final"] for run in runs]),
        "final_minus_grpo": interval(differences("final")),
        "equal_answers": interval([run["equal_answers"] for run in runs]),
        "equal_answers_minus_grpo": interval(differences("equal_answers")),
        "final_by_seed": [run["final"] for run in runs],
        "accuracy_by_seed": [[round(x, 4) for x in run["curves"]["accuracy"]] for run in runs],
        "curves": curves,
        "seconds": {
            part: statistics.fmean(run["seconds"][part] for run in runs)
            for part in runs[0]["seconds"]
        },
    }


def of_seed(seed: int, steps: int, *, start_steps: int | None = None) -> dict:
    """Every variant from one starting policy."""
    task = Board()
    short = {} if start_steps is None else {"steps": start_steps}
    start = starting_policy(task, seed=seed, **short)
    found = {"start": success_rate(start, task, task.every_prompt(), answers=2, seed=seed)}
    print(f"seed {seed}: starts at {found['start']:.3f}", flush=True)
    found["runs"] = {}
    for name, settings in variants().items():
        found["runs"][name] = run = one_run(start, task, settings, seed, steps)
        print(f"  {name:26} {run['final']:.3f}", flush=True)
    return found


def report(found: list[dict], steps: int) -> dict:
    """What is written: the table of all variants over all seeds, printed too."""
    runs = {name: [each["runs"][name] for each in found] for name in variants()}
    table = {name: summary(rows, runs["GRPO"]) for name, rows in runs.items()}
    print(f"\n{'':26} final                    minus GRPO               at equal answers")
    for name, row in table.items():
        cells = [row["final"], row["final_minus_grpo"], row["equal_answers"]]
        text = "  ".join("{mean:6.3f} [{low:6.3f}, {high:6.3f}]".format(**cell) for cell in cells)
        print(f"{name:26} {text}")
    started = [each["start"] for each in found]
    return {
        "task": asdict(Board()),
        "seeds": len(found),
        "steps": steps,
        "start": interval(started),
        "start_by_seed": started,
        "settings": {name: asdict(settings) for name, settings in variants().items()},
        "variants": table,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a short run that writes nothing")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.quick:
        report([of_seed(0, 3, start_steps=60)], 3)
        return
    found = [of_seed(seed, STEPS) for seed in range(options.seeds)]
    print("wrote", write("rl", "cpu", report(found, STEPS)))


if __name__ == "__main__":
    main()
