r"""Write text by speculative decoding: the loop around `speculative_accept`, and what it counts.

Before each pass the model's cache holds all tokens but the last. The pass reads that one and the
$m$ proposals, which gives $m + 1$ distributions; the cache is then cut back to the tokens that
stayed. The last pass of all asks for fewer proposals, so that exactly n tokens are written.

What is measured of $\alpha$ is

$$
\hat\alpha = \frac{\text{accepted}}{\text{tested}} \tag{1}
$$

where the proposals after the first rejection of a pass were not tested, and do not count. Dividing
by all that was proposed would mix $\alpha$ up with $\gamma$.

**Shapes.** One sequence, `ids` `(1, T)`; the text written is `(1, T + n)`, or less with `stop`.

**Source.** Leviathan, Kalman and Matias, 2023, algorithm 1.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from clearhead._checks import require_integer
from clearhead.model import Decoder

from ._checks import require_ids, require_integers, require_stop_ids
from .cache import Cache, KVCache
from .drafts import Draft
from .phases import forward_cached
from .sampler import GREEDY, Sampler
from .speculative import speculative_accept


@dataclass(frozen=True)
class Statistics:
    """What happened in each pass of the model: `(proposed, accepted)`."""

    passes: tuple[tuple[int, int], ...]

    @property
    def proposed(self) -> int:
        return sum(proposed for proposed, _ in self.passes)

    @property
    def accepted(self) -> int:
        return sum(accepted for _, accepted in self.passes)

    @property
    def tested(self) -> int:
        """Proposals that were accepted, and the first rejected one of each pass."""
        return sum(min(proposed, accepted + 1) for proposed, accepted in self.passes)

    @property
    def acceptance(self) -> float:
        """Equation (1); NaN when nothing was proposed."""
        return self.accepted / self.tested if self.tested else float("nan")

    @property
    def tokens_per_pass(self) -> float:
        """Accepted ones and the model's own one; NaN when there was no pass."""
        return 1 + self.accepted / len(self.passes) if self.passes else float("nan")


class Speculation(NamedTuple):
    """The text, prompt and all, and how it came about."""

    ids: Tensor
    statistics: Statistics


@torch.no_grad()
def generate_speculative(
    model: Decoder,
    draft: Draft,
    ids: Int[Tensor, "1 T"],
    n: int,
    *,
    gamma: int = 4,
    sampler: Sampler = GREEDY,
    stop: Collection[int] = (),
    cache: Cache | None = None,
) -> Speculation:
    """Append n tokens, of exactly the distribution that `sampler` gives under `model` alone.

    Writing ends early after a token of `stop`. The cache, an empty one, is left with all tokens but
    the last. Raises `TypeError` and `ValueError` when there is more than one sequence, no token to
    start from, an id outside the vocabulary, a cache that is in use, or `n` or `gamma` is not an
    integer of 0 or more.
    """
    require_integer(0, n=n, gamma=gamma)
    cache = KVCache(model.config.layers) if cache is None else cache
    _require_start(ids, cache)
    require_ids(ids, model)
    stop = require_stop_ids(stop)
    ids, passes, end = ids.clone(), [], ids.shape[1] + n
    if n and ids.shape[1] > 1:
        forward_cached(model, ids[:, :-1], cache, last_only=True)
    while ids.shape[1] < end:
        proposals, q = draft.propose(ids, min(gamma, end - ids.shape[1] - 1), sampler)
        logits = forward_cached(model, torch.cat([ids[:, -1:], proposals[None]], 1), cache)[0]
        p = sampler.probabilities(logits, _seen(ids[0], proposals))
        uniforms = sampler.uniforms(len(proposals) + 1, device=p.device)
        new = speculative_accept(proposals, q.to(p.dtype), p, uniforms)
        passes.append((len(proposals), len(new) - 1))
        new, stopped = _cut_after_stop(new, stop)
        ids = torch.cat([ids, new[None].to(ids.dtype)], dim=1)
        cache.truncate(ids.shape[1] - 1)
        if stopped:
            break
    return Speculation(ids, Statistics(tuple(passes)))


def _seen(text: Int[Tensor, " T"], proposals: Int[Tensor, " m"]) -> Int[Tensor, "m+1 T+m"]:
    """Row i: the text and the first i proposals, then −1: what came before distribution i."""
    m = len(proposals)
    place = torch.arange(m, device=text.device)
    before = place[None, :] < torch.arange(m + 1, device=text.device)[:, None]  # m+1 m
    proposed = torch.where(before, proposals[None, :], -1)
    return torch.cat([text.expand(m + 1, -1), proposed.to(text.dtype)], dim=1)


def _cut_after_stop(new: Tensor, stop: Collection[int]) -> tuple[Tensor, bool]:
    for place, token in enumerate(new.tolist() if stop else ()):
        if token in stop:
            return new[: place + 1], True
    return new, False


def _require_start(ids: Tensor, cache: Cache) -> None:
    require_integers("1 T", ids=ids)
    if ids.shape[0] != 1 or ids.shape[1] == 0:
        raise ValueError(
            f"ids has shape {tuple(ids.shape)}; give one sequence of one token or more, (1, T)."
        )
    if cache.length:
        raise ValueError(f"The cache holds {cache.length} slots; give an empty one.")
