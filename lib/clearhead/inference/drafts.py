r"""Drafts for speculative decoding: what proposes the next few tokens, cheaply.

A draft is asked for at most n tokens that may follow `ids`, and gives them with the distributions
that it drew them from. Any draft keeps the model's distribution exact (`speculative`); a better one
is accepted more often.

| draft | its distribution | cost of a token |
|---|---|---|
| `NgramDraft` | certain: what followed the same words earlier | nothing |
| `ModelDraft` | another model's, through the same sampler | a step of that model |

`early_exit` and `rounded_copy` make that other model out of the first. Both are untrained: the head
of the one was never meant to read a layer in the middle, and the other saves no time here, since
its rounded weights are kept in full precision.

**Shapes.** `ids` `(1, T)`; the proposals `(m,)`, 0 ≤ m ≤ n, and their distributions `(m, V)`.

**Source.** Proposals from the text: Saxena, 2023 (prompt lookup decoding). A draft out of the
model's first layers: Elhoushi et al., 2024 (LayerSkip), who train for it.
"""

import copy
from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clearhead._checks import require_integer
from clearhead.model import Decoder

from .cache import Cache, KVCache
from .phases import forward_cached
from .sampler import Sampler, draw


@runtime_checkable
class Draft(Protocol):
    """What `generate_speculative` asks of a draft."""

    def propose(self, ids: Tensor, n: int, sampler: Sampler) -> tuple[Tensor, Tensor]:
        """At most n tokens that may follow `ids`, and the distribution each was drawn from."""


class NgramDraft:
    """Look the last words up in the text so far, and propose what followed them the last time.

    It looks for the last `longest` tokens first, then for fewer, down to `shortest`; when none of
    them stood there before, it proposes nothing. What it copies it takes to go on as it did: a text
    of one period is proposed for as long as is asked.
    """

    def __init__(self, vocab_size: int, *, longest: int = 3, shortest: int = 1):
        require_integer(1, vocab_size=vocab_size, shortest=shortest)
        require_integer(shortest, longest=longest)
        self.vocab_size, self.longest, self.shortest = vocab_size, longest, shortest

    def propose(
        self, ids: Int[Tensor, "1 T"], n: int, sampler: Sampler
    ) -> tuple[Int[Tensor, " m"], Float[Tensor, "m V"]]:
        text = ids[0]
        found = text[:0]
        for size in range(min(self.longest, len(text) - 1), self.shortest - 1, -1):
            windows = text.unfold(0, size, 1)  # every run of `size` tokens, the last one last
            same = (windows[:-1] == windows[-1]).all(dim=1).nonzero()
            if len(same):
                after = int(same[-1]) + size
                again = torch.arange(n, device=text.device) % (len(text) - after)
                found = text[after + again]  # at the end of the text, go round
                break
        certain = nn.functional.one_hot(found.long(), self.vocab_size)
        return found, certain.to(torch.float32)


class ModelDraft:
    """Another model with the same vocabulary, with a cache of its own."""

    def __init__(self, model: Decoder, cache: Cache | None = None):
        self.model = model
        self.cache = KVCache(model.config.layers) if cache is None else cache
        self._cached: list[int] = []  # the ids whose keys and values the cache holds

    def propose(
        self, ids: Int[Tensor, "1 T"], n: int, sampler: Sampler
    ) -> tuple[Int[Tensor, " n"], Float[Tensor, "n V"]]:
        text, V = ids[0].tolist(), self.model.config.vocab_size
        self._keep_common_start(text)
        tokens, rows = [], []
        for _ in range(n):
            fresh = ids.new_tensor([text[len(self._cached) :]])
            logits = forward_cached(self.model, fresh, self.cache, last_only=True)[:, -1]
            self._cached = list(text)
            q = sampler.probabilities(logits, ids.new_tensor([text]))[0]
            rows.append(q)
            tokens.append(draw(q, sampler.uniforms(device=q.device)))
            text.append(int(tokens[-1]))
        if not tokens:
            return ids.new_empty(0), self.model.embedding.weight.new_empty(0, V)
        return torch.stack(tokens), torch.stack(rows)

    def _keep_common_start(self, text: list[int]) -> None:
        """Cut the cache back to where it agrees with `text`; the last token is read again."""
        same = 0
        for old, new in zip(self._cached, text[:-1], strict=False):
            if old != new:
                break
            same += 1
        self._cached = self._cached[:same]
        self.cache.truncate(same)


def early_exit(model: Decoder, layers: int) -> Decoder:
    """The first `layers` blocks of `model`, then its last norm and head; all weights are shared.

    Raises `TypeError` when `layers` is not an integer and `ValueError` when the model has fewer.
    """
    require_integer(1, layers=layers)
    if layers > model.config.layers:
        raise ValueError(f"layers is {layers}; the model has {model.config.layers}.")
    with torch.device("meta"):  # no memory for weights that are replaced at once
        short = Decoder(replace(model.config, layers=layers))
    short.embedding, short.norm = model.embedding, model.norm
    short.blocks = nn.ModuleList(list(model.blocks)[:layers])
    if not model.config.tied:
        short.head = model.head
    return short.train(model.training)


def rounded_copy(model: Decoder, bits: int) -> Decoder:
    r"""A copy whose matrices in the blocks are rounded to `bits` bits, with one scale a row.

    With $m = 2^{\text{bits} - 1} - 1$, a row $w$ becomes $s \cdot \mathrm{round}(w / s)$, where
    $s = \max |w| / m$; a row whose s is 0 in its dtype stays as it is. Raises `TypeError` when
    `bits` is not an integer and `ValueError` when it is less than 2 or the weights' dtype does not
    reach m.
    """
    require_integer(2, bits=bits)
    most, dtype = 2 ** (bits - 1) - 1, model.embedding.weight.dtype
    if most > torch.finfo(dtype).max:
        raise ValueError(f"bits is {bits}, and {dtype} does not reach 2^{bits - 1}; give fewer.")
    rounded = copy.deepcopy(model)
    for layer in rounded.blocks.modules():
        if isinstance(layer, nn.Linear):
            with torch.no_grad():
                w = layer.weight
                scale = w.abs().amax(1, keepdim=True) / float(most)
                w.copy_(torch.where(scale == 0, w, (w / scale).round() * scale))
    return rounded
