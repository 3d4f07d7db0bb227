"""A loss is there to be trained with: an answer is called with inputs that want a gradient.

Either function is what an answer is called through; the learner's own signature and return value
are plain ones. The answer gets copies that may be changed in place, and what it did to them is put
back, so that it is told to have changed its input. A loss that is not finite is wrong already: its
gradient is not asked for.
"""

import torch


def loss_and_gradient(answer, **inputs):
    """The loss, and its gradient with respect to the one input of floats."""
    name = next(
        n for n, x in inputs.items() if isinstance(x, torch.Tensor) and x.is_floating_point()
    )
    before, gradient = inputs[name].clone(), None
    with torch.enable_grad():
        leaf = before.clone().requires_grad_()
        given = leaf.clone()
        loss = answer(**{**inputs, name: given})
        after = inputs[name].data = given.detach()
        same = before.shape == after.shape and before.nan_to_num().equal(after.nan_to_num())
        if same and isinstance(loss, torch.Tensor) and loss.requires_grad:
            if bool(loss.isfinite().all()):
                (gradient,) = torch.autograd.grad(loss.sum(), leaf, allow_unused=True)
                if gradient is not None and bool(gradient.isnan().any()):  # one picture of it
                    gradient = gradient.masked_fill(before.isnan(), torch.nan)
    return {
        "loss": loss.detach() if isinstance(loss, torch.Tensor) else loss,
        f"gradient of {name}": torch.zeros_like(before) if gradient is None else gradient,
    }


def pieces_and_gradients(answer, nll, counted, tokens_elsewhere, processes):
    """The contributions and their total, and the gradient of either for each micro-batch."""
    before = [x.clone() for x in nll]
    with torch.enable_grad():
        leaves = [x.clone().requires_grad_() for x in before]
        given = [leaf.clone() for leaf in leaves]
        found = answer(
            nll=given, counted=counted, tokens_elsewhere=tokens_elsewhere, processes=processes
        )
        nll[:] = [x.detach() if isinstance(x, torch.Tensor) else x for x in given]
        same = len(nll) == len(before) and all(
            isinstance(y, torch.Tensor)
            and x.shape == y.shape
            and x.nan_to_num().equal(y.nan_to_num())
            for x, y in zip(before, nll, strict=True)
        )
        if not isinstance(found, tuple | list) or len(found) != 2:
            found = found, None
        told = {"contributions": found[0], "total": found[1]}
        for name, value in list(told.items()):
            gradients = [None] * len(before)
            if isinstance(value, torch.Tensor) and value.requires_grad:
                told[name] = value.detach()
                if same and bool(value.isfinite().all()):
                    gradients = torch.autograd.grad(
                        value.sum(), leaves, allow_unused=True, retain_graph=True
                    )
            told[f"gradient of {name}"] = [
                torch.zeros_like(x) if g is None else g
                for x, g in zip(before, gradients, strict=True)
            ]
    return told
