r"""Pairs of answers as rows of ids, and what a model thinks of them.

A pair is a question, the chosen answer and the rejected one. Each answer stands after the question
in the model's chat template and ends with the token that ends an answer; the mask `completion`
marks the answer and its end, and nothing else.

The reference is a number for each answer that never changes, so it is computed once, before
training, and no second model is kept. For a model with LoRA adapters the reference is the base:
the adapters are switched off for one pass.

**Shapes.** `ids` and `completion` are `(2, N, T)`: chosen answers first, then rejected. Rows are
filled up at the right, which a causal model does not see. Log-probabilities are `(2, N)`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clearhead._checks import require_integer
from clearhead.lora.fine_tune import prompt
from clearhead.lora.model import active, lora_layers, switch
from clearhead.model import Decoder
from clearhead.training import hidden_states, right_pad, vocabulary_matrix
from clearhead.training._checks import require_messages

from ._checks import require_bools, require_completion
from .chunked_log_prob import chunked_log_prob
from .log_probs import completion_tokens
from .scores import Scores


class Pairs(NamedTuple):
    """N pairs of answers. `encode_pairs` makes them."""

    ids: Int[Tensor, "2 N T"]
    completion: Bool[Tensor, "2 N T"]

    def take(self, index: Int[Tensor, "n"], device: torch.device | str | None = None) -> "Pairs":
        """The pairs with these numbers, moved to `device`, cut after their longest answer."""
        ids, completion = self.ids[:, index], self.completion[:, index]
        end = int(completion.any(0).any(0).nonzero().max()) + 1
        return Pairs(ids[..., :end].to(device), completion[..., :end].to(device))

    def tokens(self) -> Int[Tensor, "2 N"]:
        """How many tokens each answer has."""
        return completion_tokens(self.completion.flatten(0, 1)).view(2, -1)


def encode_pairs(tokenizer, pairs: Sequence[tuple[str, str, str]], *, system: str = "") -> Pairs:
    """`pairs` are (question, chosen, rejected); the result is ready for `prefer`.

    `tokenizer` is a `clearhead.model.Tokenizer` or a `clearhead.training.ChatTokenizer`. Raises
    `TypeError` for what is no text and `ValueError` when there is no pair, an answer is empty, both
    answers are the same, or a text holds one of ChatML's markers.
    """
    if isinstance(pairs, str) or len(pairs) == 0:
        raise ValueError("pairs is empty; give one (question, chosen, rejected) or more.")
    rows, marks = ([], []), ([], [])
    for number, pair in enumerate(pairs):
        if isinstance(pair, str) or len(pair) != 3:
            raise ValueError(f"pair {number} is {pair!r}; give (question, chosen, rejected).")
        question, *answers = pair
        if answers[0] == answers[1]:
            raise ValueError(f"pair {number} has the same answer twice, {answers[0]!r}.")
        _require_texts(number, question, answers)
        asked = prompt(tokenizer, question, system=system)
        for which, answer in enumerate(answers):
            told = tokenizer.encode(answer)
            if not told:
                kind = ("chosen", "rejected")[which]
                raise ValueError(f"pair {number} has an empty {kind} answer; give text.")
            told = [*told, tokenizer.eos_id]
            rows[which].append(asked + told)
            marks[which].append([0] * len(asked) + [1] * len(told))
    ids = right_pad(rows[0] + rows[1], tokenizer.eos_id)
    completion = right_pad(marks[0] + marks[1], 0).bool()
    return Pairs(ids.view(2, len(pairs), -1), completion.view(2, len(pairs), -1))


def _require_texts(number: int, question: str, answers: Sequence[str]) -> None:
    """Question (message 0) and answers (1 and 2) are texts that do not end a turn and forge one."""
    turns = [("user", question), *(("assistant", answer) for answer in answers)]
    try:
        require_messages([{"role": role, "content": content} for role, content in turns])
    except (TypeError, ValueError) as error:
        raise type(error)(f"pair {number}: {error}") from None


def pair_log_probs(model: Decoder, pairs: Pairs, *, chunk: int = 256) -> Float[Tensor, "2 N"]:
    """ln π of every answer, of chosen and rejected in one pass, with gradients where wanted.

    Raises `TypeError` or `ValueError` when the pairs are malformed or an answer is empty.
    """
    require_pairs(pairs)
    ids, completion = (x.flatten(0, 1) for x in pairs)  # 2N T
    hidden = hidden_states(model, ids)
    log_p = chunked_log_prob(hidden, vocabulary_matrix(model), ids, completion, chunk=chunk)
    return log_p.view(2, -1)


@torch.no_grad()
def reference_log_probs(
    model: Decoder, pairs: Pairs, *, batch: int = 8, chunk: int = 256
) -> Float[Tensor, "2 N"]:
    """ln π_ref of every answer: of the model as it is, or of its base where it has adapters.

    The reference of a policy whose adapter was trained before (fine-tuning, then preference) is
    that adapter and not the base: merge it first, or take `pair_log_probs` before training.
    """
    require_integer(1, batch=batch)
    require_pairs(pairs)
    adapter = active(model) if lora_layers(model) else None
    if adapter is not None:
        switch(model, None)
    try:
        device, index = next(model.parameters()).device, torch.arange(pairs.ids.shape[1])
        parts = [
            pair_log_probs(model, pairs.take(i, device), chunk=chunk) for i in index.split(batch)
        ]
    finally:
        if adapter is not None:
            switch(model, adapter)
    return torch.cat(parts, dim=1)


def pair_scores(
    log_probs: Float[Tensor, "2 N"], pairs: Pairs, reference: Float[Tensor, "2 N"] | None = None
) -> Scores:
    """What the losses ask for, from what `pair_log_probs` gave."""
    reference = (None, None) if reference is None else reference
    return Scores(*log_probs, *pairs.tokens(), *reference)


def require_pairs(pairs: Pairs) -> None:
    """Ids and a mask of one shape, (2, N, T), in which every answer has a token."""
    if not isinstance(pairs, Pairs):
        raise TypeError(f"pairs is a {type(pairs).__name__}; encode_pairs makes Pairs.")
    shape = tuple(pairs.ids.shape)
    if len(shape) != 3 or shape[0] != 2 or shape[1] == 0:
        raise ValueError(f"ids is {shape}; give (2, N, T): N chosen answers, then N rejected.")
    require_bools(shape, completion=pairs.completion)
    require_completion(pairs.completion.flatten(0, 1), (2 * shape[1], shape[2]))


def require_reference(reference: Float[Tensor, "2 N"], N: int) -> None:
    """A number for each answer of N pairs."""
    if reference.shape != (2, N):
        raise ValueError(
            f"reference has shape {tuple(reference.shape)} for {N} pairs; give (2, {N}), as "
            "pair_log_probs does."
        )
