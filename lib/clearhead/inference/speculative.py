r"""Speculative decoding: a cheap draft proposes, the model checks all proposals in one pass.

With the draft's distribution $q_i$ and the model's $p_i$ for the same place, the draft token
$x_i \sim q_i$ is accepted with probability

$$
\min\!\left(1,\ \frac{p_i(x_i)}{q_i(x_i)}\right) \tag{1}
$$

The first token that is not accepted is drawn again from what the draft leaves of the model's
distribution, and the proposals after it are forgotten:

$$
x_i \sim \frac{\max(0,\ p_i - q_i)}{\sum_x \max(0,\ p_i(x) - q_i(x))} \tag{2}
$$

If all are accepted, the same pass of the model has the distribution of one token more.

**Why it is exact.** A proposal is accepted with the probability $\beta$ of (3) all in all, and so
the draw (2) happens with probability $1 - \beta = \sum_x \max(0, p - q)$, which is the
denominator of (2). Token $x$ thus comes out with probability
$\min(q, p) + \max(0, p - q) = p(x)$, whatever the draft.

$$
\beta = \sum_x q(x) \min\!\left(1, \frac{p(x)}{q(x)}\right) = \sum_x \min(p(x), q(x)) \tag{3}
$$

**How many tokens.** When each of $\gamma$ proposals is accepted with the same probability
$\alpha$, independently, a pass of the model gives on average

$$
E = 1 + \alpha + \dots + \alpha^\gamma = \frac{1 - \alpha^{\gamma + 1}}{1 - \alpha} \tag{4}
$$

tokens. It costs one step of the model and $\gamma$ of the draft, of which each takes $c$ steps of
the model; where checking $\gamma + 1$ tokens takes no longer than reading one, the speed-up is

$$
\frac{E}{\gamma c + 1} \tag{5}
$$

**Shapes.** One sequence: `draft_tokens` `(n,)`, `draft_probs` `(n, V)`, `target_probs`
`(n + 1, V)`, `uniforms` `(n + 1,)` from [0, 1): one for each proposal, the last one for the draw.

**Source.** Leviathan, Kalman and Matias, 2023: algorithm 1, appendix A.1; (3) is their theorem 3.5,
(4) their equation 1, (5) their theorem 3.8. Chen et al., 2023, algorithm 2.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clearhead._checks import require_finite, require_floating, require_integer

from ._checks import require_integers
from .sampler import draw


def speculative_accept(
    draft_tokens: Int[Tensor, " n"],
    draft_probs: Float[Tensor, "n V"],
    target_probs: Float[Tensor, "n+1 V"],
    uniforms: Float[Tensor, " n+1"],
) -> Int[Tensor, " new"]:
    """The new tokens of one pass, 1 to n + 1 of them: those accepted, and one of the model's own.

    Proposal i is accepted when `uniforms[i] * draft_probs[i, x] < target_probs[i, x]`, (1). The
    last uniform draws the model's own token: the smallest id whose cumulated probability exceeds
    it, under (2) after a rejection, under `target_probs[n]` otherwise. Raises `TypeError` and
    `ValueError` for wrong dtypes and shapes.
    """
    n = _require_proposals(draft_tokens, draft_probs, target_probs, uniforms)
    place = torch.arange(n, device=draft_tokens.device)
    q, p = draft_probs[place, draft_tokens], target_probs[place, draft_tokens]
    accepted = int((uniforms[:n] * q < p).long().cumprod(0).sum())  # up to the first rejection
    weights = target_probs[accepted]
    if accepted < n:
        weights = (weights - draft_probs[accepted]).clamp(min=0)
        if not weights.any():  # p and q differ by a rounding alone, and then p is as good
            weights = target_probs[accepted]
    own = draw(weights, uniforms[n])
    return torch.cat([draft_tokens[:accepted].long(), own[None]])


def acceptance(
    draft_probs: Float[Tensor, "*batch V"], target_probs: Float[Tensor, "*batch V"]
) -> Float[Tensor, "*batch"]:
    """The probability that a proposal of the draft is accepted, equation (3)."""
    require_floating(draft_probs=draft_probs, target_probs=target_probs)
    return torch.minimum(draft_probs, target_probs).sum(-1)


def expected_tokens(alpha: float | int, gamma: int) -> float:
    """Tokens a pass of the model, equation (4), for `gamma` proposals accepted with `alpha`.

    Raises `ValueError` when `alpha` is outside 0 to 1 or `gamma` is negative.
    """
    require_finite(alpha=alpha)
    require_integer(0, gamma=gamma)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; give a probability, from 0 to 1.")
    return float(sum(alpha**i for i in range(gamma + 1)))


def speedup(alpha: float | int, gamma: int, cost: float | int) -> float:
    """How many times faster than one token a pass, (5); `cost` is c, a draft step in model steps.

    Raises what `expected_tokens` raises, and `ValueError` when `cost` is negative.
    """
    require_finite(cost=cost)
    if cost < 0:
        raise ValueError(f"cost is {cost}; give the draft's time over the model's, 0 or more.")
    return expected_tokens(alpha, gamma) / (gamma * cost + 1)


def _require_proposals(tokens: Tensor, q: Tensor, p: Tensor, uniforms: Tensor) -> int:
    require_floating(draft_probs=q, target_probs=p)
    require_floating(uniforms=uniforms)
    require_integers("n", draft_tokens=tokens)
    n, V = len(tokens), p.shape[-1]
    shapes = [tuple(x.shape) for x in (tokens, q, p, uniforms)]
    if shapes != [(n,), (n, V), (n + 1, V), (n + 1,)]:
        raise ValueError(
            f"draft_tokens, draft_probs, target_probs and uniforms have shapes {shapes}; expected "
            "(n,), (n, V), (n + 1, V) and (n + 1,)."
        )
    if n and not 0 <= int(tokens.min()) <= int(tokens.max()) < V:
        raise ValueError(
            f"draft_tokens hold ids from {int(tokens.min())} to {int(tokens.max())}; the "
            f"distributions have {V} tokens, ids from 0 to {V - 1}."
        )
    return n
