"""Byte-pair encoding, plain: what is merged, in which order, and what it stands for."""

import random

import pytest

from clearhead.training import bpe_decode, bpe_encode, bpe_train

A, B, C, D = b"abcd"


def words(*pairs):
    return [(list(text), count) for text, count in pairs]


def test_the_most_frequent_pair_is_merged_first_and_counted_again():
    # aaab twice, ab once: (a, a) 2·2 = 4, (a, b) 2 + 1 = 3. Then X a b twice, a b once: (a, b) 3,
    # (X, a) 2. Then X Y twice, Y once: (X, Y) 2. Then every word is one token.
    learned = bpe_train(words((b"aaab", 2), (b"ab", 1)), 10)
    assert learned == [(A, A), (A, B), (256, 257)]


def test_a_word_counts_as_often_as_it_occurs():
    assert bpe_train(words((b"ab", 3), (b"cd", 1), (b"cdx", 1)), 1) == [(A, B)]
    assert bpe_train(words((b"ab", 1), (b"cd", 1), (b"cdx", 1)), 1) == [(C, D)]


def test_a_pair_counts_at_every_place_also_where_places_overlap():
    """aaa holds (a, a) twice: with one occurrence each, 2 against 1 for (b, c)."""
    assert bpe_train(words((b"aaa", 2), (b"bc", 3)), 1) == [(A, A)]


def test_of_equally_frequent_pairs_the_smallest_is_merged():
    assert bpe_train(words((b"cd", 1), (b"ba", 1), (b"bc", 1)), 3) == [(B, A), (B, C), (C, D)]


def test_the_first_token_of_a_pair_decides_before_the_second():
    assert bpe_train(words((b"ba", 1), (b"ad", 1)), 1) == [(A, D)]


def test_no_pair_crosses_the_end_of_a_word():
    assert bpe_train(words((b"a", 50), (b"b", 50)), 5) == []


def test_as_many_merges_as_asked_for():
    text = words((b"abcd", 1))
    assert [len(bpe_train(text, n)) for n in (0, 1, 2, 3, 4)] == [0, 1, 2, 3, 3]


def test_the_words_given_stay_as_they_were():
    given = words((b"aaab", 2))
    bpe_train(given, 3)
    assert given == words((b"aaab", 2))


def test_a_merge_goes_from_left_to_right_without_overlap():
    assert bpe_encode(list(b"aaaaa"), [(A, A)]) == [256, 256, A]


def test_the_merge_learned_earliest_goes_first_wherever_it_stands():
    assert bpe_encode(list(b"abc"), [(B, C), (A, B)]) == [A, 256]
    assert bpe_encode(list(b"abc"), [(A, B), (B, C)]) == [256, C]


def test_one_merge_is_done_everywhere_before_the_next():
    # (a, b) everywhere: X c X. Then (X, c) is there and (c, X) is later: Y X.
    assert bpe_encode(list(b"abcab"), [(A, B), (256, C), (C, 256)]) == [257, 256]


def test_the_longest_token_is_not_preferred():
    """`abc` is a token, but its parts are gone before it can be made."""
    merges = [(B, C), (A, 256), (D, B)]
    assert bpe_encode(list(b"abc"), merges) == [257]
    assert bpe_encode(list(b"dabc"), [(D, A), *merges[:1]]) == [256, 257]


def test_a_word_without_a_known_pair_stays_bytes():
    assert bpe_encode([], [(A, B)]) == []
    assert bpe_encode(list(b"ba"), [(A, B)]) == [B, A]


def test_bytes_come_back():
    merges = [(A, A), (256, A), (0xE4, 0xBD)]
    assert bpe_decode([257, 256, B], merges) == b"aaaaab"
    assert bpe_decode([258], merges) == b"\xe4\xbd"  # two thirds of a character


@pytest.mark.parametrize("seed", range(20))
def test_a_word_that_was_trained_on_is_encoded_as_it_was_left(seed):
    """Whatever is encoded comes back, and uses the merges that the training used on it."""
    draw = random.Random(seed)
    text = [("".join(draw.choices("abc", k=draw.randint(1, 9))), i + 1) for i in range(12)]
    merges = bpe_train([(list(word.encode()), count) for word, count in text], 15)
    left = [list(word.encode()) for word, _ in text]
    for i, pair in enumerate(merges):
        left = [replaced(ids, pair, 256 + i) for ids in left]
    encoded = [bpe_encode(list(word.encode()), merges) for word, _ in text]
    assert encoded == left
    assert [bpe_decode(ids, merges).decode() for ids in encoded] == [word for word, _ in text]


def replaced(ids, pair, new):
    """Merged by text: every token one character, so that `str.replace` does the work."""
    text = "".join(map(chr, ids)).replace(chr(pair[0]) + chr(pair[1]), chr(new))
    return [ord(letter) for letter in text]
