"""A small decoder in fp64, pairs of answers of unequal length, and a trained model of two blobs."""

import copy
import functools

import torch

from clearhead.model import Config, Decoder
from clearhead.preference import (
    Pairs,
    PointDenoiser,
    encode_pairs,
    noise_schedule,
    ring,
    train_denoiser,
)
from clearhead.training import initialise

PAIRS = [
    ("ab", "cde", "fg"),
    ("a", "hi", "jklmno"),
    ("bcd", "e", "fgh"),
    ("cab", "dill", "dull"),
]


class Letters:
    """A tokenizer of one token a letter, whose chat template is `question>`."""

    eos_id = 0

    def encode(self, text):
        return [1 + ord(letter) % 30 for letter in text]

    def decode(self, ids):
        return "".join(chr(96 + int(i)) for i in ids)

    def chat(self, messages):
        return "".join(message["content"] for message in messages) + ">"


def preference_model(dtype=torch.float64, *, seed=0, **changes) -> Decoder:
    """Two layers of width 16, with weights large enough that attention is not uniform."""
    sizes = dict(vocab_size=32, width=16, layers=2, heads=4, kv_heads=2, head_size=4)
    config = Config(**{**sizes, "feed_forward": 24, **changes})
    return initialise(Decoder(config), std=0.3, seed=seed).to(dtype)


def small_pairs() -> Pairs:
    return encode_pairs(Letters(), PAIRS)


def trained_denoiser():
    """A copy of a model that draws two blobs, at the right and at the left, and its schedule."""
    model, alpha_bar, losses = _two_blobs()
    return copy.deepcopy(model), alpha_bar, losses


@functools.cache
def _two_blobs():
    alpha_bar, model = noise_schedule(30, "cosine"), PointDenoiser(width=32)
    data = ring(1000, blobs=2, spread=0.15)
    losses = train_denoiser(model, data, alpha_bar, steps=220, batch=64, lr=1e-2)
    return model, alpha_bar, losses
