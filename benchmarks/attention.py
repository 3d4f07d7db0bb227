"""Plain attention, FlashAttention's tiles in plain PyTorch, and torch's fused kernel, side by side.

    python benchmarks/attention.py [--quick]

Time and peak memory over T, forward, and forward with backward. On a GPU also the Triton kernel
against torch's fused kernels and against the rate of a plain matrix product measured in the same
minute. Prints the tables and writes benchmarks/results/attention-<device>.json; `--quick` makes a
short run and writes nothing.
"""

import argparse
import functools

import torch
import torch.nn.functional as F
from timing import (
    MEMORY_METHOD,
    best_device,
    device_name,
    interleave,
    peak_bytes,
    ratio_of_minima,
    write,
)
from torch.nn.attention import SDPBackend, sdpa_kernel

from clearhead.attention import attention, attention_cost, flash_attention, scaled_dot_product

BLOCK_SIZE = 128
FUNCTIONS = {
    "plain": lambda q, k, v: scaled_dot_product(q, k, v)[0],
    "tiles": functools.partial(flash_attention, block_size=BLOCK_SIZE),
    "fused": attention,
}


def forward(function, q, k, v):
    with torch.no_grad():
        return function(q, k, v)


def forward_backward(function, q, k, v):
    output = function(q, k, v)
    return torch.autograd.grad(output, (q, k, v), torch.ones_like(output))


def over_lengths(device: str, lengths: list[int], rounds: int) -> list[dict]:
    """One row for each T and pass: ratios of time to the fused kernel, and peak MiB."""
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    rows = []
    print(f"\n{'T':>6} {'pass':<17} {'time, times fused':^31} {'peak memory, MiB':^29}")
    print(f"{'':>6} {'':<17} {'plain':>15} {'tiles':>15} {'plain':>10} {'tiles':>9} {'fused':>9}")
    for T in lengths:
        q, k, v = (
            torch.randn(1, 4, T, 64, device=device, dtype=dtype, requires_grad=True)
            for _ in range(3)
        )
        for label, step in {"forward": forward, "forward+backward": forward_backward}.items():
            calls = {n: functools.partial(step, f, q, k, v) for n, f in FUNCTIONS.items()}
            samples = interleave(calls, rounds=rounds, device=device)
            ratios = {n: ratio_of_minima(samples, n, "fused") for n in ("plain", "tiles")}
            peak = {n: peak_bytes(call, device) for n, call in calls.items()}
            minima = {n: min(s) for n, s in samples.items()}
            rows.append({"T": T, "pass": label, "time_ratio_to_fused": ratios, "peak_bytes": peak})
            rows[-1]["least_seconds"] = minima
            times = " ".join(
                f"{r['ratio']:5.1f} ({r['lowest']:.1f}–{r['highest']:.1f})".rjust(15)
                for r in ratios.values()
            )
            memory = " ".join(f"{peak[n] / 2**20:9.1f}" for n in FUNCTIONS)
            print(f"{T:>6} {label:<17} {times} {memory}", flush=True)
    return rows


def against_matmul(rounds: int, T: int = 16384, H: int = 16, D: int = 128) -> list[dict]:
    """On a GPU, bf16: the rate of each kernel as a share of a matrix product's, measured beside."""
    from clearhead.attention import flash_forward_triton

    q, k, v = (torch.randn(1, H, T, D, device="cuda", dtype=torch.bfloat16) for _ in range(3))
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))

    def sdpa(backend, causal):
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    rows = []
    print(f"\nbf16, B=1 H={H} T=S={T} D={D}: TFLOP/s, and as a share of an 8192³ matrix product")
    for causal in (False, True):
        calls = {
            "matmul": lambda: a @ b,
            "triton": functools.partial(flash_forward_triton, q, k, v, causal=causal),
            "flash": functools.partial(sdpa, SDPBackend.FLASH_ATTENTION, causal),
            "cudnn": functools.partial(sdpa, SDPBackend.CUDNN_ATTENTION, causal),
        }
        calls = {name: call for name, call in calls.items() if runs(name, call)}
        samples = interleave(calls, rounds=rounds, device="cuda")
        flops = attention_cost(1, H, H, T, T, D, causal=causal).flops
        rate = {n: flops / min(s) / 1e12 for n, s in samples.items()}
        rate["matmul"] = 2 * 8192**3 / min(samples["matmul"]) / 1e12
        share = {n: r / rate["matmul"] for n, r in rate.items()}
        rows.append({"T": T, "H": H, "D": D, "causal": causal, "tflops": rate, "share": share})
        cells = "  ".join(f"{n} {rate[n]:.0f} ({share[n]:.2f})" for n in rate)
        print(f"{'causal' if causal else 'full':>8}  {cells}", flush=True)
    return rows


def runs(name: str, call) -> bool:
    try:
        call()
    except (RuntimeError, ImportError) as error:
        print(f"{name} does not run here: {str(error).splitlines()[0]}")
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rounds, short T, no JSON")
    quick = parser.parse_args().quick
    device = best_device()
    torch.manual_seed(0)
    lengths = [128, 256, 512] if quick else [128, 256, 512, 1024, 2048, 4096]
    if device == "cuda" and not quick:
        lengths += [8192, 16384]
    rounds = 3 if quick else 10
    dtype = "bf16" if device == "cuda" else "fp32"
    print(
        f"{device_name(device)}, torch {torch.__version__}: B=1 H=4 D=64 {dtype}, {rounds} rounds"
    )
    results = {
        "shape": {"B": 1, "H": 4, "D": 64, "dtype": dtype, "causal": False},
        "rounds": rounds,
        "tile_block_size": BLOCK_SIZE,
        "memory_method": MEMORY_METHOD[device],
        "over_lengths": over_lengths(device, lengths, rounds),
    }
    if device == "cuda":
        results["against_matmul"] = against_matmul(rounds)
    if not quick:
        print(f"\nwritten: {write('attention', device, results).name}")


if __name__ == "__main__":
    main()
