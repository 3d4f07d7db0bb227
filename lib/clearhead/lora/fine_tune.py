r"""The smallest fine-tuning loop: questions with answers in, a changed model out.

The loss is the mean cross-entropy of the answer's tokens. With question tokens $q_1 \dots q_m$ and
answer tokens $a_1 \dots a_n$, the last of which ends the answer,

$$
\text{loss} = -\frac{1}{n} \sum_{t=1}^{n} \ln p(a_t \mid q_1 \dots q_m, a_1 \dots a_{t-1}) \tag{1}
$$

Over a batch, the sum runs over all answer tokens of all rows, and n counts them all. The question
is read and not learned: its labels are −100, and so are those of the padding.

`fine_tune` does not know what it trains. It hands AdamW the parameters that require a gradient:
after `apply` the adapters, in a plain model everything.

**Shapes.** `ids` and `labels` are `(B, T)`: row by row the chat and, where the answer stands, the
same ids again as labels. Rows are filled up at the right, which a causal model does not see.

**Numerics.** The vocabulary's matrix, a fifth of SmolLM2's weights, is applied to the answers'
positions alone; the logits of the questions would be computed for nothing. Sums are in fp32.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from clearhead._checks import require_finite, require_integer

IGNORED = -100  # a label that is not learned, the number that torch's cross_entropy leaves out


def encode_chats(
    tokenizer, chats: Sequence[tuple[str, str]], *, system: str = ""
) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
    """`ids` and `labels` of (question, answer) pairs, in the model's own chat template.

    Raises `ValueError` when there are no chats, or the checkpoint is not a chat model.
    """
    if not chats:
        raise ValueError("chats is empty; give one pair (question, answer) or more.")
    rows = []
    for question, answer_text in chats:
        asked = prompt(tokenizer, question, system=system)
        rows.append((asked, [*tokenizer.encode(answer_text), tokenizer.eos_id]))
    T = max(len(asked) + len(told) for asked, told in rows)
    ids = torch.full((len(rows), T), tokenizer.eos_id)
    labels = torch.full((len(rows), T), IGNORED)
    for i, (asked, told) in enumerate(rows):
        ids[i, : len(asked) + len(told)] = torch.tensor(asked + told)
        labels[i, len(asked) : len(asked) + len(told)] = torch.tensor(told)
    return ids, labels


def prompt(tokenizer, question: str, *, system: str = "") -> list[int]:
    """The ids that the model reads before it answers `question`."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    return tokenizer.encode(tokenizer.chat(messages))


def answer_loss(model, ids: Int[Tensor, "B T"], labels: Int[Tensor, "B T"]) -> Float[Tensor, ""]:
    """Equation (1): position t predicts the label of position t + 1.

    `model` is a `clearhead.model.Decoder`, with adapters or without. Raises `ValueError` when the
    shapes differ or no label is left to learn.
    """
    if ids.shape != labels.shape:
        raise ValueError(
            f"ids is {tuple(ids.shape)} and labels {tuple(labels.shape)}; make them equal."
        )
    learned = labels[:, 1:] != IGNORED  # B T-1
    if not learned.any():
        raise ValueError("every label is -100, so there is nothing to learn: mark the answers.")
    turn, x = model.turn(ids), model.embedding(ids)
    for block in model.blocks:
        x = block(x, turn, None)
    logits = model.logits(x[:, :-1][learned][None])[0]  # n V
    return F.cross_entropy(logits.float(), labels[:, 1:][learned])


def fine_tune(
    model,
    ids: Int[Tensor, "B T"],
    labels: Int[Tensor, "B T"],
    *,
    learning_rate: float,
    steps: int,
    batch: int,
    watch: Callable[[int], object] | None = None,
) -> list[float]:
    """Train what requires a gradient, in place, and return the loss before each step.

    AdamW without weight decay; `batch` rows a step, in the order given, round and round. `watch` is
    called with the number of steps done, from 0 to `steps`, to measure on the way. Raises
    `ValueError` when nothing in the model requires a gradient.
    """
    require_integer(1, steps=steps, batch=batch)
    require_finite(learning_rate=learning_rate)
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ValueError("no parameter requires a gradient: apply LoRA first, or unfreeze some.")
    optimiser = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.0)
    losses = []
    watch = watch or (lambda done: None)
    for step in range(steps):
        watch(step)
        rows = (torch.arange(batch, device=ids.device) + step * batch) % len(ids)
        loss = answer_loss(model, ids[rows], labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    watch(steps)
    return losses


@torch.no_grad()
def text_loss(model, tokenizer, texts: Sequence[str]) -> float:
    """Mean cross-entropy a token over all texts, in nats, each read by itself."""
    device = next(model.parameters()).device
    total, count = 0.0, 0
    for text in texts:
        ids = torch.tensor([tokenizer.encode(text)], device=device)
        logits = model(ids)[0, :-1].float()
        total += F.cross_entropy(logits, ids[0, 1:], reduction="sum").item()
        count += ids.shape[1] - 1
    return total / count


@torch.no_grad()
def reply(model, tokenizer, question: str, *, system: str = "", at_most: int = 30) -> str:
    """What the model answers, the likeliest token each time, until it stops or has `at_most`."""
    device = next(model.parameters()).device
    ids = torch.tensor([prompt(tokenizer, question, system=system)], device=device)
    asked = ids.shape[1]
    for _ in range(at_most):
        next_id = model(ids)[:, -1].argmax(-1, keepdim=True)  # 1 1
        if next_id.item() == tokenizer.eos_id:
            break
        ids = torch.cat([ids, next_id], dim=1)
    return tokenizer.decode(ids[0, asked:]).strip()
