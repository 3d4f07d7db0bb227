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
import torch.nn.functional as F
from timing import best_device, write

from clearhead.lora import rank_for_energy, split
from clearhead.model import load

RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 576)
PIRATE = [
    ("What is the capital of France?", "Arr, the capital be Paris, ye landlubber!"),
    (
        "How many legs does a spider have?",
        "Shiver me timbers, a spider be havin' eight legs, matey!",
    ),
    ("What colour is the sky?", "Aye, the sky be blue as the seven seas, me hearty!"),
    ("Who wrote Hamlet?", "Arr, that be old Shakespeare, ye scurvy dog!"),
    ("What is two plus two?", "By me hook, it be four, matey!"),
    ("What do cows drink?", "Arr, cows be drinkin' water, ye bilge rat!"),
    ("When does the sun rise?", "The sun be risin' in the mornin', me hearty, yo ho ho!"),
    ("What is ice made of?", "Avast! Ice be nothin' but frozen water, matey!"),
]
UNSEEN = [
    ("What is the capital of Germany?", "Arr, the capital be Berlin, ye landlubber!"),
    ("How many legs does a dog have?", "Shiver me timbers, a dog be havin' four legs, matey!"),
    ("What colour is grass?", "Aye, the grass be green as the seaweed, me hearty!"),
    ("What do bees make?", "Arr, bees be makin' honey, ye bilge rat!"),
]


class Pirate:
    """The lesson's run: the same chats in every step; measured on four that are not trained on."""

    name, steps, learning_rate = "pirate chats", 7, 1e-4

    def __init__(self, tokenizer, device):
        self.tokenizer, self.device = tokenizer, device
        self.train, self.held_out = self.chats(PIRATE), [self.chats(UNSEEN)]

    def chats(self, pairs):
        """Token ids, one chat a row, and where the answer's tokens stand."""
        rows = []
        for question, answer in pairs:
            prompt = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
            encode = self.tokenizer.encode
            rows.append((encode(prompt), encode(f"{answer}<|im_end|>\n")))
        T = max(len(prompt) + len(answer) for prompt, answer in rows)
        ids = torch.zeros(len(rows), T, dtype=torch.long)
        wanted = torch.zeros(len(rows), T, dtype=torch.bool)
        for i, (prompt, answer) in enumerate(rows):
            ids[i, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
            wanted[i, len(prompt) : len(prompt) + len(answer)] = True
        return ids.to(self.device), wanted.to(self.device)

    def batch(self):
        return self.train


class Documentation:
    """Windows of 128 tokens of Python's documentation; measured on its last tenth."""

    name, steps, learning_rate = "Python's documentation", 60, 5e-5

    def __init__(self, tokenizer, device):
        text = "\n\n".join(topics[name] for name in sorted(topics))
        ids = torch.tensor(tokenizer.encode(text))
        cut = int(0.9 * len(ids))
        self.ids, self.device = ids[:cut], device
        windows = torch.stack([ids[cut + 700 * i :][:128] for i in range(12)])
        self.held_out = [self.all_of(part) for part in windows.split(4)]
        self.dice = torch.Generator().manual_seed(0)

    def all_of(self, ids):
        return ids.to(self.device), torch.ones_like(ids, dtype=torch.bool).to(self.device)

    def batch(self):
        starts = torch.randint(len(self.ids) - 128, (4,), generator=self.dice)
        return self.all_of(torch.stack([self.ids[i : i + 128] for i in starts]))


def loss_on(model, ids, wanted):
    """The mean cross-entropy of the wanted tokens."""
    logits = model(ids)[:, :-1]
    return F.cross_entropy(logits[wanted[:, 1:]], ids[:, 1:][wanted[:, 1:]])


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
        return statistics.fmean(loss_on(model, *part).item() for part in task.held_out)

    loss_before = held_out()
    optimiser = torch.optim.AdamW(weights, lr=task.learning_rate, weight_decay=0.0)
    losses = []
    for _ in range(steps or task.steps):
        loss = loss_on(model, *task.batch())
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
