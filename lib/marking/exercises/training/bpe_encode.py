"""training.bpe_encode: a new word cut into the tokens that the learned merges make."""

from collections import Counter
from functools import partial
from itertools import pairwise

import torch

from clearhead.training import bpe_encode as reference
from marking.exercise import Exercise, Mistake
from marking.exercises.training._pairs import apply_mistakes, first_place, letters, merged

# --- situations: letters stand for bytes in rising order, so that a mistake shows always or never


def _inputs(draw, word, merges):
    """A word and merges such as "ab Ac": letters are bytes; A, B are what merges 0 and 1 make."""
    pairs = merges.split()
    byte = letters(draw, "".join(sorted({x for x in word + "".join(pairs) if x.islower()})))
    token = byte | {chr(ord("A") + i): 256 + i for i in range(len(pairs))}
    return {"ids": [byte[x] for x in word], "merges": [(token[a], token[b]) for a, b in pairs]}


def one_merge(draw):
    return _inputs(draw, draw.choice("dabcab", "cabdab", "abcdab"), "ab")


def nothing_to_join(draw):
    return _inputs(draw, draw.choice("acb", "bca", "bac"), draw.choice("ab cd", "ab dc"))


def no_merges(draw):
    return _inputs(draw, draw.choice("abc", "abab", "bcaab"), "")


def later_stands_left(draw):
    """(a, b) stands further left, (b, c) was learned earlier."""
    return _inputs(draw, draw.choice("abcdab", "dabcab"), "bc ab")


def out_of_merges(draw):
    """A token made of tokens; the first merges find nothing."""
    return _inputs(draw, draw.choice("abcdabe", "eabcdab", "abcdeab"), "ee ab Bc ec Cd")


def out_of_two_new(draw):
    return _inputs(draw, draw.choice("abcdeab", "eabcdab"), "ab cd AB")


def out_of_reach(draw):
    """abc could be one token, but (a, b) is joined first and (a, bc) never met."""
    return _inputs(draw, draw.choice("abcdab", "abcdeab"), "ab bc aB")


def frequent_and_early(draw):
    """(b, c) stands there once, and was learned later."""
    return _inputs(draw, draw.choice("abcabdab", "abdabcab"), "ab bc")


def frequent_and_late(draw):
    """(b, c) stands there three times, (a, b) once, and was learned earlier."""
    return _inputs(draw, draw.choice("bcabcbc", "bcbcabc"), "ab bc")


def a_run(draw):
    return _inputs(draw, "a" * draw.choice(5, 9), "aa AA")


def a_run_of_threes(draw):
    return _inputs(draw, draw.choice("aaab", "caaab"), "aa ab")


def one_token(draw):
    """Nothing is left beside it."""
    return _inputs(draw, "abcd", "ab Ac Bd")


def one_byte(draw):
    return _inputs(draw, draw.choice("a", "b", "c"), "ab bc")


def no_byte(draw):
    return _inputs(draw, "", draw.choice("ab bc", "ab", "ab Ac"))


# --- mistakes: one change each to `_encode` ------------------------------------------------------


def _earliest(known, order):
    return min(known, key=order.__getitem__)


def _order(merges):
    return {pair: i for i, pair in enumerate(merges)}


def _encode(
    ids,
    merges,
    *,
    ranks=_order,
    pick=_earliest,
    apply=merged,
    new=lambda rank: 256 + rank,
    rounds=1000,
    short=None,
    finish=lambda ids, merges: ids,
):
    """As it stands it is right."""
    ids, order = list(ids), ranks(merges)
    for _ in range(rounds):
        if short and len(ids) < 2:
            short(list(pairwise(ids)))
        known = [pair for pair in pairwise(ids) if pair in order]
        if not known:
            break
        pair = pick(known, order)
        ids = apply(ids, pair, new(order[pair]))
    return finish(ids, merges)


def _change(name, *changes):
    return tuple(partial(_encode, **{name: change}) for change in changes)


def _token_bytes(merges):
    table = [bytes([i]) for i in range(256)]
    for a, b in merges:
        table.append(table[a] + table[b])
    return table


def _most_frequent(known, order):
    counts = Counter(known)
    return min(counts, key=lambda pair: (-counts[pair], order[pair]))


latest_first = _change("pick", lambda known, order: max(known, key=order.__getitem__))
most_frequent = _change(
    "pick",
    _most_frequent,
    lambda known, order: Counter(known).most_common(1)[0][0],
)
one_merge_only = _change("rounds", 1)
nothing_merged = _change("rounds", 0)
other_ids = _change("new", lambda rank: 257 + rank, lambda rank: 255 + rank, lambda rank: 256)
rank_for_id = _change("new", lambda rank: rank)
first_merge_missed = _change(
    "ranks", lambda merges: {pair: i for i, pair in enumerate(merges) if i}
)
bytes_alone = _change(
    "ranks",
    lambda merges: {pair: i for i, pair in enumerate(merges) if max(pair) < 256},
)
sorted_merges = _change(
    "ranks",
    lambda merges: {pair: i for i, pair in enumerate(sorted(merges))},
)
raises = _change(
    "short",
    lambda pairs: min(pairs),
    lambda pairs: max(pairs),
    lambda pairs: pairs[0],
)

bytes_returned = _change(
    "finish",
    lambda ids, merges: [_token_bytes(merges)[i] for i in ids],
    lambda ids, merges: b"".join(_token_bytes(merges)[i] for i in ids),
)
a_tensor = _change("finish", lambda ids, merges: torch.tensor(ids, dtype=torch.long))
counted_along = _change("finish", lambda ids, merges: (ids, len(ids)))


def leftmost_first(ids, merges):
    """Joins the first pair that is known, and looks again from the left."""
    ids, order = list(ids), _order(merges)
    while True:
        i = next((i for i, pair in enumerate(pairwise(ids)) if pair in order), None)
        if i is None:
            return ids
        ids[i : i + 2] = [256 + order[ids[i], ids[i + 1]]]


def leftmost_going_on(ids, merges):
    """Each byte is joined to what stands before it, as often as that goes."""
    out, order = [], _order(merges)
    for x in ids:
        out.append(x)
        while tuple(out[-2:]) in order:
            out[-2:] = [256 + order[tuple(out[-2:])]]
    return out


def _sweep(ids, merges):
    out, i, order = [], 0, _order(merges)
    while i < len(ids):
        pair = tuple(ids[i : i + 2])
        out.append(256 + order[pair] if pair in order else ids[i])
        i += 2 if pair in order else 1
    return out


def one_pass(ids, merges):
    return _sweep(list(ids), merges)


def sweeps(ids, merges):
    """From the left to the end, any pair that is known; then from the left again."""
    ids = list(ids)
    while (joined := _sweep(ids, merges)) != ids:
        ids = joined
    return ids


def longest_first(ids, merges):
    """From the left, the longest token that fits."""
    table = _token_bytes(merges)
    out, start, text = [], 0, bytes(ids)
    while start < len(text):
        fits = [i for i, token in enumerate(table) if text.startswith(token, start)]
        out.append(max(fits, key=lambda i: len(table[i])))
        start += len(table[out[-1]])
    return out


def each_once(ids, merges):
    """Each merge in turn, where it stands first."""
    ids = list(ids)
    for i, pair in enumerate(merges):
        ids = first_place(ids, pair, 256 + i)
    return ids


def stops_at_absent(ids, merges):
    ids = list(ids)
    for i, pair in enumerate(merges):
        if pair not in pairwise(ids):
            break
        ids = merged(ids, pair, 256 + i)
    return ids


def last_lost_each_time(ids, merges):
    """A loop over all merges; each ends one place too early."""
    ids = list(ids)
    for i, pair in enumerate(merges):
        out, j = [], 0
        while j < len(ids) - 1:
            joined = (ids[j], ids[j + 1]) == pair
            out.append(256 + i if joined else ids[j])
            j += 2 if joined else 1
        ids = out
    return ids


# --- other right answers ---------------------------------------------------------------------


def in_the_order_of_merges(ids, merges):
    """Merge i joins tokens below 256 + i alone, so one pass through the merges is enough."""
    ids = list(ids)
    for number, (a, b) in enumerate(merges):
        i = 0
        while i + 1 < len(ids):
            if ids[i] == a and ids[i + 1] == b:
                ids[i : i + 2] = [256 + number]
            i += 1
    return ids


def place_by_place(ids, merges):
    """One pair at a time: the earliest-learned, and of its places the first."""
    rank, tokens = {pair: i for i, pair in enumerate(merges)}, list(ids)
    while True:
        best = min(
            ((rank[tokens[i], tokens[i + 1]], i) for i in range(len(tokens) - 1)
             if (tokens[i], tokens[i + 1]) in rank),
            default=None,
        )  # fmt: skip
        if best is None:
            return tokens
        number, i = best
        tokens = [*tokens[:i], 256 + number, *tokens[i + 2 :]]


def by_text(ids, merges):
    """Tokens as characters of a string, for which `str.replace` does a merge."""
    text = "".join(map(chr, ids))
    for number, (a, b) in enumerate(merges):
        text = text.replace(chr(a) + chr(b), chr(256 + number))
    return list(map(ord, text))


def by_a_heap(ids, merges):
    """Neighbours in a linked list, pairs in a heap: the way of the fast tokenizers."""
    from heapq import heapify, heappop, heappush

    rank = {pair: i for i, pair in enumerate(merges)}
    token, after = list(ids), list(range(1, len(ids) + 1))
    before = list(range(-1, len(ids) - 1))
    heap = [(rank[p], i, p) for i, p in enumerate(pairwise(ids)) if p in rank]
    heapify(heap)
    while heap:
        number, i, pair = heappop(heap)
        j = after[i]
        if token[i] != pair[0] or j >= len(token) or token[j] != pair[1]:
            continue
        token[i], token[j], after[i] = 256 + number, None, after[j]
        if after[i] < len(token):
            before[after[i]] = i
        for left, right in ((before[i], i), (i, after[i])):
            if left >= 0 and right < len(token) and (token[left], token[right]) in rank:
                new = token[left], token[right]
                heappush(heap, (rank[new], left, new))
    return [t for t in token if t is not None]


NUMBERS = "training/01_next_token#how-does-text-become-numbers"
CUT = "training/01_next_token#how-is-new-text-cut"


def _known(id, ways, says, read=CUT):
    return Mistake(id, ways[0], says, read, also=tuple(ways[1:]))


BPE_ENCODE = Exercise(
    id="training.bpe_encode",
    title="A new word in tokens",
    returns="a list of ids",
    points=3,
    difficulty=2,
    minutes=20,
    reference=reference,
    cases={
        "one merge": one_merge,
        "nothing to join": nothing_to_join,
        "no merges": no_merges,
        "an earlier merge further right": later_stands_left,
        "tokens made of tokens": out_of_merges,
        "a token made of two new ones": out_of_two_new,
        "a token out of reach": out_of_reach,
        "a frequent pair learned early": frequent_and_early,
        "a frequent pair learned late": frequent_and_late,
        "a run of one byte": a_run,
        "three of one byte": a_run_of_threes,
        "one token in the end": one_token,
        "one byte": one_byte,
        "an empty word": no_byte,
    },
    mistakes=(
        _known(
            "leftmost-first",
            (leftmost_first, leftmost_going_on, sweeps),
            "the pair that stands furthest left is joined first; the one that was learned earliest "
            "goes first, wherever it stands.",
        ),
        _known(
            "one-pass",
            (one_pass,),
            "the word is gone through once, and what comes out is not looked at again; new tokens "
            "can be joined too.",
        ),
        _known(
            "longest-token-first",
            (longest_first,),
            "the longest token that fits is taken; the merges may never lead to it, because an "
            "earlier one joins its bytes otherwise.",
        ),
        _known(
            "latest-first",
            latest_first,
            "the merge that was learned last goes first; the earliest does.",
        ),
        _known(
            "most-frequent-first",
            most_frequent,
            "the pairs of this word are counted and the most frequent is joined; counting was for "
            "training, and now the order of the merges decides.",
        ),
        _known(
            "merges-sorted",
            sorted_merges,
            "the merges are sorted by their ids; their order in the list says which goes first, "
            "and which token each makes.",
        ),
        _known(
            "first-merge-missed",
            first_merge_missed,
            "merge number 0 is never used, perhaps because `if rank` is false for 0; ask whether "
            "it is None.",
        ),
        _known(
            "bytes-alone",
            bytes_alone,
            "only pairs of bytes are joined; a merge can join new tokens as well.",
        ),
        _known(
            "one-merge-only",
            one_merge_only,
            "one merge is done and no other; go on until no pair that stands there is known.",
        ),
        _known(
            "nothing-merged",
            nothing_merged,
            "the bytes come back as they are; join the neighbours that were learned, and return "
            "the new list.",
        ),
        _known(
            "stops-at-an-absent-pair",
            (stops_at_absent,),
            "it stops at the first merge whose pair is not in the word; a later one may well be.",
        ),
        _known(
            "first-place-only",
            (each_once,),
            "each merge is done in one place alone; it is done wherever its pair stands.",
        ),
        *apply_mistakes(_encode, CUT, {"last-token-lost": (last_lost_each_time,)}),
        _known(
            "new-ids-elsewhere",
            other_ids,
            "the new tokens get other numbers; merge number i, counted from 0, makes 256 + i.",
            NUMBERS,
        ),
        _known(
            "rank-for-id",
            rank_for_id,
            "the number of the merge is put in, which is the number of a byte; its token is "
            "256 + i.",
            NUMBERS,
        ),
        _known(
            "raises-on-short-words",
            raises,
            "a word of one token has no pairs to choose from, and min or max of nothing raises; "
            "such a word is done.",
        ),
        _known(
            "bytes-returned",
            bytes_returned,
            "the bytes of the tokens come back; return their ids.",
        ),
        _known(
            "a-tensor",
            a_tensor,
            "a tensor comes back; return a list of ids.",
        ),
        _known(
            "more-than-the-ids",
            counted_along,
            "something comes back along with the ids; return the list alone.",
        ),
    ),
    alternatives=(in_the_order_of_merges, place_by_place, by_text, by_a_heap),
    hints=(
        "Learned were (b, c) and then (a, b). Cut the word abc on paper. Which pair would you "
        "join when reading from the left, and which one do the merges want?",
        "One round is: look at all pairs of neighbours, keep those that the list knows, choose "
        "one, replace it everywhere. What tells you that there is no other round?",
        "Which merges can still find something after merge number i was done? Not those before "
        "it: look at the ids that they join. That may save you the search for the earliest.",
    ),
    read=CUT,
)
