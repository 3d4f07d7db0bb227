"""Our decoder's forward pass beside that of transformers: the same weights, the same inputs.

    python benchmarks/decoder.py [--quick]

A Llama with the sizes of SmolLM2-135M and random weights, fp32, no key/value cache, transformers on
its `sdpa` attention. Both run in turn; the ratio is our smallest time over theirs, so 1.0 is level
and less is faster. Prints a table and writes benchmarks/results/decoder-<device>.json; `--quick`
makes a short run and writes nothing.
"""

import argparse
import os

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from timing import best_device, device_name, interleave, ratio_of_minima, write

from clearhead.model import Decoder
from clearhead.model.hugging_face import convert_config
from clearhead.model.names import HUGGING_FACE, empty, fill

SMOLLM2 = dict(
    vocab_size=49152,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    tie_word_embeddings=True,
    rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
)


def both_models(device: str, **changes):
    """transformers' Llama and our decoder, with one set of random weights."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**{**SMOLLM2, **changes}, attn_implementation="sdpa")
    theirs = transformers.LlamaForCausalLM(config).eval().to(device)
    weights = dict(theirs.named_parameters())
    settings = {**config.to_dict(), "architectures": ["LlamaForCausalLM"]}
    ours = empty(lambda: Decoder(convert_config(settings, source="transformers")))
    fill(
        ours,
        weights,
        lambda name: weights[name].detach().clone(),
        style=HUGGING_FACE,
        source="transformers",
    )
    return ours, theirs


@torch.no_grad()
def compare(ours, theirs, T: int, rounds: int, device: str) -> dict:
    """One row: least seconds of each, their ratio and its range, and how far the logits differ."""
    ids = torch.randint(0, ours.config.vocab_size, (1, T), device=device)
    calls = {
        "clearhead": lambda: ours(ids),
        "transformers": lambda: theirs(ids, use_cache=False).logits,
    }
    apart = (calls["clearhead"]() - calls["transformers"]()).abs().max().item()
    samples = interleave(calls, rounds=rounds, device=device)
    return {
        "T": T,
        "time_ratio": ratio_of_minima(samples, "clearhead", "transformers"),
        "least_seconds": {name: min(seconds) for name, seconds in samples.items()},
        "logits_apart": apart,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a short run that writes nothing")
    quick = parser.parse_args().quick
    device = best_device()
    rounds = 3 if quick else 30
    ours, theirs = both_models(device, **({"num_hidden_layers": 4} if quick else {}))
    rows = []
    print(f"{device_name(device)}, {torch.get_num_threads()} threads, fp32, {rounds} rounds")
    print(f"{'T':>5} {'clearhead':>11} {'transformers':>13} {'ratio (range)':>20} {'apart':>8}")
    for T in (16, 256):
        row = compare(ours, theirs, T, rounds, device)
        rows.append(row)
        ms = {name: 1e3 * seconds for name, seconds in row["least_seconds"].items()}
        r = row["time_ratio"]
        spread = f"{r['ratio']:.3f} ({r['lowest']:.2f}–{r['highest']:.2f})"
        times = f"{ms['clearhead']:8.1f} ms {ms['transformers']:10.1f} ms"
        print(f"{T:>5} {times} {spread:>20} {row['logits_apart']:8.0e}", flush=True)
    if not quick:
        versions = {"transformers": transformers.__version__}
        path = write("decoder", device, {"peer": versions, "sizes": SMOLLM2, "rows": rows})
        print(f"wrote {path.name}")


if __name__ == "__main__":
    main()
