r"""Refuse words, documents, rows and conversations that do not fit, in one sentence.

Each function returns nothing and raises `TypeError` (wrong kind or dtype) or `ValueError` (wrong
shape, size or content).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from clearhead._checks import require_finite, require_floating, require_integer

ROLES = ("system", "user", "assistant")
MARKERS = ("<|im_start|>", "<|im_end|>")


def require_ids(limit: int, **lists: Sequence[int]) -> None:
    """Every argument is a list of integers from 0 to less than `limit`."""
    for name, ids in lists.items():
        for i in ids:
            if isinstance(i, bool) or not isinstance(i, int):
                raise TypeError(f"{name} holds a {type(i).__name__} ({i!r}); give integers.")
            if not 0 <= i < limit:
                raise ValueError(f"{name} holds {i}; give integers from 0 to {limit - 1}.")


def require_words(words: Sequence[tuple[Sequence[int], int]], merges: int) -> None:
    """Each word is (bytes, how often), and a number of merges can be learned from them."""
    require_integer(0, merges=merges)
    for word in words:
        if isinstance(word, str | bytes) or len(word) != 2:
            raise TypeError(
                f"A word is {word!r}; give a pair: a list of bytes, how often it occurs."
            )
        require_ids(256, word=word[0])
        require_integer(1, count=word[1])


def require_merges(merges: Sequence[tuple[int, int]]) -> None:
    """Each merge is a pair of tokens that exist when it is learned."""
    for i, pair in enumerate(merges):
        if len(pair) != 2:
            raise ValueError(f"Merge {i} is {pair!r}; give a pair of tokens.")
        require_ids(256 + i, **{f"merge {i}": pair})


def require_special(special: Sequence[str], eos: str | None) -> None:
    """Special tokens are different texts, not empty, and `eos` is None or one of them."""
    if isinstance(special, str):
        raise TypeError(f"special is the text {special!r}; give a list of texts.")
    for text in special:
        if not isinstance(text, str) or not text:
            raise ValueError(f"special holds {text!r}; give texts such as '<|endoftext|>'.")
    if len(set(special)) < len(special):
        raise ValueError(f"special is {list(special)}; give each text once.")
    if eos is not None and eos not in special:
        raise ValueError(f"eos is {eos!r}; give one of the special tokens, {list(special)}.")


def require_documents(documents: Sequence[Sequence[int]]) -> None:
    """There is at least one document, and each is a list of ids."""
    if isinstance(documents, str) or len(documents) == 0:
        raise ValueError("There are no documents; give one list of ids or more.")
    for number, document in enumerate(documents):
        if isinstance(document, int | str):
            raise TypeError(
                f"Document {number} is a {type(document).__name__}; give a list of lists of ids."
            )
        for other in set(map(type, document)) - {int}:
            raise TypeError(f"Document {number} holds a {other.__name__}; give a list of integers.")


def require_numbers(**tensors: Tensor) -> None:
    """Every argument is a (B, T) tensor of signed integers, which hold −100, all of one shape."""
    first_name, first = next(iter(tensors.items()))
    for name, x in tensors.items():
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} is a {type(x).__name__}; give a torch.Tensor.")
        if x.is_floating_point() or x.is_complex() or not x.dtype.is_signed:
            raise TypeError(
                f"{name} is {x.dtype}; give signed integers, for example {name}.long()."
            )
        if x.ndim != 2:
            raise ValueError(f"{name} has shape {tuple(x.shape)}; give (B, T), a row each.")
        if x.shape != first.shape:
            raise ValueError(
                f"{first_name} is {tuple(first.shape)} and {name} {tuple(x.shape)}; "
                "give one shape for both."
            )


def require_header(header: Tensor, end: int) -> None:
    """`header` is a row of ids that open a turn, so that `end`, which closes one, is not there."""
    if not isinstance(header, Tensor) or header.is_floating_point() or header.ndim != 1:
        raise TypeError("header is no row of ids; give a (h,) tensor of integers.")
    if len(header) == 0:
        raise ValueError("header is empty; give the ids that open an assistant turn.")
    if end in header.tolist():
        raise ValueError(
            f"header {header.tolist()} holds end, {end}; a token can't open a turn and close it."
        )


def require_messages(messages: Sequence[dict[str, str]]) -> None:
    """At least one message, each with a known role and a content without markers."""
    if isinstance(messages, dict | str):
        raise TypeError(f"messages is a {type(messages).__name__}; give a list of messages.")
    if len(messages) == 0:
        raise ValueError("messages is empty; give one message or more.")
    for i, message in enumerate(messages):
        if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
            raise TypeError(f"Message {i} is {message!r}; give {{'role': …, 'content': …}}.")
        role, content = message["role"], message["content"]
        if role not in ROLES:
            raise ValueError(f"Message {i} has the role {role!r}; known are {', '.join(ROLES)}.")
        if not isinstance(content, str):
            raise TypeError(f"Message {i} has a content of {type(content).__name__}; give text.")
        require_no_marker(f"The content of message {i}", content)


def require_no_marker(name: str, text: str) -> None:
    """No text in `text` can be taken for the border of a turn."""
    for marker in MARKERS:
        if marker in text:
            raise ValueError(
                f"{name} holds {marker!r}, which the model would read as the border of a turn; "
                "take it out."
            )


def require_chat_tokenizer(tokenizer) -> None:
    """It puts nothing before a text, which is encoded in pieces, and a marker is one token."""
    before = tokenizer.encode("")
    if before:
        raise ValueError(
            f"This tokenizer puts {before} before each text; switch that off for chats."
        )
    for marker in MARKERS:
        count = len(tokenizer.encode(marker))
        if count != 1:
            raise ValueError(
                f"This tokenizer reads {marker} as {count} tokens; give one that knows ChatML: "
                "ChatTokenizer, around a ByteBPE that was trained with the markers."
            )


def require_labels(scores: Tensor, **labels: Tensor) -> None:
    """`scores` is (B, T, …) of floats and each label tensor (B, T) of integers; none is shifted."""
    require_floating(scores=scores)
    require_numbers(**labels)
    for name, x in labels.items():
        if scores.ndim != 3 or scores.shape[:2] != x.shape:
            raise ValueError(
                f"Given {tuple(scores.shape)} for {name} {tuple(x.shape)}; expected (B, T, …) for "
                "(B, T), neither of them shifted."
            )


def require_bools(shape: Sequence[int], **masks: Tensor) -> None:
    """Every argument is a boolean tensor of this shape."""
    for name, x in masks.items():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        if kind != torch.bool:
            raise TypeError(f"{name} is {kind}; give a boolean tensor, True = counts.")
        if x.shape != shape:
            raise ValueError(f"{name} has shape {tuple(x.shape)}; expected {tuple(shape)}.")


def require_some(mask: Tensor, why: str) -> None:
    """At least one entry is True: a mean over nothing is not a number."""
    if not mask.any():
        raise ValueError(f"there is nothing to average: {why}.")


def require_positive(**values: float | int) -> None:
    """Every argument is a finite number above zero."""
    require_finite(**values)
    for name, value in values.items():
        if value <= 0:
            raise ValueError(f"{name} is {value}; give a number above 0.")
