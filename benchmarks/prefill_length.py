"""How a prefill's time grows with the prompt: fitted by a line and a square.

    python benchmarks/prefill_length.py [--quick]

SmolLM2's shape in fp32 with random weights (a GPU too: at its speed the small model is enough, in
bf16). The fit minimises relative errors. Writes benchmarks/results/prefill_length-<device>.json;
`--quick` takes short prompts and writes nothing.
"""

import argparse

import torch
from timing import best_device, interleave, write

from clearhead.inference import StaticCache, crossover_tokens, prefill
from clearhead.inference.known import SMOLLM2_135M
from clearhead.model import Decoder

LENGTHS = (64, 128, 256, 512, 1024, 2048)


def quadratic(lengths, seconds) -> dict[str, float]:
    """a, b and c of a + bT + cT² with the least sum of squared relative errors."""
    T = torch.tensor(lengths, dtype=torch.float64)
    t = torch.tensor(seconds, dtype=torch.float64)
    rows = torch.stack([torch.ones_like(T), T, T * T], 1) / t[:, None]
    scale = rows.norm(dim=0)
    found = torch.linalg.lstsq(rows / scale, torch.ones_like(t)[:, None]).solution[:, 0] / scale
    return dict(zip("abc", found.tolist(), strict=True))


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short prompts, no JSON")
    quick = parser.parse_args().quick
    device = best_device()
    torch.manual_seed(0)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    lengths, rounds = (LENGTHS[:4], 2) if quick else (LENGTHS, 2)
    model = Decoder(SMOLLM2_135M).to(device, dtype)
    ids = torch.randint(0, SMOLLM2_135M.vocab_size, (1, max(lengths)), device=device)
    cache = StaticCache.for_model(model, batch=1, max_length=max(lengths))

    def reading(T):
        def run():
            cache.truncate(0)
            prefill(model, ids[:, :T], cache)

        return run

    samples = interleave({str(T): reading(T) for T in lengths}, rounds=rounds, device=device)
    points = [{"tokens": T, "seconds": min(samples[str(T)])} for T in lengths]
    fit = quadratic(lengths, [point["seconds"] for point in points])
    for point in points:
        T = point["tokens"]
        point["fitted"] = fit["a"] + fit["b"] * T + fit["c"] * T * T
        print(f"{T:6} tokens: {point['seconds']:8.3f} s, fitted {point['fitted']:8.3f} s")
    counted = round(crossover_tokens(SMOLLM2_135M))
    print(f"level at {fit['b'] / fit['c']:,.0f} tokens in time, {counted:,} by counting")
    if not quick:
        payload = {"shape": "SmolLM2-135M", "dtype": str(dtype)[6:], "rounds": rounds}
        payload |= {"points": points, "fit": fit, "counted": counted}
        print(f"written: {write('prefill_length', device, payload).name}")


if __name__ == "__main__":
    main()
