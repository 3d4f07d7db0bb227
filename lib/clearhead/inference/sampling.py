r"""From logits to the next token: which tokens may be drawn, and how likely each of them is.

Each step takes logits $z$ over the vocabulary and returns logits, with $-\infty$ for a token that
may not be drawn. *Temperature* $\tau$ makes the distribution sharper ($\tau < 1$) or flatter:

$$
p_x = \frac{e^{z_x / \tau}}{\sum_y e^{z_y / \tau}} \tag{1}
$$

With the tokens from the likeliest to the least likely, $p_1 \ge p_2 \ge \dots$, three rules say
which of them stay. *Top-k* counts, *top-p* adds up, *min-p* compares with the likeliest:

$$
\text{top-}k:\; z_x \ge z_{k} \qquad
\text{top-}p:\; \sum_{y < x} p_y < p \qquad
\text{min-}p:\; p_x \ge m \, p_1 \tag{2}
$$

Top-p keeps the token with which the sum reaches $p$, and so at least one. A *repetition penalty*
$\rho > 1$ makes every token that was seen already less likely, whatever its sign:

$$
z_x \leftarrow \begin{cases} z_x / \rho & z_x \ge 0 \\ z_x \, \rho & z_x < 0 \end{cases} \tag{3}
$$

**Order.** Penalty, temperature, top-k, top-p, min-p, each on what the one before it left: top-p
adds up probabilities at this temperature, of the tokens that top-k kept, renormalised.

**Ties.** All tokens level with the k-th stay in top-k, which then keeps more than k. In top-p a tie
goes to the lower id.

**Shapes.** Logits are `(..., V)`, and so is what comes back. `seen` is `(..., N)`, token ids.

**Numerics.** Probabilities are computed in fp32 or better. Top-p with p = 1 keeps everything: the
rounded sum may reach 1 early, and would cut off the tail.

**Elsewhere.** transformers' `TopPLogitsWarper` sorts upwards and drops while the sum is at most
1 − p: the same set, except that of tokens with equal logits it drops the lower id first.

**Source.** Top-k: Fan et al., 2018, section 5.4. Top-p: Holtzman et al., 2020, section 3.1. Min-p:
Nguyen et al., 2024, section 3. Equation (3): Keskar et al., 2019, section 4.1, where logits are
divided whatever their sign; the case for negative ones is transformers'.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clearhead._checks import require_finite, require_floating, require_integer

from ._checks import require_token_ids


def temperature(logits: Float[Tensor, "*batch V"], tau: float | int) -> Float[Tensor, "*batch V"]:
    """The logits of equation (1), divided by `tau`.

    Raises `ValueError` when `tau` is not positive: temperature 0 is the greedy choice, `argmax`.
    """
    _require_logits(logits)
    require_finite(tau=tau)
    if tau <= 0:
        raise ValueError(
            f"The temperature is {tau}; give a positive number (0 would be the greedy choice: use "
            "argmax, or Sampler(temperature=0))."
        )
    smallest = torch.finfo(torch.promote_types(logits.dtype, torch.float32)).tiny
    return logits / max(tau, smallest)  # less may be rounded to 0, and 0 / 0 is NaN


def top_k(logits: Float[Tensor, "*batch V"], k: int) -> Float[Tensor, "*batch V"]:
    """Keep the `k` largest, and what is level with the last of them; 0, or V or more, keeps all.

    Raises `TypeError` when `k` is not an integer and `ValueError` when it is negative.
    """
    _require_logits(logits)
    require_integer(0, k=k)
    if k == 0 or k >= logits.shape[-1]:
        return logits
    least = logits.topk(k).values[..., -1:]  # ... 1
    return logits.masked_fill(logits < least, -torch.inf)


def top_p(logits: Float[Tensor, "*batch V"], p: float | int) -> Float[Tensor, "*batch V"]:
    """Keep the smallest set of likeliest tokens whose probability reaches `p`; 1 keeps all.

    Raises `ValueError` when `p` is outside 0 to 1.
    """
    _require_logits(logits)
    _require_share(p=p)
    if p == 1:
        return logits
    in_order, ids = logits.sort(dim=-1, descending=True, stable=True)
    reached = softmax(in_order).cumsum(-1) >= p
    dropped = reached.roll(1, dims=-1)  # the first that reaches p stays, all after it go
    dropped[..., 0] = False
    return logits.masked_fill(torch.zeros_like(dropped).scatter(-1, ids, dropped), -torch.inf)


def min_p(logits: Float[Tensor, "*batch V"], m: float | int) -> Float[Tensor, "*batch V"]:
    """Keep the tokens that are at least `m` times as likely as the likeliest; 0 keeps all.

    Raises `ValueError` when `m` is outside 0 to 1.
    """
    _require_logits(logits)
    _require_share(m=m)
    probabilities = softmax(logits)
    least = m * probabilities.amax(-1, keepdim=True)
    return logits.masked_fill(probabilities < least, -torch.inf)


def repetition_penalty(
    logits: Float[Tensor, "*batch V"], seen: Int[Tensor, "*batch N"], rho: float | int
) -> Float[Tensor, "*batch V"]:
    """Equation (3) for the tokens in `seen`, each once however often it was seen.

    An id of −1 stands for no token: pad with it where rows have seen unequally many. Raises
    `ValueError` when `rho` is not positive, or `seen` does not fit the logits, and `TypeError` when
    `seen` holds no integers.
    """
    _require_logits(logits)
    require_finite(rho=rho)
    if rho <= 0:
        raise ValueError(f"rho is {rho}; give a positive number (1 changes nothing).")
    require_token_ids(seen=seen)
    V = logits.shape[-1]
    if seen.shape[:-1] != logits.shape[:-1]:
        raise ValueError(
            f"seen has shape {tuple(seen.shape)} and logits {tuple(logits.shape)}; all axes but "
            "the last must be the same."
        )
    if seen.numel() and not -1 <= int(seen.min()) <= int(seen.max()) < V:
        raise ValueError(
            f"seen holds ids from {int(seen.min())} to {int(seen.max())}; the vocabulary has {V} "
            "tokens (and −1 is none)."
        )
    marked = logits.new_zeros(*logits.shape[:-1], V + 1, dtype=torch.bool)
    marked = marked.scatter(-1, seen.long() % (V + 1), True)[..., :V]  # −1 marks the one too many
    return torch.where(marked, torch.where(logits < 0, logits * rho, logits / rho), logits)


def centred(logits: Float[Tensor, "*batch V"]) -> Float[Tensor, "*batch V"]:
    """The logits less the largest, in fp32 or better: the same distribution, and none overflows.

    Divided by a tiny temperature, the others become −inf, and the largest stays 0.
    """
    _require_logits(logits)
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return precise - precise.amax(-1, keepdim=True)


def softmax(logits: Float[Tensor, "*batch V"]) -> Float[Tensor, "*batch V"]:
    """Equation (1) for logits that are divided already, in fp32 or better."""
    return logits.softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))


def _require_logits(logits: Tensor) -> None:
    require_floating(logits=logits)
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(
            f"logits have shape {tuple(logits.shape)}; expected (..., V), one or more tokens."
        )


def _require_share(**values: float | int) -> None:
    require_finite(**values)
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; give a number from 0 to 1.")
