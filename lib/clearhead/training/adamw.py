r"""AdamW: each weight moves by its own step size, and decays apart from its gradient.

Two running means are kept for every weight, of its gradient $g$ and of the gradient's square. Both
start at zero and are too small at first, which dividing by $1 - \beta^t$ puts right. With $t$ = 1,
2, … counting the steps:

$$
m \leftarrow \beta_1 m + (1 - \beta_1)\, g, \qquad
v \leftarrow \beta_2 v + (1 - \beta_2)\, g^2 \tag{1}
$$

$$
\hat m = \frac{m}{1 - \beta_1^t}, \qquad \hat v = \frac{v}{1 - \beta_2^t} \tag{2}
$$

$$
p \leftarrow p - \eta \lambda\, p - \eta\, \frac{\hat m}{\sqrt{\hat v} + \varepsilon} \tag{3}
$$

Both terms of (3) use the old $p$. The decay $\lambda$ is *decoupled*: added to the gradient instead
(Adam with an L2 penalty) it would pass through (1) and be divided by $\sqrt{\hat v}$, and weights
with large gradients would hardly decay.

At the first step $\hat m / \sqrt{\hat v} = g / |g|$: every weight moves by $\eta$, whatever the
size of its gradient.

**What decays.** By convention the matrices (embeddings too) and not the vectors, which are the
gains of norms and the biases: `decay_groups`.

**Shapes.** Any; `parameter`, `gradient`, `m` and `v` have the same.

**Numerics.** Computed in fp32, in fp64 for fp64, and rounded once to the dtype given, as the fused
kernels of `torch.optim.AdamW` do: in fp16 an $\varepsilon$ of $10^{-8}$ is 0, and 0 / 0 no number.

**Sources.** Kingma and Ba, 2014, algorithm 1, for (1) and (2); Loshchilov and Hutter, 2019 (arXiv
1711.05101), algorithm 2, for (3), where $\eta$ multiplies the decay too, as it does in
`torch.optim.AdamW`; in the paper only the schedule's factor does.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clearhead._checks import precise, require_finite, require_floating, require_integer

LEAST_EPS = 1e-37  # near the smallest number of fp32


def adamw_step(
    parameter: Float[Tensor, "*shape"],
    gradient: Float[Tensor, "*shape"],
    m: Float[Tensor, "*shape"],
    v: Float[Tensor, "*shape"],
    step: int,
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """`(parameter, m, v)` after one step, as new tensors: equations (1) to (3).

    `step` counts from 1. Raises `TypeError` for a wrong dtype and `ValueError` when the shapes
    differ or a number is out of range.
    """
    require_floating(parameter=parameter, gradient=gradient, m=m, v=v)
    require_integer(1, step=step)
    require_rates(lr, beta1, beta2, eps, weight_decay)
    for name, x in {"gradient": gradient, "m": m, "v": v}.items():
        if x.shape != parameter.shape:
            raise ValueError(
                f"parameter is {tuple(parameter.shape)} and {name} {tuple(x.shape)}; make them "
                "equal."
            )
    p, g = precise(parameter), precise(gradient)
    m = beta1 * precise(m) + (1 - beta1) * g
    v = beta2 * precise(v) + (1 - beta2) * g.square()
    m_hat = m / (1 - beta1**step)
    v_hat = v / (1 - beta2**step)
    p = p - lr * weight_decay * p - lr * m_hat / (v_hat.sqrt() + eps)
    return p.to(parameter.dtype), m.to(parameter.dtype), v.to(parameter.dtype)


class AdamW(torch.optim.Optimizer):
    """`adamw_step` for every parameter that has a gradient: the plain optimiser.

    `torch.optim.AdamW` gives the same numbers, faster, and is what `train` uses. `params` are
    tensors or groups of them, as torch's optimisers take them. Raises `ValueError` when a number is
    out of range.
    """

    def __init__(self, params, *, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01):
        rates = {"lr": lr, "beta1": beta1, "beta2": beta2, "eps": eps, "weight_decay": weight_decay}
        require_rates(**rates)
        super().__init__(params, rates)

    def add_param_group(self, param_group: dict) -> None:
        require_rates(**{name: param_group.get(name, x) for name, x in self.defaults.items()})
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            rates = {name: value for name, value in group.items() if name in self.defaults}
            for p in group["params"]:
                if p.grad is None:
                    continue
                past = self.state[p] or {"m": torch.zeros_like(p), "v": torch.zeros_like(p)}
                t = past.get("step", 0) + 1
                new, m, v = adamw_step(p, p.grad, past["m"], past["v"], t, **rates)
                p.copy_(new)
                self.state[p] = {"step": t, "m": m, "v": v}


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Groups for an optimiser, of what requires a gradient: matrices decay, vectors do not.

    Raises `ValueError` when nothing in the model requires a gradient.
    """
    require_finite(weight_decay=weight_decay)
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ValueError("no parameter of the model requires a gradient; unfreeze some.")
    matrices = [p for p in trained if p.ndim >= 2]
    vectors = [p for p in trained if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def require_rates(lr: float, beta1: float, beta2: float, eps: float, weight_decay: float) -> None:
    """The numbers of AdamW are in the range in which it means something."""
    require_finite(lr=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay)
    if eps < LEAST_EPS:
        raise ValueError(f"eps is {eps}; give {LEAST_EPS} or more, which fp32 can tell from 0.")
    for name, value in {"lr": lr, "weight_decay": weight_decay}.items():
        if value < 0:
            raise ValueError(f"{name} is {value}; give 0 or more.")
    for name, value in {"beta1": beta1, "beta2": beta2}.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name} is {value}; give a number from 0 to less than 1.")
