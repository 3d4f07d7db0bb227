r"""LoRA+ gives B a larger learning rate than A.

At the start $B = 0$ and $A$ is not, and the two factors have different shapes: $A$ sums over the
$I$ input features, $B$ over the $r$ of the bottleneck. Ask that one step of each change the layer's
output by about as much, whatever the width $I$. Adam's steps have the size of the learning rate, so
an entry of $Ax$ is a sum of $I$ changes of that size, and an entry of $B(Ax)$ a sum of $r$:

$$
\eta_A \propto \frac{1}{I}, \qquad \eta_B \propto 1, \qquad \eta_B = \lambda\, \eta_A,\;
\lambda \gg 1 \tag{1}
$$

The law says how $\lambda$ grows with the width, not what it is. The paper finds $\lambda = 16$ a
good setting, and the default here is that.

**Use.** `torch.optim.AdamW(loraplus_groups(model, 1e-4))`. The groups carry `lr` and nothing else.

**Embeddings.** There the input is one-hot: an entry of $Ax$ is one change, not a sum, and $A$
starts at zero instead of $B$. Equation (1) does not apply, and both factors get $\eta_A$. (PEFT
gives them 1e-6.) DoRA's magnitudes go with $B$, as in PEFT.

**Source.** Hayou et al., 2024 (LoRA+); `create_loraplus_optimizer` of PEFT.
"""

from torch import nn

from clearhead._checks import require_finite

from .layers import LoRAEmbedding
from .model import lora_layers


def loraplus_groups(model: nn.Module, lr: float, ratio: float | int = 16) -> list[dict]:
    """Parameter groups for an optimiser: A at `lr`, B and DoRA's magnitude at `ratio · lr`.

    Raises `TypeError` when `lr` or `ratio` is not a number and `ValueError` when one is not finite
    or not positive, or when the model has no LoRA layer with an active adapter.
    """
    require_finite(lr=lr, ratio=ratio)
    if lr <= 0 or ratio <= 0:
        raise ValueError(f"lr is {lr} and ratio is {ratio}; give positive numbers.")
    slow, fast = [], []
    for layer in lora_layers(model).values():
        if layer.active is None:
            continue
        adapter = layer.adapters[layer.active]
        slow.append(adapter.A)
        (slow if isinstance(layer, LoRAEmbedding) else fast).append(adapter.B)
        if adapter.magnitude is not None:
            fast.append(adapter.magnitude)
    if not slow:
        raise ValueError("The model has no LoRA layer with an active adapter; apply puts them in.")
    groups = [{"params": slow, "lr": lr}, {"params": fast, "lr": ratio * lr}]
    return [group for group in groups if group["params"]]
