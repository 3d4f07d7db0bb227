"""Draw the picture of README.md: `python -m tooling.readme_picture` writes assets/readme.png.

Two attention maps of SmolLM2-135M on a sentence said twice. The heads are not picked by hand:
each is the one, of all 270, that does its job most strongly on random tokens said twice, the same
ones as in lesson 1, so the same heads.
"""

import sys

import torch

from clearhead.model import load_or_explain, trace
from clearhead.plots import token_heatmaps, use_style
from tooling.settings import ROOT

SENTENCE = " Anna likes red tea, Bruno likes black coffee;"
TARGET = ROOT / "assets" / "readme.png"


def jobs(weights: torch.Tensor) -> dict[str, torch.Tensor]:
    """For each job, as a title, the share of its weight that each head gives it: L H."""
    repeat = weights.shape[-1] // 2
    second = torch.arange(repeat, 2 * repeat - 1)
    return {
        "{} reads the token before:\n{} of its weight": weights.diagonal(-1, 2, 3).mean(-1),
        "{}, in the second half, reads\nwhat came next the first time: {}": weights[
            :, :, second, second - repeat + 1
        ].mean(-1),
    }


def main() -> None:
    model, tokenizer = load_or_explain("smollm2-135m")
    if model is None:
        sys.exit("The picture needs the model: `make book` installs it.")
    half = torch.randint(
        200, model.config.vocab_size, (4, 25), generator=torch.Generator().manual_seed(0)
    )
    chance = torch.stack(trace(model, torch.cat([half, half], dim=1)).weights).mean(1)  # L H T T
    ids = torch.tensor([tokenizer.encode(2 * SENTENCE)])
    weights = torch.stack(trace(model, ids).weights)[:, 0]  # L H T T
    maps, titles, here = [], [], jobs(weights)
    for job, share in jobs(chance).items():
        layer, head = divmod(int(share.argmax()), share.shape[1])
        maps.append(weights[layer, head])
        titles.append(job.format(f"Layer {layer}, head {head}", f"{here[job][layer, head]:.0%}"))
    use_style()
    tokens = [token.strip() for token in tokenizer.tokens(2 * SENTENCE)]
    figure = token_heatmaps(torch.stack(maps), tokens, titles)
    figure.set(size_inches=(8.2, 4.5), layout_engine="compressed")
    figure.suptitle("A sentence said twice, and where two heads of SmolLM2-135M look")
    figure.savefig(TARGET, bbox_inches="tight", metadata={"Software": None})
    print(f"wrote {TARGET.relative_to(ROOT)}: " + "; ".join(t.replace("\n", " ") for t in titles))


if __name__ == "__main__":
    main()
