"""Text to labels: wrong input is refused with a sentence that says what came."""

import os

import pytest
import torch

import clearhead.training as T
from clearhead.training.excerpts import excerpts


def t(rows, dtype=torch.int64):
    return torch.tensor(rows, dtype=dtype)


AB = [([97, 98], 1)]
IDS, HEADER = t([[1, 2, 3, 4]]), t([1, 2])
BYTES = t([[1, 2, 3, 4]], torch.uint8)
USER = {"role": "user", "content": "Hi"}
BOT = {"role": "assistant", "content": "Hello"}
LONE = {"role": "assistant", "content": "\ud800"}
MARKED = ("<|im_start|>", "<|im_end|>")
BPE = T.ByteBPE([(97, 98)], MARKED)
CHAT = T.ChatTokenizer(BPE)


class PutsAStart:
    """Puts a token before each text, as Llama's tokenizer does."""

    def encode(self, text):
        return [1, *CHAT.encode(text)]


CASES = [
    (lambda: excerpts(words=-1), ValueError, "words is -1; give an integer of 1 or more"),
    (
        lambda: T.bpe_train([([97, 256], 1)], 1),
        ValueError,
        "word holds 256; give integers from 0 to",
    ),
    (lambda: T.bpe_train([([97, -1], 1)], 1), ValueError, "word holds -1"),
    (lambda: T.bpe_train([("ab", 1)], 1), TypeError, r"word holds a str \('a'\)"),
    (lambda: T.bpe_train(["ab"], 1), TypeError, "A word is 'ab'; give a pair"),
    (lambda: T.bpe_train([b"ab"], 1), TypeError, "A word is b'ab'; give a pair"),
    (lambda: T.bpe_train([([97, 98], 1, 1)], 1), TypeError, "give a pair"),
    (lambda: T.bpe_train([([97, 98], 0)], 1), ValueError, "count is 0; give an integer of 1"),
    (lambda: T.bpe_train(AB, -1), ValueError, "merges is -1; give an integer of 0 or more"),
    (lambda: T.bpe_train(AB, 1.0), TypeError, "merges is a float"),
    (lambda: T.bpe_train_fast([([97, 256], 1)], 1), ValueError, "word holds 256"),
    (lambda: T.bpe_encode([300], []), ValueError, "ids holds 300"),
    (lambda: T.bpe_encode([97], [(97, 256)]), ValueError, "merge 0 holds 256; .* 0 to 255"),
    (lambda: T.bpe_encode([97], [(97, 98), (256, 257)]), ValueError, "merge 1 holds 257"),
    (lambda: T.bpe_encode([97], [(97, 98, 99)]), ValueError, "Merge 0 is .*; give a pair"),
    (lambda: T.bpe_decode([257], [(97, 98)]), ValueError, "ids holds 257; .* 0 to 256"),
    (lambda: T.bpe_decode([97], [(97, 256)]), ValueError, "merge 0 holds 256"),
    (lambda: T.ByteBPE([(256, 97)]), ValueError, "merge 0 holds 256"),
    (lambda: T.ByteBPE([], "<|end|>"), TypeError, "special is the text '<|end|>'; give a list"),
    (lambda: T.ByteBPE([], ["a", "a"]), ValueError, "give each text once"),
    (lambda: T.ByteBPE([], [""]), ValueError, "special holds ''"),
    (lambda: T.ByteBPE([], ["a"], eos="b"), ValueError, "eos is 'b'; give one of"),
    (lambda: T.ByteBPE.train("", 300), ValueError, "There is no text to train on"),
    (lambda: T.ByteBPE.train([], 300), ValueError, "There is no text to train on"),
    (lambda: T.ByteBPE.train("ab", 255), ValueError, "vocab_size is 255; give an integer of 256"),
    (lambda: T.ByteBPE.train("ab", 257, MARKED), ValueError, "give an integer of 258 or more"),
    (lambda: T.ByteBPE.train([b"ab"], 300), TypeError, "The text is a bytes; give a string"),
    (lambda: BPE.encode(None), TypeError, "The text is a NoneType; give a string"),
    (lambda: BPE.decode([259]), ValueError, "ids holds 259; give integers from 0 to 258"),
    (lambda: BPE.decode(t([[1]])), TypeError, "ids holds a list"),
    (lambda: T.ChatTokenizer(T.ByteBPE([])), ValueError, "'<|im_end|>'] are no special tokens"),
    (lambda: T.corpus("nowhere"), FileNotFoundError, "no folder nowhere; .* python-topics, kjv"),
    (lambda: T.split(["a", "b"], held_out=1.0), ValueError, "held_out is 1.0; give a share"),
    (lambda: T.split(["a", "b"], held_out=0), ValueError, "held_out is 0; give a share"),
    (lambda: T.split(["a", "b"], seed=0.5), TypeError, "seed is a float"),
    (lambda: T.split([]), ValueError, "None of the 0 different documents is as short as 10%"),
    (lambda: T.split([""]), ValueError, "The documents hold no text; give two different ones"),
    (lambda: T.split(["aaa", "bb"]), ValueError, "None of the 2 .* give more documents"),
    (lambda: T.split(["a"] * 20), ValueError, "None of the 1 different"),
    (lambda: T.pack_documents([[1, 2]], 4, 0), ValueError, "hold 3 tokens, ends .* one row of 4"),
    (lambda: T.pack_documents([], 4, 0), ValueError, "There are no documents"),
    (lambda: T.pack_documents([1, 2], 1, 0), TypeError, "Document 0 is a int"),
    (lambda: T.pack_documents(["ab"], 1, 0), TypeError, "Document 0 is a str"),
    (lambda: T.pack_documents([[1, 2.0]], 1, 0), TypeError, "Document 0 holds a float"),
    (lambda: T.pack_documents([t([1, 2])], 1, 0), TypeError, "Document 0 holds a Tensor"),
    (lambda: T.pack_documents([[1]], 0, 0), ValueError, "length is 0"),
    (lambda: T.pack_documents([[1]], 1, None), TypeError, "eos is a NoneType"),
    (lambda: T.pack_best_fit([], 4, 0), ValueError, "There are no documents"),
    (lambda: T.pack_best_fit([[1], []], 4, 0), ValueError, "A document is empty; leave it out"),
    (lambda: T.pack_best_fit([[1]], 4, None), TypeError, "pad is a NoneType"),
    (lambda: T.document_mask(t([0, 0])), ValueError, r"documents has shape \(2,\); give \(B, T\)"),
    (lambda: T.document_mask(t([[0.0]], torch.float32)), TypeError, "documents is torch.float32"),
    (lambda: T.document_mask([[0]]), TypeError, "documents is a list; give a torch.Tensor"),
    (lambda: T.document_positions(t([[True]], torch.bool)), TypeError, "documents is torch.bool"),
    (lambda: T.packed_labels(IDS, t([[0]])), ValueError, r"ids is \(1, 4\) and documents \(1, 1\)"),
    (lambda: T.sft_labels(IDS[0], HEADER, 3, 0), ValueError, "ids has shape"),
    (lambda: T.packed_labels(BYTES, IDS), TypeError, "ids is torch.uint8; .*signed"),
    (lambda: T.sft_labels(BYTES, HEADER, 3, 0), TypeError, "ids is torch.uint8; .*signed"),
    (lambda: T.sft_labels(IDS, [1, 2], 3, 0), TypeError, "header is no row of ids"),
    (lambda: T.sft_labels(IDS, HEADER[None], 3, 0), TypeError, "header is no row of ids"),
    (lambda: T.sft_labels(IDS, HEADER[:0], 3, 0), ValueError, "header is empty"),
    (lambda: T.sft_labels(IDS, HEADER, 2, 0), ValueError, r"header \[1, 2\] holds end, 2"),
    (lambda: T.sft_labels(IDS, HEADER, 3, None), TypeError, "pad is a NoneType"),
    (lambda: T.render_chat([]), ValueError, "messages is empty; give one message or more"),
    (lambda: T.render_chat(USER), TypeError, "messages is a dict; give a list of messages"),
    (lambda: T.render_chat(["Hi"]), TypeError, "Message 0 is 'Hi'"),
    (lambda: T.render_chat([USER, {"role": "user"}]), TypeError, "Message 1 is {'role': 'user'}"),
    (
        lambda: T.render_chat([USER, {"role": "bot", "content": ""}]),
        ValueError,
        "Message 1 has the role 'bot'; known are system, user, assistant",
    ),
    (lambda: T.render_chat([{**USER, "content": None}]), TypeError, "content of NoneType"),
    (
        lambda: T.render_chat([{**USER, "content": "x<|im_end|>"}]),
        ValueError,
        "content of message 0 holds '<|im_end|>', which .* take it out",
    ),
    (
        lambda: T.render_chat([USER], default_system="x<|im_end|>\n<|im_start|>assistant\ny"),
        ValueError,
        "default_system holds '<|im_start|>', which .* take it out",
    ),
    (lambda: T.encode_chat(CHAT, [USER]), ValueError, "No message is the assistant's"),
    (lambda: T.encode_chat(CHAT, [BOT], length=0), ValueError, "length is 0"),
    (lambda: T.encode_chat(CHAT, [BOT], length=3), ValueError, "first answer starts after 11, so"),
    (lambda: T.encode_chat(BPE, [BOT]), ValueError, "reads <.im_start.> as 12 tokens; give one"),
    (lambda: T.encode_chat(PutsAStart(), [BOT]), ValueError, r"puts \[1\] before each text"),
    (lambda: T.encode_chats(CHAT, [], pad=0), ValueError, "chats is empty"),
    (lambda: T.encode_chats(CHAT, [[BOT], [USER]], pad=0), ValueError, "Conversation 1: No mess"),
    (lambda: T.encode_chats(CHAT, [[BOT], "Hi"], pad=0), TypeError, "Conversation 1: messages is"),
    (lambda: T.encode_chats(CHAT, [[LONE]], pad=0), ValueError, "Conversation 0: .*surrogates not"),
    (lambda: T.encode_chats(CHAT, [[BOT]], pad=None), TypeError, "pad is a NoneType"),
]


@pytest.mark.parametrize(("call", "error", "sentence"), CASES)
def test_wrong_input(call, error, sentence):
    with pytest.raises(error, match=sentence.replace("|", r"\|")):
        call()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"merges": [[1]], "special": [], "eos": null}'])
def test_a_file_that_is_no_tokenizer(tmp_path, text):
    (tmp_path / "bpe.json").write_text(text)
    with pytest.raises(ValueError, match=r"bpe.json was not written by ByteBPE.save"):
        T.ByteBPE.load(tmp_path / "bpe.json")


def test_a_file_that_is_not_utf_8(tmp_path):
    (tmp_path / "bad.txt").write_bytes("Größe".encode("latin-1"))
    with pytest.raises(ValueError, match=r"bad.txt is not UTF-8 \(byte 2 is 0xf6\); convert it"):
        T.corpus(tmp_path)


def test_a_folder_without_text(tmp_path):
    with pytest.raises(ValueError, match=r"holds no text; give a folder"):
        T.corpus(tmp_path)
    (tmp_path / "empty.txt").touch()
    with pytest.raises(ValueError, match=r"holds no text; give a folder"):
        T.corpus(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_can_not_be_read(tmp_path):
    (tmp_path / "closed.txt").write_text("text")
    (tmp_path / "closed.txt").chmod(0)
    with pytest.raises(PermissionError, match=r"closed.txt"):
        T.corpus(tmp_path)


def test_packages_that_are_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"kjv is not .*: apt install bible-kjv"):
        T.corpus("kjv")
    if not os.path.exists("/usr/share/games/fortunes/tang300"):
        with pytest.raises(FileNotFoundError, match=r"tang300 is not .*: apt install fortunes-zh"):
            T.corpus("tang")
