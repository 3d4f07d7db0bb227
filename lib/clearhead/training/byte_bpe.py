r"""A byte-level BPE tokenizer that trains in seconds: the plain functions of `bpe`, made quick.

Before anything is counted, a pattern cuts the text into words, and merges never cross a cut: so
`dog` and `dog.` share their tokens. The pattern is GPT-2's as far as `re` can say it. A word is, in
this order, one of

1. an English ending: `'s 't 're 've 'm 'll 'd`;
2. letters, 3. digits, or 4. other signs, each with one space before them if there is one;
5. white space, without its last character where a word follows; then what is left of it.

Every character is in one word, so nothing is lost.

**Faster, and equal to the plain functions.** Equal words are counted once. A merge changes the
counts of few pairs, in the words that hold it, and only those are counted again. A heap holds the
pairs by (−count, pair): the first whose count is still true is the one that `bpe_train` finds by
looking at all of them. Encoding remembers the words it has seen.

**Elsewhere.** GPT-2's pattern says \p{L} and \p{N}, Unicode's letters and numbers, where this one
has what Python takes for a letter and for a decimal digit. ½, ² and Ⅷ are digits there, and
letters here; everything else is cut alike.

**Source.** The pattern: Radford et al., 2019, `encoder.py` of the released GPT-2.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise
from pathlib import Path

from torch import Tensor

from clearhead._checks import require_integer

from ._checks import require_ids, require_merges, require_special, require_words
from .bpe import BYTES, encode_word, merge, pair_counts, token_bytes

PATTERN = r"'(?:[stmd]|re|ve|ll)| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+"
REMEMBERED = 100_000  # words that `encode` keeps, a few megabytes


class ByteBPE:
    r"""Text to ids and back: 256 bytes, then the merges, then the special tokens.

    `special` are texts such as `<|endoftext|>` with a token of their own; `eos`, one of them, ends
    a document (the first, when it is not given). `special_ids` gives the id of each and `eos_id`
    that of `eos`, or None. Raises `TypeError` or `ValueError` when a merge joins a token made only
    later or a special text is empty or given twice.
    """

    def __init__(
        self,
        merges: Sequence[tuple[int, int]],
        special: Sequence[str] = (),
        *,
        eos: str | None = None,
    ):
        require_merges(merges)
        require_special(special, eos)
        self.merges = [tuple(pair) for pair in merges]
        first = BYTES + len(self.merges)
        self.special_ids = {text: first + i for i, text in enumerate(special)}
        self.eos_id = self.special_ids[eos or special[0]] if special else None
        self._order = {pair: BYTES + i for i, pair in enumerate(self.merges)}
        self._bytes = token_bytes(self.merges) + [text.encode() for text in special]
        self._seen: dict[str, list[int]] = {}

    @classmethod
    def train(
        cls,
        text: str | Iterable[str],
        vocab_size: int,
        special: Sequence[str] = (),
        *,
        eos: str | None = None,
    ) -> "ByteBPE":
        r"""Learn as many merges from a text, or documents, as `vocab_size` leaves room for.

        The vocabulary is smaller when the text has no pair left. Raises `ValueError` when there is
        no text or `vocab_size` has no room for the 256 bytes and the special tokens.
        """
        require_special(special, eos)
        require_integer(BYTES + len(special), vocab_size=vocab_size)
        documents = [text] if isinstance(text, str) else text
        words = Counter(word for document in documents for word in cut(document))
        if not words:
            raise ValueError("There is no text to train on; give a string or documents.")
        counted = [(list(word.encode()), count) for word, count in words.items()]
        return cls(bpe_train_fast(counted, vocab_size - BYTES - len(special)), special, eos=eos)

    @property
    def vocab_size(self) -> int:
        return len(self._bytes)

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        r"""Token ids of `text`.

        A special token written out in the text is plain text, unless you ask for `special`: what a
        user types must not end a document.
        """
        if not special or not self.special_ids:
            return [i for word in cut(text) for i in self._word(word)]
        longest_first = sorted(self.special_ids, key=len, reverse=True)
        parts = re.split(f"({'|'.join(map(re.escape, longest_first))})", text)
        ids = []
        for part in parts:
            ids += [self.special_ids[part]] if part in self.special_ids else self.encode(part)
        return ids

    def decode(self, ids: Sequence[int] | Tensor) -> str:
        r"""The text of `ids` (a list or a one-axis tensor), special tokens included.

        Bytes that are no character, as where one is cut in two, become `�`. Raises `ValueError`
        when an id is not in the vocabulary.
        """
        ids = ids.tolist() if isinstance(ids, Tensor) else ids
        require_ids(self.vocab_size, ids=ids)
        return b"".join(self._bytes[i] for i in ids).decode(errors="replace")

    def tokens(self, text: str, *, special: bool = False) -> list[str]:
        r"""The pieces of `text`, one a token; part of a character is shown by its bytes: `<E4>`."""
        return [_readable(self._bytes[i]) for i in self.encode(text, special=special)]

    def save(self, path: str | Path) -> None:
        r"""Write merges and special tokens as JSON."""
        eos = next((text for text, i in self.special_ids.items() if i == self.eos_id), None)
        state = {"merges": self.merges, "special": list(self.special_ids), "eos": eos}
        Path(path).write_text(json.dumps(state), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "ByteBPE":
        r"""Read what `save` wrote. Raises `ValueError` when the file is something else."""
        try:
            state = json.loads(Path(path).read_text(encoding="utf-8"))
            merges = [tuple(pair) for pair in state["merges"]]
            return cls(merges, state["special"], eos=state["eos"])
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path} was not written by ByteBPE.save: {error!r}") from None

    def _word(self, word: str) -> list[int]:
        ids = self._seen.get(word)
        if ids is None:
            ids = encode_word(word.encode(), self._order)
            if len(self._seen) < REMEMBERED:
                self._seen[word] = ids
        return ids


def cut(text: str) -> list[str]:
    r"""The words of `text`, which joined are the text again."""
    if not isinstance(text, str):
        raise TypeError(f"The text is a {type(text).__name__}; give a string.")
    return re.findall(PATTERN, text)


def bpe_train_fast(
    words: Sequence[tuple[Sequence[int], int]], merges: int
) -> list[tuple[int, int]]:
    r"""`bpe_train`, counting again only the words that a merge has changed."""
    require_words(words, merges)
    words = [(list(ids), count) for ids, count in words]
    counts = pair_counts(words)
    holders = defaultdict(set)  # pair -> the words that hold it, or held it once
    for w, (ids, _) in enumerate(words):
        for pair in pairwise(ids):
            holders[pair].add(w)
    heap = [(-count, pair) for pair, count in counts.items()]
    heapify(heap)
    learned = []
    while len(learned) < merges and heap:
        negative, best = heappop(heap)
        if counts[best] != -negative:
            continue  # counted again since; the heap holds the new count too
        new = BYTES + len(learned)
        learned.append(best)
        changes = defaultdict(int)
        for w in holders.pop(best):
            ids, count = words[w]
            for pair in pairwise(ids):
                changes[pair] -= count
            ids = merge(ids, best, new)
            for pair in pairwise(ids):
                changes[pair] += count
                if new in pair:
                    holders[pair].add(w)
            words[w] = (ids, count)
        for pair, change in changes.items():
            counts[pair] += change
            if change and counts[pair] > 0:
                heappush(heap, (-counts[pair], pair))
    return learned


def _readable(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "".join(f"<{byte:02X}>" for byte in raw)
