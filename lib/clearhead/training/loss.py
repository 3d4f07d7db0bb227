r"""The loss of a language model: its surprise at the next token, averaged over those that count.

The logits $z_t \in \mathbb{R}^V$ of position $t$ say what the model expects at position $t + 1$, so
$T$ tokens give $T - 1$ predictions. The surprise at the token that came, its negative
log-likelihood (*nll*), and its mean over the set $S$ of predictions that count:

$$
\ell_t = -\ln p(x_{t+1} \mid x_1 \dots x_t)
       = \ln \sum_{v} e^{z_{t,v}} - z_{t,\,x_{t+1}} \tag{1}
$$

$$
\text{loss} = \frac{1}{|S|} \sum_{t \in S} \ell_t \tag{2}
$$

With padding, $S$ has the positions that are tokens and are followed by one. With labels, it has
those whose next label is not −100. A perplexity is the exponential of (2) over a whole text; with
the text's bytes as divisor it no longer depends on how the tokenizer cuts:

$$
\text{perplexity} = \exp\Big( \frac{1}{|S|} \sum_{t \in S} \ell_t \Big), \qquad
\text{bits a byte} = \frac{1}{\text{bytes} \cdot \ln 2} \sum_{t \in S} \ell_t \tag{3}
$$

Fine-tuning may let the prompt's tokens count a little: $w_t$ is `weight` for a token of the prompt,
1 for one of the response, 0 for any other.

$$
\text{loss} = \frac{\sum_t w_t\, \ell_t}{\sum_t w_t} \tag{4}
$$

**Shapes.** `logits` `(B, T, V)`; `ids`, `labels` and `real` `(B, T)`, not shifted: the shift by one
is done here and nowhere else. Sums run over the whole batch at once, never row by row: a row of 4
tokens and one of 40 weigh 1 to 10.

**Numerics.** Softmax and sums are in fp32, in fp64 for fp64 input. A position that does not count
is left out before anything is computed from it: a NaN there reaches neither value nor gradient.

**Sources.** Bengio et al., 2003, section 2, for (2) and its perplexity; Huerta-Enochian and Ko,
2024 (arXiv 2401.13586), for (4).
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clearhead._checks import precise, require_finite, require_floating, require_integer

from ._checks import require_bools, require_labels, require_some
from .labels import IGNORED


def next_token_loss(
    logits: Float[Tensor, "B T V"], ids: Int[Tensor, "B T"], real: Bool[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """Equation (2) over rows with padding, which is where `real` is False.

    What `ids` holds in the padding is never read. Raises `TypeError` for a wrong dtype and
    `ValueError` when the shapes do not fit, an id is outside the vocabulary, or no token that is
    real follows another.
    """
    require_labels(logits, ids=ids)
    require_bools(ids.shape, real=real)
    counted = real[:, :-1] & real[:, 1:]  # B T-1: position t, and the token that it predicts
    require_some(counted, "no real token follows a real one")
    scores, targets = logits[:, :-1][counted], ids[:, 1:][counted]  # n V and n
    require_vocabulary(targets, logits.shape[-1])
    log_p = torch.log_softmax(precise(scores), dim=-1)
    return -log_p.gather(-1, targets[:, None].long()).mean()


def per_token_loss(
    logits: Float[Tensor, "B T V"], labels: Int[Tensor, "B T"]
) -> tuple[Float[Tensor, "B T-1"], Bool[Tensor, "B T-1"]]:
    """Equation (1) for every label but the first, and which of them count.

    Entry t is about the label of position t + 1; where that is −100 it is zero and does not count.
    Raises as `next_token_loss` does, but lets a batch pass in which nothing counts.
    """
    require_labels(logits, labels=labels)
    counted = labels[:, 1:] != IGNORED
    targets = labels[:, 1:][counted].long()
    require_vocabulary(targets, logits.shape[-1])
    scores = precise(logits[:, :-1][counted])
    nll = scores.new_zeros(counted.shape)
    return nll.masked_scatter(counted, F.cross_entropy(scores, targets, reduction="none")), counted


def perplexity(
    log_probs: Float[Tensor, "N T"], real: Bool[Tensor, "N T"], n_bytes: int
) -> tuple[float, float]:
    """`(perplexity, bits a byte)` of a text of `n_bytes` bytes, equation (3), all rows together.

    `log_probs` are the natural logarithms ln p of the tokens that came; where `real` is False they
    are not read. Raises `TypeError` for a wrong dtype and `ValueError` when the shapes do not fit,
    nothing is real, or the log-probabilities add up to more than zero (losses, perhaps).
    """
    require_floating(log_probs=log_probs)
    require_bools(log_probs.shape, real=real)
    require_integer(1, n_bytes=n_bytes)
    require_some(real, "real is False everywhere")
    total = log_probs[real].double().sum().item()
    if total > 0:
        raise ValueError(
            f"the log-probabilities add up to {total:.6g}, and ln p is never above zero; give "
            "ln p, not the loss -ln p."
        )
    return exponential(-total / int(real.sum())), -total / (n_bytes * math.log(2))


def exponential(x: float) -> float:
    """e to the power of x, infinite where that is beyond the largest number of fp64."""
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def weighted_prompt_loss(
    nll: Float[Tensor, "B T"],
    prompt: Bool[Tensor, "B T"],
    response: Bool[Tensor, "B T"],
    weight: float,
) -> Float[Tensor, ""]:
    """Equation (4): the mean over a whole batch in which a prompt token counts `weight`.

    0 trains on the responses alone, 1 on everything. `nll` where neither mask is True, or where the
    weight is 0, is not read. Raises `TypeError` for a wrong dtype and `ValueError` when the shapes
    do not fit, a token is of both kinds, the weight is negative, or all weights are zero.
    """
    require_floating(nll=nll)
    require_bools(nll.shape, prompt=prompt, response=response)
    require_finite(weight=weight)
    if weight < 0:
        raise ValueError(f"weight is {weight}; give 0 (responses alone) or more.")
    both = int((prompt & response).sum())
    if both:
        raise ValueError(f"{both} tokens are marked as prompt and as response; give each one mark.")
    w = weight * prompt.to(precise(nll).dtype) + response  # B T
    require_some(w > 0, "every token has weight zero")
    return (w * precise(nll))[w > 0].sum() / w.sum()


def require_vocabulary(targets: Tensor, V: int) -> None:
    wrong = targets[(targets < 0) | (targets >= V)]
    if wrong.numel():
        raise ValueError(
            f"{int(wrong[0])} is to be predicted, and the logits are about {V} tokens, 0 to "
            f"{V - 1}; mark padding as not real, or give it the label {IGNORED}."
        )
