r"""Draw the next token: the rules of `sampling` in their order, then one uniform number a row.

Numbering the tokens 0 … V − 1, a uniform number $u$ from $[0, 1)$ chooses by the cumulated
probabilities:

$$
x = \min \Bigl\{ x : \sum_{y \le x} p_y > u \sum_y p_y \Bigr\} \tag{1}
$$

The sign is $>$, so that a token of probability 0 is never drawn, not even by $u = 0$; and the
weights need not add up to 1.

**Shapes.** Logits and probabilities `(..., V)`, uniforms and drawn ids `(...)`.

**Numerics.** Sums are in fp64 (fp32 on Apple's MPS): an fp32 sum over 49,152 tokens is off by more
than the probability of most of them. Each row spends one number, so that what a row draws does not
depend on the rows beside it.

**Source.** Equation (1): inversion of the distribution function, Devroye, 1986, section III.2.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clearhead._checks import require_finite, require_floating, require_integer

from . import sampling


def top_k_top_p(
    logits: Float[Tensor, "*batch V"], *, temperature: float | int, k: int, p: float | int
) -> Float[Tensor, "*batch V"]:
    """Probabilities after temperature, then top-k, then top-p; `k=0` and `p=1.0` are off.

    Raises `TypeError` and `ValueError` for what `sampling.temperature`, `top_k` and `top_p` refuse.
    """
    z = sampling.temperature(sampling.centred(logits), temperature)
    return sampling.softmax(sampling.top_p(sampling.top_k(z, k), p))


def draw(
    probabilities: Float[Tensor, "*batch V"], uniforms: Float[Tensor, "*batch"]
) -> Int[Tensor, "*batch"]:
    """One id a row by equation (1); the weights of a row may add up to anything positive.

    Raises `ValueError` for a row without a positive finite sum, a negative weight, and a uniform
    outside [0, 1).
    """
    require_floating(probabilities=probabilities)
    require_floating(uniforms=uniforms)
    if not probabilities.ndim or not probabilities.shape[-1]:
        raise ValueError(
            f"probabilities have shape {tuple(probabilities.shape)}; expected (..., V), one or "
            "more tokens."
        )
    if uniforms.shape != probabilities.shape[:-1]:
        raise ValueError(
            f"uniforms have shape {tuple(uniforms.shape)} and probabilities "
            f"{tuple(probabilities.shape)}; give one number a row."
        )
    if not bool(((uniforms >= 0) & (uniforms < 1)).all()):
        raise ValueError("A uniform number is outside [0, 1); torch.rand gives such numbers.")
    precise = _precise(probabilities.device)
    reached = probabilities.to(precise).cumsum(-1)
    total = reached[..., -1:]
    least = probabilities.amin(-1, keepdim=True)
    if not bool((total.isfinite() & (total > 0) & (least >= 0)).all()):
        if bool((least < 0).any()):
            raise ValueError("A probability is negative; give weights of 0 or more.")
        raise ValueError(
            "A row of probabilities adds up to 0 or to no finite number; were all tokens removed, "
            "or is a logit NaN?"
        )
    beyond = reached > uniforms.to(precise)[..., None] * total  # below total also when rounded
    return beyond.int().argmax(-1)


@dataclass(frozen=True)
class Sampler:
    """All rules of `sampling` in their order, and a source of random numbers of its own.

    Temperature 0 is the greedy choice: the likeliest token after the repetition penalty, the lowest
    id of several. With a `seed` two samplers draw the same; without, PyTorch's own generator draws.
    Raises `TypeError` and `ValueError` for settings that the rules refuse.
    """

    temperature: float | int = 1.0
    k: int = 0
    p: float | int = 1.0
    min_p: float | int = 0.0
    repetition_penalty: float | int = 1.0
    seed: int | None = None
    generator: torch.Generator | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self):
        require_finite(temperature=self.temperature, p=self.p, min_p=self.min_p)
        require_finite(repetition_penalty=self.repetition_penalty)
        require_integer(0, k=self.k)
        if self.temperature < 0:
            raise ValueError(f"temperature is {self.temperature}; give 0 (greedy) or more.")
        for name in ("p", "min_p"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a number from 0 to 1.")
        if self.repetition_penalty <= 0:
            raise ValueError(
                f"repetition_penalty is {self.repetition_penalty}; give a positive number."
            )
        if self.seed is not None:
            require_integer(0, seed=self.seed)
            object.__setattr__(self, "generator", torch.Generator().manual_seed(self.seed))

    def probabilities(
        self, logits: Float[Tensor, "*batch V"], seen: Int[Tensor, "*batch N"] | None = None
    ) -> Float[Tensor, "*batch V"]:
        """What `self(logits, seen)` draws from; a one at the greedy choice for temperature 0."""
        z = self._penalised(logits, seen)
        if self.temperature == 0:
            return torch.zeros_like(z).scatter(-1, z.argmax(-1, keepdim=True), 1.0)
        z = sampling.temperature(sampling.centred(z), self.temperature)
        z = sampling.top_p(sampling.top_k(z, self.k), self.p)
        return sampling.softmax(sampling.min_p(z, self.min_p))

    def uniforms(self, *shape: int, device: torch.device | None = None) -> Float[Tensor, "..."]:
        """The next numbers of this sampler, in [0, 1), drawn on the CPU whatever the device."""
        dtype = _precise(torch.device(device or "cpu"))
        return torch.rand(shape, generator=self.generator, dtype=dtype).to(device)

    def __call__(
        self, logits: Float[Tensor, "*batch V"], seen: Int[Tensor, "*batch N"] | None = None
    ) -> Int[Tensor, "*batch"]:
        """One id a row. `seen` is needed for a repetition penalty alone."""
        if self.temperature == 0:
            return self._penalised(logits, seen).argmax(-1)
        probabilities = self.probabilities(logits, seen)
        return draw(probabilities, self.uniforms(*logits.shape[:-1], device=logits.device))

    def _penalised(self, logits: Tensor, seen: Tensor | None) -> Tensor:
        precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.repetition_penalty == 1:
            return precise
        if seen is None:
            raise ValueError("A repetition penalty needs the ids that were seen; give `seen`.")
        return sampling.repetition_penalty(precise, seen, self.repetition_penalty)


GREEDY = Sampler(temperature=0.0)  # draws no number, so that all may share it


def _precise(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64
