r"""ORPO: fine-tune on the chosen answer, and raise its odds over those of the rejected one.

With the mean log-probability a token of an answer, $\bar\ell = \frac{1}{|y|} \ln \pi(y)$, its
"probability" is $\bar p = e^{\bar\ell}$ and its log-odds are

$$
\operatorname{lo}(y) = \ln \frac{\bar p}{1 - \bar p}
= \bar\ell - \ln\big(1 - e^{\bar\ell}\big) \tag{1}
$$

$$
\text{loss} = \frac{1}{N} \sum_i \Big[ -\bar\ell_{w,i}
- \lambda \ln \sigma\big( \operatorname{lo}(y_{w,i}) - \operatorname{lo}(y_{l,i}) \big) \Big]
\tag{2}
$$

There is no reference and no separate fine-tuning before: the first term is the loss of supervised
fine-tuning, and it keeps the chosen answer likely.

**How others differ.** trl averages the first term over the tokens of the batch, the prompt's among
them; here each answer weighs the same and prompts don't count.

**Shapes.** Log-probabilities of whole answers and their numbers of tokens, each `(N,)`.

**Numerics.** $1 - e^{\bar\ell}$ by `expm1`: in fp32 $e^{-10^{-9}}$ is 1 and the logarithm −∞.

**Source.** Hong, Lee and Thorne, 2024 (arXiv 2403.07691), equations 4 to 7.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from clearhead._checks import require_finite

from ._checks import precise, require_counts, require_row


def orpo_loss(
    chosen: Float[Tensor, "N"],
    rejected: Float[Tensor, "N"],
    chosen_tokens: Int[Tensor, "N"],
    rejected_tokens: Int[Tensor, "N"],
    *,
    lam: float | int = 0.1,
) -> Float[Tensor, ""]:
    """Equation (2).

    Raises `TypeError` for a wrong dtype and `ValueError` when shapes differ, λ is negative, an
    answer has no token, or a log-probability is not finite and below zero.
    """
    require_row(chosen=chosen, rejected=rejected)
    require_counts(chosen, chosen_tokens=chosen_tokens, rejected_tokens=rejected_tokens)
    require_finite(lam=lam)
    if lam < 0:
        raise ValueError(f"lam is {lam}; give 0 (fine-tuning alone) or more.")
    better, worse = precise(chosen) / chosen_tokens, precise(rejected) / rejected_tokens
    for name, x, mean in (("chosen", chosen, better), ("rejected", rejected, worse)):
        if (mean >= 0).any():
            raise ValueError(
                f"{name} holds {x.max().item():.4g}; give log-probabilities, below 0, a token's "
                "mean too: an answer of probability 1 has infinite odds."
            )
    return (-better - lam * F.logsigmoid(_log_odds(better) - _log_odds(worse))).mean()


def _log_odds(log_p: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
    return log_p - torch.log(-torch.expm1(log_p))
