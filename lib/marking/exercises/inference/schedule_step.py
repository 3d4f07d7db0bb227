"""inference.schedule_step: which requests run in the next step, and with how many tokens."""

from functools import partial

from clearhead.inference import schedule_step
from marking.exercise import Exercise, Mistake

# --- situations: a mistake shows in one always or never ------------------------------------------


def _block(draw):
    return draw.size(4, 8, small=4)


def _blocks(draw, low=1):
    return draw.size(low, low + 3)


def _full(draw, block, low=1):
    """Cached tokens that fill their blocks: the next one needs another."""
    return block * _blocks(draw, low)


def _open(draw, block, low=1):
    """Cached tokens whose last block has room for two or more."""
    return block * _blocks(draw, low) + draw.size(1, block - 2)


def _decoding(draw, done):
    """A prompt shorter than what is cached."""
    return draw.size(1, done - 1), done


def _prompt(draw, done, rest):
    return done + rest, done


def _inputs(draw, running, waiting=(), *, block, free, budget):
    """Requests get their ids in the order in which they came."""
    ids = iter("abcdefghijklmnop")
    return {
        "running": [(next(ids), prompt, done) for prompt, done in running],
        "waiting": [(next(ids), prompt, 0) for prompt in waiting],
        "free_blocks": free,
        "block": block,
        "budget": budget,
    }


def all_decode(draw):
    """Nobody needs a block, and there is none: one has just ended its prompt, one fills a block."""
    block = _block(draw)
    done = _open(draw, block)
    running = [(done, done), _decoding(draw, block * _blocks(draw) - 1)]
    running += [_decoding(draw, _open(draw, block)) for _ in range(draw.size(1, 3))]
    return _inputs(draw, running, block=block, free=0, budget=draw.size(8, 40))


def more_than_the_budget(draw):
    """Behind the budget's end stand requests that would need a block."""
    block, budget = _block(draw), draw.size(2, 4)
    running = [_decoding(draw, _open(draw, block)) for _ in range(budget)]
    running += [_decoding(draw, _full(draw, block)) for _ in range(draw.size(2, 3))]
    waiting = [draw.size(2, 9)]
    return _inputs(draw, running, waiting, block=block, free=0, budget=budget)


def an_older_prompt(draw):
    """The budget does not suffice for the rest of the oldest one's prompt."""
    block = _block(draw)
    decoding = [_decoding(draw, _open(draw, block)) for _ in range(draw.size(2, 4))]
    chunk = block * draw.size(1, 3) + draw.size(1, block - 1)
    rest = chunk + len(decoding) + draw.size(2, 9)
    running = [_prompt(draw, _open(draw, block), rest), *decoding]
    return _inputs(draw, running, block=block, free=50, budget=len(decoding) + chunk)


def two_prompts(draw):
    """The budget ends in the second; somebody waits."""
    block = _block(draw)
    first, chunk = draw.size(2, block - 1), draw.size(2, block - 1)
    running = [_decoding(draw, _open(draw, block))]
    running += [_prompt(draw, _open(draw, block), first)]
    running += [_prompt(draw, _open(draw, block), first + chunk + draw.size(2, 9))]
    waiting = [draw.size(2, 9)]
    return _inputs(draw, running, waiting, block=block, free=50, budget=1 + first + chunk)


def newcomers(draw):
    """The budget leaves the second newcomer one token of its prompt; a third one is left."""
    block = _block(draw)
    first, chunk = draw.size(2, block - 1), 1
    running = [_decoding(draw, _full(draw, block)) for _ in range(draw.size(1, 2))]
    waiting = [first, first + chunk + draw.size(5, 9), first + chunk + draw.size(1, 4)]
    budget = len(running) + first + chunk
    return _inputs(draw, running, waiting, block=block, free=50, budget=budget)


def newcomers_and_few_blocks(draw):
    """The first begins a second block; the other gets the last one."""
    block = _block(draw)
    running = [_decoding(draw, _open(draw, block))]
    waiting = [block + draw.size(1, block - 2), 3 * block + draw.size(1, 9)]
    return _inputs(draw, running, waiting, block=block, free=3, budget=draw.size(60, 90))


def nobody_runs(draw):
    """One prompt, longer than the budget."""
    block = _block(draw)
    budget = block * draw.size(1, 3) + draw.size(1, block - 1)
    return _inputs(draw, [], [budget + draw.size(2, 20)], block=block, free=50, budget=budget)


def room_for_a_part(draw):
    """Blocks end before the prompt does, and before the budget."""
    block, free = _block(draw), draw.size(1, 3)
    decoding = _decoding(draw, _open(draw, block))
    prompt = _prompt(draw, _open(draw, block), (free + 2) * block)
    waiting = [draw.size(2, 9)]
    return _inputs(draw, [decoding, prompt], waiting, block=block, free=free, budget=100)


def no_block_left(draw):
    """The first prompt has filled its block, the second has not."""
    block = _block(draw)
    running = [_decoding(draw, _open(draw, block)), _prompt(draw, _full(draw, block), block)]
    running += [_prompt(draw, _open(draw, block), 2 * block)]
    waiting = [draw.size(2, 9)]
    return _inputs(draw, running, waiting, block=block, free=0, budget=draw.size(20, 60))


def in_an_open_block(draw):
    """The first prompt ends inside the block that it has; the second takes the last free one."""
    block = _block(draw)
    first = block * _blocks(draw) + 1
    running = [_prompt(draw, first, 2), _prompt(draw, _open(draw, block), 3 * block)]
    return _inputs(draw, running, [3 * block], block=block, free=1, budget=draw.size(40, 90))


def blocks_for_decoding(draw):
    """Those that decode take all free blocks but one."""
    block, n = _block(draw), draw.size(2, 3)
    running = [_decoding(draw, _full(draw, block)) for _ in range(n)]
    running += [_prompt(draw, _open(draw, block), 4 * block)]
    waiting = [draw.size(2, 9)]
    return _inputs(draw, running, waiting, block=block, free=n + 1, budget=draw.size(60, 90))


def youngest_gives_way(draw):
    """What it held is shared by the one that needs it and an older prompt; one waits in vain."""
    block = _block(draw)
    running = [_decoding(draw, _full(draw, block, low=6)), _decoding(draw, _open(draw, block))]
    running += [_prompt(draw, _open(draw, block), 9 * block)]
    running += [_prompt(draw, _open(draw, block, low=2), draw.size(block, 2 * block))]
    waiting = [draw.size(2, 9)]
    return _inputs(draw, running, waiting, block=block, free=0, budget=150)


def blocks_remain(draw):
    """The victim held more than is needed, but in this step nobody is admitted."""
    block = _block(draw)
    running = [_decoding(draw, _full(draw, block, low=7)), _decoding(draw, _open(draw, block))]
    running += [_decoding(draw, _open(draw, block, low=3))]
    waiting = [draw.size(2, 9), draw.size(2, 9)]
    return _inputs(draw, running, waiting, block=block, free=0, budget=draw.size(30, 60))


def two_give_way(draw):
    """Two need a block, and the two youngest hold one each."""
    block = _block(draw)
    running = [_decoding(draw, _full(draw, block)) for _ in range(2)]
    running += [_decoding(draw, draw.size(2, block - 1)) for _ in range(2)]
    return _inputs(draw, running, block=block, free=0, budget=draw.size(8, 40))


def youngest_holds_nothing(draw):
    block = _block(draw)
    running = [_decoding(draw, _full(draw, block)), _decoding(draw, _open(draw, block))]
    running += [_prompt(draw, _open(draw, block), draw.size(3, 9)), (draw.size(3, 9), 0)]
    return _inputs(draw, running, block=block, free=0, budget=draw.size(30, 60))


def youngest_needs_it(draw):
    """It gives way to itself, and what it held goes to an older prompt."""
    block = _block(draw)
    older = _prompt(draw, _open(draw, block, low=6), 9 * block)
    youngest = draw.size(1, block), _full(draw, block, low=2)
    running = [_decoding(draw, _open(draw, block)), older, youngest]
    return _inputs(draw, running, block=block, free=0, budget=150)


def youngest_decodes(draw):
    """An older one is still in its prompt, and keeps its blocks."""
    block = _block(draw)
    older = _prompt(draw, _open(draw, block), 9 * block)
    youngest = draw.size(1, block), _open(draw, block, low=2)
    running = [_decoding(draw, _full(draw, block, low=6)), older, youngest]
    return _inputs(draw, running, block=block, free=0, budget=150)


# --- mistakes: one change each to `_plan` --------------------------------------------------------


def _ceil(n, block):
    return -(-n // block)


def _more_blocks(done, n, block):
    return _ceil(done + n, block) - _ceil(done, block)


def _smallest(rest, left, room, block):
    return min(rest, left, room)


def _plan(
    running,
    waiting,
    free_blocks,
    block,
    budget,
    *,
    decodes=lambda prompt, done: done >= prompt,
    decoding_order=list,
    prompts_order=list,
    waiting_order=list,
    phases=("decoding", "prompts", "waiting"),
    needs=lambda done, block: done % block == 0,
    victim=lambda alive, row: alive[-1],
    again=True,
    without_block=False,
    freed=lambda prompt, done, block: _ceil(done, block),
    budget_first=True,
    victims_go_on=False,
    admits=lambda preempted: not preempted,
    chunk=_smallest,
    room=lambda done, free, block: -done % block + free * block,
    taken=_more_blocks,
    for_prompts=False,
    spends=lambda n, phase: n,
    stops=("waiting",),
    most=None,
    listed=lambda n: n > 0,
    finish=lambda tokens, preempted: {"tokens": tokens, "preempted": preempted},
):
    """As it stands it is right."""
    alive, tokens, preempted = list(running), {}, []
    free, left = free_blocks, budget

    def preempt(row):
        nonlocal free
        alive.remove(row)
        preempted.append(row[0])
        free += freed(*row[1:], block)

    def decode(row):
        nonlocal free, left
        if row not in alive or (budget_first and left <= 0):
            return
        new = needs(row[2], block)
        while new and free < 1 and row in alive and victim is not None:
            preempt(victim(alive, row))
            if not again:
                break
        if row in alive and left > 0 and (without_block or not new or free >= 1):
            tokens[row[0]] = 1
            left -= spends(1, "decoding")
            free -= new and taken(row[2], 1, block)

    def read(row, phase):
        nonlocal free, left
        id, prompt, done = row
        while for_prompts and alive and room(done, free, block) <= 0 and alive[-1] is not row:
            preempt(alive[-1])
        n = chunk(prompt - done, left, room(done, free, block), block)
        if listed(n):
            tokens[id] = n
        if n > 0:
            left -= spends(n, phase)
            free -= taken(done, n, block)
        return n > 0

    for phase in phases:
        if phase == "decoding":
            for row in decoding_order([row for row in running if decodes(*row[1:])]):
                decode(row)
            continue
        if phase == "prompts":
            rows = [row for row in running if not decodes(*row[1:])]
            rows = prompts_order([row for row in rows if victims_go_on or row in alive])
        else:
            rows = waiting_order(waiting) if admits(preempted) else []
        for row in rows[:most]:
            if phase == "prompts" and row not in alive and not victims_go_on:
                continue
            if not read(row, phase) and phase in stops:
                break
    return finish(tokens, preempted)


def _reversed(rows):
    return list(rows)[::-1]


def _chunk(chunk):
    return partial(_plan, chunk=chunk)


def _victim(victim):
    return partial(_plan, victim=victim)


def _freed(freed):
    return partial(_plan, freed=freed)


def _taken(taken):
    return partial(_plan, taken=taken)


def _phases(*phases):
    return partial(_plan, phases=phases)


def _finish(finish):
    return partial(_plan, finish=finish)


youngest_first = partial(_plan, decoding_order=_reversed)
youngest_prompt_first = partial(_plan, prompts_order=_reversed)
last_come_first = partial(_plan, waiting_order=_reversed)
all_turned_round = (
    partial(_plan, decoding_order=_reversed, prompts_order=_reversed),
    partial(_plan, decoding_order=_reversed, prompts_order=_reversed, waiting_order=_reversed),
)
shortest_first = partial(
    _plan, waiting_order=lambda rows: sorted(rows, key=lambda row: row[1]), prompts_order=list
)
prompts_first = _phases("prompts", "decoding", "waiting")
prompts_and_newcomers_first = _phases("prompts", "waiting", "decoding")
newcomers_first = _phases("waiting", "decoding", "prompts")
newcomers_before_prompts = _phases("decoding", "waiting", "prompts")
no_newcomers = _phases("decoding", "prompts")
no_prompts = _phases("decoding", "waiting")

whole_or_nothing = _chunk(lambda rest, left, room, block: rest if rest <= min(left, room) else 0)
whole_prompt = _chunk(lambda rest, left, room, block: rest if min(left, room) > 0 else 0)
budget_not_heeded = _chunk(lambda rest, left, room, block: min(rest, room))
room_not_heeded = _chunk(lambda rest, left, room, block: min(rest, left))
one_token = _chunk(lambda rest, left, room, block: min(rest, left, room, 1))
one_block_at_a_time = _chunk(lambda rest, left, room, block: min(rest, left, room, block))
in_whole_blocks = _chunk(
    lambda rest, left, room, block: (
        rest if rest <= min(left, room) else min(left, room) // block * block
    )
)
in_whole_blocks_always = _chunk(
    lambda rest, left, room, block: min(rest, left, room) // block * block
)
all_or_no_room = _chunk(lambda rest, left, room, block: min(rest, left) if rest <= room else 0)
chunk_or_no_room = _chunk(
    lambda rest, left, room, block: min(rest, left) if min(rest, left) <= room else 0
)

free_blocks_alone = partial(_plan, room=lambda done, free, block: free * block)
blocks_for_tokens = partial(_plan, room=lambda done, free, block: -done % block + free)
blocks_of_the_chunk = _taken(lambda done, n, block: _ceil(n, block))
blocks_of_all = _taken(lambda done, n, block: _ceil(done + n, block))
whole_blocks_taken = _taken(lambda done, n, block: n // block)
block_a_token = _taken(lambda done, n, block: n)
none_taken = _taken(lambda done, n, block: 0)
none_taken_in_decode = _taken(lambda done, n, block: _more_blocks(done, n, block) if n > 1 else 0)

budget_not_spent = partial(_plan, spends=lambda n, phase: 0)
decode_for_nothing = partial(_plan, spends=lambda n, phase: 0 if phase == "decoding" else n)
budget_of_requests = partial(_plan, spends=lambda n, phase: 1)

block_one_early = partial(_plan, needs=lambda done, block: (done + 1) % block == 0)
block_always = partial(_plan, needs=lambda done, block: True)
block_never = partial(_plan, needs=lambda done, block: False)

oldest_gives_way = _victim(lambda alive, row: alive[0])
needy_gives_way = _victim(lambda alive, row: row)
nobody_gives_way = _victim(None)
served_without_a_block = partial(_plan, victim=None, without_block=True)
youngest_prompt_gives_way = _victim(
    lambda alive, row: next((r for r in alive[::-1] if r[2] < r[1]), alive[-1])
)
never_itself = _victim(lambda alive, row: next((r for r in alive[::-1] if r is not row), row))
longest_gives_way = _victim(lambda alive, row: max(alive, key=lambda r: r[2]))
one_gives_way = partial(_plan, again=False)
one_gives_way_and_served = partial(_plan, again=False, without_block=True)
nothing_freed = _freed(lambda prompt, done, block: 0)
one_freed = _freed(lambda prompt, done, block: 1)
whole_blocks_freed = _freed(lambda prompt, done, block: done // block)
tokens_freed = _freed(lambda prompt, done, block: done)
prompts_blocks_freed = _freed(lambda prompt, done, block: _ceil(prompt, block))
way_without_budget = partial(_plan, budget_first=False)
victims_served = partial(_plan, victims_go_on=True)
admits_all_the_same = partial(_plan, admits=lambda preempted: True)
way_for_prompts = partial(_plan, for_prompts=True)

longer_than_prompt = partial(_plan, decodes=lambda prompt, done: done > prompt)
stops_at_a_prompt = partial(_plan, stops=("prompts", "waiting"))
one_prompt = partial(_plan, most=1)
noughts_listed = partial(_plan, listed=lambda n: True)


def all_listed(running, waiting, free_blocks, block, budget):
    """Every request has an entry."""
    plan = _plan(running, waiting, free_blocks, block, budget)
    noughts = {row[0]: 0 for row in (*running, *waiting)}
    return {**plan, "tokens": noughts | plan["tokens"]}


def all_running_listed(running, waiting, free_blocks, block, budget):
    plan = _plan(running, waiting, free_blocks, block, budget)
    noughts = {row[0]: 0 for row in running if row[0] not in plan["preempted"]}
    return {**plan, "tokens": noughts | plan["tokens"]}


preempted_by_age = _finish(lambda tokens, gone: {"tokens": tokens, "preempted": gone[::-1]})
preempted_as_set = _finish(lambda tokens, gone: {"tokens": tokens, "preempted": set(gone)})
preempted_as_one = _finish(
    lambda tokens, gone: {"tokens": tokens, "preempted": gone[0] if gone else None}
)
preempted_missing = _finish(lambda tokens, gone: {"tokens": tokens, "preempted": []})
a_pair = _finish(lambda tokens, gone: (tokens, gone))
tokens_alone = _finish(lambda tokens, gone: tokens)
pairs = _finish(lambda tokens, gone: {"tokens": list(tokens.items()), "preempted": gone})
ids_alone = _finish(lambda tokens, gone: {"tokens": list(tokens), "preempted": gone})


# --- other right answers -------------------------------------------------------------------------


def one_queue(running, waiting, *, free_blocks, block, budget):
    """Decoding, prompts and newcomers in one line; who is preempted is taken out of it."""
    tokens, preempted = {}, []
    alive = list(running)
    decoding = [row for row in running if row[2] >= row[1]]
    for id, prompt, done in decoding:
        if budget == 0:
            break
        while (id, prompt, done) in alive and done % block == 0 and free_blocks == 0:
            gone = alive.pop()
            preempted.append(gone[0])
            free_blocks += (gone[2] + block - 1) // block
        if (id, prompt, done) in alive:
            tokens[id] = 1
            budget -= 1
            free_blocks -= 1 if done % block == 0 else 0
    line = [row for row in alive if row[2] < row[1]]
    line += [] if preempted else list(waiting)
    for id, prompt, done in line:
        slots = (block - done % block) % block + free_blocks * block
        n = min(prompt - done, budget, slots)
        if n == 0:
            continue
        before, after = (done + block - 1) // block, (done + n + block - 1) // block
        free_blocks -= after - before
        budget -= n
        tokens[id] = n
    return {"tokens": tokens, "preempted": preempted}


def token_by_token(running, waiting, *, free_blocks, block, budget):
    """Gives each request one slot after another, and a block whenever one is begun."""
    held = {row[0]: row[2] for row in [*running, *waiting]}
    tokens, gone = {}, []

    def slot(id):
        nonlocal free_blocks, budget
        if budget == 0 or (held[id] % block == 0 and free_blocks == 0):
            return False
        free_blocks -= held[id] % block == 0
        budget -= 1
        held[id] += 1
        tokens[id] = tokens.get(id, 0) + 1
        return True

    ids = [row[0] for row in running]
    for id, prompt, done in running:
        if done >= prompt:
            while id not in gone and budget and not slot(id):
                youngest = [other for other in ids if other not in gone][-1]
                gone.append(youngest)
                free_blocks += len(range(0, held[youngest], block))
    for id, prompt, done in running:
        if done < prompt and id not in gone:
            while held[id] < prompt and slot(id):
                pass
    for id, prompt, _ in waiting if not gone else []:
        while held[id] < prompt and slot(id):
            pass
        if id not in tokens:
            break
    return dict(preempted=gone, tokens=tokens)


def with_a_grant(running, waiting, *, free_blocks, block, budget):
    """All bookkeeping in one place; victims are marked by age."""
    plan = {"tokens": {}, "preempted": []}
    state = {"free": free_blocks, "left": budget}
    blocks = lambda tokens: -(-tokens // block)  # noqa: E731

    def grant(request, n):
        id, _, done = request
        if n <= 0:
            return False
        plan["tokens"][id] = n
        state["left"] -= n
        state["free"] -= blocks(done + n) - blocks(done)
        return True

    def rest(request):
        _, prompt, done = request
        slots = blocks(done) * block - done + state["free"] * block
        return min(prompt - done, state["left"], slots)

    end = len(running)
    for age, request in enumerate(running):
        if request[2] < request[1] or not state["left"]:
            continue
        while age < end and blocks(request[2] + 1) - blocks(request[2]) > state["free"]:
            end -= 1
            plan["preempted"].append(running[end][0])
            state["free"] += blocks(running[end][2])
        if age < end:
            grant(request, 1)
    for request in running[:end]:
        if request[2] < request[1]:
            grant(request, rest(request))
    if end == len(running):
        for request in waiting:
            if not grant(request, rest(request)):
                break
    return plan


NEXT = "inference/04_serving#who-runs-in-the-next-step"
CHUNKS = "inference/04_serving#why-cut-a-prompt-into-chunks"
PAGES = "inference/04_serving#how-does-a-page-table-hold-a-cache"

SCHEDULE_STEP = Exercise(
    id="inference.schedule_step",
    title="Who runs in the next step",
    returns='a dict: "tokens", {id: how many} of those that run, and "preempted", a list of ids',
    points=5,
    difficulty=3,
    minutes=45,
    reference=schedule_step,
    cases={
        "everyone decodes": all_decode,
        "more than the budget": more_than_the_budget,
        "an older prompt": an_older_prompt,
        "two prompts": two_prompts,
        "newcomers": newcomers,
        "newcomers and few blocks": newcomers_and_few_blocks,
        "nobody runs yet": nobody_runs,
        "room for a part": room_for_a_part,
        "no block left": no_block_left,
        "in an open block": in_an_open_block,
        "blocks for decoding": blocks_for_decoding,
        "the youngest gives way": youngest_gives_way,
        "blocks remain": blocks_remain,
        "two give way": two_give_way,
        "the youngest holds nothing": youngest_holds_nothing,
        "the youngest needs it": youngest_needs_it,
        "the youngest decodes": youngest_decodes,
    },
    mistakes=(
        Mistake(
            "prompts-first",
            prompts_first,
            "prompts are served before those that decode, whose readers then wait for their next "
            "token; decoding comes first, a prompt gets what is left.",
            CHUNKS,
            also=(prompts_and_newcomers_first,),
        ),
        Mistake(
            "newcomers-before-prompts",
            newcomers_before_prompts,
            "waiting requests are admitted before the prompts of running ones are read to their "
            "end; who has begun comes first.",
            NEXT,
            also=(newcomers_first,),
        ),
        Mistake(
            "youngest-first",
            youngest_first,
            "the youngest request that decodes is served first; the budget goes to the oldest "
            "first.",
            NEXT,
            also=all_turned_round,
        ),
        Mistake(
            "youngest-prompt-first",
            youngest_prompt_first,
            "of two running prompts the younger one is read first; begin with the older.",
            NEXT,
        ),
        Mistake(
            "last-come-first",
            last_come_first,
            "the last of the waiting requests is admitted first (pop() takes the end of a list); "
            "first come, first served.",
            NEXT,
        ),
        Mistake(
            "shortest-first",
            shortest_first,
            "waiting requests are sorted by the length of their prompts; they are served in the "
            "order in which they came, so that a long one is not overtaken for ever.",
            NEXT,
        ),
        Mistake(
            "no-newcomers",
            no_newcomers,
            "nobody is admitted; what is left of budget and blocks goes to waiting requests.",
            NEXT,
        ),
        Mistake(
            "no-prompts",
            no_prompts,
            "running requests whose prompts are not read to the end get nothing; they come after "
            "those that decode.",
            NEXT,
        ),
        Mistake(
            "whole-prompt-or-nothing",
            whole_or_nothing,
            "a prompt runs only if all the rest of it fits; as much of it as budget and blocks "
            "allow is read now, and the rest in later steps.",
            CHUNKS,
        ),
        Mistake(
            "whole-prompt",
            whole_prompt,
            "the whole rest of a prompt is read whenever anything is left; a chunk may exceed "
            "neither the budget nor the room.",
            CHUNKS,
        ),
        Mistake(
            "budget-not-heeded",
            budget_not_heeded,
            "a chunk is not cut to what is left of the budget.",
            CHUNKS,
        ),
        Mistake(
            "budget-not-spent",
            budget_not_spent,
            "every request may spend the whole budget; it is for all of them together, so take off "
            "what each is given.",
            NEXT,
        ),
        Mistake(
            "decoding-not-paid",
            decode_for_nothing,
            "the tokens of those that decode are not taken off the budget; they are tokens as "
            "well.",
            NEXT,
        ),
        Mistake(
            "budget-of-requests",
            budget_of_requests,
            "the budget goes down by one a request; it counts tokens.",
            NEXT,
        ),
        Mistake(
            "room-not-heeded",
            room_not_heeded,
            "a chunk is not cut to what the blocks hold; its keys and values need slots.",
            PAGES,
        ),
        Mistake(
            "all-or-no-room",
            all_or_no_room,
            "a prompt runs only if the blocks hold all of it; a chunk is cut down to the room that "
            "there is.",
            CHUNKS,
            also=(chunk_or_no_room,),
        ),
        Mistake(
            "one-token-a-prompt",
            one_token,
            "a prompt gets one token a step, as if it decoded; the tokens of a prompt are known, "
            "so many of them go through the model at once.",
            CHUNKS,
        ),
        Mistake(
            "one-block-at-a-time",
            one_block_at_a_time,
            "a chunk is never longer than a block; it may fill as many as budget and room allow.",
            CHUNKS,
        ),
        Mistake(
            "chunk-in-whole-blocks",
            in_whole_blocks,
            "a chunk is cut to whole blocks; it may end inside one, and the next chunk goes on "
            "there.",
            CHUNKS,
            also=(in_whole_blocks_always,),
        ),
        Mistake(
            "open-block-forgotten",
            free_blocks_alone,
            "the room counts free blocks alone; the request's own last block may have slots left.",
            PAGES,
        ),
        Mistake(
            "blocks-for-tokens",
            blocks_for_tokens,
            "free blocks are counted as slots; each has room for `block` tokens.",
            PAGES,
        ),
        Mistake(
            "blocks-of-the-chunk",
            blocks_of_the_chunk,
            "a chunk is charged ceil(n / block) blocks; its first tokens may fill a block that the "
            "request has already, so take ceil after less ceil before.",
            PAGES,
        ),
        Mistake(
            "held-blocks-charged-again",
            blocks_of_all,
            "a request is charged all the blocks it then holds; those that it held before are not "
            "free any more, and are not taken again.",
            PAGES,
        ),
        Mistake(
            "blocks-rounded-down",
            whole_blocks_taken,
            "blocks are counted with n // block; a block that is begun is taken whole.",
            PAGES,
        ),
        Mistake(
            "a-block-a-token",
            block_a_token,
            "each token is charged a block; a block has room for `block` of them.",
            PAGES,
        ),
        Mistake(
            "blocks-not-taken",
            none_taken,
            "free blocks do not go down as they are taken, so that two requests get the same one.",
            PAGES,
            also=(none_taken_in_decode,),
        ),
        Mistake(
            "block-one-early",
            block_one_early,
            "a new block is asked for when the coming token fills the last one; it is needed when "
            "the last one is full already, done % block == 0.",
            PAGES,
        ),
        Mistake(
            "block-always",
            block_always,
            "every token that is decoded asks for a block; most of them find a slot in the one "
            "that their request has.",
            PAGES,
        ),
        Mistake(
            "block-never",
            block_never,
            "a request decodes though its blocks are full and none is free; its key and value "
            "would have no slot.",
            PAGES,
            also=(served_without_a_block,),
        ),
        Mistake(
            "nobody-gives-way",
            nobody_gives_way,
            "a request that decodes and finds no block is passed over; the youngest running one "
            "gives way to it.",
            NEXT,
        ),
        Mistake(
            "oldest-gives-way",
            oldest_gives_way,
            "the oldest request is preempted; it has most to lose. The youngest gives way.",
            NEXT,
        ),
        Mistake(
            "needy-gives-way",
            needy_gives_way,
            "the request that needs a block is preempted itself; the youngest gives way, and that "
            "is itself only if nobody younger runs.",
            NEXT,
        ),
        Mistake(
            "prompt-gives-way",
            youngest_prompt_gives_way,
            "one that is still in its prompt is preempted before a younger one that decodes; age "
            "alone counts.",
            NEXT,
        ),
        Mistake(
            "never-itself",
            never_itself,
            "the youngest is spared when it is the one that needs a block, and the next in age "
            "goes; the youngest gives way, even to nobody but itself.",
            NEXT,
        ),
        Mistake(
            "longest-gives-way",
            longest_gives_way,
            "the request with most tokens is preempted; the youngest gives way.",
            NEXT,
        ),
        Mistake(
            "one-gives-way",
            one_gives_way,
            "only one request is preempted, though it may hold no block; go on until one is free "
            "or the request itself is gone.",
            NEXT,
            also=(one_gives_way_and_served,),
        ),
        Mistake(
            "freed-blocks-lost",
            nothing_freed,
            "the blocks of a preempted request do not become free, so that one after another has "
            "to go.",
            PAGES,
        ),
        Mistake(
            "freed-wrongly",
            one_freed,
            "a preempted request frees another number of blocks than it holds; it holds "
            "ceil(done / block).",
            PAGES,
            also=(whole_blocks_freed, tokens_freed, prompts_blocks_freed),
        ),
        Mistake(
            "way-without-budget",
            way_without_budget,
            "a request is preempted for one that the budget does not reach; look at the budget "
            "first.",
            NEXT,
        ),
        Mistake(
            "way-for-a-prompt",
            way_for_prompts,
            "a request is preempted so that a prompt finds room; only those that decode may ask "
            "for that, a prompt waits.",
            NEXT,
        ),
        Mistake(
            "victims-served",
            victims_served,
            "a preempted request is served in the same step; it has lost its blocks, and gets "
            "nothing.",
            NEXT,
        ),
        Mistake(
            "admits-after-preemption",
            admits_all_the_same,
            "waiting requests are admitted in a step that has preempted somebody; what is free "
            "then is for those that run, or the newcomer would be next to go.",
            NEXT,
        ),
        Mistake(
            "still-in-its-prompt",
            longer_than_prompt,
            "a request with done = prompt is counted as still in its prompt, with nothing left to "
            "read; it decodes.",
            NEXT,
        ),
        Mistake(
            "stops-at-a-prompt",
            stops_at_a_prompt,
            "running prompts behind one that finds no room are passed over; each of them may have "
            "slots left in its own last block. Only the waiting line stops.",
            NEXT,
        ),
        Mistake(
            "one-prompt-a-step",
            one_prompt,
            "only one prompt (or one newcomer) is served in a step; go on while budget and room "
            "last.",
            NEXT,
        ),
        Mistake(
            "noughts-listed",
            noughts_listed,
            "tokens lists requests that get none; leave them out.",
            NEXT,
            also=(all_listed, all_running_listed),
        ),
        Mistake(
            "preempted-by-age",
            preempted_by_age,
            "preempted lists the older one first; the order is that in which they had to go, the "
            "youngest first.",
            NEXT,
        ),
        Mistake(
            "preempted-not-a-list",
            preempted_as_set,
            "preempted is not a list of ids; return a list, empty if nobody had to go.",
            NEXT,
            also=(preempted_as_one,),
        ),
        Mistake(
            "preempted-missing",
            preempted_missing,
            "preempted stays empty; write down who had to go.",
            NEXT,
        ),
        Mistake(
            "not-a-dict",
            a_pair,
            "what comes back is not the dict with its two entries, tokens and preempted.",
            NEXT,
            also=(tokens_alone,),
        ),
        Mistake(
            "tokens-not-a-dict",
            pairs,
            "tokens does not say for each id how many; it is a dict, {id: number}.",
            NEXT,
            also=(ids_alone,),
        ),
    ),
    alternatives=(one_queue, token_by_token, with_a_grant),
    hints=(
        "Draw the blocks of three requests on paper, with 4 slots each. Who finds a slot for one "
        "more token, who needs a block, and how many does each give back when it has to go?",
        "Keep two numbers, budget left and free blocks, and change both with every grant. Go "
        "through the rules one at a time: decoding, running prompts, newcomers; what may each of "
        "them do that the others may not?",
        "A chunk has three limits, and one of them is made of two parts: slots in the block that a "
        "request has begun, and whole free blocks. A request may have to go before, or after, its "
        "own turn: who must not be served any more, and who must not be admitted?",
    ),
    read=NEXT,
)
