"""Writing text: our `generate` beside that of transformers, and a cache beside none.

    python benchmarks/inference.py [--quick]

A Llama with the sizes of SmolLM2-135M and random weights, fp32, greedy, one set of weights for all.
`fast` is FastDecoder over a static cache that is emptied between calls; `plain` is Decoder over a
cache that grows; `dynamic` and `static` are transformers' two caches, without compilation, on its
`sdpa` attention; `none` reads the whole sequence again for every token. What is compared runs in
turn; a ratio is the smallest time of one over the smallest of the other, which is the inverse of
the ratio of their tokens a second. A row that writes one token is a prefill. Prints tables and
writes benchmarks/results/inference-<device>.json; `--quick` makes a short run and writes nothing.
"""

import argparse
import os

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from decoder import SMOLLM2, both_models
from timing import best_device, device_name, interleave, ratio_of_minima, write

from clearhead.inference import FastDecoder, generate, generate_uncached

# batch, prompt, tokens written: short, longer, a prefill alone, and a batch
LIKE = [(1, 16, 32), (1, 256, 32), (1, 256, 1), (4, 64, 32)]
SAVED = [(1, 16, 16), (1, 64, 16), (1, 192, 16)]
AIM = 1.2


def contestants(ours, theirs, fast, ids, n: int) -> dict:
    """What writes n tokens after `ids`, by name."""
    cache = fast.new_cache(len(ids), ids.shape[1] + n)
    real = torch.ones_like(ids)
    options = dict(attention_mask=real, do_sample=False, max_new_tokens=n, pad_token_id=0)

    def emptied():
        cache.truncate(0)
        return generate(fast, ids, n, cache=cache)

    return {
        "fast": emptied,
        "plain": lambda: generate(ours, ids, n),
        "dynamic": lambda: theirs.generate(ids, **options),
        "static": lambda: theirs.generate(
            ids, **options, cache_implementation="static", disable_compile=True
        ),
        "none": lambda: generate_uncached(ours, ids, n),
    }


def compare(ours, theirs, sizes, names: list[str], pairs: dict, rounds: int, device: str) -> dict:
    """One row: least seconds of each, the ratios, and whether all wrote the same tokens."""
    B, T, n = sizes
    fast = FastDecoder(ours, batch=B)
    ids = torch.randint(0, ours.config.vocab_size, (B, T), device=device)
    every = contestants(ours, theirs, fast, ids, n)
    calls = {name: every[name] for name in names}
    written = {name: call() for name, call in calls.items()}
    same = all(torch.equal(x, written["fast"]) for x in written.values())
    samples = interleave(calls, rounds=rounds, device=device)
    least = {name: min(seconds) for name, seconds in samples.items()}
    return {
        "batch": B,
        "prompt": T,
        "written": n,
        "time_ratios": {
            f"{slow} / {quick}": ratio_of_minima(samples, slow, quick) for slow, quick in pairs
        },
        "least_seconds": least,
        "tokens_a_second": {name: B * n / seconds for name, seconds in least.items()},
        "same_tokens": same,
    }


def show(row: dict) -> None:
    sizes = f"{row['batch']:>5} {row['prompt']:>6} {row['written']:>7}"
    cells = [
        f"{r['ratio']:6.2f} ({r['lowest']:.2f}–{r['highest']:.2f})"
        for r in row["time_ratios"].values()
    ]
    print(
        sizes, *(f"{cell:>22}" for cell in cells), "" if row["same_tokens"] else "  TOKENS DIFFER"
    )


def table(ours, theirs, sizes, names, pairs, rounds, device) -> list[dict]:
    heads = (f"{f'{slow} / {quick}':>22}" for slow, quick in pairs)
    print(f"{'batch':>5} {'prompt':>6} {'written':>7}", *heads)
    rows = []
    for size in sizes:
        rows.append(compare(ours, theirs, size, names, pairs, rounds, device))
        show(rows[-1])
    return rows


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a short run that writes nothing")
    quick = parser.parse_args().quick
    device = best_device()
    rounds = 2 if quick else 12
    changes = {"num_hidden_layers": 3, "vocab_size": 4096} if quick else {}
    ours, theirs = both_models(device, **changes)
    theirs.generation_config.eos_token_id = None  # write all n tokens
    like, saved = ([(1, 8, 4)], [(1, 8, 4)]) if quick else (LIKE, SAVED)
    print(f"{device_name(device)}, {torch.get_num_threads()} threads, fp32, {rounds} rounds")

    print("\ntransformers' time over ours (above 1: ours is faster)")
    pairs = [("dynamic", "fast"), ("static", "fast"), ("dynamic", "plain")]
    names = ["fast", "plain", "dynamic", "static"]
    beside = table(ours, theirs, like, names, pairs, rounds, device)
    print("\ntime without a cache over the time with one")
    pairs = [("none", "plain"), ("none", "fast")]
    against_none = table(ours, theirs, saved, ["fast", "plain", "none"], pairs, rounds, device)

    if not quick:
        writing = [row for row in beside if row["batch"] == 1 and row["written"] > 1]
        worst = min(row["time_ratios"]["dynamic / fast"]["ratio"] for row in writing)
        verdict = "met" if worst >= AIM else "MISSED"
        print(
            f"\naim (batch 1: {AIM} times transformers' tokens a second): {verdict} ({worst:.2f})"
        )
        payload = {
            "peer": {"transformers": transformers.__version__},
            "sizes": SMOLLM2,
            "beside_transformers": beside,
            "cache_or_none": against_none,
        }
        print(f"wrote {write('inference', device, payload).name}")


if __name__ == "__main__":
    main()
