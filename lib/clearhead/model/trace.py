r"""See inside a decoder: every layer's queries, keys, values, attention weights and hidden states.

`trace` runs the same blocks as `Decoder.forward`, with the plain attention, which returns its
weights, in place of the fast one, which never holds them. `greedy` writes text in the plainest way.

For layer $l$ with input $x^{(l)}$, head $h$ and its key/value head $k(h) = \lfloor hK/H \rfloor$:

$$
A^{(l,h)} = \mathrm{softmax}\!\left(
\frac{q^{(l,h)}\,k^{(l,k(h))\top}}{\sqrt{D}} + \text{causal mask}\right) \tag{1}
$$

Memory: L · B · H · T² weights. For SmolLM2-135M at T = 512 that is 283 MB in fp32.
"""

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from clearhead.attention import causal_mask, scaled_dot_product
from clearhead.model.decoder import Decoder


class Trace(NamedTuple):
    r"""One entry a layer in each list; `hidden` has one more."""

    queries: list[Tensor]  # B H T D, after the rotation
    keys: list[Tensor]  # B K T D, after the rotation
    values: list[Tensor]  # B K T D
    weights: list[Tensor]  # B H T T, rows sum to 1
    hidden: list[
        Tensor
    ]  # B T C: hidden[l] enters layer l; hidden[-1] leaves the last, before the norm
    logits: Tensor  # B T V


@torch.no_grad()
def trace(model: Decoder, ids: Int[Tensor, "B T"]) -> Trace:
    r"""Run `model` on `ids` and keep what every layer computed, equation (1) included.

    Raises `TypeError` and `ValueError` for the ids that `Decoder` refuses.
    """
    turn, mask = model.turn(ids), causal_mask(ids.shape[1], ids.shape[1], device=ids.device)
    x = model.embedding(ids)
    seen = Trace([], [], [], [], [x], x)
    for block in model.blocks:
        q, k, v = block.attention.project(block.attention_norm(x), turn)
        group = q.shape[1] // k.shape[1]  # query heads that share one key/value head
        output, weights = scaled_dot_product(
            q, k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1), mask
        )
        x = x + block.attention.merge(output)
        x = x + block.feed_forward(block.feed_forward_norm(x))
        for kept, value in zip(seen, (q, k, v, weights, x), strict=False):
            kept.append(value)
    return seen._replace(logits=model.logits(x))


@torch.no_grad()
def greedy(model: Decoder, ids: Int[Tensor, "1 T"], n: int) -> Int[Tensor, "1 T+{n}"]:
    r"""Append the likeliest token, n times; every step runs the whole sequence again.

    Raises `ValueError` when n is negative. A key/value cache would save almost all of this work:
    that is the subject of the chapter on inference.
    """
    if n < 0:
        raise ValueError(f"n is {n}; give the number of tokens to write, 0 or more")
    for _ in range(n):
        next_id = model(ids)[:, -1].argmax(-1, keepdim=True)  # 1 1
        ids = torch.cat([ids, next_id], dim=1)
    return ids
