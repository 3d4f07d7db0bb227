"""Inside the container: a call of a forbidden built-in raises, however it was reached.

A deterrent, not a boundary. The operations are overridden in torch's dispatcher, below the Python
function modes that a thread or a context manager escapes, with everything that is the same
operation by another name; the Python functions that the dispatcher does not see are replaced.
Armed before the fork, so that a child has nothing to disarm cheaply.
"""

import ctypes
import re
import sys
import types
import weakref

import torch

# What one forbidden name stands for: every operation of torch that would give the same answer.
FAMILIES = {
    "softmax": r"softmax",
    "scaled_dot_product_attention": r"scaled_dot|multi_head_attention|attention_forward"
    r"|transformer_encoder_layer_fwd",
    "grad": r"make_dual",  # what every derivative taken forwards begins with
}
MODULES = ("torch", "torch.nn.functional", "torch.special", "torch._refs", "torch._refs.special")
MODULES += ("torch._refs.nn.functional", "torch._decomp.decompositions", "torch._C._nn")
MODULES += ("torch.autograd", "torch.autograd.functional", "torch.func")
MODULES += ("torch.autograd.forward_ad", "torch._VF")
LAYERS = ("MultiheadAttention", "TransformerEncoderLayer", "TransformerDecoderLayer")


class Forbidden(BaseException):
    """A forbidden built-in was called; `forbidden` names it."""

    def __init__(self, name: str):
        super().__init__(name)
        self.forbidden = name


def arm(names: list[str]) -> None:
    """Make every built-in of those names raise, and its relatives."""
    library = torch.library.Library("aten", "IMPL")
    for full in torch._C._dispatch_get_all_op_names():
        space, _, operation = full.partition("::")
        plain = operation.partition(".")[0]
        if space == "aten" and _is_forbidden(plain, names):
            _override(library, operation, _raiser(plain))
    _hide(library)
    for module in MODULES:
        owner = sys.modules.get(module)
        for name in [n for n in dir(owner) if _is_forbidden(n, names)] if owner else ():
            if callable(getattr(owner, name)) and not isinstance(getattr(owner, name), type):
                setattr(owner, name, _raiser(name))
    for name in [n for n in dir(torch.Tensor) if _is_forbidden(n, names)]:
        if callable(getattr(torch.Tensor, name)):  # `backward` is; the attribute `grad` is not
            setattr(torch.Tensor, name, _raiser(name))
    if "grad" in names:
        _take_engine()
    if "scaled_dot_product_attention" in names:
        for layer in LAYERS:
            getattr(torch.nn, layer).forward = _raiser(layer)
        sys.modules["torch.nn.attention.flex_attention"] = None  # importing it raises ImportError


def _take_engine() -> None:
    """Take away what every function of autograd calls in the end, and its class."""
    refuse = types.SimpleNamespace(run_backward=_raiser("grad"), queue_callback=_raiser("grad"))
    torch.autograd.Variable._execution_engine = refuse
    torch._C._ImperativeEngine = torch.autograd.variable.ImperativeEngine = _raiser("grad")


def _hide(library) -> None:
    """Keep it for good, by no name and in no list by which a student could find and undo it."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(library))
    for finalizer in list(weakref.finalize._registry):
        if (found := finalizer.peek()) and found[0] is library:
            finalizer.detach()
    for thing in (library, library.__dict__):
        ctypes.pythonapi.PyObject_GC_UnTrack(ctypes.py_object(thing))


def _is_forbidden(name: str, names: list[str]) -> bool:
    if name in names or "backward" in name:
        return name in names
    return any(key in names and re.search(pattern, name) for key, pattern in FAMILIES.items())


def _override(library, operation: str, raiser) -> None:
    for key in ("CPU", "CUDA", "AutogradCPU", "AutogradCUDA"):
        try:
            library.impl(operation, raiser, key)
        except RuntimeError:  # this key has no kernel to override
            continue


def _raiser(name: str):
    def refuse(*_, **__):
        raise Forbidden(name)

    return refuse
