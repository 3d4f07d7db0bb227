r"""`generate` writes n tokens: one prefill, then one decode step a token.

With prompt $x_1 \dots x_T$ and a rule that chooses from logits, every new token is

$$
x_{t+1} = \text{choose}\bigl(\text{logits}(x_1 \dots x_t)\bigr), \qquad t = T, \dots, T + n - 1
\tag{1}
$$

`generate_uncached` is (1) as it stands: the whole sequence again for every token. `generate` and
`stream` compute each token once: the first choice comes out of the prefill, the others out of n − 1
decode steps. The last token is chosen and never read, so a cache of T + n − 1 slots is enough.

**Ragged batches.** `left_pad` makes one tensor of unequal prompts, and counts the padding. A row's
tokens are those that it gets alone.

**Choosing.** `choose(logits, seen)` takes logits `(B, V)` and ids `(B, N)` and returns ids `(B,)`.
`seen` is what the call was given and has written so far, without what its cache had read before.
`likeliest`, the default, is greedy; a `Sampler` draws. In `seen`, padding is replaced by the row's
first token, so that a repetition penalty punishes nothing that was not there.

**Stopping.** A row that has written an id of `stop` repeats it from then on; when all rows have,
the writing ends early.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clearhead._checks import require_integer
from clearhead.model._checks import check_ids

from ._checks import (
    require_at_least_one,
    require_choice,
    require_ids,
    require_pads,
    require_room,
    require_stop,
    require_token_ids,
)
from .cache import Cache, KVCache
from .phases import decode_step, placed, prefill

Choose = Callable[[Tensor, Tensor], Tensor]


def likeliest(logits: Float[Tensor, "B V"], seen: Int[Tensor, "B N"]) -> Int[Tensor, " B"]:
    """The greedy choice: the highest logit; of equal ones the first."""
    return logits.argmax(-1)


def generate(
    model,
    ids: Int[Tensor, "B T"],
    n: int,
    *,
    pads: Int[Tensor, " B"] | None = None,
    cache: Cache | None = None,
    choose: Choose = likeliest,
    stop: Iterable[int] = (),
    chunk: int | None = None,
    window: int | None = None,
) -> Int[Tensor, "B Tn"]:
    """The prompts with n more tokens a row, or fewer when every row has met an id of `stop`.

    A cache that is given may hold earlier tokens, which `ids` then continues. `pads`, `chunk` and
    `window` are those of `prefill`. Raises `TypeError` and `ValueError`, before any token is read,
    for what `prefill` refuses, a negative n, and a cache too small for the prompt and n tokens.
    """
    options = dict(pads=pads, cache=cache, choose=choose, stop=stop, chunk=chunk, window=window)
    new = list(stream(model, ids, n, **options))
    return torch.cat([ids, torch.stack(new, dim=1)], dim=1) if new else ids.clone()


def stream(
    model,
    ids: Int[Tensor, "B T"],
    n: int,
    *,
    pads: Int[Tensor, " B"] | None = None,
    cache: Cache | None = None,
    choose: Choose = likeliest,
    stop: Iterable[int] = (),
    chunk: int | None = None,
    window: int | None = None,
) -> Iterator[Int[Tensor, " B"]]:
    """`generate` as an iterator: each step's new ids (B,), as soon as they are known.

    Wrong input is refused when `stream` is called; the prefill runs when the first token is asked
    for, so the time to it is that of `next`.
    """
    require_ids(ids, model)
    require_integer(0, n=n)
    ends = require_stop(stop, ids)
    if cache is None:
        own = getattr(model, "new_cache", None)
        length = ids.shape[1] + max(n, 1) - 1
        cache = own(len(ids), length) if own else KVCache(model.config.layers)
    require_pads(pads, len(ids), cache.length + ids.shape[1])
    require_room(cache, ids.shape[1], n)
    require_at_least_one(window=window, chunk=chunk)
    if pads is not None and not pads.any():
        pads = None  # a batch of equal prompts needs no mask
    return _stream(model, ids, n, cache, choose, ends, pads, window, chunk)


@torch.no_grad()
def _stream(model, ids, n, cache, choose, ends, pads, window, chunk) -> Iterator[Tensor]:
    here = None if pads is None else (pads - cache.length).clamp(min=0)  # the rest is cached
    seen = without_padding(ids, here)
    stopped = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    token = ids[:, -1]
    for i in range(n):
        if i == 0:
            logits = prefill(model, ids, cache, pads=pads, window=window, chunk=chunk)
        else:
            logits = decode_step(model, token, cache, pads=pads, window=window)
        chosen = choose(logits, seen)
        require_choice(chosen, ids)
        token = torch.where(stopped, token, chosen.to(ids.dtype))
        if i == n - 1:  # the others are checked when they are read
            check_ids(token[:, None], model.config.vocab_size)
        yield token
        if ends is not None:
            stopped = stopped | torch.isin(token, ends)
            if stopped.all():
                return
        seen = torch.cat([seen, token[:, None]], dim=1)


@torch.no_grad()
def generate_uncached(
    model,
    ids: Int[Tensor, "B T"],
    n: int,
    *,
    pads: Int[Tensor, " B"] | None = None,
    choose: Choose = likeliest,
    stop: Iterable[int] = (),
    window: int | None = None,
) -> Int[Tensor, "B Tn"]:
    """`generate` in the plainest way, equation (1): every step runs the whole sequence again."""
    require_ids(ids, model)
    require_integer(0, n=n)
    ends = require_stop(stop, ids)
    require_pads(pads, len(ids), ids.shape[1])
    require_at_least_one(window=window)
    counts = torch.zeros(len(ids), dtype=torch.long, device=ids.device) if pads is None else pads
    written, stopped = ids, counts < 0
    for _ in range(n):
        positions, mask = placed(written.shape[1], 0, counts, window)
        logits = model(written, positions=positions, mask=mask[:, None])[:, -1]
        chosen = choose(logits, without_padding(written, pads))
        require_choice(chosen, ids)
        token = torch.where(stopped, written[:, -1], chosen.to(ids.dtype))
        written = torch.cat([written, token[:, None]], dim=1)
        if ends is not None:
            stopped = stopped | torch.isin(token, ends)
            if stopped.all():
                break
    check_ids(written[:, -1:], model.config.vocab_size)
    return written.clone() if n == 0 else written


def left_pad(
    prompts: Sequence[Sequence[int] | Tensor], *, pad: int = 0, device=None
) -> tuple[Int[Tensor, "B T"], Int[Tensor, " B"]]:
    """Unequal prompts as one tensor, padding on the left, and how much of it each row has.

    `pad` may be any id of the vocabulary: no token sees it. Raises `ValueError` when there is no
    prompt, or an empty one, and `TypeError` for what are no integers.
    """
    rows = [torch.as_tensor(prompt, device=device) for prompt in prompts]
    if not rows:
        raise ValueError("There are no prompts; give at least one.")
    for b, row in enumerate(rows):
        if row.ndim != 1 or len(row) == 0:
            raise ValueError(
                f"Prompt {b} has shape {tuple(row.shape)}; give one axis with at least one token."
            )
        require_token_ids(**{f"Prompt {b}": row})
    T = max(len(row) for row in rows)
    pads = torch.tensor([T - len(row) for row in rows], device=rows[0].device)
    ids = torch.full((len(rows), T), pad, device=rows[0].device)
    for b, row in enumerate(rows):
        ids[b, T - len(row) :] = row
    return ids, pads


def without_padding(ids: Int[Tensor, "B T"], pads: Int[Tensor, " B"] | None) -> Int[Tensor, "B T"]:
    """Each row's padding replaced by its first token."""
    if pads is None:
        return ids
    slot = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    return ids.gather(1, torch.maximum(slot, pads.clamp(max=ids.shape[1] - 1)[:, None]))
