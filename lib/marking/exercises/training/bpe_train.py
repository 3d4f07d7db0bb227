"""training.bpe_train: which neighbours become one token, learned by counting them."""

from collections import Counter
from functools import partial
from itertools import pairwise

from clearhead.training import bpe_train as reference
from marking.exercise import Exercise, Mistake
from marking.exercises.training._pairs import (
    apply_mistakes,
    either_way_round,
    first_place,
    letters,
    merged,
)

# --- situations: letters stand for bytes in rising order, so that a mistake shows always or never


def _inputs(draw, words, merges, *, least=2):
    """Words such as "abc 3 bd 1"; every number of occurrences is multiplied by one factor."""
    words = words.split()
    byte = letters(draw, "".join(sorted(set("".join(words[::2])))))
    factor = draw.size(least, 9) if least > 1 else 1
    return {
        "words": [
            ([byte[x] for x in word], int(count) * factor)
            for word, count in zip(words[::2], words[1::2], strict=True)
        ],
        "merges": merges,
    }


def a_few_words(draw):
    return _inputs(draw, draw.choice("abc 3 ab 2 bd 1", "bd 1 abc 4 ab 2", "dab 1 abc 3 ab 2"), 2)


def one_word(draw):
    return _inputs(draw, draw.choice("abcdabcabc 1", "abcabcdabc 1"), 2)


def a_frequent_word(draw):
    """One word occurs more often than three others together."""
    return _inputs(draw, draw.choice("ab 1 abc 1 abd 1 cd 7", "abc 1 cd 7 abd 1 ab 1"), 3)


def twice_in_a_word(draw):
    """The pair that stands in fewest words has most places."""
    return _inputs(draw, draw.choice("abcabdab 2 cd 5", "cd 5 abdabcab 2"), 2)


def a_run(draw):
    """Seven of one letter: six pairs, which overlap."""
    return _inputs(draw, draw.choice("aaaaaaa 2 bc 8", "bc 8 aaaaaaa 2"), 4)


def both_ways_round(draw):
    return _inputs(draw, draw.choice("ab 3 ba 2 cd 4", "ba 3 cd 4 ab 2"), 1)


def ties(draw):
    """Neither the first pair nor the last one that is met is the smallest, or the largest."""
    return _inputs(draw, draw.choice("cd 1 ab 1 gh 1 ef 1", "ef 1 ab 1 gh 1 cd 1"), draw.size(2, 3))


def a_tie_with_a_new_token(draw):
    """After ab = 256: (256, c) against (d, e), whose bytes come later and whose ids are smaller."""
    return _inputs(draw, draw.choice("abc 2 ab 1 de 2", "abc 3 ab 1 de 3"), 2)


def words_of_one_byte(draw):
    return _inputs(draw, draw.choice("a 9 b 8 cd 2 dce 1", "b 9 a 7 dce 1 cd 2"), 2)


def a_word_listed_twice(draw):
    words = draw.choice("ab 2 cd 3 ab 2", "ab 3 ab 3 cd 4")
    return _inputs(draw, words, 2, least=3)


def more_merges_than_pairs(draw):
    """At last every word is one token, and the last pairs occur once."""
    words = draw.choice("abc 1 ab 2 d 3", "ab 2 d 2 abc 1")
    return _inputs(draw, words, draw.size(9, 40), least=1)


def no_merge(draw):
    return _inputs(draw, draw.choice("abc 3 ab 2", "abcab 1 cd 4"), 0)


# --- mistakes: one change each to `_train` -------------------------------------------------------


def _words(words):
    return [(list(ids), count) for ids, count in words]


def _count(words):
    counts = Counter()
    for ids, n in words:
        for pair in pairwise(ids):
            counts[pair] += n
    return counts


def _pick(counts, token):
    return min(counts, key=lambda pair: (-counts[pair], pair))


def _train(
    words,
    merges,
    *,
    text=_words,
    count=_count,
    again=True,
    pick=_pick,
    apply=merged,
    new=lambda words, i: 256 + i,
    most=lambda merges: merges,
    enough=1,
    at_the_end=None,
    finish=lambda learned, made, token: learned,
):
    """As it stands it is right."""
    start = now = text(words)
    learned, made, token = [], [], {i: bytes([i]) for i in range(256)}
    while len(learned) < most(merges):
        counts = count(now)
        if not counts and at_the_end:
            at_the_end(counts)
        if not counts or max(counts.values()) < enough:
            break
        pair = pick(counts, token)
        made.append(new(start, len(learned)))
        token[made[-1]] = token[pair[0]] + token[pair[1]]
        learned.append(pair)
        if again:
            now = [(apply(ids, pair, made[-1]), n) for ids, n in now]
    return finish(learned, made, token)


def _change(name, *changes):
    return tuple(partial(_train, **{name: change}) for change in changes)


def _place_counts(places):
    """Counts of the pairs that `places` finds in a word."""

    def count(words):
        counts = Counter()
        for ids, n in words:
            for pair in places(ids):
                counts[pair] += n
        return counts

    return count


def _without_overlap(ids):
    places, i = [], 0
    while i < len(ids) - 1:
        places.append((ids[i], ids[i + 1]))
        i += 2 if tuple(ids[i + 1 : i + 3]) == places[-1] else 1
    return places


def _one_text(words):
    return [([i for ids, n in words for i in ids * n], 1)]


def _one_text_counted_once(words):
    return [([i for ids, _ in words for i in ids], 1)]


def _wordpiece(counts, token):
    of = Counter()
    for (a, b), n in counts.items():
        of[a] += n
        of[b] += n
    return min(counts, key=lambda p: (-counts[p] / (of[p[0]] * of[p[1]]), p))


def _last_seen(counts, token):
    best = None
    for pair in counts:
        if best is None or counts[pair] >= counts[best]:
            best = pair
    return best


def _by_bytes(counts, token):
    return min(counts, key=lambda p: (-counts[p], token[p[0]], token[p[1]]))


def _by_bytes_last(counts, token):
    return max(counts, key=lambda p: (counts[p], token[p[0]], token[p[1]]))


counts_ignored = _change(
    "count", lambda words: Counter(p for ids, _ in words for p in pairwise(ids))
)
once_a_word = _change("count", _place_counts(lambda ids: dict.fromkeys(pairwise(ids))))
no_overlap_counted = _change("count", _place_counts(_without_overlap))
_either_way = _place_counts(lambda ids: [tuple(sorted(pair)) for pair in pairwise(ids)])
order_ignored = (
    partial(_train, count=_either_way),
    partial(_train, count=_either_way, apply=either_way_round),
)
across_words = _change("text", _one_text, _one_text_counted_once)
listed_twice_lost = _change(
    "text", lambda words: [(list(k), n) for k, n in {tuple(ids): n for ids, n in words}.items()]
)

first_seen = _change("pick", lambda counts, token: max(counts, key=counts.get))
last_seen = _change("pick", _last_seen)
largest = _change("pick", lambda counts, token: max(counts, key=lambda p: (counts[p], p)))
by_bytes = _change("pick", _by_bytes, _by_bytes_last)
rarest = _change(
    "pick",
    lambda counts, token: min(counts, key=counts.get),
    lambda counts, token: min(counts, key=lambda p: (counts[p], p)),
)
scored = _change("pick", _wordpiece)

first_place_only = _change("apply", first_place)
never_applied = (partial(_train, again=False),)

other_ids = _change(
    "new",
    lambda words, i: 257 + i,
    lambda words, i: 255 + i,
    lambda words, i: max(x for ids, _ in words for x in ids) + 1 + i,
    lambda words, i: len({x for ids, _ in words for x in ids}) + i,
)
rank_for_id = _change("new", lambda words, i: i)
one_id = _change("new", lambda words, i: 256)

vocabulary_size = _change("most", lambda merges: merges - 256)
one_too_many = _change("most", lambda merges: merges + 1)
one_too_few = _change("most", lambda merges: merges - 1)
seen_twice = _change("enough", 2)
raises = _change(
    "at_the_end",
    lambda counts: max(counts, key=counts.get),
    lambda counts: min(counts, key=counts.get),
    lambda counts: counts.most_common(1)[0],
)

a_dict = _change(
    "finish",
    lambda learned, made, token: dict(zip(learned, made, strict=True)),
    lambda learned, made, token: dict(zip(made, learned, strict=True)),
)
bytes_returned = _change(
    "finish",
    lambda learned, made, token: [(token[a], token[b]) for a, b in learned],
    lambda learned, made, token: [token[a] + token[b] for a, b in learned],
)
ids_returned = _change(
    "finish",
    lambda learned, made, token: [(pair, new) for pair, new in zip(learned, made, strict=True)],
    lambda learned, made, token: made,
    lambda learned, made, token: [(*p, new) for p, new in zip(learned, made, strict=True)],
)


def counted_once(words, merges):
    """The most frequent pairs of bytes."""
    counts = _count(words)
    return sorted(counts, key=lambda pair: (-counts[pair], pair))[:merges]


def counted_once_as_seen(words, merges):
    return [pair for pair, _ in _count(words).most_common(merges)]


# --- other right answers ---------------------------------------------------------------------


def by_updating(words, merges):
    """The counts are kept, and changed only where a word changes."""
    words = [(list(ids), n) for ids, n in words]
    counts = Counter()
    for ids, n in words:
        for pair in pairwise(ids):
            counts[pair] += n
    learned = []
    while len(learned) < merges:
        best, most = None, 0
        for pair, n in counts.items():
            if n > most or (n == most and n > 0 and pair < best):
                best, most = pair, n
        if best is None:
            break
        for index, (ids, n) in enumerate(words):
            if best not in pairwise(ids):
                continue
            for pair in pairwise(ids):
                counts[pair] -= n
            i = 0
            while i < len(ids) - 1:
                if (ids[i], ids[i + 1]) == best:
                    ids = [*ids[:i], 256 + len(learned), *ids[i + 2 :]]
                i += 1
            for pair in pairwise(ids):
                counts[pair] += n
            words[index] = (ids, n)
        learned.append(best)
    return learned


def by_places(words, merges):
    """One ribbon with borders of None, and a list of places for each pair."""
    ribbon, weight = [], []
    for ids, n in words:
        ribbon += [*ids, None]
        weight += [n] * (len(ids) + 1)
    learned = []
    for number in range(merges):
        places = {}
        for i in range(len(ribbon) - 1):
            if ribbon[i] is not None and ribbon[i + 1] is not None:
                places.setdefault((ribbon[i], ribbon[i + 1]), []).append(i)
        if not places:
            return learned
        heavy = max(sum(weight[i] for i in found) for found in places.values())
        pair = sorted(p for p, found in places.items() if sum(weight[i] for i in found) == heavy)[0]
        gone = set()
        for i in places[pair]:
            if i not in gone:
                ribbon[i] = 256 + number
                gone.add(i + 1)
        kept = [i for i in range(len(ribbon)) if i not in gone]
        ribbon, weight = [ribbon[i] for i in kept], [weight[i] for i in kept]
        learned.append(pair)
    return learned


def by_text(words, merges):
    """Tokens as characters of a string, for which `str.replace` does a merge."""
    texts = {}
    for ids, n in words:
        text = "".join(map(chr, ids))
        texts[text] = texts.get(text, 0) + n
    learned = []
    while len(learned) < merges:
        pairs = {}
        for text, n in texts.items():
            for i in range(len(text) - 1):
                pairs[text[i : i + 2]] = pairs.get(text[i : i + 2], 0) + n
        if not pairs:
            break
        best = sorted(pairs, key=lambda p: (-pairs[p], p))[0]
        replaced = {}
        for text, n in texts.items():
            text = text.replace(best, chr(256 + len(learned)))
            replaced[text] = replaced.get(text, 0) + n
        texts = replaced
        learned.append((ord(best[0]), ord(best[1])))
    return learned


NUMBERS = "training/01_next_token#how-does-text-become-numbers"
FIRST = "training/01_next_token#which-pair-is-merged-first"


def _known(id, ways, says, read=FIRST):
    return Mistake(id, ways[0], says, read, also=tuple(ways[1:]))


BPE_TRAIN = Exercise(
    id="training.bpe_train",
    title="Learning byte pairs",
    returns="a list of pairs (a, b) of ids, in the order in which they were learned",
    points=4,
    difficulty=2,
    minutes=30,
    reference=reference,
    cases={
        "a few words": a_few_words,
        "one word": one_word,
        "a frequent word": a_frequent_word,
        "pairs equally frequent": ties,
        "a tie with a new token": a_tie_with_a_new_token,
        "a pair several times in a word": twice_in_a_word,
        "a run of one byte": a_run,
        "a pair both ways round": both_ways_round,
        "words of one byte": words_of_one_byte,
        "a word listed twice": a_word_listed_twice,
        "more merges than there are pairs": more_merges_than_pairs,
        "no merge": no_merge,
    },
    mistakes=(
        _known(
            "word-counts-ignored",
            counts_ignored,
            "every word counts once, however often it occurs; each place of a pair counts as many "
            "times as its word does.",
        ),
        _known(
            "once-a-word",
            once_a_word,
            "a pair counts once in a word, even if it stands there several times; count its "
            "places.",
        ),
        _known(
            "runs-counted-without-overlap",
            no_overlap_counted,
            "aaa is counted as one pair (a, a); two places have these neighbours, and both count, "
            "though a merge can use only one of them.",
        ),
        _known(
            "order-ignored",
            order_ignored,
            "(a, b) and (b, a) are counted together; they are different pairs.",
        ),
        _known(
            "across-words",
            across_words,
            "the words are laid end to end, so the last byte of one and the first of the next "
            "count as neighbours; a merge never crosses the end of a word.",
        ),
        _known(
            "word-listed-twice-lost",
            listed_twice_lost,
            "a word that is listed twice overwrites itself, as a key of a dict does, so only its "
            "last number of occurrences counts; they add up.",
        ),
        _known(
            "counted-once",
            (counted_once, counted_once_as_seen),
            "pairs are counted once, at the start, and the most frequent ones taken; a merge "
            "changes who stands beside whom, so count again after each.",
        ),
        _known(
            "ties-to-first-seen",
            first_seen,
            "of pairs equally frequent the one that was met first is taken, as max does with a "
            "dict; here the smallest (a, b) wins, whatever the order of the words.",
        ),
        _known(
            "ties-to-last-seen",
            last_seen,
            "of pairs equally frequent the one that was met last is taken; here the smallest "
            "(a, b) wins, whatever the order of the words.",
        ),
        _known(
            "ties-to-largest",
            largest,
            "of pairs equally frequent the largest (a, b) is taken; here the smallest wins.",
        ),
        _known(
            "ties-by-bytes",
            by_bytes,
            "of pairs equally frequent one is chosen by the bytes that its tokens stand for; here "
            "the ids are compared, and a new token's id is larger than any byte.",
        ),
        _known(
            "rarest-pair",
            rarest,
            "the pair that is rarest is joined; take the most frequent one.",
        ),
        _known(
            "scored-by-parts",
            scored,
            "a pair's count is divided by the counts of its parts, as WordPiece does; byte-pair "
            "encoding takes the count itself.",
        ),
        _known(
            "first-place-only",
            first_place_only,
            "a merge replaces only the first place in each word; it replaces them all.",
        ),
        *apply_mistakes(_train, FIRST),
        _known(
            "never-applied",
            never_applied,
            "the pair is noted but not replaced in the words, so the same one wins again.",
        ),
        _known(
            "new-ids-elsewhere",
            other_ids,
            "the new tokens are numbered from another number than 256; 0 to 255 are the bytes, all "
            "of them, also those that do not occur.",
            NUMBERS,
        ),
        _known(
            "rank-for-id",
            rank_for_id,
            "merge number i makes token i, which is a byte already; it makes token 256 + i.",
            NUMBERS,
        ),
        _known(
            "one-id-for-all",
            one_id,
            "every merge makes the same token, 256; each makes a new one.",
            NUMBERS,
        ),
        _known(
            "merges-as-vocabulary-size",
            vocabulary_size,
            "merges is read as the size of the vocabulary, bytes included; it is the number of "
            "merges.",
        ),
        _known(
            "one-merge-too-many",
            one_too_many,
            "there is one merge more than asked for.",
        ),
        _known(
            "one-merge-too-few",
            one_too_few,
            "there is one merge less than asked for.",
        ),
        _known(
            "stops-at-pairs-seen-once",
            seen_twice,
            "it stops when the most frequent pair occurs only once; here it goes on as long as "
            "there is a pair at all.",
        ),
        _known(
            "raises-at-the-end",
            raises,
            "when every word is one token there is no pair to choose from, and max or min of "
            "nothing raises; stop there.",
        ),
        _known(
            "a-dict",
            a_dict,
            "a dict of the merges comes back; return a list, whose order says which token a pair "
            "makes.",
        ),
        _known(
            "bytes-returned",
            bytes_returned,
            "the merges come back as bytes; return pairs of ids.",
        ),
        _known(
            "new-ids-returned",
            ids_returned,
            "the new tokens' ids come back, or come along; return the pairs alone, in order.",
        ),
    ),
    alternatives=(by_updating, by_places, by_text),
    hints=(
        "Take the words aab (three times) and ab (twice) and do two merges on paper. How often "
        "does each pair of neighbours occur before the first, and how often after it?",
        "Three small functions make the whole: count the pairs of all words, choose one, replace "
        "it in every word. Which of them has to know how often a word occurs?",
        "Of pairs equally frequent the smallest wins: a key for min or max that is a tuple settles "
        "both questions at once. And what does your loop do when no word has two tokens left?",
    ),
    read=FIRST,
)
