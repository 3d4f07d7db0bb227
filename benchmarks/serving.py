"""Continuous against static batching: one trace, one model, one amount of memory for the caches.

    python benchmarks/serving.py [--quick]

SmolLM2's shape with random weights, which changes no time; fp32 on a CPU, bf16 on a GPU. Both run
the plain `Decoder`: static batching on left-padded prompts over a contiguous cache, the engine over
a paged one, with as many slots as the largest static batch could need. The clock is that of the
steps alone, so that waiting for the next arrival costs nothing. The two run in turn; a ratio is of
the best round of each. Beside the ratio of the times stands that of the rows computed. Writes
benchmarks/results/serving-<device>.json; `--quick` makes a short run and writes nothing.
"""

import argparse
import time

import torch
from timing import best_device, clock_name, device_name, write

from clearhead.inference import (
    SMOLLM2_135M,
    Engine,
    LiveEngine,
    LiveStatic,
    Replay,
    blocks_for,
    draw_trace,
    replay,
)
from clearhead.model import Decoder

BATCH, BLOCK, BUDGET = 8, 16, 64
FULL = dict(n=10, rate=4.0, prompt_median=32, generated_median=24, most_prompt=128)
QUICK = dict(n=6, rate=4.0, prompt_median=8, generated_median=4, most_prompt=16)
MOST_GENERATED = 64
TIMES = ("ttft", "tpot", "worst_gap", "latency")


def clock(device: str):
    """The clock that `timing` reads, and the one that a GPU is waited for with."""
    single = device == "cpu" and torch.get_num_threads() == 1
    return time.process_time if single else time.perf_counter


def policies(model: Decoder, trace, prompts, device: str):
    """Each policy, new, and the tokens that it has generated at the end."""
    slots = BATCH * (max(a.prompt for a in trace) + max(a.generated for a in trace) - 1)

    def static():
        policy = LiveStatic(model, prompts, batch=BATCH, clock=clock(device))
        return policy, policy.generated

    def continuous():
        engine = Engine(model, blocks=blocks_for(slots, BLOCK), block=BLOCK, budget=BUDGET)
        return LiveEngine(engine, prompts, clock=clock(device)), engine.requests

    return {"static": static, "continuous": continuous}


def tokens(kept: dict) -> list[list[int]]:
    """What each request has generated, from either policy."""
    return [getattr(kept[i], "generated", kept[i]) for i in range(len(kept))]


def figures(found: Replay) -> dict:
    """What a replay comes to."""
    return {
        "seconds": found.seconds,
        "tokens_a_second": found.throughput,
        "rows": sum(step.prefill + step.decode for step in found.steps),
        "steps": len(found.steps),
        "waste": found.waste,
        **{f"{name}_{int(100 * q)}": found.quantile(name, q) for name in TIMES for q in (0.5, 0.9)},
    }


def ratio(rounds: dict[str, list[dict]], name: str) -> dict[str, float]:
    """The least of static batching by the least of continuous, and the range of single rounds."""
    a, b = ([r[name] for r in rounds[policy]] for policy in ("static", "continuous"))
    each = [x / y for x, y in zip(a, b, strict=True)]
    return {"ratio": min(a) / min(b), "lowest": min(each), "highest": max(each)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a short run that writes nothing")
    quick = parser.parse_args().quick
    device = best_device()
    torch.manual_seed(0)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    model = Decoder(SMOLLM2_135M).eval().to(device, dtype)
    settings = (QUICK if quick else FULL) | dict(most_generated=MOST_GENERATED, seed=2)
    trace = draw_trace(**settings)
    prompts = [torch.randint(0, SMOLLM2_135M.vocab_size, (a.prompt,)).tolist() for a in trace]
    made, count = policies(model, trace, prompts, device), 2 if quick else 4
    print(f"{device_name(device)}, {clock_name(device)}, {dtype}, {count} rounds")

    rounds, written = {name: [] for name in made}, {}
    for i in range(count + 1):
        for name in list(made)[:: 1 if i % 2 else -1]:  # each goes first in every other round
            policy, kept = made[name]()
            found = figures(replay(trace, policy))
            written[name] = tokens(kept)
            if i:  # the first round warms up
                rounds[name].append(found)
                print(f"round {i}: {name} {found['seconds']:.2f} s", flush=True)
    same = sum(a == b for a, b in zip(*written.values(), strict=True))
    print(f"{same} of {len(trace)} requests have the same tokens under both")

    names = ["seconds", *(f"{name}_{q}" for name in TIMES for q in (50, 90))]
    ratios = {f"static / continuous, {n}": ratio(rounds, n) for n in names}
    rows = rounds["static"][0]["rows"] / rounds["continuous"][0]["rows"]
    for name, r in ratios.items():
        print(f"{name:>36} {r['ratio']:6.2f} ({r['lowest']:.2f}–{r['highest']:.2f})")
    print(f"{'rows computed':>36} {rows:6.2f}")
    if not quick:
        payload = {
            "model": "SmolLM2-135M's shape, random weights",
            "dtype": str(dtype).removeprefix("torch."),
            "settings": {**settings, "batch": BATCH, "block": BLOCK, "budget": BUDGET},
            "trace": {
                "prompt": sum(a.prompt for a in trace),
                "generated": sum(a.generated for a in trace),
            },
            "same_tokens": same,
            "ratio": ratios,
            "rows_static_over_continuous": rows,
            "rounds": rounds,
        }
        print(f"wrote {write('serving', device, payload).name}")


if __name__ == "__main__":
    main()
