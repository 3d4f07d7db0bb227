r"""IPO: the margin has a goal, so that a pair that is ordered right stops pushing.

DPO's loss falls for ever as the margin grows. Where every comparison came out one way its only
optimum gives the rejected answer probability zero, whatever β says. IPO replaces the logistic loss
by a square with its minimum at a finite margin:

$$
h_i = \frac{1}{|y_{w,i}|} \ln \frac{\pi(y_{w,i})}{\pi_\text{ref}(y_{w,i})}
    - \frac{1}{|y_{l,i}|} \ln \frac{\pi(y_{l,i})}{\pi_\text{ref}(y_{l,i})} \tag{1}
$$

$$
\text{loss} = \frac{1}{N} \sum_i \Big( h_i - \frac{1}{2 \tau} \Big)^2 \tag{2}
$$

**Per token or not.** Azar et al. write (1) with whole log-ratios; give counts of 1 for that. trl
divides by the answer's tokens; its code says that the authors confirmed this and that the paper's
results have it. The goal 1/(2τ) is then one for a difference of means, and the same τ asks for more
nats.

**Shapes.** Log-probabilities of whole answers and their numbers of tokens, each `(N,)`. The
reference's carry no gradient.

**Source.** Azar et al., 2023 (arXiv 2310.12036), equation 17; trl, `loss_type="ipo"`.
"""

from jaxtyping import Float, Int
from torch import Tensor

from ._checks import precise, require_counts, require_positive, require_row


def ipo_loss(
    chosen: Float[Tensor, "N"],
    rejected: Float[Tensor, "N"],
    reference_chosen: Float[Tensor, "N"],
    reference_rejected: Float[Tensor, "N"],
    chosen_tokens: Int[Tensor, "N"],
    rejected_tokens: Int[Tensor, "N"],
    *,
    tau: float | int = 0.1,
) -> Float[Tensor, ""]:
    """Equation (2).

    Raises `TypeError` for a wrong dtype and `ValueError` when shapes differ, τ is not positive, an
    answer has no token, or a log-probability is not finite.
    """
    require_row(
        chosen=chosen,
        rejected=rejected,
        reference_chosen=reference_chosen,
        reference_rejected=reference_rejected,
    )
    require_counts(chosen, chosen_tokens=chosen_tokens, rejected_tokens=rejected_tokens)
    require_positive(tau=tau)
    better = (precise(chosen) - precise(reference_chosen).detach()) / chosen_tokens
    worse = (precise(rejected) - precise(reference_rejected).detach()) / rejected_tokens
    return (better - worse - 1 / (2 * tau)).square().mean()
