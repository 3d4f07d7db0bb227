"""What a prefill and a decode step take, beside the least time that counting says they can take.

    python benchmarks/roofline.py [--quick]

The roof (matrix products, reading, copying) is measured in the same run, between the rounds of what
is predicted, so that a machine that is busy for a while slows both. On a CPU: SmolLM2's shape in
fp32 on one thread; on a GPU: the shape of Llama-3.1-8B in bf16. The weights are random, which
changes no time. Writes benchmarks/results/roofline-<device>.json; `--quick` takes few points and
writes nothing.
"""

import argparse
import time
from dataclasses import replace

import torch
from timing import best_device, write

from clearhead.inference import StaticCache, decode_step, prefill
from clearhead.inference.known import LLAMA_3_1_8B, SMOLLM2_135M
from clearhead.inference.measure import measure_roof
from clearhead.inference.prediction import Roof, step_seconds
from clearhead.model import Decoder

PREFILLS = (8, 32, 128, 512, 1024)
DECODES = ((1, 64), (1, 512), (1, 2048), (4, 512), (8, 512), (16, 512), (32, 512))  # batch, context
RATES = ("flops", "read", "copy")
ON_GPU = {
    "prefills": (16, 128, 512, 2048, 8192),
    "decodes": ((1, 512), (1, 8192), (8, 512), (32, 512), (64, 2048), (128, 512)),
}


def points(model: Decoder, prefills, decodes, device: str) -> dict[tuple, object]:
    """A function to time for each point: ("prefill", 1, T, 0) or ("decode", B, 1, context)."""
    made = {}
    vocabulary = model.config.vocab_size
    for T in prefills:
        ids = torch.randint(0, vocabulary, (1, T), device=device)
        cache = StaticCache.for_model(model, batch=1, max_length=T)
        made["prefill", 1, T, 0] = restarted(prefill, model, ids, cache, 0)
    for batch, context in decodes:
        cache = StaticCache.for_model(model, batch=batch, max_length=context + 1)
        fill(cache, context)
        ids = torch.randint(0, vocabulary, (batch,), device=device)
        made["decode", batch, 1, context] = restarted(decode_step, model, ids, cache, context)
    return made


def fill(cache: StaticCache, length: int) -> None:
    """As if a prompt of that length had been read."""
    rows = torch.randn_like(cache.keys[0][:, :, :length])
    for layer in range(len(cache.keys)):
        cache.update(layer, rows, rows)


def restarted(phase, model, ids, cache, length):
    """A call of a phase that leaves the cache as it found it."""

    def run():
        phase(model, ids, cache)
        cache.truncate(length)

    return run


def seconds(run, device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def best_of(a: Roof, b: Roof) -> Roof:
    return replace(a, **{name: max(getattr(a, name), getattr(b, name)) for name in RATES})


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few points, no JSON")
    quick = parser.parse_args().quick
    device = best_device()
    torch.manual_seed(0)
    if device == "cuda":
        config, dtype, size = LLAMA_3_1_8B, torch.bfloat16, 2
        prefills, decodes = ON_GPU["prefills"], ON_GPU["decodes"]
    else:
        torch.set_num_threads(1)
        config, dtype, size = SMOLLM2_135M, torch.float32, 4
        prefills, decodes = PREFILLS, DECODES
    if quick:
        prefills, decodes = prefills[:2], decodes[:1]
    torch.set_default_dtype(dtype)
    with torch.device(device):
        model = Decoder(config)
    torch.set_default_dtype(torch.float32)
    timed = points(model, prefills, decodes, device)
    rounds = 2 if quick else 4
    best = dict.fromkeys(timed, float("inf"))
    roof = None
    for run in timed.values():
        run()
    for _ in range(rounds):
        now = measure_roof(device, dtype, rounds=1)
        roof = now if roof is None else best_of(roof, now)
        for point, run in timed.items():
            best[point] = min(best[point], seconds(run, device))
    rows = []
    print(f"roof: {roof.flops / 1e9:.0f} GFLOP/s, {roof.bandwidth / 1e9:.1f} GB/s, {roof.dtype}")
    for (phase, batch, new, context), measured in best.items():
        predicted = step_seconds(
            config,
            roof,
            [new] * batch,
            [context] * batch,
            bytes_per_weight=size,
            bytes_per_value=size,
        )
        sizes = {"phase": phase, "batch": batch, "new": new, "context": context}
        times = {"measured": measured, "predicted": predicted, "ratio": measured / predicted}
        rows.append(sizes | times)
        print(f"{phase:8} B={batch:<3} T={new:<5} past={context:<5} ", end="")
        print(f"{measured * 1e3:9.2f} ms, predicted {predicted * 1e3:9.2f}: ", end="")
        print(f"{measured / predicted:.2f} x", flush=True)
    if not quick:
        rates = {name: getattr(roof, name) for name in RATES}
        shape = "Llama-3.1-8B" if device == "cuda" else "SmolLM2-135M"
        payload = {"shape": shape, "dtype": roof.dtype, "rounds": rounds, "roof": rates}
        print(f"written: {write('roofline', device, payload | {'points': rows}).name}")


if __name__ == "__main__":
    main()
