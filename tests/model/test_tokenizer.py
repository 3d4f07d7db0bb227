"""Text to ids and back, by a vocabulary of bytes and five merges, and by SmolLM2's."""

import pytest
import torch
from small_models import KINDS, MERGES, PIECES, small_tokenizer

from clearhead.model import Tokenizer
from clearhead.model.pretokenizers import byte_level_bpe

TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"


@pytest.fixture(name="tokenizer")
def byte_tokenizer():
    special = {"eos_token": "<|im_end|>", "bos_token": None}
    return Tokenizer(small_tokenizer(), chat_template=TEMPLATE, special=special)


@pytest.mark.parametrize(
    "text", ["", " ", "in the thing", "中文 🙂", "a\n\t b\r\n", "<|im_end|>x", "\x00\x7f", "12 3"]
)
def test_decode_undoes_encode(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode(torch.tensor(tokenizer.encode(text), dtype=torch.long)) == text


def test_merges_apply_in_the_order_of_the_training(tokenizer):
    assert tokenizer.tokens("in the") == ["in", " the"]
    assert tokenizer.tokens("the") == ["t", "he"]  # " the" needs its space


def test_digits_are_cut_out_before_anything_merges(tokenizer):
    assert tokenizer.tokens("a  12") == ["a", "  ", "1", "2"]


def test_a_piece_of_a_character_is_shown_by_its_bytes(tokenizer):
    assert tokenizer.tokens("é") == ["<C3>", "<A9>"]


def test_a_special_token_is_one_token(tokenizer):
    assert tokenizer.encode("<|im_end|>") == [2] == [tokenizer.eos_id]
    assert tokenizer.tokens("a<|im_end|>") == ["a", "<|im_end|>"]


def test_a_model_with_a_first_token_gets_it():
    backend = byte_level_bpe(
        PIECES, merges=MERGES, kinds=KINDS, pattern="gpt-2", bos="<|im_start|>", source="here"
    )
    assert Tokenizer(backend).tokens("in") == ["<|im_start|>", "in"]


@pytest.mark.parametrize(
    "pattern, pieces",
    [
        ("gpt-2", ["a", " 12345", "'s", "  ", " b", "\n", "\n", "c"]),
        ("qwen2", ["a", " ", "1", "2", "3", "4", "5", "'s", "  ", " b", "\n\n", "c"]),
        ("llama-bpe", ["a", " ", "123", "45", "'s", "  ", " b", "\n\n", "c"]),
        ("smollm", ["a", " ", "1", "2", "3", "4", "5", "'s", "  ", " b", "\n", "\n", "c"]),
    ],
)
def test_each_family_cuts_text_its_own_way(pattern, pieces):
    text = "a 12345's   b\n\nc"
    backend = byte_level_bpe(
        PIECES, merges=MERGES, kinds=KINDS, pattern=pattern, bos=None, source="here"
    )
    cuts = [text[a:b] for _, (a, b) in backend.pre_tokenizer.pre_tokenize_str(text)]
    assert cuts == pieces


def test_ids_that_do_not_exist_are_refused(tokenizer):
    with pytest.raises(ValueError, match="token id 264 is not in this vocabulary of 264"):
        tokenizer.decode([1, 264])
    with pytest.raises(ValueError, match="token id -1"):
        tokenizer.decode([-1])


def test_a_batch_is_refused(tokenizer):
    with pytest.raises(TypeError, match="decode one sequence at a time"):
        tokenizer.decode(torch.zeros(2, 3, dtype=torch.long))


def test_a_chat_follows_the_template(tokenizer):
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]
    assert tokenizer.chat(messages) == "user: hi\nassistant: yes\n"


def test_a_chat_without_a_template_is_refused():
    with pytest.raises(ValueError, match="no chat template"):
        Tokenizer(small_tokenizer()).chat([])


def test_a_template_can_refuse_messages_and_can_not_reach_python(tokenizer):
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(ValueError, match="refuses these messages: roles must alternate"):
        tokenizer.chat([])
    tokenizer.chat_template = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    with pytest.raises(ValueError, match="refuses these messages"):
        tokenizer.chat([])


def test_smollm2_reads_chinese_emoji_and_chats(smollm2):
    _, tokenizer = smollm2
    assert tokenizer.tokens("中文 🙂 19") == ["中", "文", " 🙂", " ", "1", "9"]
    assert tokenizer.tokens("你") == ["<E4><BD>", "<A0>"]
    assert tokenizer.chat([{"role": "user", "content": "Hi"}]).endswith(
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert tokenizer.tokens("<|im_end|>") == ["<|im_end|>"] and tokenizer.eos_id == 2
