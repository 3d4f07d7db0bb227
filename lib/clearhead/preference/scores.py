r"""What every loss of pairs is computed from, handed over by name.

The losses of this package are pure functions, each with the arguments that its formula has: SimPO
has no reference, DPO no numbers of tokens. `Scores` holds all that any of them asks for, and
`pair_loss` gives each what it names, so that one training loop serves all:

    pair_loss(partial(dpo_loss, beta=0.1), scores)
    pair_loss(partial(simpo_loss, beta=2.0, gamma=0.5), scores)

**Shapes.** Everything is `(N,)`: log-probabilities of whole answers, and their numbers of tokens.
"""

import inspect
from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor


class Scores(NamedTuple):
    """N pairs as a policy and a reference see them; without a reference its two are None."""

    chosen: Float[Tensor, "N"]
    rejected: Float[Tensor, "N"]
    chosen_tokens: Int[Tensor, "N"]
    rejected_tokens: Int[Tensor, "N"]
    reference_chosen: Float[Tensor, "N"] | None = None
    reference_rejected: Float[Tensor, "N"] | None = None


def pair_loss(loss: Callable[..., Tensor], scores: Scores) -> Float[Tensor, ""]:
    """`loss` called with those of the scores that are among its parameters.

    Raises `TypeError` when it needs something else (bind that with `functools.partial`), and
    `ValueError` when it asks for a reference and there is none.
    """
    given = {}
    for name, parameter in inspect.signature(loss).parameters.items():
        if name in Scores._fields:
            value = getattr(scores, name)
            if value is None:
                raise ValueError(f"the loss asks for {name}, and no reference was given.")
            given[name] = value
        elif parameter.default is inspect.Parameter.empty:
            raise TypeError(
                f"the loss asks for {name!r}; pairs have {', '.join(Scores._fields)}. Bind the "
                "rest, for example partial(dpo_loss, beta=0.1)."
            )
    return loss(**given)
