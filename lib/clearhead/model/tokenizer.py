r"""Text to token ids and back, for a checkpoint's own vocabulary.

The algorithm is byte-pair encoding over UTF-8 bytes: split the text by a pattern, then merge the
pair of neighbours that the training merged first, until no pair is in the table. The work is
done by the `tokenizers` package; this file adds what a lesson needs: readable pieces and chats.

Sources: Sennrich et al. 2016 (arXiv 1508.07909) for the merges; Radford et al. 2019
("Language Models are Unsupervised Multitask Learners", section 2.2) for doing it over bytes.
"""

from collections.abc import Iterable

from torch import Tensor


class Tokenizer:
    r"""Wraps a `tokenizers.Tokenizer`.

    `chat_template` is the checkpoint's Jinja template; `special` holds the named tokens that
    templates use (`bos_token`, `eos_token`); `eos_id` is the id that ends an answer, or None.
    """

    def __init__(self, backend, *, chat_template: str | None = None, special: dict | None = None):
        self.backend = backend
        self.chat_template = chat_template
        self.special = {name: text for name, text in (special or {}).items() if text}
        self.eos_id = backend.token_to_id(self.special.get("eos_token", ""))
        self._bytes = {char: byte for byte, char in enumerate(_byte_letters())}
        self._byte_level = "ByteLevel" in str(backend.decoder)

    @property
    def vocab_size(self) -> int:
        return self.backend.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        r"""Token ids of `text`; a special token written out, as `<|im_start|>`, is one token."""
        return self.backend.encode(text).ids

    def decode(self, ids: Iterable[int] | Tensor) -> str:
        r"""The text of `ids` (a list or a one-axis tensor), special tokens included."""
        ids = ids.tolist() if isinstance(ids, Tensor) else [int(i) for i in ids]
        for i in ids:
            if not isinstance(i, int):
                raise TypeError("ids has more than one axis; decode one sequence at a time")
            if i < 0 or self.backend.id_to_token(i) is None:
                raise ValueError(f"token id {i} is not in this vocabulary of {self.vocab_size}")
        return self.backend.decode(ids, skip_special_tokens=False)

    def tokens(self, text: str) -> list[str]:
        r"""The pieces of `text`, one a token, for people to read.

        A piece that holds only part of a character, as many Chinese characters and emoji need, is
        shown by its bytes: `<E4><BD>`.
        """
        return [self._readable(piece) for piece in self.backend.encode(text).tokens]

    def chat(self, messages: list[dict[str, str]], *, answer: bool = True) -> str:
        r"""The conversation as the model was trained to read it; encode the result.

        `messages` are `{"role": "system" | "user" | "assistant", "content": text}`. With `answer`
        the text ends where the assistant's next message begins. Raises `ValueError` when the
        checkpoint has no chat template or its template refuses the messages.
        """
        if self.chat_template is None:
            raise ValueError("this checkpoint has no chat template: it is not a chat model")
        from jinja2 import TemplateError  # torch depends on jinja2, so it is always there
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = _refuse
        try:
            return environment.from_string(self.chat_template).render(
                messages=messages, add_generation_prompt=answer, **self.special
            )
        except TemplateError as error:
            raise ValueError(f"the chat template refuses these messages: {error}") from None

    def _readable(self, piece: str) -> str:
        if not self._byte_level:
            return piece.replace("▁", " ")
        if any(char not in self._bytes for char in piece):
            return piece  # a special token
        raw = bytes(self._bytes[char] for char in piece)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return "".join(f"<{byte:02X}>" for byte in raw)


def _byte_letters() -> list[str]:
    r"""The printable letter by which byte-level vocabularies write each byte (GPT-2)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    spare = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]


def _refuse(message: str):
    from jinja2 import TemplateError

    raise TemplateError(message)
