r"""The weights before the first step: small enough that the model starts without an opinion.

Every matrix is drawn from a normal distribution of standard deviation $\sigma$, biases are zero and
the gains of norms one. The two matrices of a block that write to the residual stream are drawn
smaller, as $2L$ such updates add up:

$$
\sigma_\text{write} = \frac{\sigma}{\sqrt{2 L}} \tag{1}
$$

With logits near zero every token gets about the same probability, so the first loss is close to

$$
\text{loss}_0 \approx \ln V \tag{2}
$$

A first loss far above that is a mistake to find: torch's own start for an embedding, $\sigma = 1$,
used as the output matrix too (*tied*), gives logits of size $\sqrt{C}$ and a loss of tens of nats.

**Source.** Radford et al., 2019 (GPT-2), section 2.3, for (1), and σ = 0.02 as in its code.
"""

import math

import torch

from clearhead._checks import require_integer
from clearhead.model import Decoder

from ._checks import require_positive

WRITE = ("attention.output.weight", "feed_forward.down.weight")


@torch.no_grad()
def initialise(model: Decoder, *, std: float = 0.02, seed: int = 0) -> Decoder:
    """Fresh weights for `model`, in place; returns it. The same seed gives the same weights.

    They are drawn on the CPU in fp32, so that device and dtype do not change them. Raises
    `ValueError` when `std` is not positive.
    """
    require_positive(std=std)
    require_integer(0, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        if p.ndim < 2:
            p.fill_(0.0 if name.endswith("bias") else 1.0)
            continue
        scale = std / math.sqrt(2 * model.config.layers) if name.endswith(WRITE) else std
        p.copy_(torch.randn(p.shape, generator=generator) * scale)
    return model
