"""A tiny policy and a task of one step: what the tests of rollouts and of the loop share."""

import torch

from clearhead.model import Config, Decoder
from clearhead.training import initialise

V, EOS = 7, 6


def policy(dtype=torch.float64, *, seed=0, std=0.4) -> Decoder:
    config = Config(
        vocab_size=V,
        width=16,
        layers=2,
        heads=2,
        kv_heads=1,
        head_size=8,
        feed_forward=16,
    )
    return initialise(Decoder(config), std=std, seed=seed).to(dtype)


class Echo:
    """The prompt is one letter, and an answer is right if it begins with it."""

    limit, eos = 4, EOS

    def prompts(self, n, generator):
        return torch.randint(3, (n, 1), generator=generator, device=generator.device)

    def correct(self, prompts, answers, ended):
        asked = prompts[:, 0].tolist()
        rows = zip(asked, answers, strict=True)
        return torch.tensor([a[:1] == [p] for p, a in rows])


def dice(seed=0):
    return torch.Generator().manual_seed(seed)
