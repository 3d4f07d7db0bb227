"""Fine-tuning with the prompt masked, learned in part, or learned: what is gained, what is lost.

    python benchmarks/sft.py [--quick]

A small model learns to say from which part of Python's help an excerpt is, after a short
pretraining on that help; SmolLM2-135M with LoRA learns to answer in a word. Either is tuned with
several prompt weights and seeds, and measured on the way: the answers' loss on unseen
conversations, whose excerpts stand nowhere in the training text (what was learned), and the loss on
held-out text (what was forgotten). Lesson training/03 makes some of these runs again. Writes
benchmarks/results/sft-<device>.json; `--quick` writes nothing.
"""

import argparse
import copy

import torch
from timing import best_device, device_name, write

from clearhead.inference import stream
from clearhead.lora import apply
from clearhead.lora.fine_tune import text_loss
from clearhead.lora.voices import PROSE
from clearhead.model import Config, Decoder, load
from clearhead.training import (
    ByteBPE,
    ChatTokenizer,
    Recipe,
    encode_chats,
    evaluate,
    initialise,
    make_rows,
    pack_documents,
    render_chat,
    train,
)
from clearhead.training.excerpts import excerpts
from clearhead.training.one_word import ONE_WORD, UNSEEN, chats
from clearhead.training.tune import tune, weighted_loss

SMALL, MODEL = "0.1M parameters, pretrained here", "smollm2-135m"
WEIGHTS = (0.0, 0.01, 0.1, 1.0)
RATES = (5e-4, 4e-3)  # beside 2e-3, with the prompt masked
LOOK = (0, 3, 6, 10, 15, 20, 30, 40, 60)  # steps after which the small model is measured
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def small_rows(quick: bool, device: str) -> list[dict]:
    """The small model: one base a seed, and runs from a copy of it."""
    data = excerpts()
    tokenizer = ChatTokenizer(ByteBPE.train(data.text, 384, special=SPECIAL))
    end = tokenizer.bpe.special_ids[SPECIAL[0]]

    def packed(texts):
        ids, documents, places = pack_documents([tokenizer.bpe.encode(t) for t in texts], 64, end)
        return make_rows(ids, documents=documents, positions=places)

    config = Config(
        vocab_size=tokenizer.vocab_size, width=64, layers=2, heads=4, kv_heads=4, head_size=16,
        feed_forward=168, tied=True,
    )  # fmt: skip
    held_out = packed(data.held_out)
    ids, labels = (x.to(device) for x in encode_chats(tokenizer, data.chats, pad=end))
    read = " ".join(" ".join(text.split()) for text in data.text)
    new = [chat for chat in data.unseen if chat[0]["content"] not in read]
    unseen = make_rows(*encode_chats(tokenizer, new, pad=end))
    rows = []
    for seed in range(1 if quick else 3):
        base = initialise(Decoder(config), seed=seed).to(device)
        recipe = Recipe(
            steps=20 if quick else 150, batch=16, peak=5e-3, warmup=10 if quick else 20, seed=seed
        )
        train(base, packed(data.text), recipe)
        settings = [(weight, 2e-3) for weight in WEIGHTS] + [(0.0, rate) for rate in RATES]
        for weight, rate in settings[: 2 if quick else None]:
            model, measured = copy.deepcopy(base), []

            def watch(done, model=model, measured=measured):
                if done in LOOK:
                    learned = evaluate(model, unseen, batch=64).loss
                    text = evaluate(model, held_out, batch=64).loss
                    measured.append({"step": done, "unseen": learned, "text": text})

            losses = tune(
                *(model, ids, labels, ids != end), prompt_weight=weight, batch=16,
                steps=15 if quick else 60, learning_rate=rate, seed=seed, watch=watch,
            )  # fmt: skip
            rows.append(row(SMALL, weight, rate, seed, losses, measured))
    return rows


def real_rows(quick: bool, device: str) -> list[dict]:
    """SmolLM2 with adapters of rank 8 on every linear layer."""
    base, tokenizer = load(MODEL, device=device)
    ids, labels = (x.to(device) for x in encode_chats(tokenizer, chats(ONE_WORD), pad=0))
    unseen, told = (x.to(device) for x in encode_chats(tokenizer, chats(UNSEEN), pad=0))
    rows = []
    for seed in range(1 if quick else 2):
        for weight in (0.0, 0.1, 1.0)[: 1 if quick else 3]:
            torch.manual_seed(seed)
            model, measured = copy.deepcopy(base), []
            apply(model, "all-linear", r=8, alpha=16)

            def watch(done, model=model, measured=measured):
                if done in (0, 4, 8):
                    with torch.no_grad():
                        learned = weighted_loss(model, unseen, told, unseen != 0, 0.0).item()
                        whole = weighted_loss(model, unseen, told, unseen != 0, 1.0).item()
                    text = text_loss(model, tokenizer, PROSE)
                    measured.append({"step": done, "unseen": learned, "all": whole, "text": text})

            losses = tune(
                *(model, ids, labels, ids != 0), prompt_weight=weight, batch=8,
                steps=2 if quick else 8, learning_rate=1e-3, seed=seed, watch=watch,
            )  # fmt: skip
            replies = [reply(model, tokenizer, q) for q, _ in UNSEEN[: 2 if quick else None]]
            rows.append(row(MODEL, weight, 1e-3, seed, losses, measured, replies=replies))
    return rows


def row(model, weight, rate, seed, losses, measured, **more) -> dict:
    made = {"model": model, "prompt_weight": weight, "learning_rate": rate, "seed": seed}
    last = {k: round(v, 3) for k, v in measured[-1].items()}
    print(f"{model[:12]:12} weight {weight:<5} rate {rate:.0e} seed {seed} {last}", flush=True)
    return {**made, "losses": losses, "measured": measured, **more}


def reply(model, tokenizer, question: str, at_most: int = 12) -> str:
    """The likeliest answer, its end token shown."""
    text = render_chat([{"role": "user", "content": question}], add_generation_prompt=True)
    device = next(model.parameters()).device
    ids, written = torch.tensor([tokenizer.encode(text)], device=device), []
    for token in stream(model, ids, at_most):
        written.append(int(token))
        if written[-1] == tokenizer.eos_id:
            break
    return tokenizer.decode(written)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a short run that writes nothing")
    quick, device = parser.parse_args().quick, best_device()
    print(f"{device_name(device)}, {torch.get_num_threads()} threads, fp32")
    rows = small_rows(quick, device) + real_rows(quick, device)
    if not quick:
        print(f"wrote {write('sft', device, {'dtype': 'float32', 'rows': rows}).name}")


if __name__ == "__main__":
    main()
