r"""Answers that the policy itself writes: a batch of prompts, G answers each, log-probs kept.

Each answer is drawn token by token at temperature 1, with a KV cache (`clearhead.inference`), until
it writes EOS or reaches the limit. The log-prob of each token is kept as it is drawn:

$$
x_t \sim \pi(\cdot \mid \text{prompt}, x_{<t}), \qquad
\text{log\_probs}_t = \ln \pi(x_t \mid \text{prompt}, x_{<t}) \tag{1}
$$

These are the *old* log-probs of a policy gradient. `answer_log_probs` computes the same numbers
from a whole answer in one pass, with a gradient: the *new* ones, equal before the first update.

**Shapes.** N = Q·G answers, those of one prompt side by side. `ids` `(N, P + T)`: prompts padded on
the left to P, then T answer tokens, EOS among them and repeated behind it. Of those `mask` `(N, T)`
marks the ones that count: up to EOS, and EOS too.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clearhead._checks import precise, require_integer
from clearhead.inference import StaticCache, decode_step, left_pad, prefill
from clearhead.inference.phases import placed
from clearhead.model import Decoder
from clearhead.training import hidden_states, vocabulary_matrix


class Rollout(NamedTuple):
    """N sampled answers. Make one with `rollout`."""

    ids: Int[Tensor, "N PT"]
    pads: Int[Tensor, " N"]  # padding on the left of each row
    log_probs: Float[Tensor, "N T"]  # of the policy that sampled
    mask: Bool[Tensor, "N T"]
    ended: Bool[Tensor, " N"]  # wrote EOS; the others were cut off by the limit
    entropy: Float[Tensor, "N T"]  # of the distribution each token was drawn from, in nats

    @property
    def lengths(self) -> Int[Tensor, " N"]:
        """Tokens of each answer, EOS among them."""
        return self.mask.sum(1)

    @property
    def completion(self) -> Int[Tensor, "N T"]:
        return self.ids[:, -self.mask.shape[1] :]

    def answers(self) -> list[list[int]]:
        """The tokens of each answer, without EOS."""
        ends = (self.lengths - self.ended.long()).tolist()
        return [row[:end] for row, end in zip(self.completion.tolist(), ends, strict=True)]

    def take(self, index: Int[Tensor, " n"]) -> "Rollout":
        """The answers with these numbers."""
        return Rollout(*(x[index] for x in self))


def join(parts: Sequence[Rollout]) -> Rollout:
    """Several rollouts as one, filled up to the longest prompt and the longest answer."""
    T = max(x.mask.shape[1] for x in parts)
    P = max(x.ids.shape[1] - x.mask.shape[1] for x in parts)
    filled = []
    for x in parts:
        right = T - x.mask.shape[1]
        left = P - (x.ids.shape[1] - x.mask.shape[1])
        filled.append(
            Rollout(
                ids=F.pad(x.ids, (left, right)),  # token 0, which no mask counts
                pads=x.pads + left,
                log_probs=F.pad(x.log_probs, (0, right)),
                mask=F.pad(x.mask, (0, right)),
                ended=x.ended,
                entropy=F.pad(x.entropy, (0, right)),
            )
        )
    return Rollout(*(torch.cat(fields) for fields in zip(*filled, strict=True)))


@torch.no_grad()
def rollout(
    model: Decoder,
    prompts: Int[Tensor, "Q P"] | Sequence[Sequence[int]],
    group: int,
    *,
    limit: int,
    eos: int,
    generator: torch.Generator | None = None,
) -> Rollout:
    """Draw `group` answers to each prompt, of `limit` tokens at most.

    Prompts are a tensor of equal lengths or a list of unequal ones. The same `generator` state
    gives the same answers. Raises `TypeError` and `ValueError` for what `prefill` refuses, no
    prompts, or an `eos` outside the vocabulary.
    """
    require_integer(1, group=group, limit=limit)
    require_integer(0, eos=eos)
    if eos >= model.config.vocab_size:
        raise ValueError(
            f"eos is {eos}; give an id of the vocabulary, 0 to {model.config.vocab_size - 1}."
        )
    device = model.embedding.weight.device
    ids, pads = left_pad(list(prompts), pad=eos, device=device)
    ids, pads = (x.repeat_interleave(group, dim=0) for x in (ids, pads))
    N, P = ids.shape
    padding = pads if pads.any() else None
    cache = StaticCache.for_model(model, batch=N, max_length=P + limit)
    logits = prefill(model, ids, cache, pads=padding)
    running = torch.ones(N, dtype=torch.bool, device=device)
    tokens, log_probs, counts, entropies = [], [], [], []
    for t in range(limit):
        if t > 0:
            logits = decode_step(model, token, cache, pads=padding)
        log_p = precise(logits).log_softmax(-1)
        p = log_p.exp()
        token = torch.multinomial(p, 1, generator=generator)[:, 0]
        token = torch.where(running, token, eos)
        tokens.append(token)
        log_probs.append(log_p.gather(1, token[:, None])[:, 0])
        entropies.append(-torch.where(p > 0, p * log_p, 0.0).sum(1))
        counts.append(running)
        running = running & (token != eos)
        if not running.any():
            break
    mask = torch.stack(counts, 1)  # N T
    return Rollout(
        ids=torch.cat([ids, torch.stack(tokens, 1)], 1),
        pads=pads,
        log_probs=torch.where(mask, torch.stack(log_probs, 1), 0.0),
        mask=mask,
        ended=~running,
        entropy=torch.where(mask, torch.stack(entropies, 1), 0.0),
    )


def answer_states(model: Decoder, sampled: Rollout) -> Float[Tensor, "N T C"]:
    """What the model's last norm gives at the positions that predict the answers' tokens."""
    ids, T = sampled.ids[:, :-1], sampled.mask.shape[1]
    if not sampled.pads.any():
        return hidden_states(model, ids)[:, -T:]
    positions, mask = placed(ids.shape[1], 0, sampled.pads, None)
    return hidden_states(model, ids, positions=positions, mask=mask[:, None])[:, -T:]


def answer_log_probs(model: Decoder, sampled: Rollout) -> Float[Tensor, "N T"]:
    """The log-prob of every answer token under `model`, with a gradient; 0 where none counts."""
    hidden = answer_states(model, sampled)[sampled.mask]  # n C
    logits = hidden @ vocabulary_matrix(model).mT
    logits = precise(logits)
    log_p = logits.log_softmax(-1).gather(1, sampled.completion[sampled.mask][:, None])[:, 0]
    return log_p.new_zeros(sampled.mask.shape).masked_scatter(sampled.mask, log_p)
