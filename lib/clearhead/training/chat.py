r"""Conversations as text, and as ids with labels: ChatML, the template of SmolLM2 and Qwen.

A message is written

    <|im_start|>{role}\n{content}<|im_end|>\n

and a conversation is its messages one after the other. A model that was trained on the template
answers when the text ends with `<|im_start|>assistant\n`, the generation prompt.

`encode_chat` knows which text it encodes, so it labels each piece as it goes: an answer and its
`<|im_end|>` are learned, everything else is read. An answer is encoded by itself, as the model will
write it: after the header, and never merged with it. `sft_labels` finds the same labels in ids.

**Shapes.** One conversation is two lists of equal length; a batch is two `(B, T)` tensors of int64.

**Source.** OpenAI, 2023 ("Chat Markup Language"); SmolLM2's `tokenizer_config.json`.
"""

import re
from collections.abc import Sequence
from itertools import cycle

import torch
from jaxtyping import Int
from torch import Tensor

from clearhead._checks import require_integer

from ._checks import MARKERS, require_chat_tokenizer, require_messages, require_no_marker
from .labels import IGNORED

START, END = MARKERS
ANSWER = re.compile(rf"(?<={re.escape(START)}assistant\n)(.*?{re.escape(END)})", re.DOTALL)
SMOLLM2_SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


def render_chat(
    messages: Sequence[dict[str, str]],
    *,
    default_system: str = "",
    add_generation_prompt: bool = False,
) -> str:
    """The text of a conversation, messages being `{"role": …, "content": …}`.

    When the first message is not a system one, `default_system`, if there is any, goes before it as
    one. Raises `TypeError` or `ValueError` when a message has another form or an unknown role, its
    content or `default_system` holds one of the two markers, or there is no message.
    """
    require_messages(messages)
    if default_system and messages[0]["role"] != "system":
        require_no_marker("default_system", default_system)
        messages = [{"role": "system", "content": default_system}, *messages]
    text = "".join(f"{START}{m['role']}\n{m['content']}{END}\n" for m in messages)
    return text + f"{START}assistant\n" if add_generation_prompt else text


def encode_chat(
    tokenizer,
    messages: Sequence[dict[str, str]],
    *,
    default_system: str = "",
    length: int | None = None,
) -> tuple[list[int], list[int]]:
    """Ids and labels of one conversation, cut after `length` tokens where that is given.

    `tokenizer` reads the markers as one token each: a `clearhead.model.Tokenizer` or a
    `ChatTokenizer`. A cut may take the end of an answer, or the last answers. Raises `ValueError`
    when there is no assistant turn, or none left before the cut: nothing would be learned.
    """
    require_messages(messages)
    require_chat_tokenizer(tokenizer)
    ids, labels = [], []
    pieces = ANSWER.split(render_chat(messages, default_system=default_system))
    for text, learned in zip(pieces, cycle((False, True)), strict=False):
        piece = tokenizer.encode(text)
        ids += piece
        labels += piece if learned else [IGNORED] * len(piece)
    answer = next((t for t, label in enumerate(labels) if label != IGNORED), None)
    if answer is None:
        raise ValueError("No message is the assistant's, so there is no answer to learn from.")
    if length is not None:
        require_integer(1, length=length)
        if answer >= length:
            raise ValueError(
                f"The conversation is cut after {length} tokens and its first answer starts after "
                f"{answer}, so nothing is left to learn; give a larger length or a shorter prompt."
            )
    return ids[:length], labels[:length]


def encode_chats(
    tokenizer,
    chats: Sequence[Sequence[dict[str, str]]],
    *,
    pad: int,
    default_system: str = "",
    length: int | None = None,
) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
    """A batch of conversations, one a row, filled up with `pad` at the right; its labels are −100.

    `pad` may be the end token, for labels are not found by looking for it. Raises `ValueError` as
    `encode_chat` does, naming the conversation, and when there is none.
    """
    require_integer(0, pad=pad)
    if len(chats) == 0:
        raise ValueError("chats is empty; give one conversation or more.")
    rows = []
    for number, messages in enumerate(chats):
        try:
            rows.append(
                encode_chat(tokenizer, messages, default_system=default_system, length=length)
            )
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"Conversation {number}: {error}") from None
    ids, labels = zip(*rows, strict=True)
    return right_pad(ids, pad), right_pad(labels, IGNORED)


def right_pad(rows: Sequence[Sequence[int]], fill: int) -> Int[Tensor, "B T"]:
    """Rows as long as the longest, `fill` after the end of each."""
    T = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (T - len(row))] for row in rows])
