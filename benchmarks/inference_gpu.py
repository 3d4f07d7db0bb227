"""How near the two phases come to a GPU's roof: an 8-billion-parameter model in bf16.

    python benchmarks/inference_gpu.py [--quick]

Llama-3.1-8B's sizes, random weights, FastDecoder: its decode step is compiled and replayed as a
CUDA graph. Decode, batch 1 to 128: the bytes that a step must read (every weight once, and each
row's keys and values so far) over its time, as a share of the measured rates of a copy and of a
matrix-vector product. Prefill: its operations over its time, as a share of the measured rate of a
bf16 matrix product. Beside each stands the time that the roofline predicts from the measured roof.
Prints tables and writes benchmarks/results/inference_gpu-<device>.json.

Without a GPU it says so and ends; `--quick` runs a small model on whatever is there, the static
step included, and writes nothing.
"""

import argparse
import dataclasses

import torch
from timing import best_device, device_name, write

from clearhead.inference import (
    LLAMA_3_1_8B,
    FastDecoder,
    decode_step,
    measure_roof,
    phase_flops,
    prefill,
    step_bytes,
    step_seconds,
)
from clearhead.inference.count import matmul_weights
from clearhead.inference.measure import seconds
from clearhead.model import Config, Decoder

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
PROMPTS = ((1, 512), (1, 2048), (4, 2048), (1, 8192))
CONTEXT = 192  # slots used when timing starts; with STEPS more it stays below the smallest 256
WARM_UP, STEPS, ROUNDS = 20, 20, 5
DECODE_AIM, PREFILL_AIM = 0.80, 0.60
SMALL = Config(
    vocab_size=512, width=64, layers=2, heads=4, kv_heads=2, head_size=16, feed_forward=128
)


def random_model(config: Config, device: str) -> FastDecoder:
    """A model with random weights in bf16, fused; the unfused matrices are not kept."""
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            model = Decoder(config).eval()
    finally:
        torch.set_default_dtype(before)
    return FastDecoder(model, static=True)


def time_decode(fast: FastDecoder, batch: int, context: int, steps: int, roof, device: str) -> dict:
    """Mean seconds of a step in the best of several rounds, and what it comes to."""
    config, where = fast.config, torch.device(device)
    cache = fast.new_cache(batch, context + steps)
    ids = torch.randint(0, config.vocab_size, (batch, context), device=device)
    prefill(fast, ids, cache)

    def round_of_steps():
        cache.truncate(context)
        token = ids[:, -1]
        for _ in range(steps):
            token = decode_step(fast, token, cache).argmax(-1)

    for _ in range(max(1, WARM_UP // steps)):
        round_of_steps()  # compiles, tunes and records
    step = min(seconds(round_of_steps, where) for _ in range(ROUNDS)) / steps
    middle = context + steps // 2  # tokens that a step of the middle attends over
    moved = step_bytes(config, [middle] * batch).total
    predicted = step_seconds(config, roof, [1] * batch, [middle - 1] * batch)
    return {
        "batch": batch,
        "context": middle,
        "seconds_a_step": step,
        "tokens_a_second": batch / step,
        "bytes_a_step": moved,
        "share_of_copy": moved / step / roof.copy,
        "share_of_read": moved / step / roof.read,
        "predicted_seconds": predicted,
        "predicted_over_measured": predicted / step,
    }


def time_prefill(fast: FastDecoder, batch: int, prompt: int, roof, device: str) -> dict:
    """Least seconds of a prefill, and its share of the matrix product's rate."""
    config, where = fast.config, torch.device(device)
    cache = fast.new_cache(batch, prompt)
    ids = torch.randint(0, config.vocab_size, (batch, prompt), device=device)

    def whole():
        cache.truncate(0)
        return prefill(fast, ids, cache)

    for _ in range(3):
        whole()
    least = min(seconds(whole, where) for _ in range(ROUNDS))
    weights = matmul_weights(config)
    sizes = config.layers, config.heads, config.head_size
    flops = batch * phase_flops(*weights, *sizes, prompt, 1).prefill
    predicted = step_seconds(config, roof, [prompt] * batch, [0] * batch)
    return {
        "batch": batch,
        "prompt": prompt,
        "seconds": least,
        "flops": flops,
        "share_of_matmul": flops / least / roof.flops,
        "predicted_seconds": predicted,
        "predicted_over_measured": predicted / least,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small model; writes nothing")
    quick = parser.parse_args().quick
    device = best_device()
    if device == "cpu" and not quick:
        print("No CUDA device here: nothing is measured. --quick runs a small model on the CPU.")
        return
    config = SMALL if quick else LLAMA_3_1_8B
    options = dict(size=256, buffer=2**22, rounds=2) if quick else {}
    roof = measure_roof(device, torch.bfloat16, **options)
    print(f"{device_name(device)}, bf16, {config.layers} layers of width {config.width}")
    tera, giga = roof.flops / 1e12, 1e-9
    print(
        f"roof: {tera:.1f} TFLOP/s, copy {roof.copy * giga:.0f}, read {roof.read * giga:.0f} GB/s"
    )
    fast = random_model(config, device)

    print("\n  batch  ms a step  tokens/s  of copy  of read  predicted/measured")
    decoding = []
    for batch in (1, 3) if quick else BATCHES:
        row = time_decode(fast, batch, *((8, 4) if quick else (CONTEXT, STEPS)), roof, device)
        decoding.append(row)
        shares = f"{row['share_of_copy']:8.2f} {row['share_of_read']:8.2f}"
        ms, ratio = 1e3 * row["seconds_a_step"], row["predicted_over_measured"]
        print(f"{batch:>7} {ms:10.3f} {row['tokens_a_second']:9.0f} {shares} {ratio:19.2f}")

    print("\n  batch  prompt         ms  of matmul  predicted/measured")
    reading = []
    for batch, prompt in ((1, 16), (2, 32)) if quick else PROMPTS:
        row = time_prefill(fast, batch, prompt, roof, device)
        reading.append(row)
        ms, ratio = 1e3 * row["seconds"], row["predicted_over_measured"]
        print(f"{batch:>7} {prompt:>7} {ms:10.2f} {row['share_of_matmul']:10.2f} {ratio:19.2f}")

    if not quick:
        best = max(row["share_of_matmul"] for row in reading)
        alone = decoding[0]["share_of_copy"]
        for what, share, aim in (
            ("decode at batch 1, of copy", alone, DECODE_AIM),
            ("prefill, of matmul", best, PREFILL_AIM),
        ):
            print(f"aim ({what}, {aim:.2f}): {'met' if share >= aim else 'MISSED'} ({share:.2f})")
        payload = {
            "sizes": dataclasses.asdict(config),
            "roof": dataclasses.asdict(roof),
            "decode": decoding,
            "prefill": reading,
        }
        print(f"wrote {write('inference_gpu', device, payload).name}")


if __name__ == "__main__":
    main()
