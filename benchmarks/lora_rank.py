"""How much of a real change of the weights a model needs: energy and loss against rank.

    python benchmarks/lora_rank.py [--quick]

Fine-tunes every matrix of every linear layer of SmolLM2-135M in full, on two tasks: eight short
chats that speak like a pirate (the run of lesson chapters/lora/01_low_rank), and Python's own
documentation (`pydoc_data.topics`). Then cuts each change down to rank r by its singular values and
measures the loss on held-out text. Writes benchmarks/results/lora_rank-<device>.json; `--quick`
makes two steps of each and writes nothing. Nothing here is timed.
"""

import argparse
import statistics
from pydoc_data.topics import topics

import torch
from timing import best_device, write

from clearhead.lora import rank_for_energy, split
from clearhead.lora.fine_tune import answer_loss, encode_chats
from clearhead.lora.voices import PIRATE, UNSEEN
from clearhead.model import load

RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 576)


class Pirate:
    """The lesson's run: eight chats in every step, measured on eight that are not trained on."""

    name, steps, learning_rate = "pirate chats", 7, 1e-4

    def __init__(self, tokenizer, device):
        self.train = [part.to(device) for part in encode_chats(tokenizer, PIRATE[:8])]
        self.held_out = [[part.to(device) for part in encode_chats(tokenizer, UNSEEN)]]

    def batch(self):
        return self.train


class Documentation:
    """Windows of 128 tokens of Python's documentation; measured on its last tenth."""

    name, steps, learning_rate = "Python's documentation", 60, 5e-5

    def __init__(self, tokenizer, device):
        text = "\n\n".join(topics[name] for name in sorted(topics))
        ids = torch.tensor(tokenizer.encode(text)).to(device)
        cut = int(0.9 * len(ids))
        self.ids, self.dice = ids[:cut], torch.Generator().manual_seed(0)
        windows = torch.stack([ids[cut + 700 * i :][:128] for i in range(12)])
        self.held_out = [(part, part) for part in windows.split(4)]  # every token is a label

    def batch(self):
        starts = torch.randint(len(self.ids) - 128, (4,), generator=self.dice).tolist()
        ids = torch.stack([self.ids[i : i + 128] for i in starts])
        return ids, ids


def measure(task_class, device: str, steps: int | None) -> dict:
    """Fine-tune in full, cut the changes down to each rank, and measure the held-out loss."""
    torch.manual_seed(0)
    model, tokenizer = load("smollm2-135m", device=device)
    task = task_class(tokenizer, device)
    model.requires_grad_(False)
    layers = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    before = {name: layer.weight.clone() for name, layer in layers.items()}
    weights = [layer.weight.requires_grad_(True) for layer in layers.values()]

    @torch.no_grad()
    def held_out(update=None) -> float:
        for name, layer in layers.items():
            if update is not None:
                layer.weight.copy_(before[name] + update(name))
        return statistics.fmean(answer_loss(model, *part).item() for part in task.held_out)

    loss_before = held_out()
    optimiser = torch.optim.AdamW(weights, lr=task.learning_rate, weight_decay=0.0)
    losses = []
    for _ in range(steps or task.steps):
        loss = answer_loss(model, *task.batch())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    loss_after = held_out()

    change = {name: layer.weight.detach() - before[name] for name, layer in layers.items()}
    factors = {name: split(delta, min(delta.shape)) for name, delta in change.items()}
    squares = {name: A.square().sum(1).square() for name, (A, _) in factors.items()}  # σ_k²
    total = sum(square.sum().item() for square in squares.values())
    rows = []
    for r in RANKS:
        loss = held_out(lambda name, r=r: factors[name][1][:, :r] @ factors[name][0][:r])
        rows.append(
            {
                "rank": r,
                "energy": sum(square[:r].sum().item() for square in squares.values()) / total,
                "loss": loss,
                "improvement": (loss_before - loss) / (loss_before - loss_after),
            }
        )
    ranks_90 = [rank_for_energy(square.sqrt(), 0.9) for square in squares.values()]
    return {
        "steps": steps or task.steps,
        "learning_rate": task.learning_rate,
        "training_losses": losses,
        "loss_before": loss_before,
        "loss_after": loss_after,
        "rank_for_90_percent": statistics.median_low(ranks_90),
        "ranks": rows,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a short run that writes nothing")
    quick = parser.parse_args().quick
    device = best_device()
    tasks = {}
    for task in (Pirate, Documentation):
        run = tasks[task.name] = measure(task, device, steps=2 if quick else None)
        print(f"{task.name}: loss {run['loss_before']:.3f} → {run['loss_after']:.3f}")
        for row in run["ranks"]:
            print(
                "  rank {rank:4}: energy {energy:.3f}, improvement {improvement:.3f}".format(**row)
            )
    if not quick:
        model = "SmolLM2-135M-Instruct, every linear layer, fp32, AdamW"
        print("wrote", write("lora_rank", device, {"model": model, "tasks": tasks}))


if __name__ == "__main__":
    main()
