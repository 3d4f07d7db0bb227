r"""Byte-pair encoding, plain: learn which neighbours to join, join them, take them apart again.

Text is a row of bytes, and a byte is a token, 0 to 255. Training counts every pair of neighbours
$(a, b)$ in a list of words $w$, each with the number of times $n_w$ that it occurs,

$$
\text{count}(a, b) = \sum_w n_w \, \big|\{\, i : w_i = a,\ w_{i+1} = b \,\}\big| \tag{1}
$$

makes the most frequent pair one token, puts it in the place of the two everywhere, and counts
again. The merge learned as number $i = 0, 1, \dots$ makes the token

$$
256 + i \tag{2}
$$

Of pairs equally frequent the smallest $(a, b)$ wins. `aaa` holds the pair (a, a) twice, and yet a
merge, which goes from left to right without overlap, makes of it one new token and one `a`.

A new word is encoded by the same merges in the order in which they were learned: equation (2) is
also the order. Nothing is counted any more.

**Shapes.** Words, ids and merges are Python lists. A merge never crosses the end of a word; what a
word is, `clearhead.training.ByteBPE` decides, which also trains and encodes fast.

**Elsewhere.** `tokenizers` breaks ties by the smallest pair too, but numbers the bytes in another
order. GPT-2's vocabulary writes a byte as a printable letter; the merges are the same thing.

**Source.** Sennrich et al., 2016, section 3.2; over bytes: Radford et al., 2019, section 2.2.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from ._checks import require_ids, require_merges, require_words

BYTES = 256  # the tokens before any merge, one for each byte


def bpe_train(words: Sequence[tuple[Sequence[int], int]], merges: int) -> list[tuple[int, int]]:
    """Learn up to `merges` merges from `words`, pairs of (bytes, how often the word occurs).

    Stops early when every word is one token. Raises `TypeError` or `ValueError` when a byte is not
    from 0 to 255, a number of occurrences is less than 1 or `merges` is negative.
    """
    require_words(words, merges)
    words = [(list(ids), count) for ids, count in words]
    learned = []
    while len(learned) < merges:
        counts = pair_counts(words)
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        words = [(merge(ids, best, BYTES + len(learned)), count) for ids, count in words]
        learned.append(best)
    return learned


def bpe_encode(ids: Sequence[int], merges: Sequence[tuple[int, int]]) -> list[int]:
    """Tokens of one word, given as bytes: the merge learned earliest goes first, everywhere.

    Raises `TypeError` or `ValueError` when `ids` are not bytes or a merge joins a token that is
    made only later.
    """
    require_ids(BYTES, ids=ids)
    require_merges(merges)
    order = {tuple(pair): BYTES + i for i, pair in enumerate(merges)}
    return encode_word(ids, order)


def bpe_decode(ids: Sequence[int], merges: Sequence[tuple[int, int]]) -> bytes:
    """The bytes that the tokens stand for.

    They need not be text: a token may hold part of a character. Raises `ValueError` when an id is
    not a byte and no merge makes it.
    """
    require_merges(merges)
    require_ids(BYTES + len(merges), ids=ids)
    table = token_bytes(merges)
    return b"".join(table[i] for i in ids)


def pair_counts(words: Sequence[tuple[Sequence[int], int]]) -> Counter[tuple[int, int]]:
    """Equation (1), for every pair that occurs."""
    counts = Counter()
    for ids, count in words:
        for pair in pairwise(ids):
            counts[pair] += count
    return counts


def merge(ids: Sequence[int], pair: tuple[int, int], new: int) -> list[int]:
    """`ids` with `new` in the place of every `pair`, from left to right, without overlap."""
    merged, i = [], 0
    while i < len(ids):
        found = i + 1 < len(ids) and (ids[i], ids[i + 1]) == pair
        merged.append(new if found else ids[i])
        i += 2 if found else 1
    return merged


def encode_word(ids: Sequence[int], order: dict[tuple[int, int], int]) -> list[int]:
    """`bpe_encode` without checks; `order` gives the token that each pair makes, equation (2)."""
    ids = list(ids)
    while True:
        known = [pair for pair in pairwise(ids) if pair in order]
        if not known:
            return ids
        earliest = min(known, key=order.__getitem__)
        ids = merge(ids, earliest, order[earliest])


def token_bytes(merges: Sequence[tuple[int, int]]) -> list[bytes]:
    """The bytes of every token: of the 256 first, then of each merge's."""
    table = [bytes([i]) for i in range(BYTES)]
    for a, b in merges:
        table.append(table[a] + table[b])
    return table
