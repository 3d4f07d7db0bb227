r"""Conversations as text, and as ids with labels: ChatML, the template of SmolLM2 and Qwen.

A message is written

    <|im_start|>{role}\n{content}<|im_end|>\n

and a conversation is its messages one after the other. A model that was trained on the template
answers when the text ends with `<|im_start|>assistant\n`, the generation prompt.

**Source.** OpenAI, 2023 ("Chat Markup Language"); SmolLM2's `tokenizer_config.json`.
"""

from collections.abc import Sequence

from ._checks import require_messages

START, END = "<|im_start|>", "<|im_end|>"
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
    content holds one of the two markers, or there is no message.
    """
    require_messages(messages)
    if default_system and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": default_system}, *messages]
    text = "".join(f"{START}{m['role']}\n{m['content']}{END}\n" for m in messages)
    return text + f"{START}assistant\n" if add_generation_prompt else text
