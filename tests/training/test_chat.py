"""Conversations: as text, as ids with labels, and with a tokenizer of our own."""

import pytest
import torch

from clearhead.lora.fine_tune import prompt, reply
from clearhead.model import Config, Decoder
from clearhead.training import (
    IGNORED,
    ByteBPE,
    ChatTokenizer,
    encode_chat,
    encode_chats,
    render_chat,
    right_pad,
    sft_labels,
)
from clearhead.training.chat import END, SMOLLM2_SYSTEM, START


def user(text):
    return {"role": "user", "content": text}


def bot(text):
    return {"role": "assistant", "content": text}


SYSTEM = {"role": "system", "content": "Be short."}
CHAT = [user("Hi there"), bot("Hello."), user("And\nnow?"), bot("你好 now.\n")]
ODD = [user("\n\n x"), bot("\n\n\n y "), bot(""), user(" ")]
TEXT = (
    "<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n"
    "<|im_start|>user\nAnd\nnow?<|im_end|>\n<|im_start|>assistant\n你好 now.\n<|im_end|>\n"
)


@pytest.fixture(scope="module")
def tokenizer():
    text = "Hi there. Hello and now and then, system user assistant\n\n\n\nBe short."
    return ChatTokenizer(ByteBPE.train(text, 290, ("<|endoftext|>", START, END)))


def learned(tokenizer, ids, labels):
    """The learned tokens, as text; a label is the id above it or −100."""
    assert all(label in (i, IGNORED) for i, label in zip(ids, labels, strict=True))
    return tokenizer.decode([label for label in labels if label != IGNORED])


def test_messages_are_written_one_after_the_other():
    assert render_chat(CHAT) == TEXT


def test_a_system_message_is_added_where_there_is_none():
    head = "<|im_start|>system\nS<|im_end|>\n"
    assert render_chat(CHAT, default_system="S") == head + TEXT
    own = "<|im_start|>system\nBe short.<|im_end|>\n"
    assert render_chat([SYSTEM, *CHAT], default_system="S") == own + TEXT
    assert render_chat([*CHAT, SYSTEM], default_system="S") == head + TEXT + own
    assert render_chat([SYSTEM, *CHAT]) == own + TEXT


def test_the_generation_prompt_opens_an_answer_and_does_not_close_it():
    assert render_chat(CHAT, add_generation_prompt=True) == TEXT + "<|im_start|>assistant\n"


def test_the_messages_given_stay_as_they_were():
    given = [user("x")]
    render_chat(given, default_system="S")
    assert given == [user("x")]


@pytest.mark.parametrize("chat", [CHAT, ODD, [SYSTEM, *CHAT]])
@pytest.mark.parametrize("system", ["", "S"])
def test_the_answers_and_their_ends_are_learned(tokenizer, chat, system):
    ids, labels = encode_chat(tokenizer, chat, default_system=system)
    assert tokenizer.decode(ids) == render_chat(chat, default_system=system)
    answers = [message["content"] + END for message in chat if message["role"] == "assistant"]
    assert learned(tokenizer, ids, labels) == "".join(answers)


def test_the_answer_starts_where_the_prompt_of_inference_ends(tokenizer):
    """Also when it starts with line breaks that would merge with the header's."""
    ids, labels = encode_chat(tokenizer, ODD[:2])
    asked = tokenizer.encode(tokenizer.chat(ODD[:1]))
    assert ids[: len(asked)] == asked
    assert labels[: len(asked)] == [IGNORED] * len(asked)
    assert labels[len(asked)] != IGNORED
    whole = tokenizer.encode(render_chat(ODD[:2]))
    assert whole[: len(asked)] != asked  # the text as one: the header is not found in it


def test_the_labels_are_those_found_in_the_ids(tokenizer):
    header = torch.tensor(tokenizer.encode(f"{START}assistant\n"))
    for pad in (tokenizer.bpe.eos_id, tokenizer.eos_id):
        ids, labels = encode_chats(tokenizer, [CHAT, CHAT[:2], CHAT[2:]], pad=pad)
        assert sft_labels(ids, header, tokenizer.eos_id, pad).equal(labels)


def test_a_batch_is_filled_up_at_the_right(tokenizer):
    ids, labels = encode_chats(tokenizer, [CHAT, CHAT[:2]], pad=tokenizer.eos_id)
    short, its_labels = encode_chat(tokenizer, CHAT[:2])
    n = len(short)
    assert ids[1, :n].tolist() == short
    assert labels[1, :n].tolist() == its_labels
    assert (ids[1, n:] == tokenizer.eos_id).all()
    assert (labels[1, n:] == IGNORED).all()
    assert ids.shape == labels.shape == (2, len(encode_chat(tokenizer, CHAT)[0]))


def test_a_conversation_is_cut_after_length_tokens(tokenizer):
    ids, labels = encode_chat(tokenizer, CHAT)
    first = next(t for t, label in enumerate(labels) if label != IGNORED)
    assert encode_chat(tokenizer, CHAT, length=first + 1) == (ids[: first + 1], labels[: first + 1])
    assert encode_chat(tokenizer, CHAT, length=10_000) == (ids, labels)
    with pytest.raises(ValueError, match=f"cut after {first} tokens .* starts after {first}, so"):
        encode_chat(tokenizer, CHAT, length=first)


def test_rows_are_padded_to_the_longest():
    assert right_pad([[1], [2, 3, 4], []], 9).tolist() == [[1, 9, 9], [2, 3, 4], [9, 9, 9]]


def test_a_chat_tokenizer_ends_an_answer_with_the_marker(tokenizer):
    assert tokenizer.eos_id == tokenizer.bpe.special_ids[END] != tokenizer.bpe.eos_id
    assert tokenizer.encode(END) == [tokenizer.eos_id]
    assert tokenizer.tokens(f"{START}Hi")[0] == START
    assert tokenizer.chat([user("x")], answer=False) == render_chat([user("x")])
    named = ChatTokenizer(tokenizer.bpe, default_system=SMOLLM2_SYSTEM)
    assert named.chat([user("x")]).startswith(f"{START}system\nYou are a helpful AI assistant")


def test_the_helpers_of_the_lora_chapter_take_our_tokenizer(tokenizer):
    V = tokenizer.vocab_size
    config = Config(
        vocab_size=V, width=16, layers=1, heads=2, kv_heads=1, head_size=8, feed_forward=24
    )
    assert tokenizer.decode(prompt(tokenizer, "Hi")).endswith(f"{START}assistant\n")
    assert isinstance(reply(Decoder(config), tokenizer, "Hi", at_most=3), str)
