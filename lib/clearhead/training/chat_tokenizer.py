r"""A `ByteBPE` that reads conversations, so that your own small model can be asked and can answer.

`ByteBPE.encode` takes `<|im_end|>` in a text for ten ordinary letters; here it ends a turn. With
the interface of `clearhead.model.Tokenizer` the helpers for a real checkpoint work with a model
trained from nothing.
"""

from collections.abc import Iterable

from torch import Tensor

from ._checks import MARKERS
from .byte_bpe import ByteBPE
from .chat import END, render_chat


class ChatTokenizer:
    r"""Wraps a `ByteBPE` that was trained with `<|im_start|>` and `<|im_end|>` among its `special`.

    `default_system` goes before conversations that have no system message. `eos_id` is the id of
    `<|im_end|>`, which ends an answer. Raises `ValueError` when one of the markers is not special.
    """

    def __init__(self, bpe: ByteBPE, *, default_system: str = ""):
        missing = [marker for marker in MARKERS if marker not in bpe.special_ids]
        if missing:
            raise ValueError(f"{missing} are no special tokens here; train ByteBPE with them.")
        self.bpe, self.default_system = bpe, default_system
        self.vocab_size, self.eos_id = bpe.vocab_size, bpe.special_ids[END]

    def encode(self, text: str) -> list[int]:
        r"""Token ids of `text`; a special token written out is one token."""
        return self.bpe.encode(text, special=True)

    def decode(self, ids: Iterable[int] | Tensor) -> str:
        r"""The text of `ids` (a list or a one-axis tensor), special tokens included."""
        return self.bpe.decode(ids)

    def tokens(self, text: str) -> list[str]:
        r"""The pieces of `text`, one a token; part of a character is shown by its bytes."""
        return self.bpe.tokens(text, special=True)

    def chat(self, messages: list[dict[str, str]], *, answer: bool = True) -> str:
        r"""The conversation as text; with `answer` it ends where the next answer begins."""
        return render_chat(
            messages, default_system=self.default_system, add_generation_prompt=answer
        )
