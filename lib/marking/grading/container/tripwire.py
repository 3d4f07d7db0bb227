"""Inside the container: a call of a forbidden built-in raises, however it was reached.

A deterrent, not a boundary. The operations are overridden in torch's dispatcher, below the Python
function modes that a thread or a context manager escapes; the Python functions that the dispatcher
does not see are replaced. Armed before the fork, so that a child has nothing to disarm cheaply.
"""

import torch

_kept = []


class Forbidden(BaseException):
    """A forbidden built-in was called; `forbidden` names it."""

    def __init__(self, name: str):
        super().__init__(name)
        self.forbidden = name


def arm(names: list[str]) -> None:
    """Make every built-in of those names raise."""
    library = torch.library.Library("aten", "IMPL")
    _kept.append(library)
    for name in names:
        for overload in _overloads(name):
            for key in ("CPU", "CUDA", "AutogradCPU", "AutogradCUDA"):
                try:
                    library.impl(overload, _raiser(name), key)
                except RuntimeError:  # this key has no kernel to override
                    continue
        for owner in (torch, torch.nn.functional, torch.Tensor, torch.special):
            if callable(getattr(owner, name, None)):
                setattr(owner, name, _raiser(name))
    if "scaled_dot_product_attention" in names:
        torch.nn.MultiheadAttention.forward = _raiser("MultiheadAttention")
        torch.nn.TransformerEncoderLayer.forward = _raiser("TransformerEncoderLayer")


def _overloads(name: str) -> list[str]:
    packet = getattr(torch.ops.aten, name, None)
    if packet is None:
        return []
    names = [o for o in packet.overloads() if "out" not in o]
    return [name if o == "default" else f"{name}.{o}" for o in names]


def _raiser(name: str):
    def refuse(*_, **__):
        raise Forbidden(name)

    return refuse
