r"""One forward pass for many requests: their new tokens side by side in one row, without padding.

Request $r$ brings $n_r$ new tokens: one when it decodes, more when a chunk of its prompt is taken
in. Everything in a decoder but attention treats each token by itself, so that the linear layers run
once over all

$$
N = \sum_r n_r \tag{1}
$$

tokens and read each weight once for all of them. Only attention asks whose token it is. It runs for
each chunk by itself, causal against the rows that its request has in the cache, and for all
decoding requests together. A single query sees everything, and the $H/K$ query heads that share a
key/value head are then $H/K$ queries to the same keys:

$$
(B, H, 1, D) \to (B, K, H/K, D) \tag{2}
$$

**Shapes.** N tokens in one row `(1, N)`; logits `(B, V)`, of the last new token of each request.

**Source.** Yu et al., 2022 (Orca), section 3, "selective batching".
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clearhead.attention import attention
from clearhead.model import Decoder

from .paged_cache import PagedCache, PagedSequence


class _Reader(NamedTuple):
    """Which packed tokens attend together, to which slots, by which mask (None: causal)."""

    tokens: Int[Tensor, " n"]
    slots: Int[Tensor, "B S"]
    mask: Bool[Tensor, "B 1 1 S"] | None


@torch.no_grad()
def packed_forward(
    model: Decoder,
    cache: PagedCache,
    sequences: Sequence[PagedSequence],
    new: Sequence[Sequence[int]],
) -> Float[Tensor, "B V"]:
    """Take in the new tokens of each sequence; logits after the last one of each.

    The blocks must be reserved. Keys and values go into the cache, but no `length` is advanced:
    that is for the caller, when all has gone well. Raises `ValueError` when a sequence brings no
    token.
    """
    counts = [len(tokens) for tokens in new]
    if not counts or min(counts) == 0:
        raise ValueError(f"The sequences bring {counts} tokens; give at least one for each.")
    device = model.embedding.weight.device
    starts = [sequence.length for sequence in sequences]
    lengths = [start + n for start, n in zip(starts, counts, strict=True)]
    ids = torch.tensor([token for tokens in new for token in tokens], device=device)[None]  # 1 N
    positions = torch.cat([torch.arange(a, b) for a, b in zip(starts, lengths, strict=True)])
    ends = torch.tensor(counts, device=device).cumsum(0)  # B

    rows = cache.slots(sequences, lengths)  # B S
    slots = torch.cat([row[a:b] for row, a, b in zip(rows, starts, lengths, strict=True)])  # N
    readers = _readers(rows, lengths, counts, ends)
    turn = model.turn(ids, positions[None].to(device))
    x = model.embedding(ids)  # 1 N C
    for layer, block in enumerate(model.blocks):
        q, k, v = block.attention.project(block.attention_norm(x), turn)  # 1 H N D, 1 K N D
        cache.write(layer, slots, k[0].transpose(0, 1), v[0].transpose(0, 1))
        heads = torch.empty_like(q)
        for reader in readers:
            heads[:, :, reader.tokens] = _attend(q[:, :, reader.tokens], cache, layer, reader)
        x = x + block.attention.merge(heads)
        x = x + block.feed_forward(block.feed_forward_norm(x))
    return model.logits(x[:, ends - 1])[0]


def _readers(
    rows: Tensor, lengths: Sequence[int], counts: Sequence[int], ends: Tensor
) -> list[_Reader]:
    """One reader for each chunk, and one for all sequences that bring a single token."""
    device = rows.device
    readers = []
    for b, (length, n) in enumerate(zip(lengths, counts, strict=True)):
        if n > 1:
            tokens = torch.arange(n, device=device) + ends[b] - n
            readers.append(_Reader(tokens, rows[b : b + 1, :length], None))
    single = [b for b, n in enumerate(counts) if n == 1]
    if single:
        size = torch.tensor([lengths[b] for b in single], device=device)
        S = max(lengths[b] for b in single)
        mask = torch.arange(S, device=device) < size[:, None]  # B S
        at = torch.tensor(single, device=device)
        readers.append(_Reader(ends[at] - 1, rows[at, :S], mask[:, None, None]))
    return readers


def _attend(
    q: Float[Tensor, "1 H n D"], cache: PagedCache, layer: int, reader: _Reader
) -> Float[Tensor, "1 H n D"]:
    keys, values = cache.read(layer, reader.slots)  # B K S D
    if reader.mask is None:
        return attention(q, keys, values, causal=True)
    (_, H, n, D), K = q.shape, keys.shape[1]
    grouped = q[0].transpose(0, 1).reshape(n, K, H // K, D)  # equation (2)
    mixed = attention(grouped, keys, values, reader.mask)
    return mixed.reshape(n, H, D).transpose(0, 1)[None]
