"""The quick tokenizer equals the plain functions, loses nothing, and keeps its special tokens."""

import random
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clearhead.training import ByteBPE, bpe_encode, bpe_train, bpe_train_fast, corpus
from clearhead.training.byte_bpe import cut

TEXT = "The dog saw the other dog. Then they're gone, and the dogs saw 12; 你好, 你好!\n\n  end"
END, START = "<|end|>", "<|end|>of"


@pytest.fixture(scope="module")
def bpe():
    return ByteBPE.train(TEXT, 300, (END, START))


@pytest.mark.parametrize("seed", range(60))
def test_fast_training_learns_the_merges_of_the_plain_one(seed):
    """Few letters and long runs, so that ties, overlaps and merges of merges abound."""
    draw = random.Random(seed)
    letters = "abcd"[: draw.randint(1, 4)]
    words = [
        (list("".join(draw.choices(letters, k=draw.randint(0, 12))).encode()), draw.randint(1, 3))
        for _ in range(draw.randint(1, 25))
    ]
    merges = draw.randint(0, 40)
    assert bpe_train_fast(words, merges) == bpe_train(words, merges)


def test_fast_training_learns_the_same_from_real_text():
    words = {}
    for word in cut("".join(corpus())[:30_000]):
        words[word] = words.get(word, 0) + 1
    counted = [(list(word.encode()), count) for word, count in words.items()]
    assert bpe_train_fast(counted, 60) == bpe_train(counted, 60)


def test_training_takes_seconds():
    start = time.process_time()
    bpe = ByteBPE.train(corpus(), 2048)
    assert time.process_time() - start < 15  # 0.5 s on a quiet machine; the plain one: minutes
    assert bpe.vocab_size == 2048


def test_encoding_is_that_of_the_plain_function_word_by_word(bpe):
    expected = [i for word in cut(TEXT) for i in bpe_encode(word.encode(), bpe.merges)]
    assert bpe.encode(TEXT) == expected
    assert bpe.encode(TEXT) == expected  # now from memory


def test_what_is_done_with_the_ids_does_not_reach_the_memory(bpe):
    ids = bpe.encode("dog")
    ids.append(7)
    assert bpe.encode("dog") == ids[:-1]


@settings(deadline=None)
@given(st.text())
def test_every_text_comes_back(text):
    bpe = ByteBPE.train(TEXT, 300)
    assert "".join(cut(text)) == text
    assert bpe.decode(bpe.encode(text)) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("the dog.", ["the", " dog", "."]),
        ("they're", ["they", "'re"]),
        ("x12 34", ["x", "12", " 34"]),
        ("a_b", ["a", "_", "b"]),
        ("a  b", ["a", " ", " b"]),
        ("a \n\n b", ["a", " \n\n", " b"]),
        ("end  ", ["end", "  "]),
        ("你好,世界", ["你好", ",", "世界"]),
        (" ...", [" ..."]),
    ],
)
def test_text_is_cut_into_words(text, words):
    assert cut(text) == words


def test_the_vocabulary_is_bytes_then_merges_then_special_tokens(bpe):
    learned = len(bpe.merges)
    assert bpe.vocab_size == 256 + learned + 2 <= 300
    assert bpe.special_ids == {END: 256 + learned, START: 257 + learned}
    assert bpe.eos_id == bpe.special_ids[END]
    assert ByteBPE(bpe.merges, (END, START), eos=START).eos_id == bpe.special_ids[START]
    assert ByteBPE.train(TEXT, 262, (END, START)).vocab_size == 262
    assert ByteBPE([]).eos_id is None


def test_no_merge_is_learned_across_words_or_documents():
    assert ByteBPE.train("a.a.a.", 300).merges == []
    assert ByteBPE.train(["a", "b", "a", "b"], 300).merges == []
    assert ByteBPE.train(["ab", "ab"], 300).merges == [(97, 98)]
    assert ByteBPE.train(iter(["ab", "ab"]), 300).merges == [(97, 98)]
    assert ByteBPE.train(["a\n", "\n b"], 300).merges == [(32, 98)]


def test_no_merge_is_made_across_words():
    assert ByteBPE([(ord("s"), ord("a"))]).encode("'sab") == list(b"'sab")


def test_a_special_token_in_the_text_is_plain_text_unless_asked_for(bpe):
    text = f"dog{END}dog"
    plain = bpe.encode(text)
    assert max(plain) < bpe.special_ids[END]
    assert bpe.decode(plain) == text
    dog = bpe.encode("dog")
    assert bpe.encode(text, special=True) == [*dog, bpe.eos_id, *dog]


def test_of_two_special_tokens_the_longer_is_read(bpe):
    assert bpe.encode(f"{START}{END}", special=True) == [bpe.special_ids[START], bpe.eos_id]


def test_special_tokens_are_decoded_to_their_text(bpe):
    assert bpe.decode(torch.tensor([bpe.eos_id, 65])) == f"{END}A"


def test_part_of_a_character_is_shown_and_not_dropped(bpe):
    assert bpe.decode([0xE4, 0xBD]) == "�"
    assert ByteBPE([]).tokens("a你") == ["a", "<E4>", "<BD>", "<A0>"]
    assert bpe.tokens(f"dog{END}", special=True)[-1] == END


def test_a_saved_tokenizer_is_the_same_after_loading(bpe, tmp_path):
    bpe = ByteBPE.train(TEXT, 300, (END, START), eos=START)
    bpe.save(tmp_path / "bpe.json")
    again = ByteBPE.load(tmp_path / "bpe.json")
    assert (again.merges, again.special_ids) == (bpe.merges, bpe.special_ids)
    assert (again.eos_id, again.encode(TEXT)) == (bpe.eos_id, bpe.encode(TEXT))
