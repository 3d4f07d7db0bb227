"""One story in fp64: prefill, chunks, decode, and every number equals one full forward.

Rotary positions, grouped heads, left padding, a sliding window, and two requests whose caches take
turns. What is expected comes from the plain forward over each row alone, without padding or cache.
"""

import pytest
import torch
from inference_models import FAMILIES, V, prompts, sharp_model

from clearhead.attention import sliding_window_mask
from clearhead.inference import KVCache, StaticCache, decode_step, left_pad, prefill

WINDOW = 4


class Request:
    """A padded batch with a cache, and what each of its rows has read so far."""

    def __init__(self, model, make_cache, *lengths):
        self.rows = prompts(*lengths)
        self.ids, self.pads = left_pad(self.rows)
        self.model, self.cache = model, make_cache(model, len(lengths))
        self.read = 0

    def prefill(self, until: int, **options):
        ids = self.ids[:, self.read : until]
        logits = prefill(self.model, ids, self.cache, pads=self.pads, window=WINDOW, **options)
        self.read = until
        return self.agrees(logits)

    def decode(self, generator):
        token = torch.randint(1, V, (len(self.rows),), generator=generator)
        self.ids = torch.cat([self.ids, token[:, None]], dim=1)
        self.read += 1
        return self.agrees(
            decode_step(self.model, token, self.cache, pads=self.pads, window=WINDOW)
        )

    @torch.no_grad()
    def agrees(self, logits):
        for b, pad in enumerate(self.pads.tolist()):
            alone = self.ids[b : b + 1, pad : self.read]
            n = alone.shape[1]
            want = self.model(alone, mask=sliding_window_mask(n, n, WINDOW))[0, -1]
            torch.testing.assert_close(logits[b], want, atol=1e-11, rtol=1e-11)


def grown(model, batch):
    return KVCache(model.config.layers)


def static(model, batch):
    return StaticCache.for_model(model, batch=batch, max_length=20)


@pytest.mark.parametrize("make_cache", [grown, static])
@pytest.mark.parametrize("family", FAMILIES)
def test_prefill_chunks_and_decode_of_two_requests_equal_the_full_forward(family, make_cache):
    model, generator = sharp_model(family), torch.Generator().manual_seed(5)
    first = Request(model, make_cache, 11, 3, 6)
    second = Request(model, make_cache, 2, 5)
    first.prefill(9)  # row 1 has 8 slots of padding, so one token of it is read
    second.prefill(5, chunk=2)
    first.prefill(11, chunk=1)
    for turn in range(8):
        first.decode(generator)
        if turn % 2:
            second.decode(generator)
    assert (first.cache.length, second.cache.length) == (19, 9)
