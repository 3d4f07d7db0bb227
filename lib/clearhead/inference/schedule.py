r"""Who runs in the next step: decode first, then prompts in chunks, first come first served.

A step may process a *budget* of tokens, and tokens need room in blocks of $m$ slots. A request has
`prompt` tokens that must be in the cache before the next one can be chosen, and `done` tokens that
are. While done < prompt it is in *prefill*; afterwards it *decodes*, one token a step. The step is
planned in this order:

1. Running requests that decode, oldest first: one token each. One whose last block is full needs
   a new block. While none is free, the youngest running request is *preempted*: it loses all
   its blocks, and it gets nothing in this step. That may be the request itself.
2. Running requests in prefill, oldest first: a chunk each, as large as the prompt's rest, the rest
   of the budget and the room allow: $n$ tokens of (1).
3. Waiting requests in order, a chunk each by (1), until one gets nothing. A step that preempts
   admits nobody.

$$
n = \min(\text{prompt} - \text{done},\; \text{budget left},\; \text{room}), \qquad
\text{room} = m\,\lceil \text{done}/m \rceil - \text{done} + m \cdot \text{free} \tag{1}
$$

A request that goes from done to done + n takes
$\lceil (\text{done}+n)/m \rceil - \lceil \text{done}/m \rceil$ new blocks. Nothing is taken twice:
budget and free blocks go down with every grant.

**A preempted request** goes back to the front of the queue with done = 0. The tokens that it has
generated are known, so that it computes their keys and values again in one prefill: its prompt
then counts them too. A request that decodes has chosen one token that is not in the cache yet, so
the new prompt is max(prompt, done + 1).

**Why this can't get stuck.** Whoever starts is younger than all who run, and a prompt's rest is
served before anyone else starts. So only the youngest running request is ever in prefill, and all
others decode; the oldest always gets its block, from the youngest if need be. A request that runs
alone has the whole pool; one that would not fit into it must be refused when it comes.

**Source.** Token budget, decode first and chunked prefill: Agrawal et al., 2024 (Sarathi-Serve),
algorithm 3. Preemption of the latest by recomputation: Kwon et al., 2023, section 4.5; that such a
step admits nobody is how vLLM's scheduler does it. Scheduling each step anew: Yu et al., 2022
(Orca), section 3.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

from clearhead._checks import require_integer

from .paged import blocks_for


class Row(NamedTuple):
    """A request as the scheduler sees it: `prompt` tokens to be cached, `done` that are."""

    id: str | int
    prompt: int
    done: int


class Plan(TypedDict):
    """Tokens of each request that runs, in the order granted; and who loses its blocks, in turn."""

    tokens: dict[str | int, int]
    preempted: list[str | int]


def schedule_step(
    running: Sequence[tuple[str | int, int, int]],
    waiting: Sequence[tuple[str | int, int, int]],
    *,
    free_blocks: int,
    block: int,
    budget: int,
) -> Plan:
    """Plan one step by the three rules above; the inputs stay as they are.

    Both lists hold `(id, prompt, done)`, oldest first. A waiting request has done = 0, or whole
    blocks of a prefix that another request has computed. Raises `TypeError` when a size is not an
    integer and `ValueError` when one is out of range, an id stands twice or a waiting request has
    no prompt left to compute.
    """
    running, waiting = _rows(running, waiting)
    require_integer(0, free_blocks=free_blocks)
    require_integer(1, block=block, budget=budget)
    tokens, preempted = {}, []
    free, left = free_blocks, budget
    alive = len(running)  # the youngest stand at the end and are preempted from there

    for age, row in enumerate(running):  # rule 1
        if row.done < row.prompt or left == 0:
            continue
        needs_block = row.done % block == 0
        while needs_block and free == 0 and age < alive:
            alive -= 1
            preempted.append(running[alive].id)
            free += blocks_for(running[alive].done, block)
        if age < alive:
            tokens[row.id] = 1
            left -= 1
            free -= needs_block

    unfinished = [row for row in running[:alive] if row.done < row.prompt]  # rule 2
    newcomers = [] if preempted else waiting  # rule 3
    for place, row in enumerate(unfinished + newcomers):
        held = blocks_for(row.done, block)
        room = held * block - row.done + free * block
        chunk = min(row.prompt - row.done, left, room)  # equation (1)
        if chunk > 0:
            tokens[row.id] = chunk
            left -= chunk
            free -= blocks_for(row.done + chunk, block) - held
        elif place >= len(unfinished):
            break
    return {"tokens": tokens, "preempted": preempted}


def after_preemption(row: tuple[str | int, int, int]) -> Row:
    """What a preempted request waits as: nothing done, what it generated part of its prompt."""
    id, prompt, done = row
    return Row(id, max(prompt, done + 1), 0)


def _rows(running: Sequence, waiting: Sequence) -> tuple[list[Row], list[Row]]:
    both = [[Row(*row) for row in rows] for rows in (running, waiting)]
    seen = set()
    for name, rows in zip(("running", "waiting"), both, strict=True):
        for row in rows:
            require_integer(1, prompt=row.prompt)
            require_integer(0, done=row.done)
            if row.id in seen:
                raise ValueError(f"The request {row.id!r} stands twice; give every id once.")
            if name == "waiting" and row.done >= row.prompt:
                raise ValueError(
                    f"The waiting request {row.id!r} has {row.done} of {row.prompt} tokens done; "
                    "one with nothing left to compute must be running."
                )
            seen.add(row.id)
    return both[0], both[1]
